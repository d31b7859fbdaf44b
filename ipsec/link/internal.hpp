// SPDX-License-Identifier: ISC
// Private parts of UserspaceLink.
#pragma once

#include "ipsec/link/batch.hpp"
#include "ipsec/link/inner.hpp"
#include "ipsec/link/path_mtu.hpp"
#include "ipsec/link/userspace.hpp"

namespace encsync::link {

// A peer and its batch. A batch is filled (acquire, commit), sealed when it is flushed, sent run by
// run, and is empty again. While the socket is full a sealed batch stays, and acquire() refuses.
struct UserspaceLink::Peer {
    Peer(const LinkPeer& peer, UdpSocket& natport, const Endpoint& right, PathMtu::Times times);

    std::uint8_t* slot(std::size_t i) { return slots.data() + i * slot_size; }
    // In front of the payload in a slot.
    std::size_t inner_header() const { return conf.transport ? 0 : ip_header_size(inner_ipv6); }
    std::size_t outer_size(std::size_t datagram) const {
        return datagram + ip_header_size(conf.left.is_v6()) + 8;
    }
    void clear_batch() {
        committed = next_run = 0;
        runs.clear();
    }

    LinkPeer conf;
    UdpSocket* socket; // of natport
    Endpoint endpoint;
    PathMtu path;
    PeerStats stats;
    bool up = false;      // on_up was called
    bool refused = false; // acquire() refused: on_writable must follow
    bool blocked = false; // the socket is full, the batch is sealed

    std::size_t slot_size;           // kHeaderSize, then the inner packet, then tailroom
    std::vector<std::uint8_t> slots; // kMaxSegments of them
    std::array<std::size_t, kMaxSegments> inner_sizes{};
    std::array<MutableBytes, kMaxSegments> sealed{};
    std::size_t committed = 0;
    std::uint16_t sealed_mtu = 0; // what the batch was sealed for
    bool inner_ipv6 = false;      // of what is committed
    std::size_t room = 0;         // of the slot acquired by the caller
    std::vector<Run> runs;
    std::size_t next_run = 0;
};

} // namespace encsync::link
