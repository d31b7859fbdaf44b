// SPDX-License-Identifier: ISC
#include "ipsec/link/socket.hpp"
#include "tests/unit/link/params.hpp"

#include <array>
#include <sys/socket.h>

namespace encsync::link {
namespace {

using Buffer = std::vector<std::uint8_t>;

class Sockets : public testing::Test {
  protected:
    void SetUp() override {
        if (!enter_namespace())
            GTEST_SKIP() << "no network namespace to be had";
    }
    static UdpSocket open(const char* address, const SocketOptions& options = {}) {
        auto socket = UdpSocket::open({boost::asio::ip::make_address(address), 4500}, options,
                                      std::array{sock_filter(BPF_STMT(BPF_RET, 0xffffffff))});
        EXPECT_TRUE(socket);
        return std::move(*socket);
    }
    // All queued datagrams, with GRO's divided again.
    static std::vector<Buffer> receive(UdpSocket& socket) {
        ReceiveRing ring;
        std::vector<Buffer> all;
        for (int n; (n = socket.receive(ring)) > 0;)
            for (int i = 0; i < n; i++) {
                const auto message = UdpSocket::message(ring, i);
                for (std::size_t at = 0; at < message.bytes.size(); at += message.segment) {
                    const auto piece = message.bytes.subspan(
                        at, std::min(message.segment, message.bytes.size() - at));
                    all.emplace_back(piece.begin(), piece.end());
                }
            }
        return all;
    }

    std::array<Buffer, 3> buffers{Buffer(1000, 1), Buffer(1000, 2), Buffer(600, 3)};
    std::array<MutableBytes, 3> packets{buffers[0], buffers[1], buffers[2]};
};

TEST_F(Sockets, OffloadCutsWhereItShould) {
    UdpSocket out = open("127.0.0.1"), in = open("127.0.0.2");
    const SendResult result = out.send(in.local(), packets);
    EXPECT_EQ(SendStatus::sent, result.status);
    EXPECT_EQ(3u, result.packets);
    EXPECT_EQ(1u, result.calls);
    EXPECT_EQ(std::vector<Buffer>(buffers.begin(), buffers.end()), receive(in));
    EXPECT_EQ(-EAGAIN, [&] {
        ReceiveRing ring;
        return in.receive(ring);
    }());
}

// The kernel refuses GSO on a socket without checksums, as it does on old devices.
TEST_F(Sockets, RefusedOffloadIsNotTriedAgain) {
    UdpSocket out = open("127.0.0.1"), in = open("127.0.0.2");
    const int one = 1;
    ASSERT_EQ(0, setsockopt(out.fd(), SOL_SOCKET, SO_NO_CHECK, &one, sizeof one));
    EXPECT_TRUE(out.gso());
    SendResult result = out.send(in.local(), packets);
    EXPECT_EQ(SendStatus::sent, result.status);
    EXPECT_EQ(3u, result.packets);
    EXPECT_EQ(2u, result.calls);
    EXPECT_FALSE(out.gso());
    result = out.send(in.local(), packets);
    EXPECT_EQ(1u, result.calls);
    EXPECT_EQ(6u, receive(in).size());
}

// A segment beyond the MTU does not disable offload.
TEST_F(Sockets, TooBigIsToldFromRefusedOffload) {
    shell("ip link set lo mtu 900");
    UdpSocket out = open("127.0.0.1"), in = open("127.0.0.2");
    const int one = 1;
    ASSERT_EQ(0, setsockopt(out.fd(), SOL_SOCKET, SO_NO_CHECK, &one, sizeof one));
    const SendResult result = out.send(in.local(), packets);
    EXPECT_EQ(SendStatus::too_big, result.status);
    EXPECT_EQ(EMSGSIZE, result.error);
    EXPECT_EQ(0u, result.packets);
    EXPECT_TRUE(out.gso());
    const auto error = out.next_error();
    ASSERT_TRUE(error);
    EXPECT_TRUE(error->too_big && error->local);
    EXPECT_EQ(900u, error->mtu);
    EXPECT_EQ(in.local().address(), error->to.address());
}

TEST_F(Sockets, EndpointsReadAsPeopleWriteThem) {
    EXPECT_EQ("192.0.2.1:500",
              to_string(Endpoint(boost::asio::ip::make_address("192.0.2.1"), 500)));
    EXPECT_EQ("[fd00::1]:4500",
              to_string(Endpoint(boost::asio::ip::make_address("fd00::1"), 4500)));
}

} // namespace
} // namespace encsync::link
