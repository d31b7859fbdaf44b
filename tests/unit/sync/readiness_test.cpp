// SPDX-License-Identifier: ISC
// Which nodes the peers hear: the contents of HELLO, and the consequences of a node that this one
// does not hear.
#include "rig.hpp"

#include <algorithm>
#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

namespace ext = pfsync::extension;

constexpr std::uint32_t kStranger = 0x7777;

std::vector<std::uint8_t> bytes_of(const HelloTail& tail) {
    std::vector<std::uint8_t> m(tail.hello_size());
    tail.write(m.data());
    return m;
}

// Both peers are in step; minnie (0) sends whom it hears.
struct Meeting : Rig {
    explicit Meeting(Role role = Role::automatic) {
        options.role = role;
        start();
        greet(0), greet(1);
    }
    void hello_with(const std::vector<Neighbour>& nodes, PeerId peer = 0) {
        hello_of({nodes, {}}, peer);
    }
    void hello_of(const HelloTail& tail, PeerId peer = 0, Role role = Role::automatic) {
        std::vector<std::uint8_t> m = bytes_of(tail);
        m[ext::hello::role] = static_cast<std::uint8_t>(role);
        store_be(&m[ext::hello::session], std::uint64_t{77} + peer);
        store_be(&m[ext::hello::peer_session], engine->session(peer).local);
        store_be(&m[ext::hello::creatorid], kPeer + peer);
        store_be(&m[ext::hello::version], ext::hello::kVersion);
        send_plain(peer, [&](Packet& p) { p.raw(ext::kHello, m); });
    }
    std::string why() const {
        std::string out;
        return engine->ready(&out) ? "" : out;
    }
};

TEST(Neighbours, ANodeWithFlowsThatIsNotHeardIsMissed) {
    for (const auto role : {Role::automatic, Role::active}) {
        Meeting rig;
        rig.hello_with({{kStranger, role, role == Role::automatic, "donald"}});
        ASSERT_EQ(rig.engine->missing_edges().size(), 1u);
        EXPECT_EQ(rig.why().find("minnie hears donald, which "), 0u) << rig.why();
        // It is removed for good, and no longer reported as missing.
        rig.hello_with({});
        EXPECT_EQ(rig.why(), "");
    }
}

TEST(Neighbours, OneWithoutFlowsIsNot) {
    Meeting rig;
    rig.hello_with({{kStranger, Role::standby, false, "donald"},
                    {kStranger + 1, Role::automatic, false, "daisy"}});
    EXPECT_EQ(rig.why(), "");
    EXPECT_EQ(rig.engine->session(0).hello_tail.neighbours.size(), 2u);
}

TEST(Neighbours, NorOneThatIsHeardNorThisNodeItself) {
    Meeting rig;
    rig.hello_with({{kPeer + 1, Role::active, true, "goofy"}, {kOurs, Role::active, true, "me"}});
    EXPECT_EQ(rig.why(), "");
}

TEST(Neighbours, OneThatServesHoldsBackThisNodeThoughOnlyAPeerHearsIt) {
    for (const Role role : {Role::active, Role::standby}) {
        Meeting rig(Role::standby);
        for (int n = 0; n < 5; n++) {
            rig.pass(1s);
            rig.hello_of({{{kStranger, role, true, "donald"}}, {}}, 0, Role::standby);
            rig.hello_of({}, 1, Role::standby);
        }
        EXPECT_EQ(rig.why().empty(), role == Role::standby) << rig.why();
    }
}

TEST(Neighbours, OneThatWasHeardAMomentAgoIsMissedLater) {
    Meeting rig;
    const auto hears_goofy = [&] { rig.hello_with({{kPeer + 1, Role::active, true, "goofy"}}); };
    hears_goofy();
    rig.engine->on_link_down(1);
    EXPECT_EQ(rig.why(), "");
    for (int n = 0; n < 9; n++) {
        rig.pass(1s);
        hears_goofy();
    }
    EXPECT_NE(rig.why(), "");
    // The peer that reported it is gone: this node knows as much as any other.
    rig.engine->on_link_down(0);
    EXPECT_EQ(rig.why(), "");
}

TEST(Neighbours, WhoServesGoesOn) {
    Meeting rig(Role::active);
    rig.hello_with({{kStranger, Role::active, true, "donald"}});
    EXPECT_EQ(rig.why(), "");
    EXPECT_EQ(rig.engine->missing_edges().size(), 1u);
}

