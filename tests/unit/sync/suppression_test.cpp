// SPDX-License-Identifier: ISC
// Flows that a peer is not told of: by a rule of its conn, or because they are too young.
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

using pfsync::Kind;

state::NoSync marked(std::uint32_t value) {
    return state::NoSync({{.mark = state::MarkMatch{value, 0xff}}});
}

state::NoSync from_port(std::uint16_t port) { // in the reply, where the test may change it
    return state::NoSync({{.ports = net::PortRange{port, port}}});
}

state::Flow with_mark(std::uint16_t port, std::uint32_t mark) {
    state::Flow f = flow(port);
    f.mark = mark;
    return f;
}

state::Flow in_zone(std::uint16_t port, std::uint16_t zone,
                    std::optional<std::uint16_t> reply_zone = {}) {
    state::Flow f = flow(port);
    f.key.zone = zone;
    f.extras.reply_zone = reply_zone;
    return f;
}

// ---- zones of one direction ----------------------------------------------------------------

// minnie (0) can read them; goofy (1) is of the earlier release.
struct Zoned : Rig {
    Zoned() {
        start();
        greet(0, {.flags = pfsync::extension::hello::kReadsReplyZone});
        greet(1);
        flush();
        sent_to(0), sent_to(1);
    }
};

TEST(ZonesOfOneDirection, AreSaidToWhoReadsThem) {
    Zoned rig;
    rig.engine->on_created(in_zone(1, 10, 0));
    rig.engine->on_created(in_zone(2, 0, 10));
    rig.engine->on_created(in_zone(3, 10));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0, INS 2 4:4 live 0, INS 3 4:4 live 0");
    EXPECT_EQ(rig.sent_to(1), "INS 3 4:4 live 0");
    EXPECT_EQ(rig.engine->live_for(0), 3u);
    EXPECT_EQ(rig.engine->live_for(1), 1u);
    EXPECT_EQ(rig.engine->session(0).counters.zone_suppressed, 0u);
    EXPECT_EQ(rig.engine->session(1).counters.zone_suppressed, 2u);
    EXPECT_TRUE(rig.engine->digests_hold());
    // Nor are other messages about them sent.
    state::Flow moved = in_zone(1, 10, 0);
    moved.src_state = 5;
    rig.engine->on_updated(moved);
    rig.engine->on_destroyed(moved);
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "");
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(ZonesOfOneDirection, AreSaidOnceThePeerIsNewer) {
    Zoned rig;
    rig.engine->on_created(in_zone(1, 10, 0));
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "");
    rig.hello(1, {.flags = pfsync::extension::hello::kReadsReplyZone});
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "INS 1 4:4 live 0");
    EXPECT_EQ(rig.engine->live_for(1), 1u);
    EXPECT_TRUE(rig.engine->digests_hold());
    // And withdrawn if the peer becomes an older one.
    rig.hello(1, {});
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "DEL_C 1");
    EXPECT_EQ(rig.engine->live_for(1), 0u);
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(ZonesOfOneDirection, ArriveWithTheFlow) {
    Zoned rig;
    state::Flow f = in_zone(1, 10, 0);
    f.id = {1, kPeer};
    rig.send(0, [&](Packet& p) { p.full(f, {.more = true}); });
    const state::Slot slot = rig.engine->index().find(f.id);
    ASSERT_NE(slot, state::kNoSlot);
    EXPECT_EQ(rig.engine->index().key(slot), f.key);
    EXPECT_EQ(rig.engine->index().extras(slot).reply_zone, 0);
    EXPECT_TRUE(rig.engine->digests_hold());
}

// ---- rules ---------------------------------------------------------------------------------

// goofy (1) is not told of flows with mark 0x10; minnie (0) is.
struct WithRule : Rig {
    explicit WithRule(const std::vector<state::Flow>& goofys = {}) {
        options.peers[1].nosync = marked(0x10);
        start();
        greet(0);
        greet(1, {}, goofys);
        flush();
        sent_to(0), sent_to(1);
    }
    void expect(const std::string& minnie, const std::string& goofy) {
        flush();
        EXPECT_EQ(sent_to(0), minnie);
        EXPECT_EQ(sent_to(1), goofy);
        acknowledge(0), acknowledge(1);
    }
};

