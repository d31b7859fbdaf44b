// SPDX-License-Identifier: ISC
#include "daemon/background.hpp"

#include "util/log.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace encsync::daemon {

namespace {

// Sends one datagram to the socket that systemd names, if any. If that fails, systemd's start
// timeout reports it.
void notify_service_manager() {
    const char* path = std::getenv("NOTIFY_SOCKET");
    sockaddr_un address{};
    const std::size_t length = path ? std::strlen(path) : 0;
    if (length < 2 || length >= sizeof address.sun_path)
        return;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path, length);
    if (path[0] == '@') // an abstract address, which begins with a NUL
        address.sun_path[0] = '\0';
    const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    static constexpr char kReady[] = "READY=1";
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
    if (::sendto(socket.get(), kReady, sizeof kReady - 1, MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&address), size) < 0)
        log::warning("the service manager cannot be told that we are up: {}", std::strerror(errno));
}

} // namespace

void keep_secrets_in() {
    ::prctl(PR_SET_DUMPABLE, 0);
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
}

Background::Background(bool leave) {
    int ends[2];
    if (!leave || ::pipe2(ends, O_CLOEXEC) != 0)
        return;
    Fd listen(ends[0]);
    pipe_.reset(ends[1]);
    const pid_t child = ::fork();
    if (child > 0) {
        pipe_.reset();
        char byte = 0;
        ::_exit(::read(listen.get(), &byte, 1) == 1 ? 0 : 1);
    }
    ::setsid();
}

void Background::ready() {
    notify_service_manager();
    if (!pipe_)
        return;
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        ::dup2(null.get(), fd);
    log::to_syslog();
    const char byte = 1;
    [[maybe_unused]] const auto written = ::write(pipe_.get(), &byte, 1);
    pipe_.reset();
}

} // namespace encsync::daemon
