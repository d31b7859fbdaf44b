// SPDX-License-Identifier: ISC
// The UDP sockets of IKE, on ikeport and natport of each local address. Both links use them,
// because ESP arrives at the natport socket, too (RFC 3948).
//
//     auto sockets = IkeSockets::open(io, options, hooks, esp);
//     auto natport = (*sockets)->add_peer(peer);     // to send ESP from
//     (*sockets)->send_ike(from, to, datagram);
//
// Datagrams are refused by the cheapest check first: in the kernel, those that no peer can have
// sent (filter.hpp); then those from unknown sources or too short, and more IKE than charon is to
// see (flood_guard.hpp). Hooks and handler may change peers.
#pragma once

#include "ipsec/link/flood_guard.hpp"
#include "ipsec/link/tunnel.hpp"

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <vector>

namespace encsync::link {

struct IkeOptions {
    std::uint16_t ikeport = 500, natport = 4500;
    SocketOptions socket;
    Clock::duration deaf = std::chrono::seconds(5); // drops unknown sources, after one was received
};

// Handles ESP on natport, unless the kernel does.
class EspHandler {
  public:
    virtual ~EspHandler() = default;
    // From its SPI on. Valid during the call only.
    virtual void on_esp(MutableBytes packet) = 0;
    // About a packet that was sent; see UdpSocket::next_error().
    virtual void on_path_error(const UdpSocket& socket, const PathError& error) = 0;
    // After wait_for_room().
    virtual void on_room(const UdpSocket& socket) = 0;
    // The SPIs that on_esp() knows. When one is added: IkeSockets::on_spis_changed().
    virtual std::vector<std::uint32_t> spis() const = 0;
};

class IkeSockets {
  public:
    // `esp` outlives the sockets; null: the kernel does ESP.
    static Result<std::unique_ptr<IkeSockets>> open(boost::asio::io_context& io, IkeOptions options,
                                                    LinkHooks hooks, EspHandler* esp);
    ~IkeSockets();
    IkeSockets(const IkeSockets&) = delete;
    IkeSockets& operator=(const IkeSockets&) = delete;

    // Opens the sockets of the peer's left address if no other peer has. On error nothing is left
    // open. The socket of natport stays until the peer moves or is removed.
    Result<UdpSocket*> add_peer(const LinkPeer& peer);
    // On error nothing has changed.
    Result<UdpSocket*> move_peer(PeerId peer, const Address& left, const Address& right);
    // Closes sockets that no other peer needs.
    void remove_peer(PeerId peer);
    // Its ESP comes from there; at first, from natport of its right address.
    void admit(PeerId peer, const Endpoint& endpoint);

    bool send_ike(const Endpoint& from, const Endpoint& to, Bytes datagram);
    // Calls on_room() once. queue_full: the queue of an interface, which gives no notice when it
    // has drained.
    void wait_for_room(const UdpSocket& socket, bool queue_full);
    // Delivers queued errors, a bounded number.
    void read_errors(UdpSocket& socket);
    void on_spis_changed();
    // on_esp() had no use for a packet.
    void on_refused() { on_refused(Clock::now()); }

    LinkStats& stats() { return stats_; }
    const LinkStats& stats() const { return stats_; }
    std::uint64_t kernel_drops() const;

  private:
    struct Socket;
    struct Peer {
        std::string name;
        Address left, right;
        Endpoint endpoint; // where its ESP comes from
    };

    IkeSockets(boost::asio::io_context& io, IkeOptions options, LinkHooks hooks, EspHandler* esp);
    std::shared_ptr<Socket> find(const Endpoint& local) const;
    std::shared_ptr<Socket> find(const UdpSocket& socket) const;
    Result<UdpSocket*> open_sockets(const Address& left);
    Result<void> open_socket(const Endpoint& local, bool nat);
    void close_unused_sockets();
    Result<void> collect_sources();
    bool knows(const Address& source) const;

    void wait_readable(const std::shared_ptr<Socket>& socket);
    void on_readable(Socket& socket);
    void on_stranger(Socket& socket, const Endpoint& from, MutableBytes datagram);
    void on_datagram(Socket& socket, const Endpoint& from, MutableBytes datagram);

    void on_refused(Clock::time_point now);
    void set_strict(bool strict);
    void check_flood();

    boost::asio::io_context& io_;
    const IkeOptions options_;
    const LinkHooks hooks_;
    EspHandler* const esp_;
    LinkStats stats_;
    ReceiveRing ring_;
    std::array<std::optional<Peer>, kMaxPeers> peers_;
    std::vector<std::shared_ptr<Socket>> sockets_;
    std::vector<Address> sources_;      // addresses of peers
    std::vector<Endpoint> esp_sources_; // where their ESP comes from
    std::uint64_t closed_drops_ = 0;    // of sockets that are closed
    boost::asio::steady_timer deaf_timer_;
    bool deaf_ = false; // no unknown source passes
    FloodGuard guard_;
    boost::asio::steady_timer flood_timer_;
    std::optional<Clock::time_point> flood_logged_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace encsync::link
