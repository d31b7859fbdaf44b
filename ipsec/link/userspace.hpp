// SPDX-License-Identifier: ISC
// UserspaceLink: ESP in UDP (RFC 3948) from user space. It owns the sockets of IKE, the SAs, and
// the way between an inner packet and the wire.
//
//     auto link = UserspaceLink::open(io, receiver, hooks, options);
//     (*link)->add_peer(...);  the rest is in tunnel.hpp
//
// Single-threaded: everything happens in io's thread, receiving a bounded number of datagrams a
// turn. Hooks and Receiver are called from there and may use the link (not destroy it).
//
// Packets are refused by the cheapest check first: by the sockets (ike_sockets.hpp); unknown SPI;
// then by esp::Verdict. The policy decides whether the SA may carry an inner packet.
#pragma once

#include "ipsec/link/ike_sockets.hpp"
#include "ipsec/link/path_mtu.hpp"
#include "ipsec/link/probe.hpp"
#include "ipsec/link/tunnel.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <vector>

namespace encsync::link {

class Enc0;

struct UserspaceOptions {
    IkeOptions ike;
    Clock::duration grace = std::chrono::seconds(5); // of deleted inbound SAs
    PathMtu::Times path;
    std::uint64_t soft_limit = 0; // packets of an outbound SA until on_expire; 0: esp's default
};

class UserspaceLink final : public Tunnel, private EspHandler {
  public:
    static Result<std::unique_ptr<UserspaceLink>> open(boost::asio::io_context& io,
                                                       Receiver& receiver, LinkHooks hooks,
                                                       UserspaceOptions options);
    ~UserspaceLink() override;
    UserspaceLink(const UserspaceLink&) = delete;
    UserspaceLink& operator=(const UserspaceLink&) = delete;

    Result<void> add_peer(const LinkPeer& peer) override;
    Result<bool> move_peer(PeerId peer, const Address& left, const Address& right) override;
    void remove_peer(PeerId peer) override;
    // Where ESP goes, if not to natport of the right address (a NAT in between).
    void set_endpoint(PeerId peer, const Endpoint& endpoint);

    Result<void> add_sa(const esp::SaParams& params) override;
    bool delete_sa(PeerId peer, std::uint32_t spi, esp::Direction direction) override;
    void drop_sas(PeerId peer) override;
    void drop_all() override;
    bool send_ike(const Endpoint& from, const Endpoint& to, Bytes datagram) override;

    MutableBytes acquire(PeerId peer) override;
    void commit(PeerId peer, std::size_t size) override;
    void flush() override;

    // Gets copies of the clear packets while a program captures; null: none. Not owned.
    void show_on(Enc0* enc0) { enc0_ = enc0; }

    const LinkStats& stats() const override { return sockets_->stats(); }
    std::uint64_t kernel_drops() const override { return sockets_->kernel_drops(); }
    const PeerStats* peer_stats(PeerId peer) const override;
    std::vector<SaInfo> sas() const override { return sas_.list(Clock::now()); }

  private:
    struct Peer;

    UserspaceLink(boost::asio::io_context& io, Receiver& receiver, LinkHooks hooks,
                  UserspaceOptions options);
    Peer* find(PeerId peer) const { return peer < kMaxPeers ? peers_[peer].get() : nullptr; }

    void on_esp(MutableBytes packet) override;
    void on_path_error(const UdpSocket& socket, const PathError& error) override;
    void on_room(const UdpSocket& socket) override;
    std::vector<std::uint32_t> spis() const override { return sas_.inbound_spis(); }
    Bytes with_header(const net::Address& src, const net::Address& dst, Bytes payload);

    void flush(Peer& peer);
    void seal(Peer& peer);
    void send(Peer& peer);
    void too_big_for_path(Peer& peer);
    bool believe(const PathError& error, Peer& peer);
    void path_changed(Peer& peer, PathMtu::Change change);
    void watch_paths();
    void probe(Peer& peer, const PathMtu::Probe& probe);
    SendStatus send_dummy(Peer& peer, std::size_t size, const PathProbe& content);
    void on_dummy(Peer& peer, Bytes content);
    void report_expiry(Peer& peer, OutboundEntry& entry);
    void report_writable(Peer& peer);
    void expire_sas();

    boost::asio::io_context& io_;
    Receiver& receiver_;
    LinkHooks hooks_;
    UserspaceOptions options_;
    SaTable sas_;
    std::vector<std::uint8_t> whole_; // with_header()
    std::array<std::unique_ptr<Peer>, kMaxPeers> peers_;
    std::unique_ptr<IkeSockets> sockets_;
    boost::asio::steady_timer grace_timer_, path_timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
    Enc0* enc0_ = nullptr;
};

} // namespace encsync::link
