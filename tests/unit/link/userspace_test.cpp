// SPDX-License-Identifier: ISC
#include "tests/unit/link/nodes.hpp"

namespace encsync::link {
namespace {

TEST_F(TwoNodes, PacketsGoBothWays) {
    EXPECT_TRUE(mickey->link->acquire(0).empty()); // no SA yet
    connect_both();
    EXPECT_EQ(1, mickey->ups);
    ASSERT_TRUE(mickey->put(text(100)));
    ASSERT_TRUE(minnie->put(text(200)));
    mickey->link->flush();
    minnie->link->flush();
    ASSERT_TRUE(until([&] { return !mickey->packets.empty() && !minnie->packets.empty(); }));

    const Node::Packet& got = minnie->packets[0];
    EXPECT_EQ(kMinnieIn, got.spi);
    EXPECT_EQ(0, got.peer);
    EXPECT_EQ(text(100), got.payload());
    Buffer header(20);
    const auto sa = make_params(Direction::outbound, 0x1000);
    write_inner_header(header.data(), sa.inner_src, sa.inner_dst, 100);
    EXPECT_EQ(header, Buffer(got.inner.begin(), got.inner.begin() + 20));
    EXPECT_EQ(text(200), mickey->packets[0].payload());

    EXPECT_EQ(1u, mickey->stats().tx_packets);
    EXPECT_EQ(120u, mickey->stats().tx_bytes);
    EXPECT_EQ(1u, mickey->stats().rx_packets);
    EXPECT_EQ(220u, mickey->stats().rx_bytes);
    EXPECT_EQ(0u, mickey->stats().refused_total());
    const auto sas = mickey->link->sas();
    ASSERT_EQ(2u, sas.size());
    for (const SaInfo& info : sas)
        EXPECT_EQ(1u, info.packets);
}

TEST_F(TwoNodes, NothingClearIsOnTheWire) {
    const PlainSocket wire(endpoint("127.0.0.3", 4500));
    connect_both();
    mickey->link->set_endpoint(0, endpoint("127.0.0.3", 4500));
    ASSERT_TRUE(mickey->put(text(200)));
    mickey->link->flush();
    const auto seen = wire.receive_all();
    ASSERT_EQ(1u, seen.size());
    EXPECT_EQ(256u, seen[0].size()); // the size reveals little
    const Buffer piece = text(8, 50);
    const Buffer plain = text(200);
    EXPECT_NE(plain.end(), std::search(plain.begin(), plain.end(), piece.begin(), piece.end()));
    EXPECT_EQ(seen[0].end(),
              std::search(seen[0].begin(), seen[0].end(), piece.begin(), piece.end()));
}

TEST_F(TwoNodes, ABatchIsFewSystemCalls) {
    connect_both();
    const std::size_t room = mickey->link->acquire(0).size();
    EXPECT_EQ(max_payload(1500, false, false), room);
    for (std::uint8_t i = 0; i < 40; i++) // of different sizes: padded to one
        ASSERT_TRUE(mickey->put(text(room - i, i)));
    mickey->link->flush();
    EXPECT_EQ(1u, mickey->stats().tx_calls);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 40; }));
    for (std::uint8_t i = 0; i < 40; i++)
        EXPECT_EQ(text(room - i, i), minnie->packets[i].payload());
}

TEST_F(TwoNodes, WithoutOffloadTheSameArrives) {
    options.ike.socket.gso = options.ike.socket.gro = false;
    make();
    connect_both();
    for (std::uint8_t i = 0; i < 64; i++)
        ASSERT_TRUE(mickey->put(text(1000u + i, i)));
    ASSERT_TRUE(mickey->put(text(500))); // the 65th: the batch before it is sent
    EXPECT_EQ(64u, mickey->stats().tx_packets);
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 65; }));
    for (std::uint8_t i = 0; i < 64; i++)
        EXPECT_EQ(text(1000u + i, i), minnie->packets[i].payload());
    EXPECT_EQ(text(500), minnie->packets[64].payload());
}

