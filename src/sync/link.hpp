// SPDX-License-Identifier: ISC
// How the engine reaches a peer: the interface that ipsec/link implements.
//
// Sending lends buffers so that a packet is built where it is sealed:
//     MutableBytes room = link.acquire(peer);     // empty: the peer is out of reach, or no room
//     std::size_t n = build(room);
//     link.commit(peer, n);                       // n = 0 gives the room back
//     link.flush();                               // what was committed leaves, batched
// Only one room may be open at a time.
#pragma once

#include "util/bytes.hpp"
#include "util/peer_id.hpp"

#include <cstddef>

namespace encsync::sync {

// What acquire() lends is at least this large, or empty.
inline constexpr std::size_t kMinRoom = 512;

class Link {
  public:
    virtual ~Link() = default;
    // Room for one pfsync packet, from its pfsync header on. After a refusal the link
    // reports when there is room again.
    virtual MutableBytes acquire(PeerId peer) = 0;
    virtual void commit(PeerId peer, std::size_t size) = 0;
    virtual void flush() = 0;
};

} // namespace encsync::sync
