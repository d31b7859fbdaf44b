// SPDX-License-Identifier: ISC
#include "ipsec/link/raw.hpp"

#include "ipsec/link/inner.hpp"
#include "net/asio.hpp"
#include "net/protocol.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/core.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <utility>

namespace encsync::link {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr int kTtl = 255, kLowDelay = 0x10;
constexpr auto kQueueDrains = 1ms;
constexpr auto kBelieveSmallMtu = 10min; // RFC 1191 section 6.3

template<class Value>
bool set(int fd, int level, int name, const Value& value) {
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

// An address and port 0, as bind() and connect() of a raw socket take it.
Endpoint bare(const Address& address) {
    return {address, 0};
}

bool set_up(int fd, bool ipv6) {
    if (ipv6)
        return set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, kTtl) &&
               set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO) &&
               set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
    return set(fd, IPPROTO_IP, IP_TTL, kTtl) && set(fd, IPPROTO_IP, IP_TOS, kLowDelay) &&
           set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
}

// Sends to the group through the interface only, without a copy for this machine, and has the
// interface receive it (IGMP, MLD).
bool join(int fd, const Endpoint& group, const Address& left, int index) {
    group_req request{};
    request.gr_interface = static_cast<std::uint32_t>(index);
    std::memcpy(&request.gr_group, group.data(), group.size());
    if (group.address().is_v6())
        return set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, index) &&
               set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, kTtl) &&
               set(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0) &&
               set(fd, IPPROTO_IPV6, MCAST_JOIN_GROUP, request);
    ip_mreqn interface {};
    interface.imr_ifindex = index;
    interface.imr_address.s_addr = htonl(left.to_v4().to_uint());
    return set(fd, IPPROTO_IP, IP_MULTICAST_IF, interface) &&
           set(fd, IPPROTO_IP, IP_MULTICAST_TTL, kTtl) &&
           set(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0) &&
           set(fd, IPPROTO_IP, MCAST_JOIN_GROUP, request);
}

// The source address of packets to an IPv6 group: a socket that is bound to a group and connected
// to nobody has none, and the kernel would choose.
class PacketSource {
  public:
    PacketSource(const Address& left, const Endpoint& group) {
        in6_pktinfo info{};
        const auto bytes = left.to_v6().to_bytes();
        std::memcpy(&info.ipi6_addr, bytes.data(), bytes.size());
        info.ipi6_ifindex = group.address().to_v6().scope_id();
        msghdr header{};
        add_to(header);
        cmsghdr* control = CMSG_FIRSTHDR(&header);
        control->cmsg_level = IPPROTO_IPV6;
        control->cmsg_type = IPV6_PKTINFO;
        control->cmsg_len = CMSG_LEN(sizeof info);
        std::memcpy(CMSG_DATA(control), &info, sizeof info);
    }
    void add_to(msghdr& header) {
        header.msg_control = bytes_.data();
        header.msg_controllen = bytes_.size();
    }

  private:
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(in6_pktinfo))> bytes_{};
};

net::Address sender(const sockaddr_in6& from) {
    return net::Address::read(reinterpret_cast<const std::uint8_t*>(&from.sin6_addr),
                              net::Family::inet6);
}

} // namespace

class RawSocket::Buffer {
  public:
    static constexpr std::size_t kMessages = 16, kHeader = 40, kSize = 65536;
    struct alignas(cmsghdr) Control {
        std::array<char, CMSG_SPACE(sizeof(int))> bytes;
    };
    // Space for the header that IPv6 raw sockets do not deliver.
    std::uint8_t* message(std::size_t i) { return bytes_.data() + i * (kHeader + kSize) + kHeader; }

    int receive(int fd) {
        for (std::size_t i = 0; i < kMessages; i++) {
            vectors_[i] = {message(i), kSize};
            msghdr& header = headers[i].msg_hdr;
            header = {};
            header.msg_name = &senders[i];
            header.msg_namelen = sizeof senders[i];
            header.msg_iov = &vectors_[i];
            header.msg_iovlen = 1;
            header.msg_control = controls_[i].bytes.data();
            header.msg_controllen = controls_[i].bytes.size();
        }
        return recvmmsg(fd, headers.data(), kMessages, MSG_DONTWAIT, nullptr);
    }

    std::array<mmsghdr, kMessages> headers{};
    std::array<sockaddr_in6, kMessages> senders{}; // those of IPv4 are in the packets

  private:
    std::vector<std::uint8_t> bytes_ = std::vector<std::uint8_t>(kMessages * (kHeader + kSize));
    std::array<Control, kMessages> controls_{};
    std::array<iovec, kMessages> vectors_{};
};

std::shared_ptr<RawSocket::Buffer> RawSocket::make_buffer() {
    return std::make_shared<Buffer>();
}

// ---- opening -------------------------------------------------------------------------------

