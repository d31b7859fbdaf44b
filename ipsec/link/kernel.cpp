// SPDX-License-Identifier: ISC
#include "ipsec/link/kernel.hpp"

#include "ipsec/link/inner.hpp"
#include "net/asio.hpp"
#include "util/log.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <fmt/core.h>
#include <fstream>
#include <net/if.h>
#include <vector>

namespace encsync::link {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr auto kBeat = 3s; // a fifth of kSaLease: some may be late
constexpr auto kLookEvery = 500ms;
constexpr std::uint16_t kInterfaceMtu = 1500;

} // namespace

struct KernelLink::Sa {
    esp::SaParams params; // without the key
    SaInfo info;
    Clock::time_point added;
    bool expiry_reported = false;
};

struct KernelLink::Peer {
    Peer(const LinkPeer& peer, XfrmPair ends) : conf(peer), pair(std::move(ends)) {}
    ~Peer() {
        if (raw)
            raw->close();
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    std::vector<Sa>::iterator find(std::uint32_t spi, esp::Direction direction) {
        return std::ranges::find_if(sas, [&](const Sa& sa) {
            return sa.info.spi == spi && sa.info.direction == direction;
        });
    }
    // The newest of a direction; null: none.
    const Sa* newest(esp::Direction direction) const {
        for (auto sa = sas.rbegin(); sa != sas.rend(); ++sa)
            if (sa->info.direction == direction)
                return &*sa;
        return nullptr;
    }

    LinkPeer conf;
    XfrmPair pair;
    PeerStats stats;
    std::shared_ptr<RawSocket> raw;
    std::vector<Sa> sas; // in order of arrival
    bool up = false;     // on_up was called
};

Result<std::unique_ptr<KernelLink>> KernelLink::open(asio::io_context& io, Receiver& receiver,
                                                     LinkHooks hooks, KernelOptions options) {
    auto xfrm = Xfrm::open(options.interface);
    if (!xfrm)
        return xfrm.error();
    if (auto made = xfrm->make_interface(kInterfaceMtu); !made)
        return made.error();
    std::unique_ptr<KernelLink> link(
        new KernelLink(io, receiver, std::move(hooks), std::move(options), std::move(*xfrm)));
    auto sockets = IkeSockets::open(io, link->options_.ike, link->hooks_, nullptr);
    if (!sockets)
        return sockets.error();
    link->ike_ = std::move(*sockets);
    int strict = 0;
    std::ifstream("/proc/sys/net/ipv4/conf/all/rp_filter") >> strict;
    if (strict == 1)
        log::warning("net.ipv4.conf.all.rp_filter is 1: the kernel will drop what comes out of "
                     "{}; set it to 2 or 0",
                     link->options_.interface);
    link->index_ = if_nametoindex(link->options_.interface.c_str());
    link->beat();
    link->look();
    return link;
}

KernelLink::KernelLink(asio::io_context& io, Receiver& receiver, LinkHooks hooks,
                       KernelOptions options, Xfrm xfrm)
    : io_(io), receiver_(receiver), hooks_(std::move(hooks)), options_(std::move(options)),
      xfrm_(std::move(xfrm)), beat_timer_(io), look_timer_(io) {}

KernelLink::~KernelLink() = default;

// ---- peers ---------------------------------------------------------------------------------

Result<void> KernelLink::add_peer(const LinkPeer& conf) {
    if (conf.transport)
        return Error{fmt::format("peer {}: an xfrm interface takes tunnel mode only", conf.name)};
    if (conf.left.is_v6() && conf.left.to_v6().is_link_local())
        return Error{
            fmt::format("peer {}: the kernel's states take no link-local addresses", conf.name)};
    if (auto sockets = ike_->add_peer(conf); !sockets)
        return sockets.error();
    auto peer = std::make_unique<Peer>(conf, XfrmPair{conf.left, conf.right, options_.ike.natport,
                                                      xfrm_reqid(options_.interface, conf.right),
                                                      conf.lifepackets});
    Result<void> done;
    if (conf.right.is_v6())
        done = xfrm_.add_route(conf.right);
    if (done)
        done = open_socket(*peer);
    if (done)
        done = xfrm_.admit(peer->pair);
    if (!done) {
        ike_->remove_peer(conf.id);
        return Error{fmt::format("peer {}: {}", conf.name, done.error().text)};
    }
    peers_[conf.id] = std::move(peer);
    return {};
}

Result<void> KernelLink::open_socket(Peer& peer) {
    const LinkPeer& conf = peer.conf;
    const bool ipv6 = conf.left.is_v6();
    auto raw = RawSocket::open(io_, {options_.interface, conf.left, conf.right},
                               {.peer = conf.id,
                                .mtu = conf.mtu,
                                .largest = max_payload(conf.mtu, ipv6, ipv6),
                                .buffer_size = options_.ike.socket.buffer_size},
                               *this, buffer_, peer.stats);
    if (!raw)
        return raw.error();
    peer.raw = std::move(*raw);
    return {};
}

void KernelLink::remove_peer(PeerId id) {
    if (find(id) == nullptr)
        return;
    drop_sas(id);
    const auto peer = std::move(peers_[id]);
    ike_->remove_peer(id);
    // During a reload its successor exists already.
    const auto successor = std::ranges::find_if(peers_, [&](const auto& other) {
        return other && other->conf.left == peer->conf.left &&
               other->conf.right == peer->conf.right;
    });
    if (successor == peers_.end())
        xfrm_.remove_policies(peer->pair);
    else
        choose_sa(**successor);
}

const PeerStats* KernelLink::peer_stats(PeerId id) const {
    const Peer* peer = find(id);
    return peer == nullptr ? nullptr : &peer->stats;
}

bool KernelLink::send_ike(const Endpoint& from, const Endpoint& to, Bytes datagram) {
    return ike_->send_ike(from, to, datagram);
}

// ---- packets -------------------------------------------------------------------------------

MutableBytes KernelLink::acquire(PeerId id) {
    Peer* peer = find(id);
    return peer != nullptr && peer->up ? peer->raw->acquire() : MutableBytes{};
}

void KernelLink::commit(PeerId id, std::size_t size) {
    if (Peer* peer = find(id); peer != nullptr)
        peer->raw->commit(size);
}

void KernelLink::flush() {
    for (const auto& peer : peers_)
        if (peer)
            peer->raw->flush();
}

void KernelLink::on_raw_packet(PeerId id, Bytes packet) {
    const Sa* sa = peers_[id]->newest(esp::Direction::inbound);
    receiver_.on_packet(id, sa == nullptr ? 0 : sa->info.spi, packet);
}

// ---- SAs -----------------------------------------------------------------------------------

Result<void> KernelLink::add_sa(const esp::SaParams& params) {
    Peer* peer = find(params.peer);
    if (peer == nullptr)
        return Error{fmt::format("SA {:08x}: no peer has number {}", params.spi, params.peer)};
    const bool inbound = params.direction == esp::Direction::inbound;
    const auto left = net::from_asio(peer->conf.left), right = net::from_asio(peer->conf.right);
    if (params.transport || params.inner_src != (inbound ? right : left) ||
        params.inner_dst != (inbound ? left : right))
        return Error{"its selectors are not the two ends of the tunnel"};
    if (auto done = xfrm_.add_sa(params, peer->pair); !done)
        return done;
    Sa& sa = peer->sas.emplace_back();
    sa.params = params;
    sa.params.keymat = {}; // the kernel has it
    sa.info.peer = params.peer;
    sa.info.direction = params.direction;
    sa.info.spi = params.spi;
    sa.info.cipher = params.cipher;
    sa.info.esn = params.esn;
    sa.added = Clock::now();
    if (inbound)
        return {};
    if (auto done = xfrm_.send_on(peer->pair, params.spi); !done) {
        xfrm_.remove_sa(params, peer->pair);
        peer->sas.pop_back();
        return done;
    }
    if (!std::exchange(peer->up, true))
        receiver_.on_up(params.peer);
    return {};
}

bool KernelLink::delete_sa(PeerId id, std::uint32_t spi, esp::Direction direction) {
    Peer* peer = find(id);
    if (peer == nullptr)
        return false;
    const auto sa = peer->find(spi, direction);
    if (sa == peer->sas.end())
        return false;
    xfrm_.remove_sa(sa->params, peer->pair);
    peer->sas.erase(sa);
    if (direction == esp::Direction::outbound)
        choose_sa(*peer);
    return true;
}

// After an outbound SA was removed: the newest remaining one.
void KernelLink::choose_sa(Peer& peer) {
    const Sa* sa = peer.newest(esp::Direction::outbound);
    if (auto done = xfrm_.send_on(peer.pair, sa == nullptr ? 0 : sa->info.spi); !done)
        log::error("peer {}: {}", peer.conf.name, done.error().text);
    if (sa == nullptr && std::exchange(peer.up, false))
        receiver_.on_down(peer.conf.id);
}

void KernelLink::keep_policies(Peer& peer) {
    const bool sends = peer.newest(esp::Direction::outbound) != nullptr;
    if (xfrm_.has_policy(peer.pair, false) && (!sends || xfrm_.has_policy(peer.pair, true)))
        return;
    log::warning("peer {}: its policies are gone from the kernel; they are made again",
                 peer.conf.name);
    if (auto done = xfrm_.admit(peer.pair); !done)
        log::error("peer {}: {}", peer.conf.name, done.error().text);
    choose_sa(peer);
}

void KernelLink::drop_sas(PeerId id) {
    Peer* peer = find(id);
    if (peer == nullptr)
        return;
    for (const Sa& sa : std::exchange(peer->sas, {}))
        xfrm_.remove_sa(sa.params, peer->pair);
    peer->stats.no_sa += peer->raw->drop();
    choose_sa(*peer);
}

void KernelLink::drop_all() {
    for (PeerId id = 0; id < kMaxPeers; id++)
        drop_sas(id);
}

std::vector<SaInfo> KernelLink::sas() const {
    std::vector<SaInfo> out;
    for (const auto& peer : peers_) {
        if (!peer)
            continue;
        const Sa* sending = peer->newest(esp::Direction::outbound);
        for (const Sa& sa : peer->sas) {
            SaInfo info = sa.info;
            if (const auto now = xfrm_.read_sa(sa.params, peer->pair)) {
                info.packets = now->packets;
                info.bytes = now->bytes;
                info.replayed = now->replayed;
                info.failed = now->failed;
            }
            info.age = static_cast<std::uint64_t>(
                std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - sa.added).count());
            info.sending = &sa == sending;
            out.push_back(info);
        }
    }
    return out;
}

