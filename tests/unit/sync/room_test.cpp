// SPDX-License-Identifier: ISC
// How much of the table peers may fill, and the removal of what one has brought.
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

constexpr std::uint8_t kStandby = 2;

struct Met : Rig {
    explicit Met(std::size_t max_states = 0) {
        options.peers[0].rules.max_states = max_states;
        options.peers[1].extended = true;
        start();
        greet(0);
        greet(1);
        table.take();
    }
    void copy(std::uint16_t port, PeerId owner = 0) {
        send(owner, [&](Packet& p) { p.full(flow(port, kPeer + owner)); });
    }
    // Both peers stay within reach.
    void seconds(unsigned count) {
        for (; count > 0; count--) {
            pass(1s);
            hello(0, {}), hello(1, {});
        }
    }
    std::string why() const {
        std::string out;
        return engine->ready(&out) ? "ready" : out;
    }
};

// ---- room ----------------------------------------------------------------------------------

TEST(Room, CopiesAreMadeWhileThereIsSome) {
    Met rig;
    rig.engine->set_room(2);
    for (std::uint16_t port = 1; port <= 4; port++)
        rig.copy(port);
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:4, put 2 copy 4:4");
    EXPECT_EQ(rig.engine->copies_of(0), 4u);
    EXPECT_EQ(rig.engine->missing_of(0, Missing::no_room), 2u);
    EXPECT_NE(rig.why(), "ready");
    // Changes of what is there need no room.
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 5, 5), {}, false); });
    EXPECT_EQ(rig.table.take(), "put 1 copy 5:5");
    // A round tries again, in vain and then not.
    rig.seconds(130);
    EXPECT_EQ(rig.table.take(), "");
    rig.engine->set_room(100);
    rig.seconds(130);
    EXPECT_EQ(rig.table.take(), "refresh 3 copy 4:4, refresh 4 copy 4:4");
    EXPECT_EQ(rig.engine->missing_of(0), 0u);
    EXPECT_EQ(rig.why(), "ready");
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Room, OwnFlowsTakeItFirst) {
    Met rig;
    rig.engine->set_room(2);
    rig.engine->on_created(flow(10));
    rig.engine->on_created(flow(11));
    rig.copy(1);
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_EQ(rig.engine->missing_of(0, Missing::no_room), 1u);
}

TEST(Room, CopiesOfThePeerWithMostLeaveATableWithoutAny) {
    Met rig;
    for (std::uint16_t port = 1; port <= 3; port++)
        rig.copy(port);
    rig.copy(11, 1);
    rig.engine->on_created(flow(20));
    rig.table.take();
    rig.engine->set_room(-2);
    EXPECT_EQ(rig.table.take(), "remove 1, remove 2");
    EXPECT_EQ(rig.engine->missing_of(0, Missing::no_room), 2u);
    EXPECT_EQ(rig.engine->missing_of(1), 0u);
    EXPECT_EQ(rig.engine->counters().made_room, 2u);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 20 4:4 live 0"); // nobody is told
    // What is live here stays, and so does all if there are no copies.
    rig.engine->set_room(-10);
    EXPECT_EQ(rig.table.take(), "remove 3");
    rig.engine->set_room(-10);
    EXPECT_EQ(rig.table.take(), "remove 11");
    rig.engine->set_room(-10);
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Room, WhatIsTakenOverWaitsForIt) {
    Met rig;
    rig.engine->set_room(1);
    rig.copy(1);
    rig.copy(2);
    rig.hello(0, {.role = kStandby});
    rig.engine->set_role(Role::active);
    rig.table.take();
    rig.pass(1s);
    EXPECT_EQ(rig.table.take(), "refresh 1 natural 4:4");
    EXPECT_EQ(rig.owner(2), "here term 1");
    rig.engine->set_room(5);
    for (int n = 0; n < 130; n++) {
        rig.pass(1s);
        rig.hello(0, {.role = kStandby}), rig.hello(1, {});
    }
    EXPECT_NE(rig.table.take().find("refresh 2 natural 4:4"), std::string::npos);
}

