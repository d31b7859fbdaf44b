// SPDX-License-Identifier: ISC
// The reader of conntrackd.conf(5): what it does with the keywords that are carried over, or noted
// depending on their value. conntrackd.cpp has the table that calls these functions.
#pragma once

#include "import/conntrackd.hpp"

#include <fmt/format.h>
#include <strings.h>

namespace encsync::importer {

enum class Section { top, sync, mode, channel, options, general, socket, scheduler, filter };

class ConntrackdReader {
  public:
    explicit ConntrackdReader(Migration& found) : found_(found) {}

    Result<void> read(const std::vector<Statement>& statements) {
        walk(Section::top, statements);
        if (fault_)
            return *fault_;
        if (!syncs_)
            return fault(stats_line_, stats_line_ == 0
                                          ? "it has no Sync section"
                                          : "with Stats, conntrackd only counts flows: there is "
                                            "no sync to take over");
        if (channels_.empty())
            return fault(sync_line_, "Sync has no UDP, TCP or Multicast section");
        take_channels(found_, channels_);
        if (stats_line_ != 0)
            found_.note(stats_line_, "Stats",
                        "encsync counts no flows: use conntrack -E, or ulogd2");
        return {};
    }

    void sync(const Statement& s) {
        syncs_ = true;
        sync_line_ = s.line;
        walk(Section::sync, s.block);
    }
    void stats(const Statement& s) { stats_line_ = s.line; }
    void general(const Statement& s) { walk(Section::general, s.block); }
    void options(const Statement& s) { walk(Section::options, s.block); }
    void socket(const Statement& s) { walk(Section::socket, s.block); }
    void scheduler(const Statement& s) { walk(Section::scheduler, s.block); }
    void filter(const Statement& s) { walk(Section::filter, s.block); }
    void helpers(const Statement& s) {
        for (const Statement& each : s.block)
            found_.note(
                each.line, fmt::format("Helper {}", joined(each)),
                "encsync has no helpers in userspace: use the kernel's, or leave conntrackd "
                "running for them alone. Their expectations are synced");
    }

    void mode(const Statement& s) {
        const std::string name = s.words.size() > 1 ? s.words[1] : "";
        const auto is = [&](const char* word) { return ::strcasecmp(name.c_str(), word) == 0; };
        if (is("NOTRACK") || is("ALARM") || is("PERSISTENT"))
            found_.note(
                s.line, fmt::format("Mode {}", name),
                "encsync always repeats what was lost and compares both tables, so it sends "
                "neither blindly nor again and again");
        else if (!is("FTFW") && !is("NACK")) // what encsync does is what they do
            found_.note(s.line, fmt::format("unknown mode '{}'", name),
                        "encsync always repeats what was lost and compares both tables");
        walk(Section::mode, s.block);
    }

    void channel(const Statement& s) {
        Channel channel;
        channel.transport = s.words.front();
        channel.line = s.line;
        for (std::size_t i = 1; i < s.words.size(); i++)
            if (s.words[i] == "Default")
                channel.preferred = true;
            else
                unknown(s.line, s.words[i]);
        channels_.push_back(channel);
        walk(Section::channel, s.block);
    }
    void address(const Statement& s) {
        channels_.back().address = s.words[1];
        if (channels_.back().transport != "Multicast")
            channels_.back().address_line = s.line;
    }
    void own(const Statement& s) {
        channels_.back().own = s.words[1];
        channels_.back().address_line = s.line;
    }
    void destination(const Statement& s) {
        channels_.back().destination = s.words[1];
        channels_.back().destination_line = s.line;
    }
    void interface(const Statement& s) { channels_.back().interface = s.words[1]; }
    void port(const Statement& s) {
        channels_.back().port = s.words[1];
        channels_.back().port_line = s.line;
    }

    void protocols(const Statement& s) { take_filter(s, take_protocols); }
    void addresses(const Statement& s) { take_filter(s, take_addresses); }
    void ignored_protocols(const Statement& s) { take_list(s, take_protocols, false); }
    void ignored_traffic(const Statement& s) { take_list(s, take_addresses, false); }
    void states(const Statement& s) {
        found_.note(s.line, joined(s),
                    "encsync syncs a connection in all of its states; delay= leaves out the short "
                    "ones");
    }

    // "on" or a list: encsync has no choice of helpers.
    void expectations(const Statement& s) {
        if (s.has_block || (s.words.size() > 1 && is_off(s.words[1])))
            found_.note(s.line, joined(s), "the expectations of all helpers are synced");
    }
    void window_tracking(const Statement& s) {
        if (!is_off(s.words[1]))
            found_.note(s.line, joined(s),
                        "entries that may move to another node do not check sequence numbers, see "
                        "docs/operation.md");
    }
    void external_cache(const Statement& s) {
        if (is_off(s.words[1]))
            found_.note(s.line, joined(s),
                        "the peer's states are in the kernel's table at once, not only after a "
                        "takeover: nf_conntrack_max must have room for them, see reserve");
    }
    void log_file(const Statement& s) {
        if (!is_off(s.words[1]))
            found_.note(s.line, joined(s), "read the journal: journalctl -u encsync");
    }
    void syslog(const Statement& s) {
        if (!is_off(s.words[1]) && !is_on(s.words[1]))
            found_.note(s.line, joined(s), "set SyslogFacility= in a drop-in of encsync.service");
    }
    void reliable(const Statement& s) {
        if (!is_off(s.words[1]))
            found_.note(s.line, joined(s),
                        "a lost event is found by the comparison of the whole table, see sweep");
    }

  private:
    static bool is_off(const std::string& word) {
        return ::strcasecmp(word.c_str(), "off") == 0 || ::strcasecmp(word.c_str(), "no") == 0;
    }
    static bool is_on(const std::string& word) {
        return ::strcasecmp(word.c_str(), "on") == 0 || ::strcasecmp(word.c_str(), "yes") == 0;
    }
    // As it is written, with the words of its block but not those of blocks in it.
    static std::string joined(const Statement& s) {
        std::string out = fmt::format("{}", fmt::join(s.words, " "));
        if (!s.has_block)
            return out;
        out += " {";
        for (const Statement& each : s.block)
            out += fmt::format(" {}{}", fmt::join(each.words, " "), each.has_block ? " { }" : "");
        return out + " }";
    }
    void unknown(unsigned line, std::string_view name) {
        found_.note(line, fmt::format("unknown keyword '{}'", name),
                    "see conntrackd.conf(5), and docs/configuration.md for what encsync has");
    }
    void fail(unsigned line, const std::string& reason) {
        if (!fault_)
            fault_ = fault(line, reason);
    }
    using Take = void (*)(Migration&, const Statement&, bool accept);
    // "Protocol Accept { ... }"
    void take_filter(const Statement& s, Take take) {
        const std::string policy = s.words.size() > 1 ? s.words[1] : "";
        if (policy != "Accept" && policy != "Ignore")
            return fail(s.line, fmt::format("{} has neither Accept nor Ignore", s.words.front()));
        take_list(s, take, policy == "Accept");
    }
    void take_list(const Statement& s, Take take, bool accept) {
        for (const Statement& each : s.block)
            if (each.has_block)
                return fail(each.line, fmt::format("{} has a block within it", joined(s)));
        take(found_, s, accept);
    }

    void walk(Section section, const std::vector<Statement>& statements);
    void walk(Section section, const Statement& statement);

    Migration& found_;
    std::vector<Channel> channels_;
    std::optional<Error> fault_; // the first
    bool syncs_ = false;
    unsigned sync_line_ = 0, stats_line_ = 0;
};

} // namespace encsync::importer
