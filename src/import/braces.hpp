// SPDX-License-Identifier: ISC
// The syntax of conntrackd.conf(5): statements, each a few words in one line, of which some have a
// block of statements in braces.
//
//     auto statements = parse_braces("UNIX { Path /run/c.ctl }");   // [0].block[0].words[1]
//
// An error is one of syntax, as fault() makes it.
#pragma once

#include "import/migration.hpp"

namespace encsync::importer {

inline constexpr unsigned kMaxDepth = 16; // of braces; conntrackd.conf needs 5

struct Statement {
    unsigned line = 0;              // of its first word
    std::vector<std::string> words; // empty only in a block without a name
    bool has_block = false;
    std::vector<Statement> block;
};

Result<std::vector<Statement>> parse_braces(std::string_view text);

} // namespace encsync::importer