TEST_F(TwoNodes, ManyBatchesOfAllSizesArriveInOrder) {
    connect_both();
    std::uint32_t random = 7;
    std::vector<std::size_t> sizes;
    for (int i = 0; i < 1000; i++) {
        random = random * 1664525 + 1013904223;
        sizes.push_back(1 + (random >> 16) % 1400);
        ASSERT_TRUE(mickey->put(text(sizes.back())));
        if ((random >> 8) % 16 == 0) {
            mickey->link->flush();
            settle();
        }
    }
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 1000; }));
    for (std::size_t i = 0; i < 1000; i++)
        ASSERT_EQ(text(sizes[i]), minnie->packets[i].payload()) << i;
    EXPECT_LT(mickey->stats().tx_calls, 700u);
}

TEST_F(TwoNodes, ARoomGivenBackSendsNothing) {
    connect_both();
    ASSERT_FALSE(mickey->link->acquire(0).empty());
    mickey->link->commit(0, 0);
    mickey->link->flush();
    EXPECT_EQ(0u, mickey->stats().tx_packets);
    ASSERT_TRUE(mickey->put(text(9)));
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 1; }));
}

TEST_F(TwoNodes, ARekeyLosesNothing) {
    connect(*mickey, *minnie, 0x1001, 1);
    ASSERT_TRUE(mickey->put(text(100, 1)));
    mickey->link->flush();
    // A new one is added, the old is deleted on both sides, while packets are in flight.
    connect(*mickey, *minnie, 0x1002, 2);
    ASSERT_TRUE(mickey->put(text(100, 2)));
    EXPECT_TRUE(mickey->link->delete_sa(0, 0x1001, Direction::outbound));
    EXPECT_TRUE(minnie->link->delete_sa(0, 0x1001, Direction::inbound));
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 2; }));
    EXPECT_EQ(0x1001u, minnie->packets[0].spi);
    EXPECT_EQ(0x1002u, minnie->packets[1].spi);
    EXPECT_EQ(1, mickey->ups);
    EXPECT_EQ(0, mickey->downs);
}

TEST_F(TwoNodes, AfterTheGraceAnOldOneReceivesNoMore) {
    options.grace = std::chrono::milliseconds(1);
    make();
    connect(*mickey, *minnie, 0x1001);
    EXPECT_TRUE(minnie->link->delete_sa(0, 0x1001, Direction::inbound));
    ASSERT_TRUE(until([&] { return minnie->link->sas().empty(); }));
    ASSERT_TRUE(mickey->put(text(100)));
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return minnie->link->stats().unknown_spi == 1; }));
    EXPECT_TRUE(minnie->packets.empty());
}

TEST_F(TwoNodes, DeletingTheLastOutboundSaIsDown) {
    connect_both();
    ASSERT_TRUE(mickey->put(text(100)));
    EXPECT_FALSE(mickey->link->delete_sa(0, 0x9999, Direction::outbound));
    EXPECT_EQ(0, mickey->downs);
    EXPECT_TRUE(mickey->link->delete_sa(0, kMinnieIn, Direction::outbound));
    EXPECT_EQ(1, mickey->downs);
    mickey->link->flush();
    EXPECT_EQ(1u, mickey->stats().no_sa);
    EXPECT_EQ(0u, mickey->stats().tx_packets);
    EXPECT_TRUE(mickey->link->acquire(0).empty());
}

