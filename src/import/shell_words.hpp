// SPDX-License-Identifier: ISC
// Lines of words as a shell reads them, but without running anything: quotes, comments, a
// backslash, and ';' between commands. hostname.if(5), rc.conf(5) and ifconfig's lines are such.
//
//     auto lines = shell_lines("up syncdev em0  # cable\n");   // one line: up, syncdev, em0
//
// An error is one of syntax, as fault() makes it.
#pragma once

#include "import/migration.hpp"

namespace encsync::importer {

struct Word {
    std::string text;
    bool expands = false; // has a '$' or '`' that a shell would replace
    bool quoted = false;
};

struct Line {
    unsigned number = 0; // of its first word
    bool indented = false;
    std::vector<Word> words; // never empty
};

Result<std::vector<Line>> shell_lines(std::string_view text);
// Of a program's output, where blanks part words and nothing else has a meaning.
std::vector<Line> plain_lines(std::string_view text);

} // namespace encsync::importer
