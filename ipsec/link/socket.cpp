// SPDX-License-Identifier: ISC
#include "ipsec/link/socket.hpp"
#include "ipsec/link/batch.hpp"
#include "ipsec/link/port_holder.hpp"
#include "util/log.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/core.h>
#include <linux/errqueue.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace encsync::link {
namespace {

bool set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

// A buffer that is too small is not fatal, but loses bursts: warn once.
void size_buffer(int fd, int force, int plain, std::size_t wished, const char* what) {
    const int size = static_cast<int>(wished);
    if (set(fd, SOL_SOCKET, force, size))
        return;
    set(fd, SOL_SOCKET, plain, size);
    int got = 0;
    socklen_t length = sizeof got;
    getsockopt(fd, SOL_SOCKET, plain, &got, &length);
    static bool told = false;
    if (!told && got / 2 < size) // the kernel doubles what it is given
        log::warning("UDP {} buffer is {} bytes instead of {}: raise net.core.{}mem_max or grant "
                     "CAP_NET_ADMIN",
                     what, got / 2, size, *what == 'r' ? 'r' : 'w');
    told = true;
}

SendStatus status_of(int error) {
    switch (error) {
    case EAGAIN:
        return SendStatus::would_block;
    case ENOBUFS:
        return SendStatus::queue_full;
    case EMSGSIZE:
        return SendStatus::too_big;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ECONNREFUSED:
    case EHOSTDOWN:
    case ENETDOWN:
        return SendStatus::unreachable;
    default:
        return SendStatus::failed;
    }
}

msghdr header_to(const Endpoint& to) {
    msghdr header{};
    header.msg_name = const_cast<void*>(static_cast<const void*>(to.data()));
    header.msg_namelen = static_cast<socklen_t>(to.size());
    return header;
}

// A queued ICMP error makes the next call fail, whatever it sends. An error of the call itself
// occurs again on retry.
template<class Call>
auto past_waiting_errors(Call call) {
    constexpr int kTries = 4;
    auto n = call();
    for (int i = 1; i < kTries && n < 0; i++) {
        const SendStatus status = status_of(errno);
        if (status != SendStatus::too_big && status != SendStatus::unreachable && errno != EACCES &&
            errno != EPROTO && errno != EOPNOTSUPP)
            break;
        n = call();
    }
    return n;
}

} // namespace

std::string to_string(const Endpoint& endpoint) {
    return endpoint.address().is_v6()
               ? fmt::format("[{}]:{}", endpoint.address().to_string(), endpoint.port())
               : fmt::format("{}:{}", endpoint.address().to_string(), endpoint.port());
}