TEST_F(TwoNodes, DropAllForgetsEveryKeyAtOnce) {
    connect_both();
    ASSERT_TRUE(mickey->put(text(100)));
    mickey->link->drop_all();
    minnie->link->drop_all();
    EXPECT_EQ(1, mickey->downs);
    EXPECT_EQ(1u, mickey->stats().no_sa);
    mickey->link->flush();
    EXPECT_TRUE(mickey->link->acquire(0).empty());
    EXPECT_TRUE(mickey->link->sas().empty());
    EXPECT_EQ(0u, mickey->stats().tx_packets);
    connect_both();
    EXPECT_EQ(2, mickey->ups);
    ASSERT_TRUE(mickey->put(text(100)));
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 1; }));
}

TEST_F(TwoNodes, AnotherKeyIsRefused) {
    ASSERT_TRUE(minnie->link->add_sa(make_params(Direction::inbound, kMinnieIn, 0, 1)));
    ASSERT_TRUE(mickey->link->add_sa(make_params(Direction::outbound, kMinnieIn, 0, 99)));
    ASSERT_TRUE(mickey->put(text(100)));
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return minnie->refused(esp::Verdict::bad_tag) == 1; }));
    EXPECT_TRUE(minnie->packets.empty());
    EXPECT_EQ(1u, minnie->link->sas().at(0).failed);
    EXPECT_EQ(0u, minnie->link->sas().at(0).packets);
}

TEST_F(TwoNodes, AReplayedDatagramIsRefused) {
    connect_both();
    const PlainSocket relay(endpoint("127.0.0.1", 14500));
    minnie->link->set_endpoint(0, endpoint("127.0.0.1", 14500));
    mickey->link->set_endpoint(0, endpoint("127.0.0.1", 14500));
    ASSERT_TRUE(mickey->put(text(100)));
    mickey->link->flush();
    const auto seen = relay.receive_all();
    ASSERT_EQ(1u, seen.size());
    for (int i = 0; i < 3; i++)
        relay.send(seen[0], endpoint("127.0.0.2", 4500));
    ASSERT_TRUE(until([&] { return minnie->refused(esp::Verdict::replayed) == 2; }));
    EXPECT_EQ(1u, minnie->packets.size());
    EXPECT_EQ(2u, minnie->link->sas().at(0).replayed);
}

TEST_F(TwoNodes, TruncatedAtEveryByteIsRefused) {
    connect_both();
    const PlainSocket relay(endpoint("127.0.0.1", 14500));
    minnie->link->set_endpoint(0, endpoint("127.0.0.1", 14500));
    mickey->link->set_endpoint(0, endpoint("127.0.0.1", 14500));
    ASSERT_TRUE(mickey->put(text(30)));
    mickey->link->flush();
    const Buffer sealed = relay.receive_all().at(0);
    for (std::size_t size = 0; size < sealed.size(); size++)
        relay.send(Buffer(sealed.begin(), sealed.begin() + static_cast<long>(size)),
                   endpoint("127.0.0.2", 4500));
    relay.send(sealed, endpoint("127.0.0.2", 4500));
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 1; }));
    EXPECT_EQ(esp::sealed_size(0), minnie->link->kernel_drops());
    EXPECT_EQ(sealed.size() - esp::sealed_size(0), minnie->stats().refused_total());
}

TEST_F(TwoNodes, AnUnknownSpiIsCounted) {
    connect_both();
    const PlainSocket relay(endpoint("127.0.0.1", 14500));
    minnie->link->set_endpoint(0, endpoint("127.0.0.1", 14500));
    relay.send(text(100), endpoint("127.0.0.2", 4500));
    ASSERT_TRUE(until([&] { return minnie->link->stats().unknown_spi == 1; }));
    EXPECT_EQ(0u, minnie->link->stats().unknown_source);
}

