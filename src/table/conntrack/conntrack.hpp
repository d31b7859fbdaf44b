// SPDX-License-Identifier: ISC
// The kernel's conntrack as a Table, through ctnetlink.
//
//     auto table = Conntrack::open(io, {});          // Result: the error says what is missing
//     (*table)->start(engine);                       // events from now on, and a first dump
//     (*table)->put(flow, Lifetime::copy); (*table)->flush();
//
// Three sockets: events, dumps, and requests. The kernel marks the events that our requests
// cause with our port id; a socket filter drops them before they are queued, and with them what
// nosync allows to drop there (kernel_filter.hpp). Everything is read in bounded turns of the
// io_context. Errors of requests are read at the end of each batch, see writer.hpp; on_refused()
// is called from flush() only. Operations may be called from inside any call of the listener.
//
// Copies and live flows. put(..., Lifetime::copy) gives an entry kCopyExtra (600) seconds more than
// its default timeout. Any packet sets the timeout to at most the default. So an entry that a dump
// shows with more time left than that is a copy which no packet has used: this is how a restarted
// daemon distinguishes copies from live flows. A copy whose timer was not renewed for 600 seconds
// looks live. A live flow whose timeout policy (nft `ct timeout`) gives it up to 600 seconds more
// than the defaults looks like a copy.
//
// Limits. A flow has no SCTP verification tags: a copy learns them from the next heartbeats, and
// until then its packets count as invalid. The next packet of a GRE flow sets a copy's
// timeout to a value that the kernel stores in the entry, and that is 0 there: GRE flows start
// again after a takeover, without their NAT. Private data of helpers is not copied. A copy has no
// timeout policy: from its first packet on the defaults apply. If a flow's last label is removed,
// it stays on copies, because there is no event for that.
//
// open() sets net.netfilter.nf_conntrack_events to 1 in its namespace if permitted, so that entries
// made while no daemon listens raise events later; 0 that cannot be changed is an error.
//
// nosync. A rule without a mark applies for a flow's whole life: a matching flow is never reported,
// even if it is a peer's copy. With a rule on the mark, a new flow that matches is not reported,
// one that later matches is withdrawn (at each change, because that is not remembered here), its
// end is reported, and dumps omit it.
//
// A dump entry is as old as the kernel's answer: an event may overtake it, by a few
// milliseconds. If a dump fails midway, on_dump_begin() comes again without an end before it.
#pragma once

#include "table/conntrack/ctnetlink_parse.hpp"
#include "table/conntrack/expectations.hpp"
#include "table/conntrack/writer.hpp"
#include "table/filter.hpp"
#include "table/table.hpp"
#include "table/timeouts.hpp"
#include "util/counters.hpp"
#include "util/result.hpp"

#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>

namespace encsync::table {

struct ConntrackOptions {
    FilterOptions filter;
    std::size_t event_buffer = std::size_t{64} << 20; // bytes of socket buffer
    // A regular dump finds changes without events: of entries that were created while events were
    // off, or whose events a rule has limited (ct event set). Less often if dumps take long: they
    // may take at most half a percent of the time.
    std::chrono::seconds sweep{60};
    bool filter_in_kernel = true; // false: echoes and nosync are filtered here only (tests)
};

struct ConntrackCounters {
    std::uint64_t events = 0;            // processed, without own echoes
    std::uint64_t own_echoes = 0;        // that passed the socket filter
    std::uint64_t removed_by_others = 0; // flows that another program has deleted
    std::uint64_t overruns = 0;          // events were lost; a dump follows
    std::uint64_t dumps = 0, dump_entries = 0, dump_failures = 0;
    std::array<std::uint64_t, ctnetlink::kFaults> faults{}; // messages refused
    std::array<std::uint64_t, kIgnored> ignored{};          // events of flows not to be synced
    std::uint64_t expectations_ignored = 0; // of peers: of connections to this firewall itself
};
inline constexpr std::array kConntrackCounters = {
    counters::value<&ConntrackCounters::events>("", "conntrack_events", "events",
                                                "Events of conntrack that were taken"),
    counters::value<&ConntrackCounters::dump_entries>("", "dump_entries", "entries",
                                                      "Entries that dumps of conntrack told"),
    counters::value<&ConntrackCounters::own_echoes>(
        "table", "own_echoes", "events", "Events of our own changes that came past the filter"),
    counters::value<&ConntrackCounters::overruns>("table", "overruns", "times",
                                                  "Times that events were lost; a dump follows"),
    counters::value<&ConntrackCounters::removed_by_others>(
        "table", "removed_by_others", "flows", "Flows that another program has deleted"),
    counters::value<&ConntrackCounters::dumps>("table", "dumps", "dumps", "Dumps of conntrack"),
    counters::value<&ConntrackCounters::dump_failures>("table", "dump_failures", "dumps",
                                                       "Dumps of conntrack that failed"),
    counters::by<&ConntrackCounters::faults, ctnetlink::Fault>(
        "table", "faults", "messages", "Messages of ctnetlink that could not be read", "fault",
        counters::Shape::object, true, 1),
    counters::by<&ConntrackCounters::ignored, Ignored>("table", "ignored", "events",
                                                       "Events of flows that are not synchronized",
                                                       "reason", counters::Shape::object, true),
    counters::value<&ConntrackCounters::expectations_ignored>(
        "expectations", "not_taken", "expectations",
        "Expectations of peers for connections to this firewall itself"),
};

class Conntrack final : public Table {
  public:
    static Result<std::unique_ptr<Conntrack>> open(boost::asio::io_context& io,
                                                   ConntrackOptions options);
    ~Conntrack() override;

    static constexpr Capabilities kCapabilities{.in_kernel = true, .expectations = true};
    Capabilities capabilities() const override { return kCapabilities; }
    void start(Listener& listener) override;

    void put(const state::Flow& flow, Lifetime lifetime) override;
    void refresh(const state::Flow& flow, Lifetime lifetime) override;
    void relax(const state::Flow& flow) override;
    void remove(const state::Flow& flow) override;
    void look(const state::Flow& flow) override;
    void expect(const state::Expectation& expectation, const state::Name& helper) override;
    void unexpect(const state::Expectation& expectation) override;
    bool expects(const state::Expectation& expectation) override;
    void flush() override;
    void request_dump() override;
    bool address_left(const state::Flow& flow) const override;
    std::optional<Ignored> refuses(const state::Flow& flow) const override;
    bool reports(const state::Flow& flow) const override;
    std::uint32_t natural_timeout(const state::Flow& flow) const override;
    std::uint64_t removed_by_others() const override { return event_counters().removed_by_others; }
    void each_counter(const counters::Visit& visit) const override;

    const ConntrackCounters& event_counters() const;
    const WriterCounters& writer_counters() const;
    const ExpectationCounters& expectation_counters() const;
    const LocalAddresses& local_addresses() const;

  private:
    struct Impl;
    explicit Conntrack(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace encsync::table