TEST(NoSyncOfAPeer, OneIsToldAndTheOtherIsNot) {
    WithRule rig;
    rig.engine->on_created(with_mark(1, 0x10));
    rig.engine->on_created(with_mark(2, 0x11));
    rig.expect("INS 1 4:4 live 0, INS 2 4:4 live 0", "INS 2 4:4 live 0");
    EXPECT_EQ(rig.engine->live_for(0), 2u);
    EXPECT_EQ(rig.engine->live_for(1), 1u);
    state::Flow moved = with_mark(1, 0x10);
    moved.src_state = 5;
    rig.engine->on_updated(moved);
    rig.expect("UPD_C 1 5:4", "");
    rig.engine->on_destroyed(moved);
    rig.expect("DEL_C 1", "");
    EXPECT_EQ(rig.engine->live_for(0), 1u);
    EXPECT_EQ(rig.engine->live_for(1), 1u);
}

TEST(NoSyncOfAPeer, AMarkThatComesWithdrawsAndOneThatGoesAnnounces) {
    WithRule rig;
    rig.engine->on_created(with_mark(1, 0));
    rig.expect("INS 1 4:4 live 0", "INS 1 4:4 live 0");
    rig.engine->on_updated(with_mark(1, 0x10));
    rig.expect("UPD 1 4:4 live 0", "DEL_C 1");
    rig.engine->on_updated(with_mark(1, 0x20));
    rig.expect("UPD 1 4:4 live 0", "INS 1 4:4 live 0");
    EXPECT_EQ(rig.engine->live_for(1), 1u);
    // Both changes before anything was sent: nothing has to be.
    rig.engine->on_created(with_mark(2, 0));
    rig.engine->on_updated(with_mark(2, 0x10));
    rig.expect("INS 2 4:4 live 0", "");
}

TEST(NoSyncOfAPeer, AddressesCountAsTheyAreLearned) {
    Rig rig;
    rig.options.peers[1].nosync = from_port(8443);
    rig.start();
    rig.greet(0), rig.greet(1);
    rig.engine->on_created(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "INS 1 4:4 live 0");
    state::Flow translated = flow(1);
    translated.reply.sport = 8443;
    rig.engine->on_updated(translated);
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "DEL_C 1");
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0, UPD 1 4:4 live 0");
}

TEST(NoSyncOfAPeer, ALostAnnouncementIsNotRepeatedOnceWithdrawn) {
    WithRule rig;
    rig.engine->on_created(with_mark(1, 0));
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "INS 1 4:4 live 0");
    rig.engine->on_updated(with_mark(1, 0x10));
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "DEL_C 1");
    rig.pass(300ms); // neither was acknowledged
    EXPECT_EQ(rig.sent_to(1), "DEL_C 1");
}

TEST(NoSyncOfAPeer, NeitherBulkNorRequestTellsOfIt) {
    WithRule rig;
    rig.engine->on_created(with_mark(1, 0x10));
    rig.engine->on_created(with_mark(2, 0));
    rig.expect("INS 1 4:4 live 0, INS 2 4:4 live 0", "INS 2 4:4 live 0");
    for (PeerId peer : {PeerId{0}, PeerId{1}})
        rig.send(peer, [&](Packet& p) { p.id(Kind::request, rig.id(1)); });
    rig.expect("UPD 1 4:4 live 0", "ABSENT 1");
    EXPECT_EQ(rig.refused(Reason::no_sync), 1u);
    for (PeerId peer : {PeerId{0}, PeerId{1}})
        rig.send(peer, [&](Packet& p) { p.id(Kind::request, {}); });
    rig.expect("BUS start, UPD 1 4:4 live 0, UPD 2 4:4 live 0", "BUS start, UPD 2 4:4 live 0");
}

TEST(NoSyncOfAPeer, ACopyIsNamedToNobodyElseEither) {
    WithRule rig;
    state::Flow minnies = with_mark(1, 0x10);
    minnies.id = {1, kPeer};
    rig.send(0, [&](Packet& p) { p.full(minnies); });
    rig.send(1, [&](Packet& p) { p.id(Kind::request, {}); });
    rig.expect("", "BUS start");
    // Its mark changes, and the owner sends that: the owner also sends it to the others.
    minnies.mark = 0;
    rig.send(0, [&](Packet& p) { p.full(minnies, {}, false); });
    rig.expect("", "BUS end");
}

