// SPDX-License-Identifier: ISC
#include "ipsec/link/kernel.hpp"

#include "ipsec/link/inner.hpp"
#include "net/asio.hpp"
#include "net/protocol.hpp"
#include "util/log.hpp"

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <fmt/core.h>
#include <fstream>
#include <netinet/in.h>
#include <sodium.h>
#include <sys/socket.h>

namespace encsync::link {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr std::size_t kBatch = 64;
constexpr auto kBeat = 3s; // a fifth of kSaLease: some may be late
constexpr auto kQueueDrains = 1ms;
constexpr auto kBelieveSmallMtu = 10min; // RFC 1191 section 6.3
constexpr int kTtl = 255, kLowDelay = 0x10;

bool set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

// An address and port 0, as bind() and connect() of a raw socket take it.
Endpoint bare(const Address& address) {
    return {address, 0};
}

} // namespace

struct KernelLink::Sa {
    esp::SaParams params; // without the key
    SaInfo info;
    Clock::time_point added;
    bool expiry_told = false;
};

// A batch is filled (acquire, commit) and leaves with flush(). While the socket is full the rest of
// it stays, and acquire() refuses.
struct KernelLink::Peer {
    Peer(asio::io_context& io, KernelLink& owner, const LinkPeer& peer, XfrmPair ends)
        : link(owner), conf(peer), pair(std::move(ends)), ipv6(peer.left.is_v6()),
          largest(max_payload(peer.mtu, ipv6, ipv6)), room(largest), wait(io), retry(io),
          slots(kBatch * largest) {
        stats.mtu = peer.mtu;
    }
    ~Peer() { close(); }
    void close() {
        if (wait.is_open())
            wait.close();
        retry.cancel();
    }
    std::uint8_t* slot(std::size_t i) { return slots.data() + i * largest; }
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

    KernelLink& link;
    LinkPeer conf;
    XfrmPair pair;
    bool ipv6;
    std::size_t largest;                                     // payload that the path carries
    std::size_t room;                                        // likewise, current estimate
    Clock::time_point room_until = Clock::time_point::max(); // then it is `largest` again
    asio::posix::stream_descriptor wait;                     // the raw socket
    asio::steady_timer retry;
    PeerStats stats;
    std::vector<Sa> sas;  // in order of arrival
    bool up = false;      // on_up was called
    bool refused = false; // acquire() refused: on_writable must follow
    bool blocked = false; // the socket is full

    std::vector<std::uint8_t> slots;
    std::array<std::size_t, kBatch> sizes{};
    std::size_t committed = 0, sent = 0;
    bool lent = false;
};

struct KernelLink::Ring {
    static constexpr std::size_t kMessages = 16, kHeader = 40, kSize = 65536;
    struct alignas(cmsghdr) Control {
        std::array<char, CMSG_SPACE(sizeof(int))> bytes;
    };
    std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(kMessages * (kHeader + kSize));
    std::array<Control, kMessages> controls{};
    std::array<iovec, kMessages> vectors{};
    std::array<mmsghdr, kMessages> headers{};
    // Space for the header that IPv6 raw sockets do not deliver.
    std::uint8_t* message(std::size_t i) { return bytes.data() + i * (kHeader + kSize) + kHeader; }
};

Result<std::unique_ptr<KernelLink>> KernelLink::open(asio::io_context& io, Receiver& receiver,
                                                     LinkHooks hooks, KernelOptions options) {
    auto xfrm = Xfrm::open(options.interface);
    if (!xfrm)
        return xfrm.error();
    if (auto made = xfrm->make_interface(1500); !made)
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
    link->beat();
    return link;
}

KernelLink::KernelLink(asio::io_context& io, Receiver& receiver, LinkHooks hooks,
                       KernelOptions options, Xfrm xfrm)
    : io_(io), receiver_(receiver), hooks_(std::move(hooks)), options_(std::move(options)),
      xfrm_(std::move(xfrm)), ring_(std::make_unique<Ring>()), beat_timer_(io) {}

