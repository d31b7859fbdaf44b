// SPDX-License-Identifier: ISC
// The sockets alone: with a handler of ESP, and with the kernel, which takes ESP out before.
#include "ipsec/link/filter.hpp"
#include "ipsec/link/ike_sockets.hpp"
#include "tests/unit/link/nodes.hpp"

#include <gtest/gtest.h>

namespace encsync::link {
namespace {

Buffer behind_marker(const Buffer& ike) {
    Buffer bytes(kMarkerSize);
    bytes.insert(bytes.end(), ike.begin(), ike.end());
    return bytes;
}

struct Handler final : EspHandler {
    std::vector<Buffer> packets;
    std::vector<const UdpSocket*> rooms;
    void on_esp(MutableBytes packet) override {
        packets.emplace_back(packet.begin(), packet.end());
    }
    void on_path_error(const UdpSocket&, const PathError&) override {}
    void on_room(const UdpSocket& socket) override { rooms.push_back(&socket); }
    std::vector<std::uint32_t> spis() const override { return {kMickeyIn}; }
};

// A message of this IKE SA, which its SPIs begin with this byte.
Buffer message_of(std::uint8_t spis, std::uint8_t exchange, std::uint8_t next_payload) {
    Buffer message = text(300, spis);
    message[16] = next_payload;
    message[17] = 0x20;
    message[18] = exchange;
    return message;
}

class IkeSocketsTest : public testing::Test {
  protected:
    void SetUp() override {
        if (!enter_namespace())
            GTEST_SKIP() << "no network namespace to be had";
    }
    std::unique_ptr<IkeSockets> open(EspHandler* esp) {
        LinkHooks hooks;
        hooks.on_ike = [this](const Endpoint&, const Endpoint& to, Bytes datagram) {
            ike.emplace_back(to.port(), Buffer(datagram.begin(), datagram.end()));
        };
        auto sockets = IkeSockets::open(io, {}, std::move(hooks), esp);
        EXPECT_TRUE(sockets);
        return std::move(*sockets);
    }
    static LinkPeer peer(PeerId id, const std::string& left, const std::string& right) {
        LinkPeer out;
        out.id = id;
        out.name = "minnie";
        out.left = boost::asio::ip::make_address(left);
        out.right = boost::asio::ip::make_address(right);
        return out;
    }
    void settle() {
        io.restart();
        while (io.poll() > 0)
            io.restart();
    }

