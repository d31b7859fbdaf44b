// SPDX-License-Identifier: ISC
#include "metrics/socket.hpp"

#include "net/asio.hpp"
#include "util/fd.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace encsync::metrics {

namespace asio = boost::asio;

namespace {

constexpr int kBacklog = 128;

Error failed(const net::Listen& listen, int error) {
    return Error{fmt::format("cannot listen on {}: {}", to_string(listen),
                             error == EADDRINUSE      ? "another program does"
                             : error == EADDRNOTAVAIL ? "this machine does not have that address"
                                                      : std::strerror(error))};
}

// Of a file that is in the way: 0 if there is none, or a socket without a listener, which is
// removed.
int clear_stale(const net::Listen& listen) {
    struct stat info {};
    if (::lstat(listen.path.c_str(), &info) != 0)
        return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(info.st_mode))
        return EEXIST;
    // Not blocking: EAGAIN means that its queue is full.
    const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, listen.path.data(), listen.path.size());
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
        errno != ECONNREFUSED)
        return EADDRINUSE;
    return ::unlink(listen.path.c_str()) == 0 ? 0 : errno;
}

Protocol::endpoint endpoint_of(const net::Listen& listen) {
    if (!listen.path.empty())
        return asio::local::stream_protocol::endpoint(listen.path);
    return asio::ip::tcp::endpoint(net::to_asio(listen.tcp.address), listen.tcp.port);
}

Result<void> bind(Acceptor& acceptor, const net::Listen& listen) {
    boost::system::error_code error;
    const Protocol::endpoint endpoint = endpoint_of(listen);
    acceptor.open(endpoint.protocol(), error);
    // Of connections that ended a moment ago, as after a restart.
    if (!error && listen.path.empty())
        acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (!error)
        acceptor.bind(endpoint, error);
    // Nobody can connect before listen().
    if (!error && !listen.path.empty() && ::chmod(listen.path.c_str(), 0666) != 0)
        error.assign(errno, boost::system::system_category());
    if (!error)
        acceptor.listen(kBacklog, error);
    if (error)
        return failed(listen, error.value());
    return {};
}

} // namespace

Result<void> start_listening(Acceptor& acceptor, const net::Listen& listen) {
    if (!listen.path.empty())
        if (const int error = clear_stale(listen); error != 0)
            return failed(listen, error);
    auto done = bind(acceptor, listen);
    if (!done) {
        boost::system::error_code ignored;
        acceptor.close(ignored);
    }
    return done;
}

void stop_listening(const net::Listen& listen) {
    if (!listen.path.empty())
        ::unlink(listen.path.c_str());
}

std::string client_of(const Socket& socket) {
    // getpeername and SO_PEERCRED take descriptors that are not const.
    const int fd = const_cast<Socket&>(socket).native_handle();
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
        return {};
    if (address.ss_family == AF_INET) {
        const auto& in = reinterpret_cast<const sockaddr_in&>(address);
        return {reinterpret_cast<const char*>(&in.sin_addr), sizeof in.sin_addr};
    }
    if (address.ss_family == AF_INET6) {
        const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
        return {reinterpret_cast<const char*>(&in.sin6_addr), sizeof in.sin6_addr};
    }
    ucred user{};
    size = sizeof user;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &size) != 0)
        return {};
    return std::to_string(user.uid);
}

} // namespace encsync::metrics
