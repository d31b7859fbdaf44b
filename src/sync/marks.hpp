// SPDX-License-Identifier: ISC
// What the engine keeps in state::SyncMarks. Private to src/sync.
#pragma once

#include "state/index.hpp"
#include "util/peer_id.hpp"

#include <netinet/in.h>

namespace encsync::sync {

// SyncMarks::owner, beside PeerIds.
inline constexpr std::uint8_t kHere = 0xff;      // live at this node
inline constexpr std::uint8_t kUnclaimed = 0xfe; // a copy found in the table, named by nobody yet
inline constexpr std::uint8_t kGone = 0xfd;      // a copy whose owner is no peer any more

// SyncMarks::bits
inline constexpr std::uint8_t kDumpMark = 0x01; // toggles with each dump
inline constexpr std::uint8_t kAbsent = 0x02;   // not in the table: refused, or its timer ran out
inline constexpr std::uint8_t kEnded = 0x04; // absent, and perhaps because its traffic ended here
inline constexpr std::uint8_t kLent = 0x08;  // live here, but its timer is still a copy's
inline constexpr std::uint8_t kGiven = 0x10; // given to its owner, who has not spoken of it yet
inline constexpr std::uint8_t kYoung = 0x20; // live here, but for less than `delay`
inline constexpr std::uint8_t kUnconfirmed = 0x40; // announced before the table has it
inline constexpr std::uint8_t kStranded =
    0x80; // live here, but its table entry left with an address

// SyncMarks::liberal
inline bool is_liberal(const state::Flow& flow) {
    return flow.liberal || flow.key.proto != IPPROTO_TCP;
}

// SyncMarks::term: a counter modulo 128, compared like a sequence number.
constexpr std::uint8_t next_term(std::uint8_t term) {
    return static_cast<std::uint8_t>((term + 1) & 0x7f);
}
constexpr int compare_terms(std::uint8_t a, std::uint8_t b) {
    return static_cast<std::int8_t>(static_cast<std::uint8_t>((a - b) << 1)) / 2;
}

// SyncMarks::known, queued, full, waiting, withheld
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
