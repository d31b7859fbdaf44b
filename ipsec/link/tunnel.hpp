// SPDX-License-Identifier: ISC
// The engine's link (sync/link.hpp), whose packets are protected by SAs from IKE. There are two
// implementations: UserspaceLink does ESP itself, KernelLink lets the kernel do it. Both have the
// sockets of IKE (ike_sockets.hpp), and look the same on the wire: IKE on ikeport and natport, ESP
// in UDP (RFC 3948) on natport. In front of each payload they write the inner IP header: source and
// destination from the SA, TTL 255, DF.
//
//     std::unique_ptr<Tunnel> link = ...;
//     link->add_peer({.id = 0, .name = "minnie", .left = ..., .right = ...});
//     link->add_sa(params);             // from IKE; wipe params afterwards
//     MutableBytes room = link->acquire(0); ...
#pragma once

#include "ipsec/link/sa_table.hpp"
#include "ipsec/link/socket.hpp"
#include "ipsec/link/stats.hpp"
#include "sync/link.hpp"

#include <functional>
#include <string>
#include <vector>

namespace encsync::link {

class Receiver {
  public:
    virtual ~Receiver() = default;
    // An authenticated inner IP packet (complete, from its IP header) and its sender: the SA
    // belongs to `peer` and has the given SPI. Valid during the call only.
    virtual void on_packet(PeerId peer, std::uint32_t spi, Bytes inner) = 0;
    // The peer can be sent to (first outbound SA), or no longer (last one gone).
    virtual void on_up(PeerId peer) = 0;
    virtual void on_down(PeerId peer) = 0;
    // After a refused acquire(): there is space again.
    virtual void on_writable(PeerId peer) = 0;
};

struct LinkPeer {
    PeerId id = kNoPeer;
    std::string name;
    Address left, right;           // outer addresses, of one family
    std::uint16_t mtu = 1500;      // of the path between them, at most: see path_mtu.hpp
    std::uint64_t lifepackets = 0; // that one outbound SA sends; 0: as many as are safe
    bool transport = false;        // mode of its SAs; else tunnel. Userspace only.
    bool probes = false;           // it may answer probes of the path. Userspace only.
};

struct LinkHooks {
    // A UDP payload of IKE, without the non-ESP marker, from a peer's address. Valid during the
    // call only.
    std::function<void(const Endpoint& from, const Endpoint& to, Bytes datagram)> on_ike;
    // The first 28 bytes of an initial request from an address that is no peer of this `to`. Only a
    // few, at most every five seconds, for the log.
    std::function<void(const Endpoint& from, const Endpoint& to, Bytes header)> on_stranger;
    // The outbound SA is used up or soon will be: rekey. `spi` is the peer's newest inbound one, by
    // which IKE knows the pair. Once per SA.
    std::function<void(PeerId peer, std::uint32_t spi)> on_expire;
};

class Tunnel : public sync::Link {
  public:
    // Opens the sockets of the peer's left address if no other peer has. On error nothing is left
    // open. The error names the problem ("UDP 192.0.2.1:500 is taken by charon (pid 7)").
    virtual Result<void> add_peer(const LinkPeer& peer) = 0;
    // The same addresses with another scope: their interface was recreated. The SAs stay. False:
    // nothing has changed, nor on error.
    virtual Result<bool> move_peer(PeerId peer, const Address& left, const Address& right) = 0;
    // Drops its SAs and closes sockets that no other peer needs. on_down is called.
    virtual void remove_peer(PeerId peer) = 0;

    virtual Result<void> add_sa(const esp::SaParams& params) = 0;
    // False: there was none.
    virtual bool delete_sa(PeerId peer, std::uint32_t spi, esp::Direction direction) = 0;
    // Removes all keys of one peer, without a grace period. on_down is called.
    virtual void drop_sas(PeerId peer) = 0;
    // Removes every key and drops every queued packet, without a grace period.
    virtual void drop_all() = 0;

    // Sends a UDP payload of IKE from one of our sockets to a peer's address. False: not sent
    // (counted).
    virtual bool send_ike(const Endpoint& from, const Endpoint& to, Bytes datagram) = 0;

    virtual const LinkStats& stats() const = 0;
    // Datagrams to our ports that the kernel dropped: from unknown sources, too short, or because
    // the receive buffers were full.
    virtual std::uint64_t kernel_drops() const = 0;
    virtual const PeerStats* peer_stats(PeerId peer) const = 0; // null: no such peer
    virtual std::vector<SaInfo> sas() const = 0;
};

} // namespace encsync::link
