// SPDX-License-Identifier: ISC
#include "tests/unit/link/nodes.hpp"

namespace encsync::link {
namespace {

std::string why(const Result<void>& result) {
    return result ? "ok" : result.error().text;
}

TEST_F(TwoNodes, AnUnknownSourceIsDroppedAtOnce) {
    connect_both();
    const PlainSocket mallory(endpoint("127.0.0.9", 4500)), relay(endpoint("127.0.0.1", 14500));
    mickey->link->set_endpoint(0, endpoint("127.0.0.1", 14500));
    minnie->link->set_endpoint(0, endpoint("127.0.0.1", 14500));
    ASSERT_TRUE(mickey->put(text(100)));
    mickey->link->flush();
    const Buffer sealed = relay.receive_all().at(0);
    mallory.send(sealed, endpoint("127.0.0.2", 4500)); // even if it were authentic
    Buffer ike(28);
    ike[8] = 1; // not the first of a negotiation, which is reported
    mallory.send(ike, endpoint("127.0.0.2", 500));
    mallory.send({}, endpoint("127.0.0.2", 500));
    settle();
    EXPECT_EQ(3u, minnie->link->kernel_drops());
    EXPECT_EQ(0u, minnie->link->stats().unknown_source); // dropped by the filter
    EXPECT_TRUE(minnie->packets.empty());
    EXPECT_TRUE(minnie->ike.empty());
    relay.send(sealed, endpoint("127.0.0.2", 4500));
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 1; }));
}

TEST_F(TwoNodes, IkeIsToldFromEsp) {
    const Buffer hello = text(60, 1), on_nat = text(70, 9);
    EXPECT_TRUE(mickey->link->send_ike(endpoint(left, 500), endpoint(right, 500), hello));
    EXPECT_TRUE(mickey->link->send_ike(endpoint(left, 4500), endpoint(right, 4500), on_nat));
    ASSERT_TRUE(until([&] { return minnie->ike.size() == 2; }));
    std::sort(minnie->ike.begin(), minnie->ike.end(),
              [](const auto& a, const auto& b) { return a.to.port() < b.to.port(); });
    EXPECT_EQ(endpoint(left, 500), minnie->ike[0].from);
    EXPECT_EQ(endpoint(right, 500), minnie->ike[0].to);
    EXPECT_EQ(hello, minnie->ike[0].datagram);
    EXPECT_EQ(endpoint(left, 4500), minnie->ike[1].from);
    EXPECT_EQ(endpoint(right, 4500), minnie->ike[1].to);
    EXPECT_EQ(on_nat, minnie->ike[1].datagram); // without the marker
    EXPECT_EQ(2u, mickey->link->stats().ike_out);
}

TEST_F(TwoNodes, TheMarkerIsOnTheWireOnNatportOnly) {
    const PlainSocket four(endpoint("127.0.0.2", 14500));
    const Buffer ike = text(28, 1);
    EXPECT_TRUE(mickey->link->send_ike(endpoint(left, 4500), endpoint(right, 14500), ike));
    EXPECT_TRUE(mickey->link->send_ike(endpoint(left, 500), endpoint(right, 14500), ike));
    const auto seen = four.receive_all();
    ASSERT_EQ(2u, seen.size());
    Buffer marked(4);
    marked.insert(marked.end(), ike.begin(), ike.end());
    EXPECT_EQ(marked, seen[0]);
    EXPECT_EQ(ike, seen[1]);
}

TEST_F(TwoNodes, KeepalivesAndRuntsAreNoIke) {
    const PlainSocket relay(endpoint("127.0.0.1", 14500));
    relay.send({0xff}, endpoint(right, 4500));
    relay.send({0xfe}, endpoint(right, 4500));         // runt
    relay.send({0, 0, 0}, endpoint(right, 4500));      // runt
    relay.send({0, 0, 0, 0}, endpoint(right, 4500));   // only a marker: runt
    relay.send(Buffer(4 + 27), endpoint(right, 4500)); // incomplete IKE header: runt
    relay.send(text(27, 1), endpoint(right, 500));     // runt
    relay.send({0xff}, endpoint(right, 500));          // no keepalives on ikeport: runt
    relay.send({}, endpoint(right, 4500));             // runt
    relay.send(Buffer(4 + 28), endpoint(right, 4500)); // the minimum
    ASSERT_TRUE(until([&] { return minnie->ike.size() == 1; }));
    settle();
    EXPECT_EQ(7u, minnie->link->kernel_drops());
    EXPECT_EQ(1u, minnie->link->stats().keepalive);
}