KernelLink::~KernelLink() {
    for (auto& peer : peers_)
        if (peer)
            peer->close();
}

// ---- peers ---------------------------------------------------------------------------------

Result<void> KernelLink::add_peer(const LinkPeer& conf) {
    if (conf.transport)
        return Error{fmt::format("peer {}: an xfrm interface takes tunnel mode only", conf.name)};
    if (conf.left.is_v6() && conf.left.to_v6().is_link_local())
        return Error{
            fmt::format("peer {}: the kernel's states take no link-local addresses", conf.name)};
    if (auto sockets = ike_->add_peer(conf); !sockets)
        return sockets.error();
    auto peer = std::make_shared<Peer>(io_, *this, conf,
                                       XfrmPair{conf.left, conf.right, options_.ike.natport,
                                                xfrm_reqid(options_.interface, conf.right),
                                                conf.lifepackets});
    Result<void> done;
    if (peer->ipv6)
        done = xfrm_.add_route(conf.right);
    if (done)
        done = open_socket(*peer);
    if (done)
        done = xfrm_.admit(peer->pair);
    if (!done) {
        ike_->remove_peer(conf.id);
        return Error{fmt::format("peer {}: {}", conf.name, done.error().text)};
    }
    peers_[conf.id] = peer;
    wait_readable(peer);
    return {};
}

Result<void> KernelLink::open_socket(Peer& peer) {
    const auto failed = [&](const char* what) {
        const int error = errno;
        return Error{fmt::format("raw socket of protocol {}: {}: {}", net::kPfsync, what,
                                 error == EPERM ? "not permitted (it takes CAP_NET_RAW)"
                                                : std::strerror(error))};
    };
    Fd fd(::socket(peer.ipv6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
                   net::kPfsync));
    if (!fd)
        return failed("socket");
    const Endpoint left = bare(peer.conf.left), right = bare(peer.conf.right);
    const std::string& name = options_.interface;
    // Before it is bound to the interface, which has no address.
    if (::bind(fd.get(), left.data(), static_cast<socklen_t>(left.size())) != 0)
        return failed("bind");
    if (setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, name.data(),
                   static_cast<socklen_t>(name.size())) != 0)
        return failed(name.c_str());
    if (::connect(fd.get(), right.data(), static_cast<socklen_t>(right.size())) != 0)
        return failed("connect");
    const bool good = peer.ipv6
                          ? set(fd.get(), IPPROTO_IPV6, IPV6_UNICAST_HOPS, kTtl) &&
                                set(fd.get(), IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO) &&
                                set(fd.get(), IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1)
                          : set(fd.get(), IPPROTO_IP, IP_TTL, kTtl) &&
                                set(fd.get(), IPPROTO_IP, IP_TOS, kLowDelay) &&
                                set(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
    if (!good)
        return failed("options");
    const int size = static_cast<int>(options_.ike.socket.buffer_size);
    for (const int option : {SO_RCVBUFFORCE, SO_SNDBUFFORCE})
        set(fd.get(), SOL_SOCKET, option, size);
    peer.wait.assign(fd.release());
    return {};
}

