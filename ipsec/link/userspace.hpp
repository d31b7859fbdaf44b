// SPDX-License-Identifier: ISC
// UserspaceLink: ESP in UDP (RFC 3948) from user space. It owns the UDP sockets of IKE and ESP on
// every local address, the SAs, and the way between an inner packet and the wire.
//
//     auto link = UserspaceLink::open(io, receiver, hooks, options);
//     (*link)->add_peer(...);  the rest is in tunnel.hpp
//
// Single-threaded: everything happens in io's thread, receiving a bounded number of datagrams a
// turn. Hooks and Receiver are called from there and may use the link (not destroy it).
//
// What comes in is refused cheapest first: unknown source address and too short, in the kernel
// (filter.hpp); unknown SPI; then by esp::Verdict. Whether an inner packet is one the SA may carry
// is for the policy to say.
#pragma once

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

struct LinkOptions {
    std::uint16_t ikeport = 500, natport = 4500;
    SocketOptions socket;
    Clock::duration grace = std::chrono::seconds(5); // of deleted inbound SAs
    Clock::duration deaf = std::chrono::seconds(5);  // to strangers, after one was heard
    PathMtu::Times path;
    std::uint64_t soft_limit = 0; // packets of an outbound SA until on_expire; 0: esp's default
};

class UserspaceLink final : public Tunnel {
  public:
    static Result<std::unique_ptr<UserspaceLink>>
    open(boost::asio::io_context& io, Receiver& receiver, LinkHooks hooks, LinkOptions options);
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

    // Shows clear packets there while somebody looks; null: nowhere. Not owned.
    void show_on(Enc0* enc0) { enc0_ = enc0; }

    const LinkStats& stats() const override { return stats_; }
    std::uint64_t kernel_drops() const override;
    const PeerStats* peer_stats(PeerId peer) const override;
    std::vector<SaInfo> sas() const override { return sas_.list(Clock::now()); }

  private:
    struct Socket;
    struct Peer;

    UserspaceLink(boost::asio::io_context& io, Receiver& receiver, LinkHooks hooks,
                  LinkOptions options);
    Peer* find(PeerId peer) const { return peer < kMaxPeers ? peers_[peer].get() : nullptr; }
    Socket* find_socket(const Endpoint& local) const;
    // Those of an address that are not open yet. The one of natport.
    Result<std::shared_ptr<Socket>> open_sockets(const Address& left);
    Result<void> open_socket(const Endpoint& local, bool nat);
    void close_unused_sockets();
    Result<void> collect_sources();

    void wait_readable(const std::shared_ptr<Socket>& socket);
    void wait_writable(const std::shared_ptr<Socket>& socket);
    void try_again_soon(const std::shared_ptr<Socket>& socket);
    static auto when_there_is_room(const std::shared_ptr<Socket>& socket);
    void on_readable(Socket& socket);
    void on_stranger(Socket& socket, const Endpoint& from, MutableBytes datagram);
    void on_datagram(Socket& socket, const Endpoint& from, MutableBytes datagram);
    void on_esp(MutableBytes packet);
    Bytes with_header(const net::Address& src, const net::Address& dst, Bytes payload);
    void on_writable(Socket& socket);

    void flush(Peer& peer);
    void seal(Peer& peer);
    void send(Peer& peer);
    void told_too_big(Peer& peer);
    void read_errors(Socket& socket);
    bool believe(const PathError& error, Peer& peer);
    void path_changed(Peer& peer, PathMtu::Change change);
    void watch_paths();
    void probe(Peer& peer, const PathMtu::Probe& probe);
    SendStatus send_dummy(Peer& peer, std::size_t size, const PathProbe& content);
    void on_dummy(Peer& peer, Bytes content);
    void tell_expiry(Peer& peer, OutboundEntry& entry);
    void tell_writable(Peer& peer);
    void expire_sas();

    boost::asio::io_context& io_;
    Receiver& receiver_;
    LinkHooks hooks_;
    LinkOptions options_;
    LinkStats stats_;
    SaTable sas_;
    ReceiveRing ring_;
    std::vector<std::uint8_t> whole_; // with_header()
    std::array<std::unique_ptr<Peer>, kMaxPeers> peers_;
    std::vector<std::shared_ptr<Socket>> sockets_;
    std::vector<Address> sources_;   // addresses of peers
    std::uint64_t closed_drops_ = 0; // of sockets that are closed
    boost::asio::steady_timer grace_timer_, path_timer_, deaf_timer_;
    bool deaf_ = false; // no stranger passes
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
    Enc0* enc0_ = nullptr;
};

} // namespace encsync::link
