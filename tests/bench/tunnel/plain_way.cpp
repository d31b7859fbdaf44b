// SPDX-License-Identifier: ISC
// Plain UDP, many datagrams per system call. Another program encrypts it.
#include "tests/bench/tunnel/way.hpp"
#include "util/bytes.hpp"
#include "util/fd.hpp"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>

namespace encsync::bench {
namespace {

constexpr std::uint16_t kPort = 7000;
constexpr std::size_t kPayload = kPacket - 28; // IP and UDP headers

sockaddr_in address(const std::string& text, std::uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    if (inet_pton(AF_INET, text.c_str(), &a.sin_addr) != 1)
        fail(text + ": no address");
    return a;
}

Fd open(const std::string& at, std::uint16_t port) {
    Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    const int size = 16 << 20;
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    const sockaddr_in local = address(at, port);
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0)
        fail(fmt::format("{}: {}", at, std::strerror(errno)));
    return fd;
}

// kBatch messages, each with a buffer of its own.
struct Batch {
    Batch() {
        for (std::size_t i = 0; i < kBatch; i++) {
            vectors[i] = {buffers[i].data(), kPayload};
            headers[i].msg_hdr.msg_iov = &vectors[i];
            headers[i].msg_hdr.msg_iovlen = 1;
        }
    }
    std::array<std::array<std::uint8_t, kPayload>, kBatch> buffers{};
    std::array<iovec, kBatch> vectors{};
    std::array<mmsghdr, kBatch> headers{};
};

class PlainSender final : public Sender {
  public:
    PlainSender(const std::string& from, const std::string& to) : fd_(open(from, 0)) {
        const sockaddr_in peer = address(to, kPort);
        if (connect(fd_.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) != 0)
            fail(fmt::format("{}: {}", to, std::strerror(errno)));
    }
    std::size_t send(std::uint64_t number, std::size_t packets) override {
        for (std::size_t i = 0; i < packets; i++)
            store_be(batch_.buffers[i].data(), number + i);
        const int n = sendmmsg(fd_.get(), batch_.headers.data(), static_cast<unsigned>(packets), 0);
        if (n < 0 && errno != EAGAIN && errno != ENOBUFS)
            fail(fmt::format("sending: {}", std::strerror(errno)));
        return n < 0 ? 0 : static_cast<std::size_t>(n);
    }
    void idle() override {
        pollfd wait{fd_.get(), 0, 0};
        timespec moment{0, 50'000};
        ppoll(&wait, 1, &moment, nullptr);
    }

  private:
    Fd fd_;
    Batch batch_;
};

} // namespace

std::unique_ptr<Sender> plain_sender(const std::string& from, const std::string& to) {
    return std::make_unique<PlainSender>(from, to);
}

void plain_receiver(Shared& shared, const std::string& at) {
    const Fd fd = open(at, kPort);
    Batch batch;
    shared.ready = true;
    while (!shared.done) {
        pollfd wait{fd.get(), POLLIN, 0};
        if (poll(&wait, 1, 1) <= 0)
            continue;
        const int n = recvmmsg(fd.get(), batch.headers.data(), kBatch, MSG_DONTWAIT, nullptr);
        for (int i = 0; i < n; i++)
            count(shared,
                  load_be<std::uint64_t>(batch.buffers[static_cast<std::size_t>(i)].data()));
    }
}

} // namespace encsync::bench