TEST(Room, NoPeerKeepsAnotherOut) {
    Met rig;
    rig.engine->set_room(4);
    for (std::uint16_t port = 1; port <= 6; port++)
        rig.copy(port);
    rig.table.take();
    rig.engine->set_room(0); // nobody else wants any
    EXPECT_EQ(rig.table.take(), "");
    for (std::uint16_t port = 11; port <= 13; port++)
        rig.copy(port, 1);
    EXPECT_EQ(rig.table.take(), "");
    rig.engine->set_room(0); // an even part is 2
    EXPECT_EQ(rig.table.take(), "remove 1, remove 2");
    rig.copy(7); // not for the one that had more
    EXPECT_EQ(rig.table.take(), "");
    rig.seconds(1);
    EXPECT_EQ(rig.table.take(), "refresh 11 copy 4:4, refresh 12 copy 4:4");
    rig.engine->set_room(0); // no further
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_EQ(rig.engine->missing_of(1, Missing::no_room), 1u);
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Room, APeerMayBeLimitedToAShare) {
    Rig rig;
    rig.options.peers[0].rules.max_share = 30;
    rig.options.peers[1].extended = true;
    rig.start();
    rig.greet(0);
    rig.greet(1);
    rig.engine->set_room(1000);
    const auto copies = [&](PeerId owner) {
        for (std::uint16_t port = 1; port <= 400; port++)
            rig.send(owner, [&](Packet& p) { p.full(flow(port, kPeer + owner)); });
        return rig.engine->copies_of(owner);
    };
    EXPECT_EQ(copies(0), 300u);
    EXPECT_EQ(rig.refused(Reason::share), 100u);
    rig.engine->remove_states_of(0);
    EXPECT_EQ(copies(1), 400u);
    EXPECT_EQ(rig.refused(Reason::share), 100u);
}

// ---- a peer's own limit --------------------------------------------------------------------

TEST(MaxStates, LimitsOnePeer) {
    Met rig(2);
    for (std::uint16_t port = 1; port <= 4; port++)
        rig.copy(port);
    rig.copy(11, 1);
    EXPECT_EQ(rig.engine->copies_of(0), 2u);
    EXPECT_EQ(rig.engine->copies_of(1), 1u);
    EXPECT_EQ(rig.refused(Reason::peer_limit), 2u);
    EXPECT_NE(rig.why(), "ready");
    // Those that it has may change, and one that ends makes room.
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 5, 5), {}, false); });
    rig.send(0, [](Packet& p) { p.removal(flow(2, kPeer).id); });
    rig.copy(3);
    EXPECT_EQ(rig.owner(3), "peer 0 term 0");
    EXPECT_EQ(rig.refused(Reason::peer_limit), 2u);
}

// ---- removing what a peer has brought ------------------------------------------------------

TEST(RemoveStatesOf, WhatItBroughtWhoeverOwnsItByNow) {
    Met rig;
    rig.copy(1);
    rig.copy(2);
    rig.copy(11, 1);
    rig.engine->on_created(flow(20));
    rig.engine->on_created(flow(21));
    rig.engine->on_updated(flow(2)); // moves here
    state::Flow moved = flow(21);
    moved.id = rig.id(21);
    rig.send(0, [&](Packet& p) { p.full(moved, {.term = 1}, false); }); // began here, moved there
    rig.flush();
    for (const PeerId peer : {PeerId{0}, PeerId{1}}) {
        rig.acknowledge(peer);
        rig.sent_to(peer);
    }
    rig.table.take();
    EXPECT_EQ(rig.owner(2), "here term 1");
    EXPECT_EQ(rig.owner(21), "peer 0 term 1");
    EXPECT_EQ(rig.engine->remove_states_of(0), 2u);
    EXPECT_EQ(rig.table.take(), "remove 1, remove 2");
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.owner(2), "unknown");
    EXPECT_EQ(rig.owner(11), "peer 1 term 0");
    EXPECT_EQ(rig.owner(20), "here term 0");
    EXPECT_EQ(rig.owner(21), "peer 0 term 1");
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "DEL_C 2 term 1"); // what was live here ends everywhere
    EXPECT_EQ(rig.engine->remove_states_of(0), 0u);
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(RemoveStatesOf, WhatItNamedAfterARestartOfThisNode) {
    Rig rig;
    rig.options.table_kept = true;
    rig.options.role = Role::standby;
    rig.start(false);
    rig.engine->on_dump_begin();
    rig.engine->on_dump_entry(flow(1), true);
    rig.engine->on_dump_entry(flow(2), true);
    rig.engine->on_dump_end();
    rig.greet(0, {}, {flow(1, kPeer)});
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.table.take();
    EXPECT_EQ(rig.engine->remove_states_of(0), 1u);
    EXPECT_EQ(rig.table.take(), "remove 1");
    EXPECT_EQ(rig.owner(2), "unclaimed");
}

TEST(RemoveStatesOf, IsNotAboutWhoGetsItsNumber) {
    Met rig;
    rig.copy(1);
    rig.engine->on_updated(flow(1));
    rig.engine->remove_peer(0);
    rig.engine->add_peer(0, {.name = "another"});
    EXPECT_EQ(rig.engine->remove_states_of(0), 0u);
    EXPECT_EQ(rig.owner(1), "here term 1");
}

} // namespace
} // namespace encsync::sync::test