TEST(NoSyncOfAPeer, ItsOwnFlowStaysItsOwn) {
    state::Flow goofys = with_mark(1, 0x10);
    goofys.id = {1, kPeer + 1};
    WithRule rig({goofys});
    EXPECT_EQ(rig.owner(1), "peer 1 term 0");
    state::Flow moved = with_mark(1, 0x10);
    moved.src_state = 5;
    rig.engine->on_updated(moved); // a packet of it passed here
    EXPECT_EQ(rig.owner(1), "peer 1 term 0");
    rig.expect("", "");
    // Control: without that mark it changes its owner, and all are told.
    moved.mark = 0;
    rig.engine->on_updated(moved);
    EXPECT_EQ(rig.owner(1), "here term 1");
    rig.expect("UPD 1 5:4 live 1", "UPD 1 5:4 live 1");
}

TEST(NoSyncOfAPeer, WhatIsTakenOverFromItIsWithdrawn) {
    state::Flow goofys = with_mark(1, 0x10), other = with_mark(2, 0);
    goofys.id = {1, kPeer + 1}, other.id = {2, kPeer + 1};
    WithRule rig({goofys, other});
    rig.engine->set_role(Role::active);
    rig.hello(1, {.role = 2}); // goofy is standby
    EXPECT_EQ(rig.owner(1), "here term 1");
    EXPECT_EQ(rig.owner(2), "here term 1");
    rig.expect("", "DEL_C 1 term 1");
    EXPECT_EQ(rig.engine->live_for(0), 2u);
    EXPECT_EQ(rig.engine->live_for(1), 1u);
}

TEST(NoSyncOfAPeer, OneThatComesLaterOrAnewBringsItsRules) {
    WithRule rig;
    rig.engine->on_created(with_mark(1, 0x10));
    rig.engine->on_created(with_mark(2, 0x20));
    rig.acknowledge(0), rig.acknowledge(1);
    rig.engine->remove_peer(1);
    rig.engine->add_peer(1, {.name = "goofy", .nosync = marked(0x20)});
    rig.engine->add_peer(2, {.name = "donald", .nosync = marked(0x10)});
    rig.greet(1, {.session = 500}), rig.greet(2);
    for (PeerId peer : {PeerId{1}, PeerId{2}})
        rig.send(peer, [&](Packet& p) { p.id(Kind::request, {}); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "BUS start, UPD 1 4:4 live 0");
    EXPECT_EQ(rig.sent_to(2), "BUS start, UPD 2 4:4 live 0");
    EXPECT_EQ(rig.engine->live_for(0), 2u);
    EXPECT_EQ(rig.engine->live_for(1), 1u);
    EXPECT_EQ(rig.engine->live_for(2), 1u);
}

TEST(NoSyncOfAPeer, CountsAreRightWhateverHappens) {
    WithRule rig;
    std::size_t live = 0, marked_live = 0;
    std::vector<std::uint32_t> marks(40, 0);
    std::vector<bool> alive(40, false);
    std::uint32_t random = 1;
    for (int n = 0; n < 2000; n++) {
        random = random * 1664525 + 1013904223;
        const std::size_t k = random >> 16 & 31;
        const std::uint32_t mark = (random >> 24 & 1) != 0 ? 0x10 : 0;
        const state::Flow f = with_mark(static_cast<std::uint16_t>(k + 1), mark);
        if (alive[k]) {
            live--;
            marked_live -= marks[k] != 0;
        }
        alive[k] = (random >> 28) != 0;
        marks[k] = mark;
        if (alive[k]) {
            rig.engine->on_updated(f);
            live++;
            marked_live += mark != 0;
        } else {
            rig.engine->on_destroyed(f);
        }
        ASSERT_EQ(rig.engine->live(), live);
        ASSERT_EQ(rig.engine->live_for(0), live);
        ASSERT_EQ(rig.engine->live_for(1), live - marked_live);
        if (n % 7 == 0) {
            rig.flush();
            rig.acknowledge(0), rig.acknowledge(1);
        }
    }
}

// ---- delay ---------------------------------------------------------------------------------

struct WithDelay : Rig {
    explicit WithDelay(Duration delay = 500ms) {
        options.delay = delay;
        start();
        greet(0);
    }
};

TEST(Delay, AFlowIsToldOfOnceItHasLivedThatLong) {
    WithDelay rig;
    rig.engine->on_created(flow(1, 0, 2, 0));
    rig.pass(100ms);
    rig.engine->on_updated(flow(1));
    rig.pass(399ms);
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.engine->live(), 1u);
    EXPECT_EQ(rig.engine->live_for(0), 0u);
    rig.pass(1ms);
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
    EXPECT_EQ(rig.engine->live_for(0), 1u);
    rig.acknowledge(0);
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1");
}

