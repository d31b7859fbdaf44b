// SPDX-License-Identifier: ISC
// hostname.if(5): each line has arguments of ifconfig(8), or begins with '!' and is a command.
#include "import/pfsync_words.hpp"
#include "import/readers.hpp"

#include <fmt/core.h>

namespace encsync::importer {

namespace {

void note_command(Migration& found, unsigned line, std::string_view program) {
    found.note(line, fmt::format("command {}", program),
               "run it from a unit of systemd, before encsync.service if that needs it");
}

} // namespace

Result<void> read_openbsd(std::string_view text, Migration& found) {
    auto lines = shell_lines(text);
    if (!lines)
        return lines.error();
    if (lines->empty())
        return fault(0, "it has no settings");
    for (const Line& line : *lines) {
        const std::string& first = line.words.front().text;
        if (first == "!" && line.words.size() > 1)
            note_command(found, line.number, line.words[1].text);
        else if (first.starts_with('!'))
            note_command(found, line.number, first.substr(1));
        else
            read_pfsync_words(found, line.number, line.words);
    }
    if (found.interface.empty() && !found.right && found.peer_line == 0)
        return fault(0, "it names neither syncdev nor syncpeer, so pf does not sync");
    finish_pfsync(found);
    return {};
}

} // namespace encsync::importer