void KernelLink::remove_peer(PeerId id) {
    const auto peer = id < kMaxPeers ? peers_[id] : nullptr;
    if (!peer)
        return;
    drop_sas(id);
    peer->close();
    peers_[id].reset();
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
    sodium_memzero(sa.params.keymat.data(), sa.params.keymat.size());
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
    if (!std::exchange(peer->up, true)) {
        peer->refused = false;
        receiver_.on_up(params.peer);
    }
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

void KernelLink::drop_sas(PeerId id) {
    Peer* peer = find(id);
    if (peer == nullptr)
        return;
    for (const Sa& sa : std::exchange(peer->sas, {}))
        xfrm_.remove_sa(sa.params, peer->pair);
    peer->stats.no_sa += peer->committed - peer->sent;
    peer->committed = peer->sent = 0;
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

// Extends the lease of the state in the kernel, and reads its counters.
void KernelLink::beat(Peer& peer) {
    if (peer.room_until < Clock::now()) {
        peer.room_until = Clock::time_point::max();
        peer.room = peer.largest;
        peer.stats.mtu = peer.conf.mtu;
        peer.stats.mtu_source = PathMtu::Source::configured;
        peer.stats.mtu_raised++;
    }
    for (Sa& sa : peer.sas) {
        const auto now = xfrm_.read_sa(sa.params, peer.pair);
        if (!now || !xfrm_.keep_sa(sa.params, peer.pair, *now)) {
            // It was flushed, or the clock was set: IKE makes a new pair.
            if (!sa.expiry_told)
                log::warning("peer {}: SA {:08x} is gone from the kernel", peer.conf.name,
                             sa.info.spi);
            tell_expiry(peer, sa);
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
            tell_expiry(peer, sa);
    }
}

void KernelLink::tell_expiry(Peer& peer, Sa& sa) {
    if (std::exchange(sa.expiry_told, true) || !hooks_.on_expire)
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

// ---- sending -------------------------------------------------------------------------------

MutableBytes KernelLink::acquire(PeerId id) {
    Peer* peer = find(id);
    if (peer == nullptr)
        return {};
    if (peer->up && !peer->blocked && peer->committed == kBatch)
        send(peers_[id]);
    peer->lent = peer->up && !peer->blocked;
    if (!peer->lent) {
        peer->refused = true;
        return {};
    }
    return {peer->slot(peer->committed), peer->room};
}

void KernelLink::commit(PeerId id, std::size_t size) {
    Peer* peer = find(id);
    if (peer == nullptr || !std::exchange(peer->lent, false) || size == 0 || size > peer->largest)
        return;
    peer->sizes[peer->committed++] = size;
}

void KernelLink::flush() {
    for (const auto& peer : peers_)
        if (peer && peer->committed > 0 && !peer->blocked)
            send(peer);
}

void KernelLink::send(const std::shared_ptr<Peer>& shared) {
    Peer& peer = *shared;
    const std::size_t header = ip_header_size(peer.ipv6);
    while (peer.sent < peer.committed) {
        std::array<iovec, kBatch> vectors{};
        std::array<mmsghdr, kBatch> headers{};
        const std::size_t count = peer.committed - peer.sent;
        for (std::size_t i = 0; i < count; i++) {
            vectors[i] = {peer.slot(peer.sent + i), peer.sizes[peer.sent + i]};
            headers[i].msg_hdr.msg_iov = &vectors[i];
            headers[i].msg_hdr.msg_iovlen = 1;
        }
        const int n = sendmmsg(peer.wait.native_handle(), headers.data(),
                               static_cast<unsigned>(count), MSG_DONTWAIT);
        if (n > 0) {
            for (std::size_t i = 0; i < static_cast<std::size_t>(n); i++)
                peer.stats.tx_bytes += header + peer.sizes[peer.sent++];
            peer.stats.tx_packets += static_cast<std::size_t>(n);
            peer.stats.tx_calls++;
            continue;
        }
        const int error = errno;
        switch (error) {
        case EAGAIN:
        case ENOBUFS:
            peer.blocked = true;
            peer.stats.blocked++;
            wait_for_room(shared, error == ENOBUFS);
            return;
        case EMSGSIZE:
            peer.stats.too_big++;
            told_too_big(peer);
            break;
        case EHOSTUNREACH:
        case ENETUNREACH:
        case ECONNREFUSED:
        case EHOSTDOWN:
        case ENETDOWN:
            peer.stats.unreachable++;
            break;
        default:
            peer.stats.not_sent++;
            peer.stats.last_errno = error;
        }
        peer.sent++; // this one is lost; the engine sends its states again
    }
    peer.committed = peer.sent = 0;
}

// The path is narrower than configured: the kernel knows how much.
void KernelLink::told_too_big(Peer& peer) {
    int mtu = 0;
    socklen_t length = sizeof mtu;
    const int got =
        peer.ipv6 ? getsockopt(peer.wait.native_handle(), IPPROTO_IPV6, IPV6_MTU, &mtu, &length)
                  : getsockopt(peer.wait.native_handle(), IPPROTO_IP, IP_MTU, &mtu, &length);
    const std::size_t header = ip_header_size(peer.ipv6);
    if (got != 0 || mtu < static_cast<int>(sync::kMinRoom + header))
        return;
    peer.room = std::min(peer.room, static_cast<std::size_t>(mtu) - header);
    peer.room_until = Clock::now() + kBelieveSmallMtu;
    peer.stats.mtu = static_cast<std::uint16_t>(peer.conf.mtu - (peer.largest - peer.room));
    peer.stats.mtu_source = PathMtu::Source::told;
    peer.stats.mtu_lowered++;
}

void KernelLink::wait_for_room(const std::shared_ptr<Peer>& peer, bool queue_full) {
    const auto go_on = [weak = std::weak_ptr(peer)](const boost::system::error_code& error) {
        if (const auto p = weak.lock(); !error && p && p->wait.is_open())
            p->link.on_room(*p);
    };
    if (queue_full) { // there is no notice when an interface's queue has drained
        peer->retry.expires_after(kQueueDrains);
        peer->retry.async_wait(go_on);
    } else {
        peer->wait.async_wait(asio::posix::stream_descriptor::wait_write, go_on);
    }
}

void KernelLink::on_room(Peer& peer) {
    peer.blocked = false;
    send(peers_[peer.conf.id]);
    if (!peer.blocked && std::exchange(peer.refused, false))
        receiver_.on_writable(peer.conf.id);
}

// ---- receiving -----------------------------------------------------------------------------

void KernelLink::wait_readable(const std::shared_ptr<Peer>& peer) {
    peer->wait.async_wait(asio::posix::stream_descriptor::wait_read,
                          [weak = std::weak_ptr(peer)](const boost::system::error_code& error) {
                              const auto p = weak.lock();
                              if (error || !p || !p->wait.is_open())
                                  return;
                              p->link.receive(*p);
                              if (p->wait.is_open())
                                  p->link.wait_readable(p);
                          });
}

// One system call per turn, so that other sockets and timers get their turn.
void KernelLink::receive(Peer& peer) {
    Ring& ring = *ring_;
    for (std::size_t i = 0; i < Ring::kMessages; i++) {
        ring.vectors[i] = {ring.message(i), Ring::kSize};
        msghdr& header = ring.headers[i].msg_hdr;
        header = {};
        header.msg_iov = &ring.vectors[i];
        header.msg_iovlen = 1;
        header.msg_control = ring.controls[i].bytes.data();
        header.msg_controllen = ring.controls[i].bytes.size();
    }
    // A failure is about a packet sent earlier; reading it clears it.
    const int n = recvmmsg(peer.wait.native_handle(), ring.headers.data(), Ring::kMessages,
                           MSG_DONTWAIT, nullptr);
    const Sa* sa = peer.newest(esp::Direction::inbound);
    const std::uint32_t spi = sa == nullptr ? 0 : sa->info.spi;
    for (int i = 0; i < n && peer.wait.is_open(); i++) {
        const auto index = static_cast<std::size_t>(i);
        std::uint8_t* at = ring.message(index);
        std::size_t size = ring.headers[index].msg_len;
        if (peer.ipv6) {
            // Addresses are those that the socket is bound and connected to.
            at -= ip_header_size(true);
            write_inner_header(at, net::from_asio(peer.conf.right), net::from_asio(peer.conf.left),
                               size);
            size += ip_header_size(true);
            at[7] = 0;
            msghdr& header = ring.headers[index].msg_hdr;
            for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c))
                if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT) {
                    int hops = 0;
                    std::memcpy(&hops, CMSG_DATA(c), sizeof hops);
                    at[7] = static_cast<std::uint8_t>(hops);
                }
        }
        peer.stats.rx_packets++;
        peer.stats.rx_bytes += size;
        receiver_.on_packet(peer.conf.id, spi, {at, size});
    }
}

} // namespace encsync::link