TEST(Neighbours, AreToldToEachPeerWithoutItself) {
    Meeting rig;
    rig.send(1, [&](Packet& p) { p.full(flow(1, kPeer + 1), {}, false); });
    rig.link.sent.clear();
    rig.pass(1500ms);
    std::map<PeerId, std::vector<Neighbour>> told;
    for (const auto& [peer, packet] : rig.link.sent) {
        pfsync::Parser parser{Bytes(packet)};
        while (const pfsync::Section* section = parser.next())
            if (section->action == ext::kHello)
                told[peer] = HelloTail::read(section->message(0)).value().neighbours;
    }
    ASSERT_EQ(told[0].size(), 1u);
    EXPECT_EQ(told[0][0].name, "goofy");
    EXPECT_EQ(told[0][0].creatorid, kPeer + 1);
    EXPECT_TRUE(told[0][0].owns);
    ASSERT_EQ(told[1].size(), 1u);
    EXPECT_EQ(told[1][0].name, "minnie");
    EXPECT_FALSE(told[1][0].owns);
}

TEST(Neighbours, AnOlderNodesHelloTellsOfNone) {
    Meeting rig;
    rig.hello_with({{kStranger, Role::active, true, "donald"}});
    rig.hello(0, {});
    EXPECT_TRUE(rig.engine->missing_edges().empty());
    EXPECT_EQ(rig.refused(Reason::bad_hello), 0u);
}

TEST(Neighbours, APeerIsToldWhichOfItsKeysAreTrusted) {
    Meeting rig;
    const auto told = [&](PeerId to) {
        std::optional<std::vector<KeyPrint>> keys;
        for (const auto& [peer, packet] : rig.link.sent) {
            pfsync::Parser parser{Bytes(packet)};
            while (const pfsync::Section* section = parser.next())
                if (peer == to && section->action == ext::kHello)
                    keys = HelloTail::read(section->message(0)).value().trusted;
        }
        return keys;
    };
    rig.link.sent.clear();
    rig.engine->set_trusted(1, {7, 8});
    rig.flush(); // at once
    EXPECT_EQ(told(1), (std::vector<KeyPrint>{7, 8}));
    EXPECT_EQ(told(0), std::nullopt);
    rig.pass(1500ms);
    EXPECT_EQ(told(0), std::vector<KeyPrint>{});

    rig.hello_of({{}, {99}});
    EXPECT_EQ(rig.engine->session(0).hello_tail.trusted, std::vector<KeyPrint>{99});
    // A key trusted earlier may no longer be.
    rig.hello_of({});
    EXPECT_TRUE(rig.engine->session(0).hello_tail.trusted.empty());
}

TEST(Neighbours, MalformedOnesAreRefused) {
    const HelloTail one{{{kStranger, Role::active, true, "donald"}}, {42}};
    const auto refused = [](const std::vector<std::uint8_t>& m) { return !HelloTail::read(m); };
    const std::vector<std::uint8_t> good = bytes_of(one);
    EXPECT_FALSE(refused(good));
    const auto with = [&](std::size_t at, std::uint8_t value) {
        std::vector<std::uint8_t> m = good;
        m[at] = value;
        return m;
    };
    using namespace ext::hello;
    EXPECT_TRUE(refused(with(count, 2)));   // more than the message has
    EXPECT_TRUE(refused(with(count, 255))); // more than allowed
    EXPECT_TRUE(refused(with(keys, 2)));
    EXPECT_TRUE(refused(with(keys, 255)));
    EXPECT_TRUE(refused(with(nodes + node::role, 3)));
    EXPECT_TRUE(refused(with(nodes + node::name, '\n')));
    EXPECT_TRUE(refused(with(nodes + node::size - 1, 'x'))); // no NUL
    auto nobody = good;
    std::fill_n(nobody.begin() + nodes, 4, std::uint8_t{0});
    EXPECT_TRUE(refused(nobody));
    Meeting rig;
    rig.hello_with({{0, Role::active, true, "donald"}});
    EXPECT_EQ(rig.refused(Reason::bad_hello), 1u);
}

TEST(Neighbours, MoreThanFitAreCutAndTheImportantKept) {
    Rig rig;
    rig.options.peers.clear();
    for (PeerId n = 0; n < kMaxPeers; n++)
        rig.options.peers.push_back({"a-node-with-a-long-name" + std::to_string(n)});
    rig.start();
    for (PeerId n = 0; n < kMaxPeers; n++)
        rig.greet(n);
    rig.hello(kMaxPeers - 1, {.role = 1});
    rig.link.sent.clear();
    rig.pass(1500ms);
    std::vector<Neighbour> told;
    for (const auto& [peer, packet] : rig.link.sent) {
        pfsync::Parser parser{Bytes(packet)};
        while (const pfsync::Section* section = parser.next())
            if (peer == 0 && section->action == ext::kHello)
                told = HelloTail::read(section->message(0)).value().neighbours;
    }
    ASSERT_EQ(told.size(), ext::hello::max_nodes);
    EXPECT_EQ(told[0].role, Role::active);
    EXPECT_EQ(told[0].name, "a-node-with-a");
}

} // namespace
} // namespace encsync::sync::test
