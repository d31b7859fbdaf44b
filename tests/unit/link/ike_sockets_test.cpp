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
};

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
