// SPDX-License-Identifier: ISC
#include "table/conntrack/netlink.hpp"

#include <cerrno>
#include <fmt/core.h>
#include <sys/socket.h>
#include <vector>

namespace encsync::table::netlink {

namespace {

Error failed(const char* what, const char* step) {
    const int error = errno;
    const char* hint = error == EPERM ? " (it takes CAP_NET_ADMIN)"
                       : error == EPROTONOSUPPORT || error == ENOENT
                           ? " (the kernel lacks nf_conntrack_netlink)"
                           : "";
    return Error{fmt::format("{}: {}: {}{}", what, step, std::strerror(error), hint)};
}

void set_buffer(int fd, int forced, int asked, std::size_t bytes) {
    const int size = static_cast<int>(bytes);
    if (::setsockopt(fd, SOL_SOCKET, forced, &size, sizeof size) != 0)
        ::setsockopt(fd, SOL_SOCKET, asked, &size, sizeof size);
}

} // namespace

Result<Socket> Socket::open(int protocol, const char* what) {
    Socket s;
    s.what_ = what;
    s.fd_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
    if (!s.fd_)
        return failed(what, "netlink socket");
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(s.fd(), generic, sizeof address) != 0)
        return failed(what, "netlink bind");
    if (::getsockname(s.fd(), generic, &size) != 0)
        return failed(what, "netlink port id");
    s.port_ = address.nl_pid;
    return s;
}

void Socket::set_receive_buffer(std::size_t bytes) {
    set_buffer(fd(), SO_RCVBUFFORCE, SO_RCVBUF, bytes);
}

void Socket::set_send_buffer(std::size_t bytes) {
    set_buffer(fd(), SO_SNDBUFFORCE, SO_SNDBUF, bytes);
}

Result<void> Socket::join(int group) {
    if (::setsockopt(fd(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
        return failed(what_, "netlink group");
    return {};
}

void Socket::ask_short_errors() {
    const int on = 1;
    ::setsockopt(fd(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
}

Result<void> Socket::attach(std::span<const sock_filter> program) {
    std::vector<sock_filter> code(program.begin(), program.end());
    const sock_fprog given{static_cast<unsigned short>(code.size()), code.data()};
    if (::setsockopt(fd(), SOL_SOCKET, SO_ATTACH_FILTER, &given, sizeof given) != 0)
        return failed(what_, "socket filter");
    return {};
}

int Socket::send(Bytes bytes) {
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    for (;;) {
        if (::sendto(fd(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel),
                     sizeof kernel) >= 0)
            return 0;
        if (errno != EINTR)
            return errno;
    }
}

} // namespace encsync::table::netlink
