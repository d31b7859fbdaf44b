// SPDX-License-Identifier: ISC
// What the engine counts: for the whole node, and for each peer. The tables say what each is.
#pragma once

#include "table/table.hpp"
#include "util/counters.hpp"

#include <array>
#include <cstdint>

namespace encsync::sync {

struct Counters {
    std::uint64_t events = 0;
    std::array<std::uint64_t, table::kRefusals> table_refused{};
    std::uint64_t refreshed = 0; // copies re-armed
    std::uint64_t put_back = 0;  // copies that had vanished
    std::uint64_t made_room = 0; // copies that left a table without room for this node's own flows
    std::uint64_t clashes = 0;   // own flows that ended, as their NAT port was another flow's
    std::uint64_t relaxed = 0;   // flows whose TCP sequence numbers are no longer checked
    std::uint64_t adopted = 0;   // flows taken over
    std::uint64_t dropped_unclaimed = 0;
    // Packets that waited, and what ended it: all peers had the flow, or time was up.
    std::uint64_t deferred = 0, defer_acknowledged = 0, defer_timed_out = 0;
    std::uint64_t defer_over_limit = 0;  // did not wait: too many did
    std::uint64_t defer_unconfirmed = 0; // flows that never began
    std::uint64_t leases_over = 0;       // copies that a pf peer did not mention any more
    std::uint64_t ambiguous_masters = 0; // expectations whose master could be either of two flows
    std::uint64_t address_lost = 0;      // flows that the table forgot when their address left
    // Expectations that came before their master: it never came, or is not to be synced; or too
    // many of them waited.
    std::uint64_t expectations_without_master = 0, expectations_over_limit = 0;
};

inline constexpr std::array kCounters = {
    counters::value<&Counters::events>("table", "events", "events", "Events of the state table"),
    counters::value<&Counters::refreshed>("table", "refreshed", "states",
                                          "Copies whose timer was set again"),
    counters::value<&Counters::adopted>("table", "adopted", "states", "States taken over"),
    counters::value<&Counters::dropped_unclaimed>(
        "table", "dropped_unclaimed", "states",
        "Copies removed because no owner has named them when all peers were in step"),
    counters::value<&Counters::leases_over>("table", "leases_over", "states",
                                            "Copies that a pf peer has stopped updating"),
    counters::value<&Counters::address_lost>(
        "table", "address_lost", "states",
        "Own states that the table forgot when their address left this machine"),
    counters::value<&Counters::put_back>("table", "put_back", "states",
                                         "Copies that had vanished from the table"),
    counters::value<&Counters::made_room>(
        "table", "made_room", "states",
        "Copies removed from a table that had no room left for own states"),
    counters::value<&Counters::clashes>(
        "table", "clashes", "states",
        "Own states that ended because another node gave their NAT port to another flow"),
    counters::value<&Counters::relaxed>(
        "table", "relaxed", "states", "States whose TCP sequence numbers are not checked any more"),
    counters::by<&Counters::table_refused, table::Refusal>(
        "table", "refused", "states", "States that the table did not take", "reason",
        counters::Shape::flat, true, 0, "refused_"),
    counters::value<&Counters::deferred>("defer", "held", "packets",
                                         "First packets that were held back"),
    counters::value<&Counters::defer_acknowledged>(
        "defer", "acknowledged", "packets", "Held packets that left once all peers had the state"),
    counters::value<&Counters::defer_timed_out>("defer", "timed_out", "packets",
                                                "Held packets that left after 20 ms"),
    counters::value<&Counters::defer_over_limit>(
        "defer", "over_limit", "packets", "Packets that were not held because too many were"),
    counters::value<&Counters::defer_unconfirmed>("defer", "unconfirmed", "states",
                                                  "States announced of which conntrack never told"),
    counters::value<&Counters::ambiguous_masters>(
        "expectations", "ambiguous_master", "expectations",
        "Expectations of one of two flows, without a sign of which"),
    counters::value<&Counters::expectations_without_master>(
        "expectations", "without_master", "expectations",
        "Expectations whose master never came or is not synchronized"),
    counters::value<&Counters::expectations_over_limit>(
        "expectations", "over_limit", "expectations",
        "Expectations that could not wait for their master because too many did"),
};

struct PeerCounters {
    std::uint64_t rx_packets = 0, tx_packets = 0;
    std::uint64_t rx_messages = 0, tx_messages = 0;
    std::uint64_t collapsed = 0;    // changes that needed no message of their own
    std::uint64_t stale = 0;        // updates in which a side was behind ours
    std::uint64_t requests = 0;     // UPD_REQ for what we did not know
    std::uint64_t late_packets = 0; // out of order or seen before: taken as lost
    std::uint64_t lost_packets = 0; // of ours
    std::uint64_t bulks_sent = 0, bulks_received = 0, swept = 0;
    std::uint64_t checks = 0;          // sums of the peer's flows compared with those of our copies
    std::uint64_t repairs = 0;         // searches begun because they differed
    std::uint64_t differing = 0;       // states asked for because of that
    std::uint64_t removed = 0;         // of those, the ones that the peer did not have
    std::uint64_t zone_suppressed = 0; // flows whose zone its protocol cannot carry
    std::uint64_t modulated = 0;       // states of pf whose TCP sequence numbers it moves
};

inline constexpr std::array kPeerCounters = {
    counters::value<&PeerCounters::rx_packets>("", "pfsync_rx_packets", "packets",
                                               "pfsync packets read"),
    counters::value<&PeerCounters::tx_packets>("", "pfsync_tx_packets", "packets",
                                               "pfsync packets built"),
    counters::value<&PeerCounters::requests>("", "requests", "messages",
                                             "UPD_REQ sent for states that are not known here"),
    counters::value<&PeerCounters::zone_suppressed>(
        "messages", "zone_suppressed", "states",
        "States not announced because the peer's dialect cannot say their conntrack zone"),
    counters::value<&PeerCounters::modulated>(
        "messages", "modulated", "states",
        "States whose TCP sequence numbers pf moves, which a takeover here cuts"),
    counters::value<&PeerCounters::rx_messages>("messages", "rx_messages", "messages",
                                                "pfsync messages read"),
    counters::value<&PeerCounters::tx_messages>("messages", "tx_messages", "messages",
                                                "pfsync messages sent"),
    counters::value<&PeerCounters::collapsed>("messages", "collapsed", "changes",
                                              "Changes that needed no message of their own"),
    counters::value<&PeerCounters::stale>("messages", "stale", "messages",
                                          "Updates in which a side was behind what is known here"),
    counters::value<&PeerCounters::late_packets>(
        "messages", "late", "packets", "Packets out of order or received before, taken as lost"),
    counters::value<&PeerCounters::lost_packets>("messages", "lost", "packets",
                                                 "Packets that the peer did not receive"),
    counters::value<&PeerCounters::bulks_sent>("bulk", "sent", "bulk updates", "Bulk updates sent"),
    counters::value<&PeerCounters::bulks_received>("bulk", "received", "bulk updates",
                                                   "Bulk updates received"),
    counters::value<&PeerCounters::swept>("bulk", "swept", "states",
                                          "Copies removed because a bulk update did not name them"),
    counters::value<&PeerCounters::checks>(
        "check", "checks", "comparisons",
        "Digests of the peer's states compared with those of the copies"),
    counters::value<&PeerCounters::repairs>("check", "repairs", "searches",
                                            "Searches begun because the digests differed"),
    counters::value<&PeerCounters::differing>("check", "differing", "states",
                                              "States asked for because the digests differed"),
    counters::value<&PeerCounters::removed>("check", "removed", "states",
                                            "Of those, states that the peer did not have"),
};

} // namespace encsync::sync
