// SPDX-License-Identifier: ISC
#include "ipsec/link/filter.hpp"
#include "tests/unit/link/nodes.hpp"

namespace encsync::link {
namespace {

// With a real socket: a datagram sent over loopback is received at once or never.
class Filter : public testing::Test {
  protected:
    void SetUp() override {
        if (!enter_namespace())
            GTEST_SKIP() << "no network namespace to be had";
    }
    static UdpSocket open(const char* address, std::span<const Address> sources, bool nat = true,
                          bool callers = false) {
        const Endpoint local = endpoint(address, 4500);
        auto socket = UdpSocket::open(
            local, {},
            filter_program(sources,
                           {.ipv6 = local.address().is_v6(), .nat = nat, .callers = callers}));
        EXPECT_TRUE(socket) << socket.error().text;
        return std::move(*socket);
    }
    static bool passes(UdpSocket& socket, const PlainSocket& from, const Buffer& bytes) {
        from.send(bytes, socket.local());
        ReceiveRing ring;
        return socket.receive(ring) == 1;
    }
    static std::vector<Address> addresses(std::initializer_list<const char*> texts) {
        std::vector<Address> all;
        for (const char* text : texts)
            all.push_back(boost::asio::ip::make_address(text));
        return all;
    }
};

TEST_F(Filter, PassesThePeersAndNobodyElse) {
    UdpSocket socket = open("127.0.0.1", addresses({"127.0.0.2", "fd00::2", "127.0.0.4"}));
    EXPECT_TRUE(passes(socket, PlainSocket(endpoint("127.0.0.2", 0)), text(100)));
    EXPECT_FALSE(passes(socket, PlainSocket(endpoint("127.0.0.3", 0)), text(100)));
    EXPECT_TRUE(passes(socket, PlainSocket(endpoint("127.0.0.4", 0)), text(100)));
    EXPECT_FALSE(passes(socket, PlainSocket(endpoint("127.0.0.5", 0)), text(100)));
    EXPECT_EQ(2u, socket.kernel_drops());
    ASSERT_TRUE(socket.set_filter(filter_program(addresses({"127.0.0.3"}), {.nat = true})));
    EXPECT_FALSE(passes(socket, PlainSocket(endpoint("127.0.0.2", 0)), text(100)));
    EXPECT_TRUE(passes(socket, PlainSocket(endpoint("127.0.0.3", 0)), text(100)));
    ASSERT_TRUE(socket.set_filter(filter_program({}, {.nat = true})));
    EXPECT_FALSE(passes(socket, PlainSocket(endpoint("127.0.0.3", 0)), text(100)));
}

TEST_F(Filter, KnowsIpv6) {
    for (int i = 1; i < 9; i++)
        shell("ip -6 addr add fd00::" + std::to_string(i) + "/128 dev lo nodad");
    shell("ip -6 addr add fe00::1/128 dev lo nodad"); // only the first word differs
    // The maximum: two addresses of each peer.
    std::vector<Address> peers;
    for (std::size_t i = 0; i < std::size_t{kMaxPeers} * 2 - 2; i++)
        peers.push_back(boost::asio::ip::make_address("2001:db8::" + std::to_string(i)));
    peers.push_back(boost::asio::ip::make_address("fd00::2"));
    peers.push_back(boost::asio::ip::make_address("fd00::4"));
    UdpSocket socket = open("fd00::1", peers);
    EXPECT_TRUE(passes(socket, PlainSocket(endpoint("fd00::2", 0)), text(100)));
    EXPECT_FALSE(passes(socket, PlainSocket(endpoint("fd00::3", 0)), text(100)));
    EXPECT_TRUE(passes(socket, PlainSocket(endpoint("fd00::4", 0)), text(100)));
    EXPECT_FALSE(passes(socket, PlainSocket(endpoint("fd00::5", 0)), text(100)));
    UdpSocket other = open("fd00::6", addresses({"fd00::1"}));
    EXPECT_FALSE(passes(other, PlainSocket(endpoint("fe00::1", 0)), text(100)));
    EXPECT_TRUE(passes(other, PlainSocket(endpoint("fd00::1", 0)), text(100)));
}

TEST_F(Filter, KnowsTheShapes) {
    UdpSocket nat = open("127.0.0.1", addresses({"127.0.0.2"}));
    UdpSocket ike = open("127.0.0.7", addresses({"127.0.0.2"}), false);
    const PlainSocket peer(endpoint("127.0.0.2", 0));
    EXPECT_TRUE(passes(nat, peer, {kNatKeepalive}));
    EXPECT_FALSE(passes(nat, peer, {0}));
    EXPECT_FALSE(passes(nat, peer, {}));
    EXPECT_FALSE(passes(nat, peer, {0, 0, 0}));
    EXPECT_TRUE(passes(nat, peer, Buffer(kMarkerSize + kIkeHeaderSize)));
    EXPECT_FALSE(passes(nat, peer, Buffer(kMarkerSize + kIkeHeaderSize - 1)));
    EXPECT_TRUE(passes(nat, peer, text(esp::sealed_size(0))));
    EXPECT_FALSE(passes(nat, peer, text(esp::sealed_size(0) - 1)));
    EXPECT_TRUE(passes(ike, peer, Buffer(kIkeHeaderSize)));
    EXPECT_FALSE(passes(ike, peer, Buffer(kIkeHeaderSize - 1)));
    EXPECT_FALSE(passes(ike, peer, {kNatKeepalive}));
}

Buffer ike_init(std::size_t size = 300) {
    Buffer datagram = text(size);
    std::fill_n(datagram.begin() + 8, 8, std::uint8_t{0}); // the responder's SPI
    datagram[17] = 0x20;
    return datagram;
}

TEST_F(Filter, IfStrictPassesOnlyWhatAPeerMayHaveSent) {
    const auto peers = addresses({"127.0.0.2"});
    const std::vector<std::uint32_t> spis{0xa0000001, 0x00000001};
    UdpSocket nat = open("127.0.0.1", peers), ike = open("127.0.0.7", peers, false);
    const PlainSocket peer(endpoint("127.0.0.2", 0)), stranger(endpoint("127.0.0.3", 0));
    const auto behind_marker = [](const Buffer& datagram) {
        Buffer bytes(kMarkerSize);
        bytes.insert(bytes.end(), datagram.begin(), datagram.end());
        return bytes;
    };
    const auto with = [](std::size_t at, std::uint8_t value, std::size_t size = 300) {
        Buffer datagram = ike_init(size);
        datagram[18] = 37; // INFORMATIONAL
        datagram[at] = value;
        return datagram;
    };
    const auto esp = [](std::uint32_t spi, std::size_t size = esp::sealed_size(0)) {
        Buffer packet = text(size);
        store_be(packet.data(), spi);
        return packet;
    };
    for (const bool strict : {false, true}) {
        SCOPED_TRACE(strict);
        ASSERT_TRUE(
            nat.set_filter(filter_program(peers, {.nat = true, .strict = strict, .spis = spis})));
        ASSERT_TRUE(ike.set_filter(filter_program(peers, {.strict = strict})));
        for (const std::uint8_t exchange : {34, 35, 36, 37, 43, 44})
            EXPECT_TRUE(passes(ike, peer, with(18, exchange)));
        EXPECT_TRUE(passes(ike, peer, with(17, 0x20, kIkeHeaderSize)));
        EXPECT_TRUE(passes(nat, peer, behind_marker(with(17, 0x21))));
        for (const Buffer& bad : {with(17, 0x10), with(17, 0x30), with(18, 33), with(18, 45)}) {
            EXPECT_EQ(!strict, passes(ike, peer, bad));
            EXPECT_EQ(!strict, passes(nat, peer, behind_marker(bad)));
        }
        for (const std::uint32_t spi : spis)
            EXPECT_TRUE(passes(nat, peer, esp(spi)));
        EXPECT_EQ(!strict, passes(nat, peer, esp(0xa0000002)));
        EXPECT_TRUE(passes(nat, peer, {kNatKeepalive}));
        // Never.
        EXPECT_FALSE(passes(nat, peer, esp(spis[0], esp::sealed_size(0) - 1)));
        EXPECT_FALSE(passes(ike, peer, with(17, 0x20, kIkeHeaderSize - 1)));
        EXPECT_FALSE(passes(nat, stranger, esp(spis[0])));
        EXPECT_FALSE(passes(ike, stranger, with(18, 35)));
    }
    ASSERT_TRUE(nat.set_filter(filter_program(peers, {.nat = true, .strict = true})));
    EXPECT_FALSE(passes(nat, peer, esp(spis[0]))) << "there is no SA";
}

TEST_F(Filter, WhoBeginsANegotiationPassesCutShort) {
    const auto peers = addresses({"127.0.0.2"});
    UdpSocket ike = open("127.0.0.1", peers, false, true);
    UdpSocket nat = open("127.0.0.7", peers, true, true);
    UdpSocket closed = open("127.0.0.8", peers, false, false);
    const PlainSocket stranger(endpoint("127.0.0.3", 0)), peer(endpoint("127.0.0.2", 0));
    const auto received = [](UdpSocket& socket, const PlainSocket& from, const Buffer& bytes) {
        from.send(bytes, socket.local());
        ReceiveRing ring;
        return socket.receive(ring) == 1 ? UdpSocket::message(ring, 0).bytes.size() : 0;
    };
    EXPECT_EQ(kIkeHeaderSize, received(ike, stranger, ike_init()));
    EXPECT_EQ(kIkeHeaderSize, received(ike, stranger, ike_init(kIkeHeaderSize)));
    EXPECT_EQ(300U, received(ike, peer, ike_init()));
    // Controls.
    EXPECT_EQ(0U, received(ike, stranger, ike_init(kIkeHeaderSize - 1)));
    EXPECT_EQ(0U, received(ike, stranger, text(300)));
    for (const std::size_t at : {8, 15}) { // a negotiation that is under way
        Buffer later = ike_init();
        later[at] = 1;
        EXPECT_EQ(0U, received(ike, stranger, later));
    }
    EXPECT_EQ(0U, received(nat, stranger, ike_init()));
    EXPECT_EQ(0U, received(closed, stranger, ike_init()));
    EXPECT_EQ(300U, received(closed, peer, ike_init()));
}

// The first is reported; of a flood that follows nothing is received for a while.
TEST_F(TwoNodes, ACallerThatIsNoPeerIsToldOf) {
    options.ike.deaf = std::chrono::milliseconds(200);
    make();
    connect_both();
    const PlainSocket goofy(endpoint("127.0.0.9", 500));
    goofy.send(ike_init(), endpoint("127.0.0.2", 500));
    ASSERT_TRUE(until([&] { return minnie->strangers.size() == 1; }));
    EXPECT_EQ("127.0.0.9:500 to 127.0.0.2:500, 28 bytes", minnie->strangers.front());
    EXPECT_EQ(0U, minnie->link->stats().ike_in);
    for (int i = 0; i < 1000; i++)
        goofy.send(ike_init(), endpoint("127.0.0.2", 500));
    EXPECT_EQ(1000U, minnie->link->kernel_drops());
    EXPECT_EQ(1U, minnie->strangers.size());
    ASSERT_TRUE(until([&] {
        goofy.send(ike_init(), endpoint("127.0.0.2", 500));
        return minnie->strangers.size() == 2;
    }));
    EXPECT_TRUE(mickey->strangers.empty());
}

// A flood from unknown sources does not wake the process: no turn of the loop is spent on it, and
// datagrams of peers still fit into the receive buffer.
TEST_F(TwoNodes, AFloodOfStrangersIsNotEvenReceived) {
    options.ike.socket.buffer_size = 65536;
    make();
    connect_both();
    const PlainSocket mallory(endpoint("127.0.0.9", 4500));
    ASSERT_TRUE(mickey->put(text(100)));
    mickey->link->flush();
    settle();
    ASSERT_EQ(1u, minnie->packets.size());
    io.restart();
    EXPECT_EQ(0u, io.poll());
    for (int i = 0; i < 5000; i++)
        mallory.send(text(1400), endpoint("127.0.0.2", i % 2 == 0 ? 4500 : 500));
    io.restart();
    EXPECT_EQ(0u, io.poll());
    EXPECT_EQ(5000u, minnie->link->kernel_drops());
    ASSERT_TRUE(mickey->put(text(100)));
    mickey->link->flush();
    settle();
    EXPECT_EQ(2u, minnie->packets.size());
    EXPECT_EQ(0u, minnie->link->stats().unknown_source);
}

// Control: the same flood from a peer's address is received, and refused one by one.
TEST_F(TwoNodes, AFloodFromAPeersAddressIsReceived) {
    connect_both();
    const PlainSocket relay(endpoint("127.0.0.1", 14500));
    minnie->link->set_endpoint(0, endpoint("127.0.0.1", 14500));
    for (int i = 0; i < 100; i++)
        relay.send(text(1400), endpoint("127.0.0.2", 4500));
    ASSERT_TRUE(until([&] { return minnie->link->stats().unknown_spi == 100; }));
    EXPECT_EQ(0u, minnie->link->kernel_drops());
}

TEST_F(TwoNodes, WhoIsAdmittedFollowsThePeers) {
    const PlainSocket goofy(endpoint("127.0.0.9", 4500));
    goofy.send(text(100), endpoint("127.0.0.2", 4500));
    settle();
    EXPECT_EQ(1u, minnie->link->kernel_drops());
    LinkPeer third = peer("goofy", right, "127.0.0.9");
    third.id = 1;
    ASSERT_TRUE(minnie->link->add_peer(third));
    goofy.send(text(100), endpoint("127.0.0.2", 4500));
    ASSERT_TRUE(until([&] { return minnie->link->stats().unknown_spi == 1; }));
    minnie->link->remove_peer(1);
    goofy.send(text(100), endpoint("127.0.0.2", 4500));
    settle();
    EXPECT_EQ(2u, minnie->link->kernel_drops());
    EXPECT_EQ(1u, minnie->link->stats().unknown_spi);
    // A peer behind a NAT is at the address where it was last seen.
    minnie->link->set_endpoint(0, endpoint("127.0.0.9", 4500));
    goofy.send(text(100), endpoint("127.0.0.2", 4500));
    ASSERT_TRUE(until([&] { return minnie->link->stats().unknown_spi == 2; }));
    minnie->link->remove_peer(0); // the sockets close; their counts are kept
    EXPECT_EQ(2u, minnie->link->kernel_drops());
}

} // namespace
} // namespace encsync::link