Result<std::shared_ptr<RawSocket>> RawSocket::open(asio::io_context& io, const RawEnds& ends,
                                                   const Options& options, Owner& owner,
                                                   std::shared_ptr<Buffer> buffer,
                                                   PeerStats& stats) {
    std::shared_ptr<RawSocket> raw(
        new RawSocket(io, ends, options, owner, std::move(buffer), stats));
    if (auto made = raw->make(); !made)
        return made.error();
    stats.mtu = options.mtu;
    raw->wait_readable();
    return raw;
}

RawSocket::RawSocket(asio::io_context& io, const RawEnds& ends, const Options& options,
                     Owner& owner, std::shared_ptr<Buffer> buffer, PeerStats& stats)
    : ends_(ends), options_(options), ipv6_(ends.left.is_v6()), owner_(owner),
      buffer_(std::move(buffer)), stats_(stats), socket_(io), retry_(io), room_(options.largest),
      slots_(kBatch * options.largest) {}

RawSocket::~RawSocket() {
    close();
}

void RawSocket::close() {
    if (socket_.is_open())
        socket_.close();
    retry_.cancel();
}

Result<void> RawSocket::make() {
    const auto failed = [](const char* what) {
        const int error = errno;
        return Error{fmt::format("raw socket of protocol {}: {}: {}", net::kPfsync, what,
                                 error == EPERM ? "not permitted (it takes CAP_NET_RAW)"
                                                : std::strerror(error))};
    };
    Fd fd(::socket(ipv6_ ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
                   net::kPfsync));
    if (!fd)
        return failed("socket");
    const std::string& name = ends_.interface;
    const int index = static_cast<int>(if_nametoindex(name.c_str()));
    if (ends_.group) {
        group_ = bare(*ends_.group);
        if (ipv6_) {
            auto address = ends_.group->to_v6();
            address.scope_id(static_cast<std::uint32_t>(index));
            group_.address(address);
        }
    }
    const Endpoint left = ends_.group ? group_ : bare(ends_.left);
    // Before it is bound to the interface, which need not have the address.
    if (::bind(fd.get(), left.data(), static_cast<socklen_t>(left.size())) != 0)
        return failed("bind");
    if (setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, name.data(),
                   static_cast<socklen_t>(name.size())) != 0)
        return failed(name.c_str());
    if (ends_.right) {
        const Endpoint right = bare(*ends_.right);
        if (::connect(fd.get(), right.data(), static_cast<socklen_t>(right.size())) != 0)
            return failed("connect");
    }
    if (!set_up(fd.get(), ipv6_))
        return failed("options");
    if (ends_.group && !join(fd.get(), group_, ends_.left, index))
        return failed("group");
    const int size = static_cast<int>(options_.buffer_size);
    for (const int option : {SO_RCVBUFFORCE, SO_SNDBUFFORCE})
        set(fd.get(), SOL_SOCKET, option, size);
    socket_.assign(fd.release());
    return {};
}

Result<void> RawSocket::rebind() {
    const std::string& name = ends_.interface;
    if (setsockopt(socket_.native_handle(), SOL_SOCKET, SO_BINDTODEVICE, name.data(),
                   static_cast<socklen_t>(name.size())) != 0)
        return Error{std::strerror(errno)};
    return {};
}

// ---- sending -------------------------------------------------------------------------------

MutableBytes RawSocket::acquire() {
    if (!blocked_ && committed_ == kBatch)
        send();
    lent_ = !blocked_;
    if (!lent_) {
        refused_ = true;
        return {};
    }
    return {slot(committed_), room_};
}

void RawSocket::commit(std::size_t size) {
    if (std::exchange(lent_, false) && size != 0 && size <= options_.largest)
        sizes_[committed_++] = size;
}

void RawSocket::flush() {
    if (committed_ > 0 && !blocked_)
        send();
}

std::size_t RawSocket::drop() {
    const std::size_t dropped = committed_ - sent_;
    committed_ = sent_ = 0;
    lent_ = false;
    return dropped;
}

void RawSocket::send() {
    const std::size_t header = ip_header_size(ipv6_);
    std::optional<PacketSource> source;
    if (ipv6_ && !ends_.right)
        source.emplace(ends_.left, group_);
    while (sent_ < committed_) {
        std::array<iovec, kBatch> vectors{};
        std::array<mmsghdr, kBatch> headers{};
        const std::size_t count = committed_ - sent_;
        for (std::size_t i = 0; i < count; i++) {
            vectors[i] = {slot(sent_ + i), sizes_[sent_ + i]};
            headers[i].msg_hdr.msg_iov = &vectors[i];
            headers[i].msg_hdr.msg_iovlen = 1;
            if (ends_.group) {
                headers[i].msg_hdr.msg_name = group_.data();
                headers[i].msg_hdr.msg_namelen = static_cast<socklen_t>(group_.size());
            }
            if (source)
                source->add_to(headers[i].msg_hdr);
        }
        const int n = sendmmsg(socket_.native_handle(), headers.data(),
                               static_cast<unsigned>(count), MSG_DONTWAIT);
        if (n > 0) {
            for (std::size_t i = 0; i < static_cast<std::size_t>(n); i++)
                stats_.tx_bytes += header + sizes_[sent_++];
            stats_.tx_packets += static_cast<std::size_t>(n);
            stats_.tx_calls++;
            continue;
        }
        const int error = errno;
        switch (error) {
        case EAGAIN:
        case ENOBUFS:
            blocked_ = true;
            stats_.blocked++;
            wait_for_room(error == ENOBUFS);
            return;
        case EMSGSIZE:
            stats_.too_big++;
            too_big_for_path();
            break;
        case EHOSTUNREACH:
        case ENETUNREACH:
        case ECONNREFUSED:
        case EHOSTDOWN:
        case ENETDOWN:
            stats_.unreachable++;
            break;
        default:
            stats_.not_sent++;
            stats_.last_errno = error;
        }
        sent_++; // this one is lost; the engine sends its states again
    }
    committed_ = sent_ = 0;
}