TEST(Delay, OfZeroIsNone) {
    WithDelay rig(0s);
    rig.engine->on_created(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
}

TEST(Delay, OneThatEndsBeforeIsNeverMentioned) {
    WithDelay rig;
    rig.engine->on_created(flow(1));
    rig.pass(499ms);
    rig.engine->on_destroyed(flow(1));
    rig.engine->on_created(flow(1)); // the same tuple again: its age starts at 0
    rig.pass(499ms);
    EXPECT_EQ(rig.sent_to(0), "");
    rig.pass(1ms);
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
}

TEST(Delay, OneThatIsClosedBeforeIsNeverMentionedUnlessItLivesAgain) {
    WithDelay rig;
    rig.engine->on_created(flow(1, 0, 2, 0));
    rig.pass(200ms);
    rig.engine->on_updated(flow(1, 0, 9, 9)); // the table keeps it for two minutes more
    rig.engine->on_created(flow(2, 0, 9, 4)); // closed on one side only
    rig.pass(500ms);
    EXPECT_EQ(rig.sent_to(0), "INS 2 9:4 live 0");
    EXPECT_EQ(rig.engine->live_for(0), 1u);
    rig.acknowledge(0);
    rig.engine->on_updated(flow(1, 0, 4, 4));
    rig.pass(499ms);
    EXPECT_EQ(rig.sent_to(0), "");
    rig.pass(1ms);
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
}

TEST(Delay, BulkLeavesOutTheYoungAndTheyFollow) {
    WithDelay rig;
    rig.engine->on_created(flow(1));
    rig.pass(500ms);
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
    rig.engine->on_created(flow(2));
    rig.send(0, [](Packet& p) { p.id(Kind::request, {}); });
    rig.acknowledge(0);
    EXPECT_EQ(rig.sent_to(0), "BUS start, UPD 1 4:4 live 0, BUS end");
    rig.acknowledge(0);
    rig.pass(500ms);
    EXPECT_EQ(rig.sent_to(0), "INS 2 4:4 live 0");
}

TEST(Delay, WhatWasThereBeforeUsWaitsForNothing) {
    Rig rig;
    rig.options.delay = 500ms;
    rig.options.role = Role::active;
    rig.start(false);
    rig.engine->on_dump_begin();
    rig.engine->on_dump_entry(flow(1), false);
    rig.engine->on_dump_end();
    rig.greet(0);
    EXPECT_EQ(rig.engine->live_for(0), 1u);
}

TEST(Delay, ADumpMakesNobodyOlder) {
    WithDelay rig;
    rig.engine->on_created(flow(1));
    rig.engine->on_dump_begin();
    rig.engine->on_dump_entry(flow(1), false);
    rig.engine->on_dump_end();
    rig.pass(499ms);
    EXPECT_EQ(rig.sent_to(0), "");
    rig.pass(1ms);
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
}

TEST(Delay, WhatIsTakenOverIsKnownAlready) {
    WithDelay rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.engine->on_updated(flow(1, 0, 5, 4));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 5:4 live 1");
}

TEST(Delay, AFlowThatThePeerHasTooChangesHandsAsEver) {
    WithDelay rig;
    rig.engine->on_created(flow(1));
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.term = 1}); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    EXPECT_EQ(rig.engine->live(), 0u);
    EXPECT_EQ(rig.engine->live_for(0), 0u);
    rig.pass(600ms);
    EXPECT_EQ(rig.sent_to(0), "");
}

TEST(Delay, WhoSteppedDownTellsOfTheYoungAtOnce) {
    WithDelay rig;
    rig.engine->on_created(flow(1));
    rig.engine->set_role(Role::active);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    rig.engine->set_role(Role::standby);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
}

TEST(Delay, TogetherWithARule) {
    Rig rig;
    rig.options.delay = 500ms;
    rig.options.peers[1].nosync = marked(0x10);
    rig.start();
    rig.greet(0), rig.greet(1);
    rig.engine->on_created(with_mark(1, 0));
    rig.engine->on_updated(with_mark(1, 0x10));
    rig.pass(500ms);
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
    EXPECT_EQ(rig.sent_to(1), "");
}

} // namespace
} // namespace encsync::sync::test