TEST_F(TwoNodes, TooBigForThePathLowersTheMtu) {
    shell("ip link set lo mtu 1300");
    connect_both();
    const std::size_t before = mickey->link->acquire(0).size();
    for (int i = 0; i < 60; i++) // two calls: the second refusal does not call again
        ASSERT_TRUE(mickey->put(text(before)));
    mickey->link->flush();
    EXPECT_EQ(60u, mickey->stats().too_big);
    EXPECT_EQ(1300u, mickey->stats().mtu);
    EXPECT_EQ(1u, mickey->stats().mtu_lowered);
    const std::uint64_t calls = mickey->stats().tx_calls;
    const std::size_t after = mickey->link->acquire(0).size();
    EXPECT_EQ(max_payload(1300, false, false), after);
    for (int i = 0; i < 3; i++)
        ASSERT_TRUE(mickey->put(text(after)));
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 3; }));
    EXPECT_EQ(calls + 1, mickey->stats().tx_calls) << "offload was given up";
}

TEST_F(TwoNodes, NoRouteIsCountedAndNotFatal) {
    connect_both();
    mickey->link->set_endpoint(0, endpoint("192.0.2.1", 4500));
    ASSERT_TRUE(mickey->put(text(100)));
    mickey->link->flush();
    EXPECT_EQ(1u, mickey->stats().unreachable + mickey->stats().not_sent);
    mickey->link->set_endpoint(0, endpoint(right, 4500));
    ASSERT_TRUE(mickey->put(text(100)));
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 1; }));
}

// The kernel holds packets for an address whose hardware address it does not know yet, and they
// count against the socket's send buffer: a full socket that does not depend on timing.
TEST_F(TwoNodes, AFullSocketIsBackPressureAndLosesNothing) {
    shell("ip link add v0 type veth peer name v1");
    shell("ip addr add 10.9.0.1/24 dev v0 && ip link set v0 up && ip link set v1 up");
    options.ike.socket.buffer_size = 4096;
    left = "10.9.0.1";
    right = "10.9.0.2";
    Node node(io, options);
    ASSERT_TRUE(node.link->add_peer(peer("minnie", left, right)));
    ASSERT_TRUE(node.link->add_sa(make_params(Direction::outbound, kMinnieIn)));
    std::uint64_t put = 0;
    while (put < 1000 && node.put(text(1200))) {
        put++;
        node.link->flush();
    }
    ASSERT_LT(put, 1000u) << "the socket never filled";
    EXPECT_EQ(1u, node.stats().blocked);
    EXPECT_EQ(put - 1, node.stats().tx_packets);
    EXPECT_TRUE(node.link->acquire(0).empty());
    node.link->flush(); // not again to the full socket
    EXPECT_EQ(1u, node.stats().blocked);
    EXPECT_EQ(0, node.writables);

    shell("ip neigh replace 10.9.0.2 lladdr 02:00:00:00:00:01 dev v0 nud permanent");
    ASSERT_TRUE(until([&] { return node.writables == 1; }));
    EXPECT_EQ(put, node.stats().tx_packets);
    EXPECT_TRUE(node.put(text(1200)));
    EXPECT_EQ(0u, node.stats().not_sent + node.stats().unreachable);
}

TEST_F(TwoNodes, DropAllEmptiesAFullSocketsBatch) {
    shell("ip link add v0 type veth peer name v1");
    shell("ip addr add 10.9.0.1/24 dev v0 && ip link set v0 up && ip link set v1 up");
    options.ike.socket.buffer_size = 4096;
    left = "10.9.0.1";
    right = "10.9.0.2";
    Node node(io, options);
    ASSERT_TRUE(node.link->add_peer(peer("minnie", left, right)));
    ASSERT_TRUE(node.link->add_sa(make_params(Direction::outbound, kMinnieIn)));
    for (int i = 0; i < 1000 && node.put(text(1200)); i++)
        node.link->flush();
    ASSERT_EQ(1u, node.stats().blocked);
    const std::uint64_t sent = node.stats().tx_packets;
    node.link->drop_all();
    EXPECT_EQ(1u, node.stats().no_sa);
    shell("ip neigh replace 10.9.0.2 lladdr 02:00:00:00:00:01 dev v0 nud permanent");
    settle();
    EXPECT_EQ(sent, node.stats().tx_packets);
}

