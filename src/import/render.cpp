// SPDX-License-Identifier: ISC
#include "import/render.hpp"

#include "config/text.hpp"

#include <fmt/format.h>
#include <strings.h>

namespace encsync::importer {

namespace {

std::string setup(const Migration& found) {
    std::string out = "config setup\n";
    if (found.node.empty())
        out += "\t# node= is this firewall's name; the default is the host's name.\n";
    else
        out += fmt::format("\tnode={}\n", found.node);
    if (!found.syncdev.empty())
        out += fmt::format("\tsyncdev={}\n", found.syncdev);
    if (found.defer)
        out += "\tdefer=yes\n";
    if (!found.nosync.empty())
        out += fmt::format("\tnosync={}\n", fmt::join(found.nosync, ", "));
    if (!found.possible_rules.empty()) {
        out +=
            "\t# encsync does not sync the flows of the firewalls themselves. A rule for nosync\n"
            "\t# is needed only for an address here that is not a firewall's:\n";
        for (const std::string& rule : found.possible_rules)
            out += fmt::format("\t#   {}\n", rule);
    }
    return out;
}

std::string conn(const Migration& found) {
    // The name is what the peer must prove, so it cannot be guessed; it must not be our own.
    const bool taken = ::strcasecmp(found.node.c_str(), "peer") == 0;
    std::string out = fmt::format("# Rename it to the peer's own node=, usually its host name.\n"
                                  "conn {}\n",
                                  taken ? "peer2" : "peer");
    if (found.left)
        out += fmt::format("\tleft={}\n", to_string(*found.left));
    else
        out += "\t# This firewall's address towards the peer:\n\t#left=\n";
    if (found.right)
        out += fmt::format("\tright={}\n", to_string(*found.right));
    else
        out += fmt::format("\t# The other firewall's address{}:\n\t#right={}\n",
                           found.guessed_right.empty() ? "" : ", perhaps", found.guessed_right);
    if (found.maxupd)
        out += fmt::format("\tmaxupd={}\n", *found.maxupd);
    if (!found.wire.empty())
        out += fmt::format("\t# For as long as the peer is a pf firewall; remove it when the peer "
                           "runs encsync.\n\t# If it has no IPsec, the conn needs type=cable, see "
                           "docs/cables.md.\n\twire={}\n",
                           found.wire);
    return out;
}

} // namespace

std::string render_config(const Migration& found, std::string_view file) {
    return fmt::format("# Made by encsync import from {}\n"
                       "# left is this firewall, right is its peer. Next: encsync check, encsync "
                       "keys init; docs/migration.md\n\n{}\n{}",
                       config::printable(file), setup(found), conn(found));
}

std::string render_notes(const Migration& found, std::string_view file) {
    std::string out;
    const std::string name = config::printable(file);
    for (const Note& note : found.notes)
        out += note.line == 0
                   ? fmt::format("{}: {}: {}\n", name, note.what, note.advice)
                   : fmt::format("{}:{}: {}: {}\n", name, note.line, note.what, note.advice);
    return out;
}

} // namespace encsync::importer
