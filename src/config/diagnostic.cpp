// SPDX-License-Identifier: ISC
#include "config/diagnostic.hpp"

#include "config/text.hpp"

#include <fmt/core.h>

namespace encsync::config {

std::string render(const Diagnostic& d) {
    const char* severity = d.severity == Severity::error ? "error" : "warning";
    std::string out;
    if (d.line == 0) {
        out = fmt::format("{}: {}: {}\n", d.file, severity, d.message);
    } else {
        out = fmt::format("{}:{}:{}: {}: {}\n", d.file, d.line, d.column, severity, d.message);
        out += d.source_line + '\n';
        std::size_t before = d.column - 1;
        for (std::size_t i = 0; i < d.source_line.size() && before > 0; before--) {
            out += d.source_line[i] == '\t' ? '\t' : ' ';
            do // to the next character
                i++;
            while (i < d.source_line.size() && characters(d.source_line.substr(i, 1)) == 0);
        }
        out.append(before, ' ');
        out += "^\n";
    }
    if (!d.hint.empty())
        out += d.hint + '\n';
    return out;
}

std::string render(std::span<const Diagnostic> diagnostics) {
    std::string out;
    for (const Diagnostic& diagnostic : diagnostics)
        out += render(diagnostic);
    return out;
}

} // namespace encsync::config
