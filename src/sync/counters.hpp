// SPDX-License-Identifier: ISC
// What the engine counts: for the whole node, and for each peer.
#pragma once

#include "pfsync/parse.hpp"
#include "table/ignored.hpp"
#include "table/table.hpp"

#include <array>
#include <cstdint>

namespace encsync::sync {

// Why a message of a peer was not taken.
enum class Refused : std::uint8_t {
    fault,           // pfsync::Fault, counted by its own name
    unknown_action,  // skipped by its length
    short_message,   // likewise
    own_creatorid,   // CLR of our own states
    id_clash,        // an id that names another flow here
    table_limit,     // more states than max_states
    not_owner,       // removal of a flow that is live here or at a third node
    no_sync,         // a state that is not to be sent: asked for, or sent all the same
    unknown_state,   // request for a state that is not here
    foreign_session, // SEQ or ACK of a session that is over
    bad_ack,         // of packets that were never sent
    bad_hello,
    hello_version,     // of our own messages: one that we do not know
    expectation_limit, // more expectations than a flow, or all of them, may have
    too_often,         // more requests than a pf peer is answered
    foreign_bulk,      // the end of a bulk update that began before we asked
    bad_ask,           // for sums of what is no node of the tree, or for too much at a time
    unasked,           // sums or a list that we did not ask for
};
inline constexpr int kRefused = 18;
const char* to_string(Refused refused);

struct Counters {
    std::uint64_t events = 0;
    std::array<std::uint64_t, kRefused> refused{};
    std::array<std::uint64_t, pfsync::kFaults> faults{};
    std::array<std::uint64_t, table::kRefusals> table_refused{};
    std::uint64_t refreshed = 0; // copies re-armed
    std::uint64_t put_back = 0;  // copies that had vanished
    std::uint64_t clashes = 0;   // own flows that ended, as their NAT port was another flow's
    std::uint64_t relaxed = 0;   // flows whose TCP sequence numbers are no longer checked
    std::uint64_t adopted = 0;   // flows taken over
    std::uint64_t dropped_unclaimed = 0;
    // Packets that waited, and what ended it: all peers had the flow, or time was up.
    std::uint64_t deferred = 0, defer_acknowledged = 0, defer_timed_out = 0;
    std::uint64_t defer_over_limit = 0;  // did not wait: too many did
    std::uint64_t defer_unconfirmed = 0; // flows that never began
    std::uint64_t leases_over = 0;       // copies that a pf peer did not mention any more
    std::uint64_t ambiguous_masters = 0; // expectations of one of two flows, nobody knows which
    std::uint64_t stranded = 0;          // flows that the table forgot when their address left
    // Expectations that came before their master: it never came, or is not to be synced; or too
    // many of them waited.
    std::uint64_t expectations_without_master = 0, expectations_over_limit = 0;
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
    std::uint64_t checks = 0;        // sums of the peer's flows compared with those of our copies
    std::uint64_t repairs = 0;       // searches begun because they differed
    std::uint64_t differing = 0;     // states asked for because of that
    std::uint64_t removed = 0;       // of those, the ones that the peer did not have
    std::uint64_t zone_withheld = 0; // flows whose zone its wire cannot say
    std::array<std::uint64_t, table::kIgnored> refused_states{}; // not taken, by reason
};

} // namespace encsync::sync