// Of the path to `right`, or of the interface if the socket is connected to nobody; 0: not known.
int RawSocket::path_mtu() {
    const int fd = socket_.native_handle();
    if (!ends_.right) {
        ifreq request{};
        ends_.interface.copy(request.ifr_name, IFNAMSIZ - 1);
        return ::ioctl(fd, SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : 0;
    }
    int mtu = 0;
    socklen_t length = sizeof mtu;
    const int got = ipv6_ ? getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &length)
                          : getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &length);
    return got == 0 ? mtu : 0;
}

// The path is narrower than configured: the kernel knows how much.
void RawSocket::too_big_for_path() {
    const int mtu = path_mtu();
    const std::size_t header = ip_header_size(ipv6_);
    if (mtu < static_cast<int>(sync::kMinRoom + header))
        return;
    room_ = std::min(room_, static_cast<std::size_t>(mtu) - header);
    room_until_ = Clock::now() + kBelieveSmallMtu;
    stats_.mtu = static_cast<std::uint16_t>(options_.mtu - (options_.largest - room_));
    stats_.mtu_source = PathMtu::Source::reported;
    stats_.mtu_lowered++;
}

void RawSocket::age(Clock::time_point now) {
    if (room_until_ >= now)
        return;
    room_until_ = Clock::time_point::max();
    room_ = options_.largest;
    stats_.mtu = options_.mtu;
    stats_.mtu_source = PathMtu::Source::configured;
    stats_.mtu_raised++;
}

std::uint64_t RawSocket::kernel_drops() {
    std::array<std::uint32_t, SK_MEMINFO_VARS> info{};
    socklen_t length = sizeof info;
    getsockopt(socket_.native_handle(), SOL_SOCKET, SO_MEMINFO, info.data(), &length);
    return info[SK_MEMINFO_DROPS];
}

void RawSocket::wait_for_room(bool queue_full) {
    const auto go_on = [weak = weak_from_this()](const boost::system::error_code& error) {
        if (const auto raw = weak.lock(); !error && raw && raw->socket_.is_open())
            raw->on_room();
    };
    if (queue_full) { // there is no notice when an interface's queue has drained
        retry_.expires_after(kQueueDrains);
        retry_.async_wait(go_on);
    } else {
        socket_.async_wait(asio::posix::stream_descriptor::wait_write, go_on);
    }
}

void RawSocket::on_room() {
    blocked_ = false;
    send();
    if (!blocked_ && std::exchange(refused_, false))
        owner_.on_raw_writable(options_.peer);
}

// ---- receiving -----------------------------------------------------------------------------

void RawSocket::wait_readable() {
    socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [weak = weak_from_this()](const boost::system::error_code& error) {
                           const auto raw = weak.lock();
                           if (error || !raw || !raw->socket_.is_open())
                               return;
                           raw->receive();
                           if (raw->socket_.is_open())
                               raw->wait_readable();
                       });
}

// One system call per turn, so that other sockets and timers get their turn.
void RawSocket::receive() {
    // A failure is about a packet sent earlier; reading it clears it.
    const int n = buffer_->receive(socket_.native_handle());
    for (int i = 0; i < n && socket_.is_open(); i++) {
        const auto index = static_cast<std::size_t>(i);
        std::uint8_t* at = buffer_->message(index);
        std::size_t size = buffer_->headers[index].msg_len;
        if (ipv6_) {
            // The destination is what the socket is bound to.
            at -= ip_header_size(true);
            write_inner_header(at, sender(buffer_->senders[index]),
                               net::from_asio(ends_.group ? *ends_.group : ends_.left), size);
            size += ip_header_size(true);
            at[7] = 0;
            msghdr& header = buffer_->headers[index].msg_hdr;
            for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c))
                if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT) {
                    int hops = 0;
                    std::memcpy(&hops, CMSG_DATA(c), sizeof hops);
                    at[7] = static_cast<std::uint8_t>(hops);
                }
        }
        stats_.rx_packets++;
        stats_.rx_bytes += size;
        owner_.on_raw_packet(options_.peer, {at, size});
    }
}

} // namespace encsync::link
