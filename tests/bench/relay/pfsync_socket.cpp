// SPDX-License-Identifier: ISC
#include "tests/bench/relay/pfsync_socket.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fmt/core.h>
#include <poll.h>

namespace encsync::bench {

void fail(const std::string& why) {
    fmt::print(stderr, "lab_relay: {}\n", why);
    std::exit(1);
}

sockaddr_in address(const std::string& text, std::uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    if (inet_pton(AF_INET, text.c_str(), &a.sin_addr) != 1)
        fail(text + ": no address");
    return a;
}

void set_buffers(int fd, int size) {
    for (const int option : {SO_RCVBUFFORCE, SO_SNDBUFFORCE})
        if (setsockopt(fd, SOL_SOCKET, option, &size, sizeof size) != 0)
            fail(fmt::format("buffers of a socket: {}", std::strerror(errno)));
}

Fd open_pfsync(const Cable& cable, int buffer_size) {
    constexpr int kPfsync = 240, kTtl = 255, kDontFragment = IP_PMTUDISC_DO;
    Fd fd(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, kPfsync));
    const sockaddr_in other = address(cable.other, 0);
    if (!fd ||
        setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, cable.interface.c_str(),
                   static_cast<socklen_t>(cable.interface.size())) != 0 ||
        setsockopt(fd.get(), IPPROTO_IP, IP_TTL, &kTtl, sizeof kTtl) != 0 ||
        setsockopt(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, &kDontFragment, sizeof kDontFragment) !=
            0 ||
        connect(fd.get(), reinterpret_cast<const sockaddr*>(&other), sizeof other) != 0)
        fail(fmt::format("{}: {}", cable.interface, std::strerror(errno)));
    set_buffers(fd.get(), buffer_size);
    return fd;
}

Batch::Batch() {
    for (std::size_t i = 0; i < kBatch; i++) {
        headers[i].msg_hdr.msg_iov = &vectors[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
}

void Batch::put(std::size_t i, std::size_t offset, std::size_t size) {
    vectors[i] = {buffers[i].data() + offset, size};
}

std::size_t Batch::receive(int fd, int flags) {
    for (std::size_t i = 0; i < kBatch; i++)
        put(i, 0, buffers[i].size());
    const int n = recvmmsg(fd, headers.data(), kBatch, flags, nullptr);
    return n < 0 ? 0 : static_cast<std::size_t>(n);
}

void Batch::send(int fd, std::size_t count) {
    for (std::size_t sent = 0; sent < count;) {
        const int n = sendmmsg(fd, &headers[sent], static_cast<unsigned>(count - sent), 0);
        if (n > 0) {
            sent += static_cast<std::size_t>(n);
            continue;
        }
        // A connected socket reports what ICMP said of an earlier packet, and goes on.
        if (errno != ENOBUFS && errno != EINTR && errno != ECONNREFUSED && errno != EAGAIN)
            fail(fmt::format("sending: {}", std::strerror(errno)));
        if (errno == EAGAIN) {
            pollfd wait{fd, POLLOUT, 0};
            poll(&wait, 1, 1);
        }
    }
}

} // namespace encsync::bench
