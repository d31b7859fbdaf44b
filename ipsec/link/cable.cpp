// SPDX-License-Identifier: ISC
#include "ipsec/link/cable.hpp"

#include "ipsec/link/inner.hpp"
#include "net/asio.hpp"
#include "net/pfsync_group.hpp"
#include "util/log.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace encsync::link {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kLookEvery = 500ms;
constexpr std::size_t kBufferSize = std::size_t{16} << 20; // as the tunnel's

struct Interface {
    unsigned index = 0; // 0: there is none of this name
    bool up = false;    // and it has a carrier
    int mtu = 0;
};

Interface look_at(const std::string& name) {
    Interface found;
    found.index = if_nametoindex(name.c_str());
    const Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    if (found.index == 0 || !fd || ::ioctl(fd.get(), SIOCGIFFLAGS, &request) != 0)
        return found;
    constexpr int kUp = IFF_UP | IFF_RUNNING;
    found.up = (request.ifr_flags & kUp) == kUp;
    if (::ioctl(fd.get(), SIOCGIFMTU, &request) == 0)
        found.mtu = request.ifr_mtu;
    return found;
}

} // namespace

struct Cables::Peer {
    explicit Peer(CablePeer peer) : conf(std::move(peer)) {}
    ~Peer() { close(); }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    void close() {
        closed_drops = kernel_drops();
        if (raw)
            raw->close();
        raw.reset();
    }
    std::uint64_t kernel_drops() const { return closed_drops + (raw ? raw->kernel_drops() : 0); }

    CablePeer conf;
    PeerStats stats;
    std::shared_ptr<RawSocket> raw; // null: the interface is gone
    unsigned index = 0;             // of the interface that it is bound to
    std::uint64_t closed_drops = 0; // of former sockets
    bool up = false;                // on_up was called
    bool failure_logged = false;    // of opening it again
};

Cables::Cables(asio::io_context& io, Receiver& receiver)
    : io_(io), receiver_(receiver), look_timer_(io) {
    look();
}

Cables::~Cables() = default;

Result<void> Cables::add_peer(const CablePeer& conf) {
    auto peer = std::make_unique<Peer>(conf);
    if (auto opened = open(*peer); !opened)
        return opened;
    peers_[conf.id] = std::move(peer);
    return {};
}

Result<void> Cables::open(Peer& peer) {
    const CablePeer& conf = peer.conf;
    const Interface found = look_at(conf.interface);
    if (found.index == 0)
        return Error{fmt::format("this machine has no interface '{}'", conf.interface)};
    const bool ipv6 = conf.left.is_v6();
    const auto group =
        net::to_asio(net::pfsync_group(ipv6 ? net::Family::inet6 : net::Family::inet));
    const auto mtu = static_cast<std::uint16_t>(
        std::clamp<int>(found.mtu == 0 ? conf.mtu : found.mtu, kMinMtu, conf.mtu));
    auto raw = RawSocket::open(
        io_,
        {.interface = conf.interface,
         .left = conf.left,
         .right = conf.right.is_multicast() ? std::nullopt : std::optional(conf.right),
         .group = conf.multicast ? std::optional(group) : std::nullopt},
        {.peer = conf.id,
         .mtu = mtu,
         .largest = mtu - ip_header_size(ipv6),
         .buffer_size = kBufferSize},
        *this, buffer_, peer.stats);
    if (!raw)
        return raw.error();
    peer.raw = std::move(*raw);
    peer.index = found.index;
    return {};
}

void Cables::remove_peer(PeerId id) {
    if (find(id) == nullptr)
        return;
    set_up(*peers_[id], false);
    removed_drops_ += peers_[id]->kernel_drops();
    peers_[id].reset();
}

std::string Cables::why_down(PeerId id) const {
    const Peer* peer = find(id);
    if (peer == nullptr)
        return {};
    const std::string& name = peer->conf.interface;
    const Interface now = look_at(name);
    if (now.index == 0)
        return fmt::format("interface {} is gone", name);
    return now.up ? "" : fmt::format("interface {} is down, or has no carrier", name);
}

const PeerStats* Cables::peer_stats(PeerId id) const {
    const Peer* peer = find(id);
    return peer == nullptr ? nullptr : &peer->stats;
}

std::uint64_t Cables::kernel_drops() const {
    std::uint64_t sum = removed_drops_;
    for (const auto& peer : peers_)
        sum += peer ? peer->kernel_drops() : 0;
    return sum;
}

// ---- packets -------------------------------------------------------------------------------

MutableBytes Cables::acquire(PeerId id) {
    Peer* peer = find(id);
    return peer != nullptr && peer->up ? peer->raw->acquire() : MutableBytes{};
}

void Cables::commit(PeerId id, std::size_t size) {
    if (Peer* peer = find(id); peer != nullptr && peer->raw)
        peer->raw->commit(size);
}

void Cables::flush() {
    for (const auto& peer : peers_)
        if (peer && peer->raw)
            peer->raw->flush();
}

void Cables::on_raw_packet(PeerId id, Bytes packet) {
    if (const Peer* peer = find(id); peer != nullptr && peer->up)
        receiver_.on_packet(id, 0, packet);
}

// ---- interfaces ----------------------------------------------------------------------------

void Cables::look() {
    for (const auto& peer : peers_)
        if (peer)
            look(*peer);
    look_timer_.expires_after(kLookEvery);
    look_timer_.async_wait(
        [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
            if (!error && !alive.expired())
                look();
        });
}

// An interface that was made again has another index, and sockets of the former one are dead. What
// was sent meanwhile is lost, so the peer was down.
void Cables::look(Peer& peer) {
    const Interface now = look_at(peer.conf.interface);
    if (peer.raw && now.index != peer.index) {
        set_up(peer, false);
        peer.close();
    }
    if (!peer.raw && now.index != 0) {
        const auto opened = open(peer);
        if (!opened && !std::exchange(peer.failure_logged, true))
            log::warning("peer {}: {}", peer.conf.name, opened.error().text);
        if (opened)
            peer.failure_logged = false;
    }
    if (peer.raw)
        peer.raw->age(std::chrono::steady_clock::now());
    set_up(peer, peer.raw && now.up);
}

void Cables::set_up(Peer& peer, bool up) {
    if (std::exchange(peer.up, up) == up)
        return;
    if (up)
        return receiver_.on_up(peer.conf.id);
    peer.stats.unreachable += peer.raw->drop();
    receiver_.on_down(peer.conf.id);
}

} // namespace encsync::link
