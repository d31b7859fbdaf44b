// SPDX-License-Identifier: ISC
// Commands as in a script, "ifconfig pfsync0 syncdev em0", or what ifconfig(8) prints.
#include "import/pfsync_words.hpp"
#include "import/readers.hpp"

#include <fmt/core.h>
#include <set>

namespace encsync::importer {

namespace {

bool is_pfsync(std::string_view interface) {
    return interface.starts_with("pfsync") && interface.size() > 6;
}

Result<void> read_commands(std::string_view text, Migration& found, bool& syncs,
                           std::set<std::string>& others) {
    auto lines = shell_lines(text);
    if (!lines)
        return lines.error();
    for (const Line& line : *lines) {
        std::size_t i = 0;
        const auto word = [&](std::size_t at) -> std::string_view {
            return at < line.words.size() ? line.words[at].text : std::string_view();
        };
        while (word(i) == "$" || word(i) == "sudo" || word(i) == "doas")
            i++;
        const std::string_view program = word(i).substr(word(i).rfind('/') + 1);
        if (program != "ifconfig" || word(i + 1).empty()) {
            found.note(line.number, fmt::format("command {}", word(i)),
                       "it is no ifconfig command: see whether the Linux firewall needs it");
            continue;
        }
        const std::string interface(word(i + 1));
        const auto words = std::span(line.words).subspan(i + 2);
        syncs = syncs || is_pfsync(interface);
        if (is_pfsync(interface))
            read_pfsync_words(found, line.number, words);
        else {
            read_interface_words(found, line.number, interface, words);
            others.insert(interface);
        }
    }
    return {};
}

// A line of pfsync0 as it is printed: "pfsync: syncdev: em0 maxupd: 128 defer: off". Its words are
// those of the commands, except for these.
void read_status(Migration& found, const Line& line) {
    std::vector<Word> words;
    for (std::size_t i = 0; i < line.words.size(); i++) {
        Word word = line.words[i];
        if (word.text.ends_with(':'))
            word.text.pop_back();
        const bool has_next = i + 1 < line.words.size();
        if (word.text == "defer" && has_next) {
            if (line.words[++i].text == "off")
                word.text = "-defer";
        } else if (word.text == "groups" || word.text.starts_with("options") ||
                   word.text.starts_with("nd6"))
            break; // of the interface, and not settings of pfsync
        else if (word.text == "pfsync" || word.text == "index" || word.text == "syncok" ||
                 word.text == "llprio" || word.text == "status") {
            i += word.text != "pfsync" && has_next ? 1 : 0; // says how it is, and sets nothing
            continue;
        }
        words.push_back(std::move(word));
    }
    read_pfsync_words(found, line.number, words);
}

void read_output(std::string_view text, Migration& found, bool& syncs,
                 std::set<std::string>& others) {
    std::string interface;
    for (const Line& line : plain_lines(text)) {
        const std::string& first = line.words.front().text;
        if (!line.indented && first.ends_with(':')) {
            interface = first.substr(0, first.size() - 1);
            syncs = syncs || is_pfsync(interface);
            if (!is_pfsync(interface))
                others.insert(interface);
        } else if (!line.indented)
            found.note(line.number, fmt::format("'{}'", first),
                       "it is no line of ifconfig's output");
        else if (is_pfsync(interface))
            read_status(found, line);
        else if (first == "inet" || first == "inet6")
            read_interface_words(found, line.number, interface, line.words);
        else if (first == "carp:")
            found.note(line.number, fmt::format("{}: a CARP address", interface),
                       "make it a vrrp_instance of keepalived, see docs/operation.md");
    }
}

} // namespace

Result<void> read_ifconfig(std::string_view text, Migration& found) {
    bool syncs = false;
    std::set<std::string> others; // interfaces
    if (text.find(": flags=") != std::string_view::npos)
        read_output(text, found, syncs, others);
    else if (auto read = read_commands(text, found, syncs, others); !read)
        return read;
    if (!syncs)
        return fault(0, "it has no pfsync interface");
    if (found.interface.empty() && !found.right && found.peer_line == 0)
        return fault(0, "pfsync has neither syncdev nor syncpeer, so pf does not sync");
    if (!others.empty())
        found.note(0, fmt::format("other interfaces ({})", others.size()),
                   "only their addresses were read: set them up on Linux");
    finish_pfsync(found);
    return {};
}

} // namespace encsync::importer
