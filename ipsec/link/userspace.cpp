// SPDX-License-Identifier: ISC
// Peers, sockets and SAs of the link. Receiving is in receive.cpp, sending in send.cpp.
#include "ipsec/link/internal.hpp"
#include "util/log.hpp"

#include <algorithm>
#include <fmt/core.h>

namespace encsync::link {

UserspaceLink::Peer::Peer(const LinkPeer& peer, std::shared_ptr<Socket> nat_socket,
                          const Endpoint& right, PathMtu::Times times)
    : conf(peer), socket(std::move(nat_socket)), endpoint(right),
      path(peer.mtu, path_floor(peer.left.is_v6()), times, peer.probes),
      slot_size((max_datagram(peer.mtu, peer.left.is_v6()) + 63) / 64 * 64),
      slots(slot_size * kMaxSegments) {
    stats.mtu = peer.mtu;
    runs.reserve(kMaxSegments);
}

Result<std::unique_ptr<UserspaceLink>> UserspaceLink::open(boost::asio::io_context& io,
                                                           Receiver& receiver, LinkHooks hooks,
                                                           LinkOptions options) {
    if (options.ikeport == 0 || options.natport == 0 || options.ikeport == options.natport)
        return Error{fmt::format("ikeport {} and natport {} must be two different ports",
                                 options.ikeport, options.natport)};
    return std::unique_ptr<UserspaceLink>(
        new UserspaceLink(io, receiver, std::move(hooks), options));
}

UserspaceLink::UserspaceLink(boost::asio::io_context& io, Receiver& receiver, LinkHooks hooks,
                             LinkOptions options)
    : io_(io), receiver_(receiver), hooks_(std::move(hooks)), options_(options), grace_timer_(io),
      path_timer_(io), deaf_timer_(io) {}

UserspaceLink::~UserspaceLink() {
    for (auto& socket : sockets_)
        socket->close();
}

// ---- peers and sockets ---------------------------------------------------------------------

Result<void> UserspaceLink::add_peer(const LinkPeer& peer) {
    if (peer.id >= kMaxPeers)
        return Error{fmt::format("peer {}: number {} is beyond the {} peers there may be",
                                 peer.name, peer.id, kMaxPeers)};
    if (peers_[peer.id])
        return Error{fmt::format("peer {}: number {} is taken by {}", peer.name, peer.id,
                                 peers_[peer.id]->conf.name)};
    if (peer.left.is_v6() != peer.right.is_v6())
        return Error{fmt::format("peer {}: left {} and right {} are of two address families",
                                 peer.name, peer.left.to_string(), peer.right.to_string())};
    if (peer.left.is_unspecified() || peer.left.is_multicast() || peer.right.is_unspecified() ||
        peer.right.is_multicast())
        return Error{fmt::format("peer {}: left and right must be single addresses", peer.name)};
    if (peer.mtu < kMinMtu)
        return Error{fmt::format("peer {}: mtu {} is below {}", peer.name, peer.mtu, kMinMtu)};

    auto socket = open_sockets(peer.left);
    if (!socket)
        return Error{fmt::format("peer {}: {}", peer.name, socket.error().text)};
    peers_[peer.id] = std::make_unique<Peer>(peer, *socket, Endpoint(peer.right, options_.natport),
                                             options_.path);
    if (auto ok = collect_sources(); !ok) {
        peers_[peer.id].reset();
        close_unused_sockets();
        return Error{fmt::format("peer {}: {}", peer.name, ok.error().text)};
    }
    return {};
}

Result<bool> UserspaceLink::move_peer(PeerId id, const Address& left, const Address& right) {
    Peer* peer = find(id);
    if (peer == nullptr || (peer->conf.left == left && peer->conf.right == right))
        return false;
    auto socket = open_sockets(left);
    if (!socket)
        return socket.error();
    peer->conf.left = left;
    peer->conf.right = right;
    peer->socket = std::move(*socket);
    peer->stats.unreachable += peer->committed;
    peer->clear_batch();
    peer->blocked = false;
    close_unused_sockets();
    set_endpoint(id, {right, peer->endpoint.port()});
    tell_writable(*peer);
    return true;
}

Result<std::shared_ptr<UserspaceLink::Socket>> UserspaceLink::open_sockets(const Address& left) {
    for (const bool nat : {false, true}) {
        const Endpoint local(left, nat ? options_.natport : options_.ikeport);
        if (find_socket(local) != nullptr)
            continue;
        if (auto ok = open_socket(local, nat); !ok) {
            close_unused_sockets();
            return ok.error();
        }
    }
    const Endpoint local(left, options_.natport);
    return *std::ranges::find_if(sockets_, [&](const auto& s) { return s->udp.local() == local; });
}

void UserspaceLink::remove_peer(PeerId id) {
    if (find(id) == nullptr)
        return;
    const bool was_up = peers_[id]->up;
    sas_.drop(id);
    peers_[id].reset();
    close_unused_sockets();
    if (auto ok = collect_sources(); !ok) // user space checks, too: only dearer
        log::warning("{}", ok.error().text);
    if (was_up)
        receiver_.on_down(id);
}

void UserspaceLink::set_endpoint(PeerId id, const Endpoint& endpoint) {
    Peer* peer = find(id);
    // Our socket could not send to the other family.
    if (peer == nullptr || endpoint.address().is_v6() != peer->conf.left.is_v6())
        return;
    if (std::exchange(peer->endpoint, endpoint) != endpoint) { // another path
        peer->path = PathMtu(peer->conf.mtu, path_floor(peer->conf.left.is_v6()), options_.path,
                             peer->conf.probes);
        if (peer->up)
            peer->path.start(Clock::now());
        path_changed(*peer, PathMtu::Change::none);
    }
    if (auto ok = collect_sources(); !ok)
        log::warning("peer {}: {}", peer->conf.name, ok.error().text);
}

const PeerStats* UserspaceLink::peer_stats(PeerId id) const {
    const Peer* peer = find(id);
    return peer == nullptr ? nullptr : &peer->stats;
}

UserspaceLink::Socket* UserspaceLink::find_socket(const Endpoint& local) const {
    for (const auto& socket : sockets_)
        if (socket->udp.local() == local)
            return socket.get();
    return nullptr;
}

Result<void> UserspaceLink::open_socket(const Endpoint& local, bool nat) {
    SocketOptions options = options_.socket;
    if (!nat) { // IKE alone: its first message may be large, and cannot be cut by IKE itself
        options.dont_fragment = false;
        options.gro = false;
        options.kernel_esp = false;
    }
    // Until collect_sources() nothing passes.
    auto udp = UdpSocket::open(local, options, filter_program({}, local.address().is_v6(), nat));
    if (!udp)
        return udp.error();
    sockets_.push_back(std::make_shared<Socket>(*this, std::move(*udp), nat));
    wait_readable(sockets_.back());
    return {};
}

void UserspaceLink::close_unused_sockets() {
    std::erase_if(sockets_, [&](const auto& socket) {
        for (const auto& peer : peers_)
            if (peer && peer->conf.left == socket->udp.local().address())
                return false;
        closed_drops_ += socket->udp.kernel_drops();
        socket->close();
        return true;
    });
}

// Who may speak, for each socket: the peers with this left address.
Result<void> UserspaceLink::collect_sources() {
    sources_.clear();
    for (const auto& socket : sockets_) {
        const Address& local = socket->udp.local().address();
        std::vector<Address> admitted;
        for (const auto& peer : peers_)
            if (peer && peer->conf.left == local)
                for (const Address& address : {peer->conf.right, peer->endpoint.address()})
                    if (std::find(admitted.begin(), admitted.end(), address) == admitted.end())
                        admitted.push_back(address);
        if (auto ok = socket->udp.set_filter(
                filter_program(admitted, local.is_v6(), socket->nat, hooks_.on_stranger && !deaf_));
            !ok)
            return ok;
        sources_.insert(sources_.end(), admitted.begin(), admitted.end());
    }
    return {};
}

std::uint64_t UserspaceLink::kernel_drops() const {
    std::uint64_t sum = closed_drops_;
    for (const auto& socket : sockets_)
        sum += socket->udp.kernel_drops();
    return sum;
}

// ---- SAs -----------------------------------------------------------------------------------

Result<void> UserspaceLink::add_sa(const esp::SaParams& params) {
    Peer* peer = find(params.peer);
    if (peer == nullptr)
        return Error{fmt::format("SA {:08x}: no peer has number {}", params.spi, params.peer)};
    if (params.transport != peer->conf.transport)
        return Error{fmt::format("SA {:08x}: it is of another mode than peer {}", params.spi,
                                 peer->conf.name)};
    if (auto ok = sas_.add(params, Clock::now()); !ok)
        return ok;
    if (params.direction == esp::Direction::inbound)
        return {};
    if (options_.soft_limit != 0)
        sas_.outbound(params.peer)->sa.set_soft_limit(options_.soft_limit);
    if (peer->conf.lifepackets != 0)
        sas_.outbound(params.peer)->sa.end_after(peer->conf.lifepackets);
    if (!peer->up) {
        peer->up = true;
        peer->refused = false;
        peer->path.start(Clock::now());
        watch_paths();
        receiver_.on_up(params.peer);
    } else if (!peer->blocked) {
        tell_writable(*peer); // the SA before was used up
    }
    return {};
}

bool UserspaceLink::delete_sa(PeerId id, std::uint32_t spi, esp::Direction direction) {
    if (!sas_.remove(id, spi, direction, Clock::now(), options_.grace))
        return false;
    if (direction == esp::Direction::inbound) {
        expire_sas();
    } else if (Peer* peer = find(id); peer != nullptr && peer->up && sas_.outbound(id) == nullptr) {
        peer->up = false;
        peer->path.stop();
        receiver_.on_down(id);
    }
    return true;
}

void UserspaceLink::drop_sas(PeerId id) {
    sas_.drop(id);
    Peer* peer = find(id);
    if (peer == nullptr)
        return;
    peer->stats.no_sa += peer->committed;
    peer->clear_batch();
    peer->blocked = false;
    peer->path.stop();
    if (std::exchange(peer->up, false))
        receiver_.on_down(id);
}

void UserspaceLink::drop_all() {
    sas_.drop_all();
    grace_timer_.cancel();
    for (PeerId id = 0; id < kMaxPeers; id++)
        drop_sas(id);
}

void UserspaceLink::expire_sas() {
    const auto next = sas_.expire(Clock::now());
    if (!next)
        return;
    grace_timer_.expires_at(*next);
    grace_timer_.async_wait(
        [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
            if (!error && !alive.expired())
                expire_sas();
        });
}

} // namespace encsync::link
