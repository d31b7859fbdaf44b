// SPDX-License-Identifier: ISC
#include "ipsec/link/ike_sockets.hpp"

#include "ipsec/link/filter.hpp"
#include "ipsec/link/inner.hpp"
#include "util/log.hpp"

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <fmt/core.h>

namespace encsync::link {
namespace {

constexpr auto kQueueDrains = std::chrono::milliseconds(1);
constexpr int kErrorsPerTurn = 64;
constexpr auto kFloodLogged = std::chrono::minutes(1); // at most one line

} // namespace

struct IkeSockets::Socket {
    Socket(IkeSockets& of, UdpSocket socket, bool is_nat)
        : owner(of), udp(std::move(socket)), nat(is_nat), wait(owner.io_, udp.fd()),
          retry(owner.io_) {}
    ~Socket() { close(); }
    void close() {
        if (wait.is_open())
            wait.release(); // cancels; the descriptor itself is udp's
        retry.cancel();
    }

    IkeSockets& owner;
    UdpSocket udp;
    bool nat; // natport: ESP, and IKE after a marker; else ikeport: IKE only
    boost::asio::posix::stream_descriptor wait;
    boost::asio::steady_timer retry;
    bool waiting_for_room = false;
};

Result<std::unique_ptr<IkeSockets>> IkeSockets::open(boost::asio::io_context& io,
                                                     IkeOptions options, LinkHooks hooks,
                                                     EspHandler* esp) {
    if (options.ikeport == 0 || options.natport == 0 || options.ikeport == options.natport)
        return Error{fmt::format("ikeport {} and natport {} must be two different ports",
                                 options.ikeport, options.natport)};
    return std::unique_ptr<IkeSockets>(new IkeSockets(io, options, std::move(hooks), esp));
}

IkeSockets::IkeSockets(boost::asio::io_context& io, IkeOptions options, LinkHooks hooks,
                       EspHandler* esp)
    : io_(io), options_(options), hooks_(std::move(hooks)), esp_(esp), deaf_timer_(io),
      flood_timer_(io) {}

IkeSockets::~IkeSockets() {
    for (auto& socket : sockets_)
        socket->close();
}

// ---- peers and sockets ---------------------------------------------------------------------

Result<UdpSocket*> IkeSockets::add_peer(const LinkPeer& peer) {
    if (peer.id >= kMaxPeers)
        return Error{fmt::format("peer {}: number {} is beyond the {} peers there may be",
                                 peer.name, peer.id, kMaxPeers)};
    if (peers_[peer.id])
        return Error{fmt::format("peer {}: number {} is taken by {}", peer.name, peer.id,
                                 peers_[peer.id]->name)};
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
    peers_[peer.id] = Peer{peer.name, peer.left, peer.right, {peer.right, options_.natport}};
    if (auto ok = collect_sources(); !ok) {
        peers_[peer.id].reset();
        close_unused_sockets();
        return Error{fmt::format("peer {}: {}", peer.name, ok.error().text)};
    }
    return socket;
}

Result<UdpSocket*> IkeSockets::move_peer(PeerId id, const Address& left, const Address& right) {
    auto socket = open_sockets(left);
    if (!socket)
        return socket.error();
    peers_[id]->left = left;
    peers_[id]->right = right;
    close_unused_sockets();
    admit(id, {right, peers_[id]->endpoint.port()});
    return socket;
}

void IkeSockets::remove_peer(PeerId id) {
    peers_[id].reset();
    close_unused_sockets();
    if (auto ok = collect_sources(); !ok) // user space checks, too, at a higher cost
        log::warning("{}", ok.error().text);
}

void IkeSockets::admit(PeerId id, const Endpoint& endpoint) {
    peers_[id]->endpoint = endpoint;
    if (auto ok = collect_sources(); !ok)
        log::warning("peer {}: {}", peers_[id]->name, ok.error().text);
}

Result<UdpSocket*> IkeSockets::open_sockets(const Address& left) {
    for (const bool nat : {false, true}) {
        const Endpoint local(left, nat ? options_.natport : options_.ikeport);
        if (find(local))
            continue;
        if (auto ok = open_socket(local, nat); !ok) {
            close_unused_sockets();
            return ok.error();
        }
    }
    return &find(Endpoint(left, options_.natport))->udp;
}

std::shared_ptr<IkeSockets::Socket> IkeSockets::find(const Endpoint& local) const {
    const auto at =
        std::ranges::find_if(sockets_, [&](const auto& s) { return s->udp.local() == local; });
    return at == sockets_.end() ? nullptr : *at;
}

std::shared_ptr<IkeSockets::Socket> IkeSockets::find(const UdpSocket& socket) const {
    const auto at =
        std::ranges::find_if(sockets_, [&](const auto& s) { return &s->udp == &socket; });
    return at == sockets_.end() ? nullptr : *at;
}

Result<void> IkeSockets::open_socket(const Endpoint& local, bool nat) {
    SocketOptions options = options_.socket;
    options.kernel_esp = nat && esp_ == nullptr;
    if (!nat) { // only IKE: its first message may be large, and IKE cannot fragment it
        options.dont_fragment = false;
        options.gro = false;
    }
    // Nothing passes before collect_sources().
    auto udp = UdpSocket::open(local, options,
                               filter_program({}, {.ipv6 = local.address().is_v6(), .nat = nat}));
    if (!udp)
        return udp.error();
    sockets_.push_back(std::make_shared<Socket>(*this, std::move(*udp), nat));
    wait_readable(sockets_.back());
    return {};
}

void IkeSockets::close_unused_sockets() {
    std::erase_if(sockets_, [&](const auto& socket) {
        for (const auto& peer : peers_)
            if (peer && peer->left == socket->udp.local().address())
                return false;
        closed_drops_ += socket->udp.kernel_drops();
        socket->close();
        return true;
    });
}

// The permitted sources of each socket: the peers with this left address.
Result<void> IkeSockets::collect_sources() {
    sources_.clear();
    esp_sources_.clear();
    for (const auto& peer : peers_)
        if (peer)
            esp_sources_.push_back(peer->endpoint);
    const auto spis =
        guard_.flooded() && esp_ != nullptr ? esp_->spis() : std::vector<std::uint32_t>();
    for (const auto& socket : sockets_) {
        const Address& local = socket->udp.local().address();
        std::vector<Address> admitted;
        for (const auto& peer : peers_)
            if (peer && peer->left == local)
                for (const Address& address : {peer->right, peer->endpoint.address()})
                    if (std::find(admitted.begin(), admitted.end(), address) == admitted.end())
                        admitted.push_back(address);
        const FilterOptions options{.ipv6 = local.is_v6(),
                                    .nat = socket->nat,
                                    .callers = hooks_.on_stranger && !deaf_,
                                    .strict = guard_.flooded(),
                                    .spis = spis};
        if (auto ok = socket->udp.set_filter(filter_program(admitted, options)); !ok)
            return ok;
        sources_.insert(sources_.end(), admitted.begin(), admitted.end());
    }
    return {};
}

bool IkeSockets::knows(const Address& source) const {
    return std::find(sources_.begin(), sources_.end(), source) != sources_.end();
}

std::uint64_t IkeSockets::kernel_drops() const {
    std::uint64_t sum = closed_drops_;
    for (const auto& socket : sockets_)
        sum += socket->udp.kernel_drops();
    return sum;
}

// ---- sending -------------------------------------------------------------------------------

bool IkeSockets::send_ike(const Endpoint& from, const Endpoint& to, Bytes datagram) {
    const auto socket = find(from);
    if (!socket || !knows(to.address())) {
        stats_.ike_unknown_address++;
        return false;
    }
    std::vector<std::uint8_t> bytes(socket->nat ? kMarkerSize : 0); // zeros
    bytes.insert(bytes.end(), datagram.begin(), datagram.end());
    const MutableBytes packet(bytes);
    if (socket->udp.send(to, {&packet, 1}).status != SendStatus::sent) {
        stats_.ike_not_sent++;
        return false;
    }
    stats_.ike_out++;
    guard_.on_sent(datagram);
    return true;
}

void IkeSockets::wait_for_room(const UdpSocket& of, bool queue_full) {
    const auto socket = find(of);
    if (std::exchange(socket->waiting_for_room, true))
        return;
    const auto go_on = [weak = std::weak_ptr(socket)](const boost::system::error_code& error) {
        const auto s = weak.lock();
        if (error || !s || !s->wait.is_open())
            return;
        s->waiting_for_room = false;
        s->owner.esp_->on_room(s->udp);
    };
    if (queue_full) {
        socket->retry.expires_after(kQueueDrains);
        socket->retry.async_wait(go_on);
    } else {
        socket->wait.async_wait(boost::asio::posix::stream_descriptor::wait_write, go_on);
    }
}

void IkeSockets::read_errors(UdpSocket& socket) {
    for (int i = 0; i < kErrorsPerTurn; i++) {
        const auto error = socket.next_error();
        if (!error)
            return;
        if (!error->too_big)
            stats_.receive_error++; // if it is real, IKE requests to the peer time out
        else if (esp_ != nullptr)
            esp_->on_path_error(socket, *error);
    }
}

// ---- receiving -----------------------------------------------------------------------------

void IkeSockets::wait_readable(const std::shared_ptr<Socket>& socket) {
    socket->wait.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                            [weak = std::weak_ptr(socket)](const boost::system::error_code& error) {
                                const auto s = weak.lock();
                                if (error || !s || !s->wait.is_open())
                                    return;
                                s->owner.on_readable(*s);
                                if (s->wait.is_open()) // and not closed by what was received
                                    s->owner.wait_readable(s);
                            });
}

