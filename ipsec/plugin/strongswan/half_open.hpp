// SPDX-License-Identifier: GPL-2.0-or-later
//
// IKE_SAs that a caller has begun from a peer's address and not finished yet. Whoever can receive
// at that address (a switch, a router) can begin any number of them: cookies are no obstacle to it.
// So each peer has a fixed number of places, and a new one takes the place of one that is chosen at
// random. The peer itself finishes within milliseconds and is rarely hit, and can try again.
//
//     if (const auto victim = half_open.begin(peer, id, random))  ... destroy *victim
//     half_open.end(peer, id);                            // it is established, or gone
//
// No I/O and no clock; the caller holds the lock.
#pragma once

#include "util/peer_id.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace encsync::plugin {

struct IkeSpis {
    std::uint64_t initiator = 0, responder = 0;
    bool operator==(const IkeSpis&) const = default;
};

class HalfOpen {
  public:
    // Of one peer. All peers together stay below charon's limit (init_limit_half_open), at which it
    // would refuse every caller.
    static constexpr std::size_t kPlaces = 60;

    std::optional<IkeSpis> begin(PeerId peer, const IkeSpis& id, std::uint32_t random);
    void end(const IkeSpis& id);
    std::size_t count(PeerId peer) const { return begun_[peer].size(); }

  private:
    std::array<std::vector<IkeSpis>, kMaxPeers> begun_;
};

} // namespace encsync::plugin
