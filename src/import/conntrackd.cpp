// SPDX-License-Identifier: ISC
// conntrackd.conf(5): one table says what becomes of each keyword of each section.
#include "import/conntrackd_reader.hpp"
#include "import/readers.hpp"

#include <algorithm>
#include <array>

namespace encsync::importer {

namespace {

using Reader = ConntrackdReader;

struct Keyword {
    Section section;
    std::string_view name;
    Fate fate;
    std::string_view text; // the advice, or why nothing is needed
    // Of Fate::carried. A statement is the keyword with its values and its block.
    void (Reader::*carry)(const Statement&) = nullptr;
    unsigned values = 1;
    bool block = false; // has braces, and the words before them are values
};

using enum Section;

constexpr std::string_view kOwnQueue = "encsync sizes its queues itself";
constexpr std::string_view kNetlinkBuffer = "encsyncd sizes its netlink sockets itself";
constexpr std::string_view kSocketBuffer = "encsyncd sizes its sockets itself";
constexpr std::string_view kObsolete = "conntrackd itself ignores it";
constexpr std::string_view kRepairs = "digests of both tables find what is missing at any time";
constexpr std::string_view kOwnTimers =
    "a copy keeps the timeout that its owner's entry has, and a new one after a takeover";
constexpr std::string_view kPriority =
    "set Nice= or CPUSchedulingPolicy= in a drop-in of encsync.service, if it is needed";
constexpr std::string_view kCommand = "scripts that call conntrackd need encsync's command instead";

constexpr std::array kKeywords = {
    Keyword{top, "Sync", Fate::carried, "", &Reader::sync, 0, true},
    Keyword{top, "General", Fate::carried, "", &Reader::general, 0, true},
    Keyword{top, "Stats", Fate::carried, "", &Reader::stats, 0, true},
    Keyword{top, "Helper", Fate::carried, "", &Reader::helpers, 0, true},
    Keyword{top, "IgnoreProtocol", Fate::carried, "", &Reader::ignored_protocols, 0, true},
    Keyword{top, "IgnoreTrafficFor", Fate::carried, "", &Reader::ignored_traffic, 0, true},
    Keyword{top, "StripNAT", Fate::needless, kObsolete, nullptr, 0},
    Keyword{sync, "Mode", Fate::carried, "", &Reader::mode, 1, true},
    Keyword{sync, "UDP", Fate::carried, "", &Reader::channel, 0, true},
    Keyword{sync, "TCP", Fate::carried, "", &Reader::channel, 0, true},
    Keyword{sync, "Multicast", Fate::carried, "", &Reader::channel, 0, true},
    Keyword{sync, "Options", Fate::carried, "", &Reader::options, 0, true},
    Keyword{sync, "Replicate", Fate::carried, "", &Reader::states, ~0U},
    Keyword{sync, "ListenTo", Fate::needless, "only an authenticated peer is listened to"},
    Keyword{sync, "CacheWriteThrough", Fate::needless,
            "the peer's states are in the kernel's table"},
    Keyword{sync, "Checksum", Fate::needless, "ESP authenticates every packet"},
    Keyword{sync, "RefreshTime", Fate::needless, kRepairs},
    Keyword{sync, "CacheTimeout", Fate::needless, kRepairs},
    Keyword{sync, "CommitTimeout", Fate::noted, kOwnTimers},
    Keyword{sync, "RelaxTransitions", Fate::needless, kObsolete, nullptr, 0},
    Keyword{sync, "DelayDestroyMessages", Fate::needless, kObsolete, nullptr, 0},
    Keyword{mode, "ResendQueueSize", Fate::needless, kOwnQueue},
    Keyword{mode, "ResendBufferSize", Fate::needless, kOwnQueue},
    Keyword{mode, "ACKWindowSize", Fate::needless, kOwnQueue},
    Keyword{mode, "ErrorQueueLength", Fate::needless, kOwnQueue},
    Keyword{mode, "CommitTimeout", Fate::noted, kOwnTimers},
    Keyword{mode, "PurgeTimeout", Fate::needless, "a node on standby keeps the peer's states"},
    Keyword{mode, "StartupResync", Fate::needless, "encsyncd always asks its peers for all states"},
    Keyword{mode, "DisableExternalCache", Fate::carried, "", &Reader::external_cache},
    Keyword{mode, "DisableInternalCache", Fate::needless, "encsync has one small index"},
    Keyword{mode, "RefreshTime", Fate::needless, kRepairs},
    Keyword{mode, "CacheTimeout", Fate::needless, kRepairs},
    Keyword{mode, "RelaxTransitions", Fate::needless, kObsolete, nullptr, 0},
    Keyword{mode, "DelayDestroyMessages", Fate::needless, kObsolete, nullptr, 0},
    Keyword{channel, "IPv4_address", Fate::carried, "", &Reader::address},
    Keyword{channel, "IPv6_address", Fate::carried, "", &Reader::address},
    Keyword{channel, "IPv4_interface", Fate::carried, "", &Reader::own},
    Keyword{channel, "IPv6_interface", Fate::carried, "", &Reader::own},
    Keyword{channel, "IPv4_Destination_Address", Fate::carried, "", &Reader::destination},
    Keyword{channel, "IPv6_Destination_Address", Fate::carried, "", &Reader::destination},
    Keyword{channel, "Interface", Fate::carried, "", &Reader::interface},
    Keyword{channel, "Port", Fate::carried, "", &Reader::port},
    Keyword{channel, "Group", Fate::carried, "", &Reader::port},
    Keyword{channel, "SndSocketBuffer", Fate::needless, kSocketBuffer},
    Keyword{channel, "RcvSocketBuffer", Fate::needless, kSocketBuffer},
    Keyword{channel, "McastSndSocketBuffer", Fate::needless, kSocketBuffer},
    Keyword{channel, "McastRcvSocketBuffer", Fate::needless, kSocketBuffer},
    Keyword{channel, "Checksum", Fate::needless, "ESP authenticates every packet"},
    Keyword{channel, "Backlog", Fate::needless, kObsolete},
    Keyword{options, "TCPWindowTracking", Fate::carried, "", &Reader::window_tracking},
    Keyword{options, "ExpectationSync", Fate::carried, "", &Reader::expectations, 1},
    Keyword{general, "Systemd", Fate::needless, "encsync.service is of Type=notify"},
    Keyword{general, "Nice", Fate::noted, kPriority},
    Keyword{general, "Scheduler", Fate::carried, "", &Reader::scheduler, 0, true},
    Keyword{scheduler, "Type", Fate::noted, kPriority},
    Keyword{scheduler, "Priority", Fate::noted, kPriority},
    Keyword{general, "HashSize", Fate::needless, "encsync's index grows as it is filled"},
    Keyword{general, "HashLimit", Fate::noted,
            "encsync's index has room for nf_conntrack_max; maxstates= limits one peer"},
    Keyword{general, "LogFile", Fate::carried, "", &Reader::log_file},
    Keyword{general, "Syslog", Fate::carried, "", &Reader::syslog},
    Keyword{general, "LockFile", Fate::needless, "encsyncd locks its run directory"},
    Keyword{general, "Lockfile", Fate::needless, "encsyncd locks its run directory"},
    Keyword{general, "UNIX", Fate::carried, "", &Reader::socket, 0, true},
    Keyword{socket, "Path", Fate::noted, kCommand},
    Keyword{socket, "Backlog", Fate::needless, kObsolete},
    Keyword{general, "Family", Fate::needless, "encsync syncs both families"},
    Keyword{general, "NetlinkBufferSize", Fate::needless, kNetlinkBuffer},
    Keyword{general, "NetlinkBufferSizeMaxGrowth", Fate::needless, kNetlinkBuffer},
    Keyword{general, "NetlinkBufferSizeMaxGrown", Fate::needless, kNetlinkBuffer},
    Keyword{general, "SocketBufferSize", Fate::needless, kNetlinkBuffer},
    Keyword{general, "SocketBufferSizeMaxGrowth", Fate::needless, kNetlinkBuffer},
    Keyword{general, "SocketBufferSizeMaxGrown", Fate::needless, kNetlinkBuffer},
    Keyword{general, "NetlinkOverrunResync", Fate::needless, "encsyncd reads the table again"},
    Keyword{general, "NetlinkEventsReliable", Fate::carried, "", &Reader::reliable},
    Keyword{general, "PollSecs", Fate::noted,
            "encsync works by events; sweep= is how often it reads the whole table besides"},
    Keyword{general, "EventIterationLimit", Fate::needless, "encsyncd works in bounded turns"},
    Keyword{general, "Filter", Fate::carried, "", &Reader::filter, 2, true},
    Keyword{filter, "Protocol", Fate::carried, "", &Reader::protocols, 1, true},
    Keyword{filter, "Address", Fate::carried, "", &Reader::addresses, 1, true},
    Keyword{filter, "State", Fate::carried, "", &Reader::states, 1, true},
};

const Keyword* find(Section section, std::string_view name) {
    const auto row = std::find_if(kKeywords.begin(), kKeywords.end(), [&](const Keyword& each) {
        return each.section == section && each.name == name;
    });
    return row == kKeywords.end() ? nullptr : &*row;
}

} // namespace

void ConntrackdReader::walk(Section section, const std::vector<Statement>& statements) {
    for (const Statement& statement : statements)
        walk(section, statement);
}

// Line ends mean nothing to conntrackd, so a line may have several keywords with their values.
void ConntrackdReader::walk(Section section, const Statement& statement) {
    const auto& words = statement.words;
    bool block_read = !statement.has_block;
    if (words.empty())
        return fail(statement.line, "this '{' has no name before it");
    for (std::size_t i = 0; i < words.size();) {
        const Keyword* row = find(section, words[i]);
        if (!row) {
            // With its values, which end where a keyword is known again.
            Statement rest{statement.line, {}, false, {}};
            for (; i < words.size() && !find(section, words[i]); i++)
                rest.words.push_back(words[i]);
            rest.has_block = i == words.size() && statement.has_block;
            block_read = block_read || rest.has_block;
            unknown(statement.line, joined(rest));
            continue;
        }
        const std::size_t left = words.size() - i - 1;
        // The one keyword that has either a value or a block.
        const bool list = row->carry == &Reader::expectations && statement.has_block && left == 0;
        if (row->block && !statement.has_block)
            return fail(statement.line, fmt::format("{} has no block in braces", row->name));
        if (!row->block && !list && row->values != ~0U && row->values > left)
            return fail(statement.line, fmt::format("{} has no value", row->name));
        const std::size_t values =
            row->block || list ? left : std::min<std::size_t>(row->values, left);
        Statement one{statement.line,
                      {words.begin() + static_cast<long>(i),
                       words.begin() + static_cast<long>(i + 1 + values)},
                      row->block || list,
                      {}};
        if (one.has_block) {
            one.block = statement.block;
            block_read = true;
        }
        if (row->fate == Fate::carried)
            (this->*row->carry)(one);
        else if (row->fate == Fate::noted)
            found_.note(one.line, joined(one), row->text);
        i += 1 + values;
    }
    if (!block_read)
        fail(statement.line, fmt::format("{} takes no block", words.front()));
}

Result<void> read_conntrackd(std::string_view text, Migration& found) {
    auto statements = parse_braces(text);
    if (!statements)
        return statements.error();
    return ConntrackdReader(found).read(*statements);
}

} // namespace encsync::importer