// One system call per turn, so that other sockets and timers get their turn.
void IkeSockets::on_readable(Socket& socket) {
    const int n = socket.udp.receive(ring_);
    if (n < 0) {
        // An error about what we sent fails the call that receives, or only wakes us.
        read_errors(socket.udp);
        return;
    }
    for (int i = 0; i < n && socket.wait.is_open(); i++) {
        const ReceiveRing::Message message = UdpSocket::message(ring_, i);
        if (!knows(message.from.address())) {
            const std::size_t segment = std::max<std::size_t>(message.segment, 1);
            stats_.unknown_source +=
                std::max<std::size_t>((message.bytes.size() + segment - 1) / segment, 1);
            on_stranger(socket, message.from, message.bytes);
            continue;
        }
        std::size_t at = 0;
        do {
            const std::size_t size = std::min(message.segment, message.bytes.size() - at);
            on_datagram(socket, message.from, message.bytes.subspan(at, size));
            at += size;
        } while (at < message.bytes.size() && socket.wait.is_open());
    }
}

// They may be a flood: the first few are reported, then the kernel drops them for a while.
void IkeSockets::on_stranger(Socket& socket, const Endpoint& from, MutableBytes datagram) {
    if (socket.nat || !hooks_.on_stranger || datagram.size() < kIkeHeaderSize)
        return;
    if (!std::exchange(deaf_, true)) {
        const auto set_deaf = [this](bool deaf) {
            deaf_ = deaf;
            if (auto ok = collect_sources(); !ok)
                log::warning("{}", ok.error().text);
        };
        set_deaf(true);
        deaf_timer_.expires_after(options_.deaf);
        deaf_timer_.async_wait(
            [set_deaf, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
                if (!error && !alive.expired())
                    set_deaf(false);
            });
    }
    hooks_.on_stranger(from, socket.udp.local(), datagram.first(kIkeHeaderSize));
}

