// SPDX-License-Identifier: ISC Checks between values, after each has been checked by itself.
#pragma once

#include "config/grammar.hpp"

#include <map>

namespace encsync::config {

// A setting that took effect, and how far it came: the nearest wins, so the larger the rank, the
// more particular. 0 is %default.
struct Origin {
    const Entry* entry = nullptr;
    std::size_t rank = 0;
    bool valid = false; // an invalid one was reported; what depends on it is not checked
};
using Origins = std::map<std::string_view, Origin>; // by the option's name

struct PlacedConn {
    Conn conn;
    Place at; // of the name
    Origins origins;
};

void check_setup(const Setup& setup, const Origins& origins, Report& report);
// Each by itself, then against the others.
void check_conns(const Setup& setup, const std::vector<PlacedConn>& conns, Report& report);

} // namespace encsync::config
