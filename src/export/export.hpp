// SPDX-License-Identifier: ISC
// What the other end of a conn needs if it is not encsync: its configuration, as text to paste.
//
//     const auto there = exporter::export_config("openbsd", config.setup, conn, {.interface =
//     "em2"}); there->text;     // files, each below a line that names it there->notes;    // what
//     the text cannot know, a line each
//
// Nothing secret is in it. An error says why such a peer cannot be at the other end of this conn,
// and what would help.
#pragma once

#include "config/config.hpp"
#include "util/result.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace encsync::exporter {

struct Exported {
    std::string text;
    std::vector<std::string> notes;
};

struct There {
    std::string interface; // that has the conn's right; empty: not known
};

std::vector<std::string> system_names(); // "openbsd", ...
Result<Exported> export_config(std::string_view system, const config::Setup& setup,
                               const config::Conn& conn, const There& there);

// What to change at the other end while this node's identity is rotated, so that the tunnel stays
// up: the peer accepts the next key beside the present one. Empty: nothing, as it is told inside
// the tunnel, or accepts each key. pem: the next public key.
std::string steps_for_next_key(const config::Setup& setup, const config::Conn& conn,
                               const std::string& pem);
// What a strongSwan at the other end needs for the preshared key with this node that is in a file.
std::string strongswan_secret(const std::string& node, const std::string& file);

} // namespace encsync::exporter