// The filter sees only the first datagram of a GRO series; a short last one must be checked here.
TEST_F(TwoNodes, ARuntBehindATrainIsRefused) {
    const PlainSocket relay(endpoint("127.0.0.1", 14500));
    minnie->link->set_endpoint(0, endpoint("127.0.0.1", 14500));
    const int segment = 100;
    ASSERT_EQ(0, setsockopt(relay.fd.get(), SOL_UDP, UDP_SEGMENT, &segment, sizeof segment));
    relay.send(text(203), endpoint(right, 4500));
    ASSERT_TRUE(until([&] { return minnie->link->stats().runt == 1; }));
    EXPECT_EQ(2u, minnie->link->stats().unknown_spi);
}

TEST_F(TwoNodes, IkeGoesOnlyFromOurSocketsToPeers) {
    EXPECT_FALSE(
        mickey->link->send_ike(endpoint("127.0.0.5", 500), endpoint(right, 500), text(28)));
    EXPECT_FALSE(mickey->link->send_ike(endpoint(left, 501), endpoint(right, 500), text(28)));
    EXPECT_FALSE(mickey->link->send_ike(endpoint(left, 500), endpoint("127.0.0.9", 500), text(28)));
    EXPECT_EQ(3u, mickey->link->stats().ike_unknown_address);
    EXPECT_EQ(0u, mickey->link->stats().ike_out);
    EXPECT_FALSE(mickey->link->send_ike(endpoint(left, 500), endpoint(right, 500), text(65530)));
    EXPECT_EQ(1u, mickey->link->stats().ike_not_sent);
}

TEST_F(TwoNodes, ATakenPortIsNamedWithItsHolder) {
    const PlainSocket holder(endpoint("127.0.0.7", 4500));
    const std::string error = why(mickey->link->add_peer([&] {
        LinkPeer p = peer("goofy", "127.0.0.7", "127.0.0.8");
        p.id = 1;
        return p;
    }()));
    EXPECT_EQ("peer goofy: UDP 127.0.0.7:4500 is taken by link_test (pid " +
                  std::to_string(getpid()) + ")",
              error);
    // No socket is left open: port 500 there is free again.
    const PlainSocket free(endpoint("127.0.0.7", 500));
}

TEST_F(TwoNodes, PeersAreRefusedByName) {
    LinkPeer p = peer("goofy", "127.0.0.1", "127.0.0.8");
    EXPECT_EQ("peer goofy: number 0 is taken by minnie", why(mickey->link->add_peer(p)));
    p.id = 15;
    EXPECT_EQ("peer goofy: number 15 is beyond the 15 peers there may be",
              why(mickey->link->add_peer(p)));
    p.id = 1;
    p.mtu = 639;
    EXPECT_EQ("peer goofy: mtu 639 is below 640", why(mickey->link->add_peer(p)));
    p.mtu = 640;
    p.right = boost::asio::ip::make_address("fd00::1");
    EXPECT_EQ("peer goofy: left 127.0.0.1 and right fd00::1 are of two address families",
              why(mickey->link->add_peer(p)));
    p.right = boost::asio::ip::make_address("0.0.0.0");
    EXPECT_EQ("peer goofy: left and right must be single addresses",
              why(mickey->link->add_peer(p)));
    p = peer("goofy", "192.0.2.77", "192.0.2.78");
    p.id = 1;
    EXPECT_EQ("peer goofy: UDP 192.0.2.77:500: this machine has no such address",
              why(mickey->link->add_peer(p)));
    p = peer("goofy", "127.0.0.1", "127.0.0.8"); // shares mickey's sockets
    p.id = 1;
    EXPECT_EQ("ok", why(mickey->link->add_peer(p)));
    EXPECT_EQ("SA 00001001: no peer has number 2",
              why(mickey->link->add_sa(make_params(Direction::inbound, 0x1001, 2))));
    UserspaceOptions same;
    same.ike.ikeport = same.ike.natport;
    EXPECT_FALSE(UserspaceLink::open(io, *mickey, {}, same));
}

TEST_F(TwoNodes, ARemovedPeerIsAStranger) {
    connect_both();
    minnie->link->remove_peer(0);
    EXPECT_EQ(1, minnie->downs);
    EXPECT_EQ(nullptr, minnie->link->peer_stats(0));
    EXPECT_TRUE(minnie->link->sas().empty());
    EXPECT_TRUE(minnie->link->acquire(0).empty());
    const PlainSocket free(endpoint("127.0.0.2", 4500)); // the sockets are closed
    ASSERT_TRUE(mickey->put(text(10)));
    mickey->link->flush();
    settle();
    EXPECT_EQ(1u, free.receive_all().size());
    EXPECT_TRUE(minnie->packets.empty());
}

} // namespace
} // namespace encsync::link
