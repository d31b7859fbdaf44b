// SPDX-License-Identifier: ISC
// Checks that concern several values, after each has been checked by itself.
#pragma once

#include "config/grammar.hpp"

#include <map>

namespace encsync::config {

// The setting that took effect, and from where it was inherited: the nearest one, with the largest
// rank. 0 is %default.
struct Origin {
    const Entry* entry = nullptr;
    std::size_t rank = 0;
    bool valid = false; // false: already reported; checks that depend on it are skipped
};
using Origins = std::map<std::string_view, Origin>; // by the option's name

struct PlacedConn {
    Conn conn;
    Place at; // of the name
    Origins origins;
};

void check_setup(const Setup& setup, const Origins& origins, Report& report);
// Checks each conn by itself, then against the others.
void check_conns(const Setup& setup, const std::vector<PlacedConn>& conns, Report& report);
// Of these checks, those of one cable: its speakers and their MAC addresses.
void check_speakers(const Setup& setup, const PlacedConn& cable, Report& report);
// Of these checks: no speaker of the conn is another conn's right.
void check_known_speakers(const std::vector<PlacedConn>& conns, const PlacedConn& cable,
                          Report& report);

} // namespace encsync::config