    boost::asio::io_context io;
    std::vector<std::pair<std::uint16_t, Buffer>> ike; // by the local port
};

TEST_F(IkeSocketsTest, TakeEspFromThePeersPortOnly) {
    Handler handler;
    const auto sockets = open(&handler);
    ASSERT_TRUE(sockets->add_peer(peer(0, "127.0.0.1", "127.0.0.2")));
    const PlainSocket minnie(endpoint("127.0.0.2", 4500)), other(endpoint("127.0.0.2", 4501));
    other.send(text(300, 1), endpoint("127.0.0.1", 4500));
    settle();
    EXPECT_TRUE(handler.packets.empty());
    EXPECT_EQ(1U, sockets->stats().wrong_port);
    // IKE may come from any port.
    other.send(behind_marker(text(300)), endpoint("127.0.0.1", 4500));
    minnie.send(text(300, 1), endpoint("127.0.0.1", 4500));
    settle();
    EXPECT_EQ(1U, ike.size());
    EXPECT_EQ(1U, handler.packets.size());
    EXPECT_EQ(1U, sockets->stats().wrong_port);
}

TEST_F(IkeSocketsTest, PartIkeFromEsp) {
    Handler handler;
    for (EspHandler* esp :
         {static_cast<EspHandler*>(&handler), static_cast<EspHandler*>(nullptr)}) {
        ike.clear();
        const auto sockets = open(esp);
        ASSERT_TRUE(sockets->add_peer(peer(0, "127.0.0.1", "127.0.0.2")));
        const PlainSocket minnie(endpoint("127.0.0.2", 4500));
        const Buffer message = text(300), packet = text(300, 1);
        minnie.send(message, endpoint("127.0.0.1", 500));
        minnie.send(behind_marker(message), endpoint("127.0.0.1", 4500));
        minnie.send({kNatKeepalive}, endpoint("127.0.0.1", 4500));
        minnie.send(packet, endpoint("127.0.0.1", 4500));
        settle();
        const std::vector<std::pair<std::uint16_t, Buffer>> expected{{500, message},
                                                                     {4500, message}};
        EXPECT_TRUE(std::is_permutation(ike.begin(), ike.end(), expected.begin(), expected.end()));
        EXPECT_EQ(2U, sockets->stats().ike_in);
        // The kernel takes keepalives out, too.
        EXPECT_EQ(esp != nullptr ? 1U : 0U, sockets->stats().keepalive);
        EXPECT_EQ(1U, handler.packets.size()); // never without it
        EXPECT_EQ(packet, handler.packets.at(0));
    }
}

// In a peer's name: charon sees a part of it, and all that is of an SA which both have
// authenticated.
TEST_F(IkeSocketsTest, HandOnAPartOfAFlood) {
    Handler handler;
    const auto sockets = open(&handler);
    ASSERT_TRUE(sockets->add_peer(peer(0, "127.0.0.1", "127.0.0.2")));
    const PlainSocket minnie(endpoint("127.0.0.2", 4500));
    const auto on_sa = [&](const Buffer& message) {
        return sockets->send_ike(endpoint("127.0.0.1", 4500), endpoint("127.0.0.2", 4500), message);
    };
    constexpr std::uint8_t kAuth = 35, kInformational = 37, kEncrypted = 46, kNotify = 41;
    ASSERT_TRUE(on_sa(message_of(1, kInformational, kEncrypted)));
    ASSERT_TRUE(on_sa(message_of(2, kAuth, kEncrypted)));       // not authenticated yet
    ASSERT_TRUE(on_sa(message_of(3, kInformational, kNotify))); // nor ever
    const auto flood = [&](const Buffer& bytes, int count) {
        for (int n = 0; n < count; n++) {
            minnie.send(bytes, endpoint("127.0.0.1", 4500));
            if (n % 100 == 99)
                settle();
        }
        settle();
    };
    flood(behind_marker(message_of(9, kAuth, kEncrypted)), 5000);
    EXPECT_LT(ike.size(), 5000U);
    EXPECT_GE(ike.size(), 1000U);
    EXPECT_EQ(5000U, ike.size() + sockets->stats().ike_flood);
    ike.clear();
    flood(behind_marker(message_of(1, kInformational, kEncrypted)), 1000);
    EXPECT_EQ(1000U, ike.size());
    // Of that one, too, there is a limit; no SPIs are those of none.
    Buffer without = message_of(4, kInformational, kEncrypted);
    std::fill_n(without.begin(), 16, std::uint8_t{0});
    for (const Buffer& message :
         {message_of(1, kInformational, kEncrypted), message_of(2, kInformational, kEncrypted),
          message_of(3, kInformational, kEncrypted), without}) {
        const auto kept = sockets->stats().ike_flood;
        flood(behind_marker(message), 5000);
        EXPECT_GT(sockets->stats().ike_flood, kept);
    }
    // Until the kernel drops what is of no SA: what a busy machine sent so far may be no flood.
    Buffer malformed = message_of(1, kInformational, kEncrypted);
    malformed[17] = 0x10;
    const auto before = sockets->kernel_drops();
    for (int tries = 0; sockets->kernel_drops() == before && tries < 10; tries++)
        flood(behind_marker(malformed), 5000);
    const auto drops = sockets->kernel_drops();
    flood(text(300, 1), 100);
    flood(behind_marker(malformed), 100);
    EXPECT_EQ(drops + 200, sockets->kernel_drops());
    EXPECT_TRUE(handler.packets.empty());
    Buffer packet = text(300);
    store_be(packet.data(), kMickeyIn);
    flood(packet, 100);
    EXPECT_EQ(100U, handler.packets.size());
}

TEST(FloodGuardTest, AFloodIsOverWhenTheKernelDropsLittleForAWhile) {
    FloodGuard guard;
    Clock::time_point now{std::chrono::hours(1)};
    const auto refuse = [&](unsigned count) {
        bool begun = false;
        while (count-- != 0)
            begun |= guard.on_refused(now);
        return begun;
    };
    // Single ones are none, in however long a time.
    for (int window = 0; window < 100; window++, now += FloodGuard::kWindow)
        EXPECT_FALSE(refuse(FloodGuard::kMany - 1));
    EXPECT_TRUE(refuse(FloodGuard::kMany));
    EXPECT_TRUE(guard.flooded());
    EXPECT_FALSE(refuse(FloodGuard::kMany)) << "it has begun already";
    std::uint64_t dropped = 123456;
    EXPECT_FALSE(guard.is_over(dropped));
    for (unsigned check = 1; check < FloodGuard::kQuiet; check++)
        EXPECT_FALSE(guard.is_over(dropped += FloodGuard::kManyDropped - 1));
    EXPECT_FALSE(guard.is_over(dropped += FloodGuard::kManyDropped)); // it goes on
    for (unsigned check = 1; check < FloodGuard::kQuiet; check++)
        EXPECT_FALSE(guard.is_over(dropped));
    EXPECT_TRUE(guard.is_over(dropped));
    EXPECT_FALSE(guard.flooded());
    now += FloodGuard::kWindow;
    EXPECT_TRUE(refuse(FloodGuard::kMany));
}

TEST_F(IkeSocketsTest, SendBehindTheMarkerFromNatport) {
    const auto sockets = open(nullptr);
    ASSERT_TRUE(sockets->add_peer(peer(0, "127.0.0.1", "127.0.0.2")));
    const PlainSocket minnie(endpoint("127.0.0.2", 4500));
    const Buffer message = text(300);
    EXPECT_TRUE(
        sockets->send_ike(endpoint("127.0.0.1", 4500), endpoint("127.0.0.2", 4500), message));
    EXPECT_TRUE(
        sockets->send_ike(endpoint("127.0.0.1", 500), endpoint("127.0.0.2", 4500), message));
    EXPECT_EQ((std::vector{behind_marker(message), message}), minnie.receive_all());
    EXPECT_FALSE(
        sockets->send_ike(endpoint("127.0.0.1", 501), endpoint("127.0.0.2", 4500), message));
    EXPECT_FALSE(
        sockets->send_ike(endpoint("127.0.0.1", 500), endpoint("127.0.0.3", 4500), message));
    EXPECT_EQ(2U, sockets->stats().ike_unknown_address);
}

// Peers of one local address share its sockets, which are closed with the last of them.
TEST_F(IkeSocketsTest, AreSharedAndCloseWithTheLastPeer) {
    Handler handler;
    const auto sockets = open(&handler);
    const auto one = sockets->add_peer(peer(0, "127.0.0.1", "127.0.0.2"));
    const auto two = sockets->add_peer(peer(1, "127.0.0.1", "127.0.0.3"));
    ASSERT_TRUE(one && two);
    EXPECT_EQ(*one, *two);
    EXPECT_EQ(endpoint("127.0.0.1", 4500), (*one)->local());
    EXPECT_FALSE(sockets->add_peer(peer(1, "127.0.0.1", "127.0.0.4"))); // the id is in use
    sockets->wait_for_room(**one, false);
    sockets->wait_for_room(**one, false);
    settle();
    EXPECT_EQ(std::vector<const UdpSocket*>{*one}, handler.rooms);

    const auto moved = sockets->move_peer(1, endpoint("127.0.0.7", 0).address(),
                                          endpoint("127.0.0.3", 0).address());
    ASSERT_TRUE(moved);
    EXPECT_EQ(endpoint("127.0.0.7", 4500), (*moved)->local());
    const PlainSocket goofy(endpoint("127.0.0.3", 500));
    goofy.send(text(300), endpoint("127.0.0.1", 500)); // unknown there by now
    goofy.send(text(300), endpoint("127.0.0.7", 500));
    settle();
    EXPECT_EQ(1U, ike.size());

    const auto is_free = [](const char* address) {
        const Fd fd(::socket(AF_INET, SOCK_DGRAM, 0));
        const Endpoint local = endpoint(address, 4500);
        return ::bind(fd.get(), local.data(), static_cast<socklen_t>(local.size())) == 0;
    };
    EXPECT_FALSE(is_free("127.0.0.1"));
    sockets->remove_peer(0);
    EXPECT_TRUE(is_free("127.0.0.1"));
    EXPECT_FALSE(is_free("127.0.0.7"));
    sockets->remove_peer(1);
    EXPECT_TRUE(is_free("127.0.0.7"));
}

} // namespace
} // namespace encsync::link
