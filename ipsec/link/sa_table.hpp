// SPDX-License-Identifier: ISC
// All SAs of this node: inbound by SPI, outbound by peer. It reads no clock: the caller says what
// time it is.
//
// A rekey replaces SAs without losing a packet: sending goes over to the newest outbound SA at
// once; a deleted inbound one receives for a grace yet, as packets may be under way.
#pragma once

#include "ipsec/esp/sa.hpp"
#include "ipsec/link/stats.hpp"
#include "util/result.hpp"

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace encsync::link {

using Clock = std::chrono::steady_clock;

struct InboundEntry {
    esp::InboundSa sa;
    SaInfo info;
    Clock::time_point added;
    net::Address inner_src, inner_dst;
    std::optional<Clock::time_point> dies{}; // set when deleted
};
struct OutboundEntry {
    esp::OutboundSa sa;
    SaInfo info;
    Clock::time_point added;
    net::Address inner_src, inner_dst;
    bool expiry_told = false;
};

class SaTable {
  public:
    // Refuses what esp refuses, an inbound SPI or an outbound one of the same peer twice, and a
    // peer number that is none. The caller wipes its `params`.
    Result<void> add(const esp::SaParams& params, Clock::time_point now);
    // Outbound: gone at once. Inbound: gone after `grace`. False: there was none.
    bool remove(PeerId peer, std::uint32_t spi, esp::Direction direction, Clock::time_point now,
                Clock::duration grace);
    // Gone at once, all of them or those of one peer.
    void drop_all();
    void drop(PeerId peer);

    // Null: none. Valid until the next change to the table.
    InboundEntry* inbound(std::uint32_t spi);
    OutboundEntry* outbound(PeerId peer); // the newest: the one to send with
    OutboundEntry* outbound(PeerId peer, std::uint32_t spi);
    std::uint32_t newest_inbound(PeerId peer) const; // SPI of one not deleted; 0: none

    // Removes inbound SAs whose grace is over; says when the next one's will be.
    std::optional<Clock::time_point> expire(Clock::time_point now);

    std::vector<SaInfo> list(Clock::time_point now) const;

  private:
    std::unordered_map<std::uint32_t, InboundEntry> inbound_;
    std::array<std::vector<std::unique_ptr<OutboundEntry>>, kMaxPeers> outbound_; // newest last
};

} // namespace encsync::link
