// SPDX-License-Identifier: ISC
// What the engine remembers of each flow: Record, and what its fields mean.
#pragma once

#include "state/index.hpp"
#include "table/ignored.hpp"
#include "util/peer_id.hpp"

#include <cstdint>
#include <netinet/in.h>
#include <optional>

namespace encsync::sync {

// Record::owner, beside PeerIds.
inline constexpr std::uint8_t kHere = 0xff;      // live at this node
inline constexpr std::uint8_t kUnclaimed = 0xfe; // a copy found in the table, named by no owner yet
inline constexpr std::uint8_t kGone = 0xfd;      // a copy whose owner is no peer any more

// Why the table does not hold a copy whose owner lives (missing.cpp).
enum class Missing : std::uint8_t {
    no,
    vanished, // it was there
    no_room,
    clash,   // another entry has the same reply tuple
    refused, // for another reason
};
inline constexpr int kMissingReasons = 5;
const char* to_string(Missing missing);

// The status of a flow at this node.
struct Standing {
    bool absent : 1 = false;       // not in the table: refused, or its timer ran out
    bool ended : 1 = false;        // absent, and perhaps because its traffic ended here
    bool copy_timer : 1 = false;   // live here, but its timer is still a copy's
    bool handed_over : 1 = false;  // given to its owner, which has not sent an update of it yet
    bool delayed : 1 = false;      // live here, but for less than `delay`
    bool unconfirmed : 1 = false;  // announced before the table has it
    bool address_lost : 1 = false; // live here, but its table entry left with an address
    bool dump_mark : 1 = false;    // toggles with each dump that names it
};

// What enters no sum and no count. Bit n of a mask is peer n.
struct LocalState {
    std::uint16_t known = 0;   // peers to which this flow was sent
    std::uint16_t queued = 0;  // peers for which an update of it is queued
    std::uint16_t full = 0;    // of those, the ones that need the full state
    std::uint16_t waiting = 0; // of those queued, whose update may wait for more changes
    std::uint8_t epoch = 0;    // the bulk update of the owner in which it was last named
    Standing is;
    std::uint8_t changes = 0;    // in the update that waits
    bool liberal : 1 = false;    // its entry checks no TCP sequence numbers
    std::uint8_t origin : 4 = 0; // 0: it began here; else 1 + the peer that brought it
};
constexpr std::uint8_t origin_of(PeerId peer) {
    return static_cast<std::uint8_t>(1 + peer);
}
static_assert(origin_of(kMaxPeers - 1) < 16);

// The rest is changed by FlowStore alone.
struct Record : state::Record, LocalState {
    std::uint16_t suppressed = 0; // peers to which it is not sent, or not yet
    std::uint8_t owner = kHere;   // the peer whose flow this copy is, or one of those above
    Missing missing : 4 = Missing::no;
    std::uint8_t not_taken : 4 = 0; // 1 + table::Ignored

    // A copy that is kept out of the table, and why.
    std::optional<table::Ignored> refused() const {
        return not_taken == 0 ? std::nullopt
                              : std::optional(static_cast<table::Ignored>(not_taken - 1));
    }
    void set_refused(std::optional<table::Ignored> why) {
        not_taken = why ? (static_cast<unsigned>(*why) + 1) & 0xf : 0;
    }
};
static_assert(sizeof(Record) == 48 && table::kIgnored < 0xf);

using FlowIndex = state::IndexOf<Record>;

// Record::liberal
inline bool is_liberal(const state::Flow& flow) {
    return flow.liberal || flow.key.proto != IPPROTO_TCP;
}

// Record::term: a counter modulo 128, compared like a sequence number.
constexpr std::uint8_t next_term(std::uint8_t term) {
    return static_cast<std::uint8_t>((term + 1) & 0x7f);
}
constexpr int compare_terms(std::uint8_t a, std::uint8_t b) {
    return static_cast<std::int8_t>(static_cast<std::uint8_t>((a - b) << 1)) / 2;
}

// Record::known, queued, full, waiting, suppressed
constexpr std::uint16_t bit(PeerId peer) {
    return static_cast<std::uint16_t>(1u << peer);
}
inline void set(std::uint16_t& mask, PeerId peer) {
    mask = static_cast<std::uint16_t>(mask | bit(peer));
}
inline void clear(std::uint16_t& mask, PeerId peer) {
    mask = static_cast<std::uint16_t>(mask & ~bit(peer));
}
inline bool has(std::uint16_t mask, PeerId peer) {
    return (mask & bit(peer)) != 0;
}

} // namespace encsync::sync