bool is_own(const Address& address) {
    const Endpoint any_port(address, 0);
    const Fd fd(::socket(address.is_v6() ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return bind(fd.get(), any_port.data(), static_cast<socklen_t>(any_port.size())) == 0 ||
           errno != EADDRNOTAVAIL;
}

// ---- ReceiveRing ---------------------------------------------------------------------------

struct ReceiveRing::Storage {
    std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(kMessages * kMessageSize);
    std::array<sockaddr_storage, kMessages> names{};
    struct alignas(cmsghdr) Control {
        std::array<char, CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(int))> bytes;
    };
    std::array<Control, kMessages> controls{};
    std::array<iovec, kMessages> vectors{};
    std::array<mmsghdr, kMessages> headers{};
};

ReceiveRing::ReceiveRing() : storage_(std::make_unique<Storage>()) {}
ReceiveRing::~ReceiveRing() = default;

// ---- UdpSocket -----------------------------------------------------------------------------

Result<UdpSocket> UdpSocket::open(const Endpoint& local, const SocketOptions& options,
                                  std::span<const sock_filter> filter) {
    const bool ipv6 = local.address().is_v6();
    UdpSocket socket;
    socket.local_ = local;
    socket.fd_.reset(
        ::socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int fd = socket.fd_.get();
    if (fd < 0)
        return Error{fmt::format("UDP {}: {}", to_string(local), std::strerror(errno))};
    if (ipv6)
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (auto done = socket.set_filter(filter); !done)
        return done.error();
    if (bind(fd, local.data(), static_cast<socklen_t>(local.size())) != 0) {
        const int error = errno;
        if (error == EADDRINUSE) {
            const std::string holder = udp_port_holder(local);
            return Error{fmt::format("UDP {} is taken{}{}", to_string(local),
                                     holder.empty() ? "; ss -lunp says by whom" : " by ", holder)};
        }
        if (error == EADDRNOTAVAIL)
            return Error{fmt::format("UDP {}: this machine has no such address", to_string(local))};
        return Error{fmt::format("UDP {}: {}", to_string(local), std::strerror(error))};
    }
    // In transport mode the peer's pfsync sees this header, and accepts no other TTL.
    if (ipv6)
        set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 255);
    else
        set(fd, IPPROTO_IP, IP_TTL, 255);
    size_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, options.buffer_size, "receive");
    size_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, options.buffer_size, "write");
    if (options.dont_fragment) {
        // PROBE: DF is set, and the path MTU from ICMP is ignored.
        if (ipv6) {
            set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
            set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
        } else {
            set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
            set(fd, IPPROTO_IP, IP_RECVERR, 1);
        }
    }
    if (options.kernel_esp && !set(fd, IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP))
        return Error{fmt::format("UDP {}: the kernel takes no ESP out of it: {}", to_string(local),
                                 std::strerror(errno))};
    // The kernel would treat joined datagrams as one ESP packet.
    if (options.gro && !options.kernel_esp)
        socket.set_gro(true); // without: one datagram a message, which is right, too
    socket.gso_ = options.gso;
    return socket;
}

Result<void> UdpSocket::set_filter(std::span<const sock_filter> filter) {
    const sock_fprog program{static_cast<unsigned short>(filter.size()),
                             const_cast<sock_filter*>(filter.data())};
    if (setsockopt(fd_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
        return Error{
            fmt::format("UDP {}: its filter: {}", to_string(local_), std::strerror(errno))};
    return {};
}

void UdpSocket::set_gro(bool joined) {
    set(fd_.get(), SOL_UDP, UDP_GRO, joined ? 1 : 0);
}

std::uint64_t UdpSocket::kernel_drops() const {
    std::array<std::uint32_t, SK_MEMINFO_VARS> info{};
    socklen_t length = sizeof info;
    getsockopt(fd_.get(), SOL_SOCKET, SO_MEMINFO, info.data(), &length);
    return info[SK_MEMINFO_DROPS];
}

int UdpSocket::receive(ReceiveRing& ring) {
    ReceiveRing::Storage& s = *ring.storage_;
    for (std::size_t i = 0; i < ReceiveRing::kMessages; i++) {
        s.vectors[i] = {s.bytes.data() + i * ReceiveRing::kMessageSize, ReceiveRing::kMessageSize};
        msghdr& header = s.headers[i].msg_hdr;
        header = {};
        header.msg_name = &s.names[i];
        header.msg_namelen = sizeof s.names[i];
        header.msg_iov = &s.vectors[i];
        header.msg_iovlen = 1;
        header.msg_control = s.controls[i].bytes.data();
        header.msg_controllen = s.controls[i].bytes.size();
    }
    const int n =
        recvmmsg(fd_.get(), s.headers.data(), ReceiveRing::kMessages, MSG_DONTWAIT, nullptr);
    return n < 0 ? -errno : n;
}

ReceiveRing::Message UdpSocket::message(ReceiveRing& ring, int index) {
    ReceiveRing::Storage& s = *ring.storage_;
    const auto i = static_cast<std::size_t>(index);
    msghdr& header = s.headers[i].msg_hdr;
    ReceiveRing::Message message;
    std::memcpy(message.from.data(), header.msg_name, header.msg_namelen);
    message.from.resize(header.msg_namelen);
    message.bytes = {static_cast<std::uint8_t*>(s.vectors[i].iov_base), s.headers[i].msg_len};
    message.segment = message.bytes.size();
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c))
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int size = 0;
            std::memcpy(&size, CMSG_DATA(c), sizeof size);
            if (size > 0)
                message.segment = static_cast<std::size_t>(size);
        }
    return message;
}

