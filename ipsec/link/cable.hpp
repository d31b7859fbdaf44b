// SPDX-License-Identifier: ISC
// Cables: plain pfsync on one interface, as pf firewalls send it (pfsync(4): syncdev, syncpeer), to
// one address or to the multicast group. Nothing on it is encrypted or authenticated: the
// policy admits only what comes in through this interface, from a configured address, with TTL
// 255.
//
//     Cables cables(io, receiver);
//     cables.add_peer({.id = 3, .name = "donald", .interface = "rl2", .left = ..., .right = ...});
//     MutableBytes room = cables.acquire(3);       // and so on: sync/link.hpp
//
// A peer is up while its interface is up and has a carrier, which is looked at twice a second.
#pragma once

#include "ipsec/link/raw.hpp"
#include "ipsec/link/tunnel.hpp"

namespace encsync::link {

struct CablePeer {
    PeerId id = kNoPeer;
    std::string name;
    std::string interface;
    Address left;             // on the interface
    Address right;            // likewise, of the same family; or the group: several may speak
    bool multicast = false;   // send to the group, and receive what is sent to it
    std::uint16_t mtu = 1500; // of the interface, at most
};

class Cables final : public sync::Link, private RawSocket::Owner {
  public:
    Cables(boost::asio::io_context& io, Receiver& receiver);
    ~Cables() override;
    Cables(const Cables&) = delete;
    Cables& operator=(const Cables&) = delete;

    // The error names what is missing: the interface, the address, a permission.
    Result<void> add_peer(const CablePeer& peer);
    // on_down is called.
    void remove_peer(PeerId peer);
    bool has(PeerId peer) const { return find(peer) != nullptr; }
    // "interface rl2 has no carrier"; empty: it is up, or there is no such peer.
    std::string why_down(PeerId peer) const;
    const PeerStats* peer_stats(PeerId peer) const; // null: no such peer
    // Packets that came faster than they were read, of all cables.
    std::uint64_t kernel_drops() const;

    MutableBytes acquire(PeerId peer) override;
    void commit(PeerId peer, std::size_t size) override;
    void flush() override;

  private:
    struct Peer;
    Peer* find(PeerId peer) const { return peer < kMaxPeers ? peers_[peer].get() : nullptr; }
    Result<void> open(Peer& peer);
    void look();
    void look(Peer& peer);
    void set_up(Peer& peer, bool up);
    void on_raw_packet(PeerId peer, Bytes packet) override;
    void on_raw_writable(PeerId peer) override { receiver_.on_writable(peer); }

    boost::asio::io_context& io_;
    Receiver& receiver_;
    const std::shared_ptr<RawSocket::Buffer> buffer_ = RawSocket::make_buffer();
    std::array<std::unique_ptr<Peer>, kMaxPeers> peers_;
    std::uint64_t removed_drops_ = 0; // of peers that are gone
    boost::asio::steady_timer look_timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace encsync::link
