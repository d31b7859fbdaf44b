// SPDX-License-Identifier: ISC
// Writes what was found: as an encsync.conf, and as notes for people.
//
//     std::fputs(render_config(found, "hostname.pfsync0").c_str(), stdout);
//     std::fputs(render_notes(found, "hostname.pfsync0").c_str(), stderr);
#pragma once

#include "import/migration.hpp"

namespace encsync::importer {

// A complete file with comments. It can be loaded if found.complete(); else the missing address is
// a line to be filled in.
std::string render_config(const Migration& found, std::string_view file);

// FILE:LINE: WHAT: ADVICE, a line for each note.
std::string render_notes(const Migration& found, std::string_view file);

} // namespace encsync::importer