void KernelLink::beat() {
    for (const auto& peer : peers_)
        if (peer)
            beat(*peer);
    beat_timer_.expires_after(kBeat);
    beat_timer_.async_wait(
        [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
            if (!error && !alive.expired())
                beat();
        });
}

void KernelLink::look() {
    if (if_nametoindex(options_.interface.c_str()) != index_) {
        const auto made = make_interface();
        if (made)
            log::warning("{} is gone; it is made again", options_.interface);
        else if (!failure_logged_)
            log::error("{} is gone and cannot be made again: {}", options_.interface,
                       made.error().text);
        failure_logged_ = !made;
    }
    look_timer_.expires_after(kLookEvery);
    look_timer_.async_wait(
        [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
            if (!error && !alive.expired())
                look();
        });
}

// States and policies are tied to its if_id, and go on; sockets are bound to its index.
Result<void> KernelLink::make_interface() {
    if (auto made = xfrm_.make_interface(kInterfaceMtu); !made)
        return made;
    const std::string& name = options_.interface;
    for (const auto& peer : peers_) {
        if (!peer)
            continue;
        if (auto bound = peer->raw->rebind(); !bound)
            return Error{fmt::format("peer {}: {}", peer->conf.name, bound.error().text)};
        if (peer->conf.right.is_v6())
            if (auto routed = xfrm_.add_route(peer->conf.right); !routed)
                return routed;
    }
    index_ = if_nametoindex(name.c_str());
    return {};
}

