// SPDX-License-Identifier: ISC
// Peers and SAs of the link. Receiving is in receive.cpp, sending in send.cpp.
#include "ipsec/link/internal.hpp"

#include <fmt/core.h>

namespace encsync::link {

UserspaceLink::Peer::Peer(const LinkPeer& peer, UdpSocket& natport, const Endpoint& right,
                          PathMtu::Times times)
    : conf(peer), socket(&natport), endpoint(right),
      path(peer.mtu, path_floor(peer.left.is_v6()), times, peer.probes),
      slot_size((max_datagram(peer.mtu, peer.left.is_v6()) + 63) / 64 * 64),
      slots(slot_size * kMaxSegments) {
    stats.mtu = peer.mtu;
    runs.reserve(kMaxSegments);
}

Result<std::unique_ptr<UserspaceLink>> UserspaceLink::open(boost::asio::io_context& io,
                                                           Receiver& receiver, LinkHooks hooks,
                                                           UserspaceOptions options) {
    std::unique_ptr<UserspaceLink> link(new UserspaceLink(io, receiver, std::move(hooks), options));
    auto sockets = IkeSockets::open(io, options.ike, link->hooks_, link.get());
    if (!sockets)
        return sockets.error();
    link->sockets_ = std::move(*sockets);
    return link;
}

UserspaceLink::UserspaceLink(boost::asio::io_context& io, Receiver& receiver, LinkHooks hooks,
                             UserspaceOptions options)
    : io_(io), receiver_(receiver), hooks_(std::move(hooks)), options_(options), grace_timer_(io),
      path_timer_(io) {}

UserspaceLink::~UserspaceLink() = default;

// ---- peers ---------------------------------------------------------------------------------

Result<void> UserspaceLink::add_peer(const LinkPeer& peer) {
    auto natport = sockets_->add_peer(peer);
    if (!natport)
        return natport.error();
    peers_[peer.id] = std::make_unique<Peer>(
        peer, **natport, Endpoint(peer.right, options_.ike.natport), options_.path);
    return {};
}

Result<bool> UserspaceLink::move_peer(PeerId id, const Address& left, const Address& right) {
    Peer* peer = find(id);
    if (peer == nullptr || (peer->conf.left == left && peer->conf.right == right))
        return false;
    auto natport = sockets_->move_peer(id, left, right);
    if (!natport)
        return natport.error();
    peer->conf.left = left;
    peer->conf.right = right;
    peer->socket = *natport;
    peer->stats.unreachable += peer->committed;
    peer->clear_batch();
    peer->blocked = false;
    set_endpoint(id, {right, peer->endpoint.port()});
    report_writable(*peer);
    return true;
}

void UserspaceLink::remove_peer(PeerId id) {
    if (find(id) == nullptr)
        return;
    const bool was_up = peers_[id]->up;
    sas_.drop(id);
    peers_[id].reset();
    sockets_->remove_peer(id);
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
    sockets_->admit(id, endpoint);
}

const PeerStats* UserspaceLink::peer_stats(PeerId id) const {
    const Peer* peer = find(id);
    return peer == nullptr ? nullptr : &peer->stats;
}

bool UserspaceLink::send_ike(const Endpoint& from, const Endpoint& to, Bytes datagram) {
    return sockets_->send_ike(from, to, datagram);
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
    if (params.direction == esp::Direction::inbound) {
        sockets_->on_spis_changed();
        return {};
    }
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
        report_writable(*peer); // the SA before was used up
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
