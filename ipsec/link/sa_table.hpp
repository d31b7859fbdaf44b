// SPDX-License-Identifier: ISC
// All SAs of this node: inbound by SPI, outbound by peer. It reads no clock: the caller passes the
// time.
//
// A rekey replaces SAs without losing a packet: sending switches to the newest outbound SA at once;
// a deleted inbound one still receives for a grace period, because packets may be in flight.
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
    bool expiry_reported = false;
};

class SaTable {
  public:
    // Refuses what esp refuses, a duplicate inbound SPI, a duplicate outbound SPI of the same peer,
    // and an invalid peer number. The caller wipes its `params`.
    Result<void> add(const esp::SaParams& params, Clock::time_point now);
    // Outbound: removed at once. Inbound: removed after `grace`. False: there was none.
    bool remove(PeerId peer, std::uint32_t spi, esp::Direction direction, Clock::time_point now,
                Clock::duration grace);
    // Removes all SAs, or those of one peer, at once.
    void drop_all();
    void drop(PeerId peer);

    // Null: none. Valid until the next change to the table.
    InboundEntry* inbound(std::uint32_t spi);
    OutboundEntry* outbound(PeerId peer); // the newest: the one to send with
    OutboundEntry* outbound(PeerId peer, std::uint32_t spi);
    std::uint32_t newest_inbound(PeerId peer) const; // SPI of one not deleted; 0: none
    std::vector<std::uint32_t> inbound_spis() const;

    // Removes inbound SAs whose grace period is over; returns when the next one's will be.
    std::optional<Clock::time_point> expire(Clock::time_point now);

    std::vector<SaInfo> list(Clock::time_point now) const;

  private:
    std::unordered_map<std::uint32_t, InboundEntry> inbound_;
    std::array<std::vector<std::unique_ptr<OutboundEntry>>, kMaxPeers> outbound_; // newest last
};

} // namespace encsync::link
