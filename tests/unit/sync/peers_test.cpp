// SPDX-License-Identifier: ISC
// Peers that are added and removed while the engine runs.
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

constexpr std::uint8_t kActive = 1, kStandby = 2;
constexpr PeerId kMinnie = 0, kGoofy = 1;

const PeerOptions kDonald{"donald", true, pfsync::Dialect::openbsd};

struct Met : Rig {
    Met() {
        start();
        greet(kMinnie);
        greet(kGoofy);
        send(kMinnie, [](Packet& p) { p.full(flow(1, kPeer)); });
        send(kGoofy, [](Packet& p) { p.full(flow(2, kPeer + 1)); });
        engine->on_created(flow(3));
        acknowledge(kMinnie);
        acknowledge(kGoofy);
        sent_to(kMinnie);
        sent_to(kGoofy);
        table.take();
    }
};

TEST(Peers, ARemovedOnesFlowsAreNobodysAndOthersHearNothing) {
    Met rig;
    rig.engine->remove_peer(kGoofy);
    EXPECT_FALSE(rig.engine->has_peer(kGoofy));
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(rig.owner(2), "gone");
    EXPECT_EQ(rig.owner(3), "here term 0");
    EXPECT_EQ(rig.engine->copies_of(kGoofy), 0U);
    rig.flush();
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_EQ(rig.sent_to(kMinnie), "");
    EXPECT_TRUE(rig.engine->ready());
    EXPECT_TRUE(rig.engine->session(kMinnie).in_step);
    // They time out, without a message.
    rig.engine->on_destroyed(flow(2));
    EXPECT_EQ(rig.owner(2), "unknown");
    rig.flush();
    EXPECT_EQ(rig.sent_to(kMinnie), "");
}

TEST(Peers, NobodysFlowsBelongToWhoeverSeesThemMove) {
    Met rig;
    rig.engine->remove_peer(kGoofy);
    rig.engine->on_updated(flow(2));
    EXPECT_EQ(rig.owner(2), "here term 1");
}

TEST(Peers, NobodysFlowsAreTheActiveNodes) {
    Met rig;
    rig.engine->set_role(Role::active);
    EXPECT_EQ(rig.owner(2), "peer 1 term 0"); // control: it is reachable, and not standby
    rig.engine->remove_peer(kGoofy);
    EXPECT_EQ(rig.owner(2), "here term 1");
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

TEST(Peers, WhatIsAddedLaterIsToldEverything) {
    Met rig;
    rig.engine->add_peer(2, kDonald);
    EXPECT_TRUE(rig.engine->ready());
    rig.engine->on_link_up(2);
    rig.hello(2, {});
    rig.send(2, [](Packet& p) { p.id(pfsync::Kind::request, {}); });
    rig.acknowledge(2);
    const std::string said = rig.sent_to(2);
    for (const char* state : {"1 4:4 copy", "2 4:4 copy", "3 4:4 live"})
        EXPECT_NE(said.find(state), said.npos) << state << " in " << said;
    EXPECT_EQ(rig.sent_to(kMinnie), "");
}

// Nothing known about the number's former peer may be applied to the new one.
TEST(Peers, ANumberServesAnother) {
    Met rig;
    const std::uint64_t session = rig.engine->session(kGoofy).local;
    rig.engine->on_updated(flow(3, 0, 4, 5)); // pending for both
    rig.engine->remove_peer(kGoofy);
    rig.engine->add_peer(kGoofy, kDonald);
    EXPECT_NE(rig.engine->session(kGoofy).local, session);
    EXPECT_EQ(rig.engine->session(kGoofy).options.name, "donald");
    EXPECT_FALSE(rig.engine->session(kGoofy).link_up);
    EXPECT_EQ(rig.owner(2), "gone");
    rig.flush();
    EXPECT_EQ(rig.sent_to(kGoofy), "");
    EXPECT_EQ(rig.sent_to(kMinnie), "UPD_C 3 4:5");
    // The removal of a flow that donald was never sent is not sent to it.
    rig.engine->on_link_up(kGoofy);
    rig.hello(kGoofy, {.session = 99});
    rig.flush();
    rig.sent_to(kGoofy);
    rig.engine->on_destroyed(flow(3));
    rig.flush();
    EXPECT_EQ(rig.sent_to(kGoofy).find("DEL_C"), std::string::npos);
    EXPECT_EQ(rig.sent_to(kMinnie), "DEL_C 3");
}

// A peer that never was in step must not delay what waits for all of them.
TEST(Peers, CopiesOfNobodyGoWhenTheLastOneThatMightNameThemIsRemoved) {
    Rig rig;
    rig.options.role = Role::standby;
    rig.start(false);
    rig.engine->on_dump_begin();
    rig.engine->on_dump_entry(flow(7), true);
    rig.engine->on_dump_end();
    rig.greet(kMinnie);
    EXPECT_EQ(rig.owner(7), "unclaimed");
    rig.engine->remove_peer(kGoofy);
    EXPECT_EQ(rig.owner(7), "unknown");
    EXPECT_EQ(rig.table.take(), "remove 7");
}

TEST(Peers, WithoutAnyANodeServesAlone) {
    Rig rig;
    rig.start();
    std::string why;
    EXPECT_FALSE(rig.engine->ready(&why));
    rig.engine->remove_peer(kMinnie);
    rig.engine->remove_peer(kGoofy);
    EXPECT_TRUE(rig.engine->ready(&why)) << why;
    EXPECT_EQ(rig.engine->has_peer(kMinnie), false);
}

// Its role no longer counts: the remaining nodes decide.
TEST(Peers, ARemovedActiveNodeNoLongerIs) {
    Met rig;
    rig.hello(kGoofy, {.role = kActive});
    rig.hello(kMinnie, {.role = kStandby});
    EXPECT_EQ(rig.owner(1), "peer 1 term 1");
    rig.engine->remove_peer(kGoofy);
    rig.engine->set_role(Role::active);
    EXPECT_EQ(rig.owner(1), "here term 2");
}

} // namespace
} // namespace encsync::sync::test