SendResult UdpSocket::send(const Endpoint& to, std::span<const MutableBytes> packets) {
    if (!gso_ || packets.size() < 2)
        return send_each(to, packets);

    std::array<iovec, kMaxSegments> vectors;
    for (std::size_t i = 0; i < packets.size(); i++)
        vectors[i] = {packets[i].data(), packets[i].size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(std::uint16_t))> control{};
    msghdr header = header_to(to);
    header.msg_iov = vectors.data();
    header.msg_iovlen = packets.size();
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
    const auto segment = static_cast<std::uint16_t>(packets[0].size());
    std::memcpy(CMSG_DATA(c), &segment, sizeof segment);

    const auto sent = past_waiting_errors(
        [&] { return sendmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL); });
    if (sent >= 0)
        return {SendStatus::sent, packets.size(), 1, 0};
    // EINVAL: the kernel has no GSO, or (older ones) a segment is beyond the MTU. EIO: the device
    // has no checksum offload. One by one shows which; if that works, GSO is not tried again. And
    // EMSGSIZE comes with its figure (next_error()) only for a single datagram.
    if (errno != EINVAL && errno != EIO && errno != EOPNOTSUPP && errno != EMSGSIZE)
        return {status_of(errno), 0, 1, errno};
    const int refusal = errno;
    const SendResult result = send_each(to, packets);
    if (refusal != EMSGSIZE && (result.status == SendStatus::sent || result.packets > 0)) {
        gso_ = false;
        log::notice("UDP {}: no segmentation offload ({}), sending one by one", to_string(local_),
                    std::strerror(refusal));
    }
    return {result.status, result.packets, result.calls + 1, result.error};
}

SendResult UdpSocket::send_each(const Endpoint& to, std::span<const MutableBytes> packets) {
    std::array<iovec, kMaxSegments> vectors;
    std::array<mmsghdr, kMaxSegments> headers;
    for (std::size_t i = 0; i < packets.size(); i++) {
        vectors[i] = {packets[i].data(), packets[i].size()};
        headers[i] = {header_to(to), 0};
        headers[i].msg_hdr.msg_iov = &vectors[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
    std::size_t sent = 0, calls = 0;
    while (sent < packets.size()) {
        // sendmmsg reports an error only if it is the first packet's: so ask again for the rest.
        const int n = past_waiting_errors([&] {
            return sendmmsg(fd_.get(), headers.data() + sent,
                            static_cast<unsigned>(packets.size() - sent),
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        });
        calls++;
        if (n <= 0)
            return {status_of(errno), sent, calls, errno};
        sent += static_cast<std::size_t>(n);
    }
    return {SendStatus::sent, sent, calls, 0};
}

std::optional<PathError> UdpSocket::next_error() {
    PathError error;
    sockaddr_storage to{};
    // sock_extended_err and the address of the sender of the error.
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(sock_extended_err) + sizeof(sockaddr_in6))>
        control{};
    iovec quoted{error.quoted.data(), error.quoted.size()};
    msghdr header{};
    header.msg_name = &to;
    header.msg_namelen = sizeof to;
    header.msg_iov = &quoted;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t n = recvmsg(fd_.get(), &header, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (n < 0)
        return {};
    error.quoted_size = static_cast<std::size_t>(n);
    if (header.msg_namelen <= error.to.capacity()) {
        std::memcpy(error.to.data(), &to, header.msg_namelen);
        error.to.resize(header.msg_namelen);
    }
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
        if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
            !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
            continue;
        sock_extended_err what;
        std::memcpy(&what, CMSG_DATA(c), sizeof what);
        error.local = what.ee_origin == SO_EE_ORIGIN_LOCAL;
        error.too_big = what.ee_errno == EMSGSIZE;
        error.mtu = what.ee_info;
    }
    return error;
}

} // namespace encsync::link
