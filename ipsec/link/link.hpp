// SPDX-License-Identifier: ISC
// How a payload reaches a peer: one face for ESP in userspace and for the kernel's.
//
// Sending lends buffers so that a packet is built where it is sealed:
//     MutableBytes room = link.acquire(peer);     // empty: no SA, or the socket is full
//     std::size_t n = build(room);
//     link.commit(peer, n);                       // n = 0 gives the room back
//     link.flush();                               // what was committed leaves, batched
// Only one room may be open at a time.
#pragma once

#include "util/bytes.hpp"
#include "util/peer_id.hpp"

#include <cstdint>

namespace encsync::link {

// What acquire() lends is at least this large, or empty.
inline constexpr std::size_t kMinRoom = 512;

class Receiver {
  public:
    virtual ~Receiver() = default;
    // An authenticated inner IP packet (whole, from its IP header), and who sent it: the SA it
    // came through belongs to `peer` and has the given SPI. Valid during the call only.
    virtual void on_packet(PeerId peer, std::uint32_t spi, Bytes inner) = 0;
    // The peer can be sent to (first outbound SA), or no longer (last one gone).
    virtual void on_up(PeerId peer) = 0;
    virtual void on_down(PeerId peer) = 0;
    // After a refused acquire(): there is room again.
    virtual void on_writable(PeerId peer) = 0;
};

class Link {
  public:
    virtual ~Link() = default;
    // Room for one pfsync packet, from its pfsync header on; the link writes the inner IP header
    // (source and destination from the SA, TTL 255, DF) in front of it.
    virtual MutableBytes acquire(PeerId peer) = 0;
    virtual void commit(PeerId peer, std::size_t size) = 0;
    virtual void flush() = 0;
};

} // namespace encsync::link