void IkeSockets::on_datagram(Socket& socket, const Endpoint& from, MutableBytes datagram) {
    if (socket.nat) {
        if (datagram.size() == 1 && datagram[0] == kNatKeepalive) {
            stats_.keepalive++;
            return;
        }
        if (datagram.size() < kMarkerSize) {
            stats_.runt++;
            return;
        }
        if (load_be<std::uint32_t>(datagram.data()) != 0) {
            if (esp_ != nullptr && std::ranges::find(esp_sources_, from) != esp_sources_.end())
                return esp_->on_esp(datagram);
            // The kernel takes all that it has a state for.
            esp_ == nullptr ? stats_.unknown_spi++ : stats_.wrong_port++;
            return on_refused();
        }
        datagram = datagram.subspan(kMarkerSize);
    }
    if (datagram.size() < kIkeHeaderSize) {
        stats_.runt++;
        return;
    }
    stats_.ike_in++;
    if (const auto now = Clock::now(); !guard_.admits(datagram, now)) {
        stats_.ike_flood++;
        return on_refused(now);
    }
    if (hooks_.on_ike)
        hooks_.on_ike(from, socket.udp.local(), datagram);
}

// ---- floods --------------------------------------------------------------------------------

void IkeSockets::on_refused(Clock::time_point now) {
    if (!guard_.on_refused(now))
        return;
    if (!flood_logged_ || now - *flood_logged_ >= kFloodLogged) {
        flood_logged_ = now;
        log::warning("a flood of UDP datagrams in the name of a peer: the kernel drops those that "
                     "belong to no SA");
    }
    set_strict(true);
    static_cast<void>(guard_.is_over(kernel_drops()));
    check_flood();
}

void IkeSockets::set_strict(bool strict) {
    for (const auto& socket : sockets_)
        if (socket->nat && esp_ != nullptr && options_.socket.gro)
            socket->udp.set_gro(!strict);
    if (auto ok = collect_sources(); !ok)
        log::warning("{}", ok.error().text);
}

void IkeSockets::on_spis_changed() {
    if (guard_.flooded())
        set_strict(true);
}

void IkeSockets::check_flood() {
    flood_timer_.expires_after(FloodGuard::kCheck);
    flood_timer_.async_wait(
        [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
            if (error || alive.expired())
                return;
            if (guard_.is_over(kernel_drops()))
                set_strict(false);
            else
                check_flood();
        });
}

} // namespace encsync::link