TEST_F(TwoNodes, AnSaInNeedOfASuccessorSaysSoOnce) {
    options.soft_limit = 3;
    make();
    connect_both();
    for (int i = 0; i < 2; i++)
        ASSERT_TRUE(mickey->put(text(10)));
    mickey->link->flush();
    settle();
    EXPECT_TRUE(mickey->expired.empty());
    for (int i = 0; i < 5; i++) {
        ASSERT_TRUE(mickey->put(text(10)));
        mickey->link->flush();
    }
    settle();
    EXPECT_EQ(std::vector<std::uint32_t>{kMickeyIn}, mickey->expired); // by its inbound SPI
}

TEST_F(TwoNodes, Ipv6OutsideAndInside) {
    left = "::1";
    right = "fd00::2";
    shell("ip -6 addr add fd00::2/128 dev lo nodad");
    make();
    auto in = make_params(Direction::inbound, 0x1001),
         out = make_params(Direction::outbound, 0x1001);
    for (auto* p : {&in, &out}) {
        p->inner_src.family = p->inner_dst.family = net::Family::inet6;
        p->inner_dst.bytes[15] = 9;
    }
    ASSERT_TRUE(minnie->link->add_sa(in));
    ASSERT_TRUE(mickey->link->add_sa(out));
    const std::size_t room = mickey->link->acquire(0).size();
    EXPECT_EQ(max_payload(1500, true, true), room);
    for (int i = 0; i < 5; i++)
        ASSERT_TRUE(mickey->put(text(room)));
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 5; }));
    Buffer header(40);
    write_inner_header(header.data(), in.inner_src, in.inner_dst, room);
    EXPECT_EQ(header,
              Buffer(minnie->packets[0].inner.begin(), minnie->packets[0].inner.begin() + 40));
    EXPECT_EQ(255, minnie->packets[0].inner[7]); // its hop limit: RFC 8200 section 3
    EXPECT_TRUE(mickey->link->send_ike(endpoint(left, 4500), endpoint(right, 4500), text(28)));
    ASSERT_TRUE(until([&] { return minnie->ike.size() == 1; }));
}

// The hop limit of the next datagram in a plain socket; -1: none is queued.
int next_hop_limit(const PlainSocket& socket) {
    std::array<std::uint8_t, 2048> bytes;
    alignas(cmsghdr) std::array<char, 256> control;
    iovec vector{bytes.data(), bytes.size()};
    msghdr header{};
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    if (recvmsg(socket.fd.get(), &header, 0) < 0)
        return -1;
    int hops = -1;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c))
        if ((c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT) ||
            (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL))
            std::memcpy(&hops, CMSG_DATA(c), sizeof hops);
    return hops;
}

// In transport mode pfsync receives the datagram's own hop limit, and accepts only 255.
TEST_F(TwoNodes, DatagramsBeginWithTheLargestHopLimit) {
    shell("ip -6 addr add fd00::2/128 dev lo nodad");
    for (const bool ipv6 : {false, true}) {
        mickey.reset();
        minnie.reset();
        left = ipv6 ? "::1" : "127.0.0.1";
        right = ipv6 ? "fd00::2" : "127.0.0.2";
        const PlainSocket there(endpoint(right, 4500));
        const int on = 1;
        ASSERT_EQ(0, setsockopt(there.fd.get(), ipv6 ? IPPROTO_IPV6 : IPPROTO_IP,
                                ipv6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, &on, sizeof on));
        mickey.emplace(io, options);
        ASSERT_TRUE(mickey->link->add_peer(peer("minnie", left, right)));
        ASSERT_TRUE(mickey->link->add_sa(make_params(Direction::outbound, 0x1001)));
        for (int i = 0; i < 3; i++)
            ASSERT_TRUE(mickey->put(text(100)));
        mickey->link->flush(); // in one call, which GSO divides
        ASSERT_TRUE(mickey->link->send_ike(endpoint(left, 4500), endpoint(right, 4500), text(28)));
        for (int i = 0; i < 4; i++)
            EXPECT_EQ(255, next_hop_limit(there));
        // Control: datagrams of others have the system's default.
        PlainSocket(endpoint(left, 4501)).send(text(100), endpoint(right, 4500));
        EXPECT_EQ(64, next_hop_limit(there));
        EXPECT_EQ(-1, next_hop_limit(there));
    }
}