// Extends the lease of the state in the kernel, and reads its counters.
void KernelLink::beat(Peer& peer) {
    peer.raw->age(Clock::now());
    keep_policies(peer);
    for (Sa& sa : peer.sas) {
        const auto now = xfrm_.read_sa(sa.params, peer.pair);
        if (!now || !xfrm_.keep_sa(sa.params, peer.pair, *now)) {
            // It was flushed, or the clock was set: IKE makes a new pair.
            if (!sa.expiry_reported)
                log::warning("peer {}: SA {:08x} is gone from the kernel", peer.conf.name,
                             sa.info.spi);
            report_expiry(peer, sa);
            continue;
        }
        using esp::Verdict;
        peer.stats.refused[static_cast<std::size_t>(Verdict::replayed)] +=
            now->replayed - sa.info.replayed;
        peer.stats.refused[static_cast<std::size_t>(Verdict::bad_tag)] +=
            now->failed - sa.info.failed;
        sa.info.packets = now->packets;
        sa.info.bytes = now->bytes;
        sa.info.replayed = now->replayed;
        sa.info.failed = now->failed;
        const std::uint64_t limit = options_.soft_limit != 0 ? options_.soft_limit
                                    : peer.conf.lifepackets != 0
                                        ? peer.conf.lifepackets / 4 * 3
                                        : esp::default_soft_limit(sa.info.esn);
        if (sa.info.direction == esp::Direction::outbound && now->packets >= limit)
            report_expiry(peer, sa);
    }
}

void KernelLink::report_expiry(Peer& peer, Sa& sa) {
    if (std::exchange(sa.expiry_reported, true) || !hooks_.on_expire)
        return;
    const Sa* inbound = peer.newest(esp::Direction::inbound);
    if (inbound == nullptr)
        return;
    asio::post(io_,
               [this, alive = std::weak_ptr(alive_), id = peer.conf.id, spi = inbound->info.spi] {
                   if (!alive.expired())
                       hooks_.on_expire(id, spi);
               });
}

} // namespace encsync::link
