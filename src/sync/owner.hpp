// SPDX-License-Identifier: ISC
// What the engine writes into state::Record: owners, terms, masks of peers. Private to src/sync.
#pragma once

#include "state/index.hpp"
#include "util/peer_id.hpp"

#include <netinet/in.h>

namespace encsync::sync {

// Record::owner, beside PeerIds.
inline constexpr std::uint8_t kHere = 0xff;      // live at this node
inline constexpr std::uint8_t kUnclaimed = 0xfe; // a copy found in the table, named by nobody yet
inline constexpr std::uint8_t kGone = 0xfd;      // a copy whose owner is no peer any more

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
