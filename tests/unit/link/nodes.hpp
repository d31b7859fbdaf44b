// SPDX-License-Identifier: ISC
// Two nodes with real sockets, SAs made by hand, and a third host.
#pragma once

#include "ipsec/link/inner.hpp"
#include "ipsec/link/userspace.hpp"
#include "tests/unit/link/params.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <deque>
#include <fmt/format.h>
#include <netinet/udp.h>
#include <sys/socket.h>

namespace encsync::link {

using esp::Direction;
using std::chrono::seconds;
using Buffer = std::vector<std::uint8_t>;

inline constexpr std::uint32_t kMickeyIn = 0xa0000001, kMinnieIn = 0xb0000001;

inline Buffer text(std::size_t size, std::uint8_t first = 7) {
    Buffer bytes(size);
    for (std::size_t i = 0; i < size; i++)
        bytes[i] = static_cast<std::uint8_t>(first + i);
    return bytes;
}

inline Endpoint endpoint(const std::string& address, std::uint16_t port) {
    return {boost::asio::ip::make_address(address), port};
}

// A plain socket: mallory, or a relay that sees every sealed packet.
struct PlainSocket {
    explicit PlainSocket(const Endpoint& local)
        : fd(socket(local.address().is_v6() ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
        EXPECT_EQ(0, bind(fd.get(), local.data(), static_cast<socklen_t>(local.size())));
    }
    void send(const Buffer& bytes, const Endpoint& to) const {
        EXPECT_EQ(static_cast<ssize_t>(bytes.size()),
                  sendto(fd.get(), bytes.data(), bytes.size(), 0, to.data(),
                         static_cast<socklen_t>(to.size())));
    }
    std::vector<Buffer> receive_all() const {
        std::vector<Buffer> all;
        for (;;) {
            Buffer bytes(65536);
            const ssize_t n = recv(fd.get(), bytes.data(), bytes.size(), 0);
            if (n < 0)
                return all;
            bytes.resize(static_cast<std::size_t>(n));
            all.push_back(std::move(bytes));
        }
    }
    Fd fd;
};

struct Node final : Receiver {
    struct Packet {
        PeerId peer;
        std::uint32_t spi;
        Buffer inner;
        Buffer payload() const { return {inner.begin() + 20, inner.end()}; }
    };
    struct Ike {
        Endpoint from, to;
        Buffer datagram;
    };

    Node(boost::asio::io_context& io, UserspaceOptions options) {
        LinkHooks hooks;
        hooks.on_ike = [this](const Endpoint& from, const Endpoint& to, Bytes datagram) {
            ike.push_back({from, to, {datagram.begin(), datagram.end()}});
        };
        hooks.on_stranger = [this](const Endpoint& from, const Endpoint& to, Bytes header) {
            strangers.push_back(fmt::format("{} to {}, {} bytes", encsync::link::to_string(from),
                                            encsync::link::to_string(to), header.size()));
        };
        hooks.on_expire = [this](PeerId, std::uint32_t spi) { expired.push_back(spi); };
        auto opened = UserspaceLink::open(io, *this, std::move(hooks), options);
        EXPECT_TRUE(opened);
        link = std::move(*opened);
    }
    void on_packet(PeerId peer, std::uint32_t spi, Bytes inner) override {
        packets.push_back({peer, spi, {inner.begin(), inner.end()}});
    }
    void on_up(PeerId) override { ups++; }
    void on_down(PeerId) override { downs++; }
    void on_writable(PeerId) override { writables++; }

    bool put(const Buffer& payload) {
        const MutableBytes room = link->acquire(0);
        if (room.size() < payload.size())
            return false;
        std::copy(payload.begin(), payload.end(), room.begin());
        link->commit(0, payload.size());
        return true;
    }
    const PeerStats& stats() const { return *link->peer_stats(0); }
    std::uint64_t refused(esp::Verdict verdict) const {
        return stats().refused[static_cast<std::size_t>(verdict)];
    }

    std::unique_ptr<UserspaceLink> link;
    std::deque<Packet> packets;
    std::vector<Ike> ike;
    std::vector<std::string> strangers;
    std::vector<std::uint32_t> expired;
    int ups = 0, downs = 0, writables = 0;
};

// mickey on 127.0.0.1 and minnie on 127.0.0.2, in one loop and a namespace of their own.
class TwoNodes : public testing::Test {
  protected:
    void SetUp() override {
        if (!enter_namespace())
            GTEST_SKIP() << "no network namespace to be had";
        options.ike.socket.buffer_size = 4 << 20;
        make();
    }
    void make() {
        minnie.reset();
        mickey.reset();
        mickey.emplace(io, options);
        minnie.emplace(io, options);
        ASSERT_TRUE(mickey->link->add_peer(peer("minnie", left, right)));
        ASSERT_TRUE(minnie->link->add_peer(peer("mickey", right, left)));
    }
    LinkPeer peer(const std::string& name, const std::string& l, const std::string& r) const {
        LinkPeer p;
        p.id = 0;
        p.name = name;
        p.left = boost::asio::ip::make_address(l);
        p.right = boost::asio::ip::make_address(r);
        p.mtu = mtu;
        p.transport = transport;
        p.probes = probes;
        return p;
    }

    // One way: `out` seals what `in` opens.
    void connect(Node& out, Node& in, std::uint32_t spi, std::uint8_t key = 1) {
        auto inbound = make_params(Direction::inbound, spi, 0, key);
        auto outbound = make_params(Direction::outbound, spi, 0, key);
        inbound.transport = outbound.transport = transport;
        ASSERT_TRUE(in.link->add_sa(inbound));
        ASSERT_TRUE(out.link->add_sa(outbound));
    }
    void connect_both() {
        connect(*mickey, *minnie, kMinnieIn, 1);
        connect(*minnie, *mickey, kMickeyIn, 2);
    }

    // Runs the loop until the condition holds; fails after a minute.
    template<class F>
    bool until(F&& condition) {
        const auto deadline = Clock::now() + seconds(60);
        while (!condition()) {
            io.restart();
            if (io.run_one_until(deadline) == 0)
                return condition();
        }
        return true;
    }
    // All sent packets have been received: loopback delivers at once, in order.
    void settle() {
        io.restart();
        while (io.poll() > 0)
            io.restart();
    }

    boost::asio::io_context io;
    UserspaceOptions options;
    std::string left = "127.0.0.1", right = "127.0.0.2";
    std::uint16_t mtu = 1500;
    bool transport = false, probes = false;
    std::optional<Node> mickey, minnie;
};

} // namespace encsync::link
