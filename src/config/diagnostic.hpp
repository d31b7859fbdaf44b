// SPDX-License-Identifier: ISC
// An error or warning about a configuration, its place, and a suggestion.
//
//     for (const auto& d : loaded.diagnostics)
//         std::fputs(render(d).c_str(), stderr);
//
// A diagnostic owns its text, all of it printable UTF-8: control characters and broken UTF-8 are
// replaced by '?'.
#pragma once

#include <span>
#include <string>

namespace encsync::config {

enum class Severity { warning, error };

struct Diagnostic {
    std::string file;
    unsigned line = 0;   // from 1; 0: the file as a whole
    unsigned column = 0; // from 1, in characters (a tab is one); 0 with line 0
    std::string message; // one line, no full stop
    std::string source_line;
    std::string hint; // "did you mean 'lifetime'?"; may be empty
    Severity severity = Severity::error;
};

// FILE:LINE:COLUMN: error: MESSAGE, then the line, then a caret under the column, then the hint;
// each on a line of its own. Tabs are kept, so that the caret is at the right column.
std::string render(const Diagnostic& diagnostic);
std::string render(std::span<const Diagnostic> diagnostics);

} // namespace encsync::config
