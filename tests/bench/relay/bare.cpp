// SPDX-License-Identifier: ISC
#include "tests/bench/relay/bare.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/core.h>
#include <poll.h>

namespace encsync::bench {

namespace {

constexpr std::uint16_t kPort = 7240;
constexpr int kBufferSize = 16 << 20; // as that of a gateway

Fd open_udp(const BareOptions& options) {
    Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_in own = address(options.site, kPort),
                      other = address(options.other_site, kPort);
    if (!fd || bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0 ||
        connect(fd.get(), reinterpret_cast<const sockaddr*>(&other), sizeof other) != 0)
        fail(fmt::format("{}: {}", options.site, std::strerror(errno)));
    set_buffers(fd.get(), kBufferSize);
    return fd;
}

// Without the first `header` bytes of each packet.
void pass_on(Batch& batch, int from, int to, std::size_t header) {
    const std::size_t received = batch.receive(from, MSG_DONTWAIT);
    std::size_t good = 0;
    for (std::size_t i = 0; i < received; i++) {
        const std::size_t size = batch.headers[i].msg_len;
        if (size > header)
            batch.vectors[good++] = {batch.buffers[i].data() + header, size - header};
    }
    batch.send(to, good);
}

} // namespace

void run_bare(const BareOptions& options) {
    const Fd cable = open_pfsync(options.cable, kBufferSize), udp = open_udp(options);
    Batch batch;
    for (;;) {
        std::array<pollfd, 2> wait{{{cable.get(), POLLIN, 0}, {udp.get(), POLLIN, 0}}};
        if (poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR)
            fail(fmt::format("poll: {}", std::strerror(errno)));
        if (wait[0].revents != 0)
            pass_on(batch, cable.get(), udp.get(), kIpHeader);
        if (wait[1].revents != 0)
            pass_on(batch, udp.get(), cable.get(), 0);
    }
}

} // namespace encsync::bench
