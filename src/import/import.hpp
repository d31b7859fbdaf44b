// SPDX-License-Identifier: ISC
// Reads the configuration of what a firewall synced its states with so far, for an encsync.conf
// that does the same. docs/migration.md.
//
//     auto found = import_config("/etc/conntrackd.conf", text, {}, {});
//     if (!found)
//         return fail(found.error().text);       // "/etc/conntrackd.conf:7: this '{' is not
//         closed"
//     std::fputs(render_config(*found, "/etc/conntrackd.conf").c_str(), stdout);
//
// A pure function of the text: it opens no file and looks no name up. No exceptions.
#pragma once

#include "import/migration.hpp"

namespace encsync::importer {

enum class Format { openbsd, freebsd, ifconfig, opnsense, pfsense, conntrackd };

inline constexpr std::size_t kMaxText = 1 << 20; // bytes
inline constexpr std::size_t kMaxXml = 16 << 20; // bytes; config.xml has everything in it

// The names of the formats, as --format takes them.
std::vector<std::string> format_names();
std::optional<Format> format_named(std::string_view name);

// By the file's name, else by what is in it.
std::optional<Format> detect(std::string_view file, std::string_view text);

// lefts: addresses of this firewall, for a file that does not have them. No format: detect().
Result<Migration> import_config(std::string_view file, std::string_view text,
                                std::optional<Format> format,
                                const std::vector<config::Address>& lefts);

} // namespace encsync::importer