TEST_F(TwoNodes, TransportModeSparesTheInnerHeader) {
    transport = true;
    make();
    connect_both();
    const std::size_t room = mickey->link->acquire(0).size();
    EXPECT_EQ(max_payload(1500, false, false) + 20, room);
    for (std::uint8_t i = 0; i < 70; i++)
        ASSERT_TRUE(mickey->put(text(i < 60 ? room : 100u + i, i)));
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 70; }));
    for (std::uint8_t i = 0; i < 70; i++)
        EXPECT_EQ(text(i < 60 ? room : 100u + i, i), minnie->packets[i].payload());
    // Shown with the header that it would have had in tunnel mode.
    Buffer header(20);
    const auto sa = make_params(Direction::outbound, 0x1000);
    write_inner_header(header.data(), sa.inner_src, sa.inner_dst, room);
    EXPECT_EQ(header,
              Buffer(minnie->packets[0].inner.begin(), minnie->packets[0].inner.begin() + 20));
}

TEST_F(TwoNodes, AnSaOfTheOtherModeIsRefused) {
    auto params = make_params(Direction::outbound, 0x1001);
    params.transport = true;
    const auto refused = mickey->link->add_sa(params);
    ASSERT_FALSE(refused);
    EXPECT_NE(std::string::npos, refused.error().text.find("of another mode than peer minnie"));
    params.transport = false;
    EXPECT_TRUE(mickey->link->add_sa(params));
}

TEST_F(TwoNodes, TheReceiverMayAnswerFromWithin) {
    struct Echo final : Receiver {
        UserspaceLink* link = nullptr;
        int seen = 0;
        void on_packet(PeerId peer, std::uint32_t, Bytes inner) override {
            seen++;
            const MutableBytes room = link->acquire(peer);
            std::copy(inner.begin() + 20, inner.end(), room.begin());
            link->commit(peer, inner.size() - 20);
            link->flush();
            if (seen == 3)
                link->drop_all(); // even this
        }
        void on_up(PeerId) override {}
        void on_down(PeerId) override {}
        void on_writable(PeerId) override {}
    };
    minnie.reset();
    Echo echo;
    auto opened = UserspaceLink::open(io, echo, {}, options);
    ASSERT_TRUE(opened);
    echo.link = opened->get();
    ASSERT_TRUE(echo.link->add_peer(peer("mickey", right, left)));
    ASSERT_TRUE(echo.link->add_sa(make_params(Direction::inbound, kMinnieIn, 0, 1)));
    ASSERT_TRUE(echo.link->add_sa(make_params(Direction::outbound, kMickeyIn, 0, 2)));
    ASSERT_TRUE(mickey->link->add_sa(make_params(Direction::outbound, kMinnieIn, 0, 1)));
    ASSERT_TRUE(mickey->link->add_sa(make_params(Direction::inbound, kMickeyIn, 0, 2)));
    for (std::uint8_t i = 0; i < 10; i++)
        ASSERT_TRUE(mickey->put(text(100, i)));
    mickey->link->flush();
    ASSERT_TRUE(until([&] { return mickey->packets.size() == 3; }));
    settle();
    EXPECT_EQ(3, echo.seen);
    EXPECT_EQ(7u, echo.link->stats().unknown_spi);
    EXPECT_EQ(text(100, 2), mickey->packets[2].payload());
}

} // namespace
} // namespace encsync::link
