// SPDX-License-Identifier: ISC
// Whose a flow is: terms, roles, vanished nodes.
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

constexpr std::uint8_t kActive = 1, kStandby = 2;

struct Met : Rig {
    Met() {
        start();
        greet(0);
        greet(1);
    }
    // The peer calls flow 1, which is named as it is here, its own.
    void claims(PeerId peer, std::uint8_t term, bool live = true) {
        state::Flow f = flow(1);
        f.id = id(1);
        say(peer, [&](Packet& p) { p.full(f, {.live = live, .term = term}, false); });
        flush();
    }
};

TEST(Owner, AnEventOnACopyMakesItOurs) {
    Met rig;
    rig.say(0, [](Packet& p) { p.full(flow(1, kPeer, 4, 2), {.term = 5}); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 5");
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:2");
    rig.engine->on_updated(flow(1));
    EXPECT_EQ(rig.owner(1), "here term 6");
    rig.flush();
    EXPECT_EQ(rig.heard(0), "UPD 1 4:4 live 6");
    EXPECT_EQ(rig.heard(1), "UPD 1 4:4 live 6");
}

TEST(Owner, ByTerm) {
    struct Row {
        std::uint8_t term;
        const char* owner;
        const char* answer;
    };
    const Row kRows[] = {
        {1, "here term 2", "INS 1 4:4 live 2"}, // an earlier claim; it is told better
        {2, "here term 2", "INS 1 4:4 live 2"}, // the same term: our creatorid is smaller
        {3, "peer 0 term 3", ""},               // a later one
        {65, "peer 0 term 65", ""},
        {67, "here term 2", "INS 1 4:4 live 2"}, // more than half round: earlier
    };
    for (const Row& row : kRows) {
        Met rig;
        rig.say(0, [](Packet& p) { p.full(flow(1, kPeer, 4, 2), {.term = 1}); });
        rig.engine->on_updated(flow(1));
        rig.acknowledge(0);
        rig.heard(0);
        ASSERT_EQ(rig.owner(1), "here term 2");
        rig.claims(0, row.term);
        EXPECT_EQ(rig.owner(1), row.owner) << int(row.term);
        EXPECT_EQ(rig.heard(0), row.answer) << int(row.term);
    }
}

TEST(Owner, InOneTermTheSmallerCreatorid) {
    Rig rig;
    rig.options.creatorid = 0x9000; // larger than the peers'
    rig.start();
    rig.greet(0);
    rig.engine->on_created(flow(1));
    state::Flow f = flow(1);
    f.id = rig.id(1);
    rig.say(0, [&](Packet& p) { p.full(f); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:4");
}

TEST(Owner, AmongOthers) {
    Met rig;
    rig.say(1, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}); });
    rig.claims(0, 2);
    EXPECT_EQ(rig.owner(1), "peer 1 term 3");
    rig.claims(0, 3); // peer 0's creatorid is the smaller
    EXPECT_EQ(rig.owner(1), "peer 0 term 3");
    rig.claims(1, 3);
    EXPECT_EQ(rig.owner(1), "peer 0 term 3");
    rig.claims(0, 1); // its own word about its own flow: it has begun anew
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
}

TEST(Owner, AgainstOneThatIsGoneAnyClaimHolds) {
    Met rig;
    rig.say(1, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}); });
    rig.engine->on_link_down(1);
    rig.claims(0, 0);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

TEST(Owner, ACopyChangesNothingUnlessItIsItsOwnersWord) {
    Met rig;
    rig.say(1, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}); });
    rig.claims(0, 9, false);
    EXPECT_EQ(rig.owner(1), "peer 1 term 3");
    rig.claims(1, 3, false); // who owns it, then? we do
    EXPECT_EQ(rig.owner(1), "here term 4");
    EXPECT_EQ(rig.heard(0), "UPD 1 4:4 live 4");
}

TEST(Owner, ACopyOfTheUnknownIsNewsOnlyToOneThatJoins) {
    Rig joining;
    joining.start();
    joining.engine->on_link_up(0);
    joining.hello(0, {});
    joining.say(0, [](Packet& p) { p.full(flow(1, kPeer), {.live = false}); });
    EXPECT_EQ(joining.owner(1), "unclaimed");
    EXPECT_EQ(joining.engine->copies_of(0), 0u);

    Met in_step;
    in_step.say(0, [](Packet& p) { p.full(flow(1, kPeer), {.live = false}); });
    EXPECT_EQ(in_step.owner(1), "unknown");

    Rig kept;
    kept.options.table_kept = true;
    kept.start();
    kept.engine->on_link_up(0);
    kept.hello(0, {});
    kept.say(0, [](Packet& p) { p.full(flow(1, kPeer), {.live = false}); });
    EXPECT_EQ(kept.owner(1), "unknown");
}

TEST(Owner, WhatEndedWhileJoiningIsNotBroughtBack) {
    Rig rig;
    rig.start();
    rig.engine->on_link_up(0);
    rig.hello(0, {});
    rig.engine->on_created(flow(1));
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    rig.heard(0);
    rig.say(0, [](Packet& p) { p.bulk(false).full(flow(1, kPeer), {.live = false}, false); });
    EXPECT_EQ(rig.owner(1), "unknown");
    rig.flush();
    EXPECT_EQ(rig.heard(0), "DEL_C ?"); // the peer may have nobody else to tell it
    // A third node's is not ours to withdraw.
    rig.say(0,
            [](Packet& p) { p.full(flow(1, kPeer), {.live = false, .elsewhere = true}, false); });
    rig.flush();
    EXPECT_EQ(rig.heard(0), "");
    EXPECT_EQ(rig.owner(1), "unknown");
}

TEST(Owner, TwoNamesOfOneFlow) {
    Met rig;
    rig.engine->on_created(flow(1));
    const state::StateId ours = rig.id(1);
    rig.acknowledge(0);
    rig.heard(0);
    // Born on two nodes in one term: our creatorid is the smaller, and they are told.
    rig.say(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.flush();
    EXPECT_EQ(rig.id(1), ours);
    EXPECT_EQ(rig.heard(0), "INS 1 4:4 live 0");
    // A later term brings its name along.
    rig.say(0, [](Packet& p) { p.full(flow(1, kPeer, 2, 0), {.term = 1}); });
    EXPECT_EQ(rig.id(1), flow(1, kPeer).id);
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    EXPECT_EQ(rig.table.take(), "put 1 copy 2:0"); // another life: it begins where they say
}

TEST(Owner, AReusedTupleGetsAnotherName) {
    Met rig;
    rig.engine->on_created(flow(1));
    const state::StateId first = rig.id(1);
    rig.engine->on_destroyed(flow(1));
    rig.engine->on_created(flow(1));
    EXPECT_NE(rig.id(1), first);
    EXPECT_EQ(rig.id(1).creatorid, kOurs);
}

// Its former owner may not have heard yet that the former life is over.
TEST(Owner, ANewLifeOfATupleThatHasChangedHandsIsOfALaterTerm) {
    Met rig;
    rig.say(0, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}).full(flow(2, kPeer)); });
    rig.engine->on_updated(flow(1, 0, 4, 5));
    ASSERT_EQ(rig.owner(1), "here term 4");
    rig.engine->on_destroyed(flow(1));
    rig.engine->on_created(flow(1));
    EXPECT_EQ(rig.owner(1), "here term 5");
    rig.engine->on_destroyed(flow(1));
    rig.engine->on_created(flow(1));
    EXPECT_EQ(rig.owner(1), "here term 6");
    rig.engine->on_destroyed(flow(1));
    rig.pass(11s); // by now they have
    rig.engine->on_created(flow(1));
    EXPECT_EQ(rig.owner(1), "here term 0");
    // One that has always been ours has no rival.
    rig.engine->on_created(flow(3));
    rig.engine->on_destroyed(flow(3));
    rig.engine->on_created(flow(3));
    EXPECT_EQ(rig.owner(3), "here term 0");
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Owner, ALaterMarkAndNatAreTakenFromTheOwnerOnly) {
    Met rig;
    state::Flow theirs = flow(1, kPeer);
    rig.say(0, [&](Packet& p) { p.full(theirs); });
    theirs.mark = 7;
    theirs.reply.dst.bytes = {203, 0, 113, 1};
    rig.say(1, [&](Packet& p) { p.full(theirs, {.live = false}, false); });
    const auto slot = rig.engine->index().find(theirs.key);
    EXPECT_EQ(rig.engine->index().record(slot).mark, 0u);
    rig.say(0, [&](Packet& p) { p.full(theirs, {}, false); });
    EXPECT_EQ(rig.engine->index().record(slot).mark, 7u);
    EXPECT_EQ(rig.engine->index().reply(slot), theirs.reply);
}

// ---- roles ---------------------------------------------------------------------------------

TEST(Roles, TheOneActiveNodeTakesOverFromStandbys) {
    Met rig;
    rig.say(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.say(1, [](Packet& p) { p.full(flow(2, kPeer + 1)); });
    rig.hello(0, {.role = kStandby});
    rig.engine->set_role(Role::active);
    EXPECT_EQ(rig.owner(1), "here term 1");
    EXPECT_EQ(rig.owner(2), "peer 1 term 0"); // its role is auto: it may have traffic
    EXPECT_EQ(rig.engine->counters().adopted, 1u);
    rig.flush();
    EXPECT_EQ(rig.heard(1), ""); // every node draws that conclusion itself
}

TEST(Roles, NotWhereTwoAreActive) {
    Met rig;
    rig.say(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.engine->set_role(Role::active);
    rig.hello(1, {.role = kActive});
    rig.hello(0, {.role = kStandby});
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.engine->on_link_down(1);
    EXPECT_EQ(rig.owner(1), "here term 1");
}

TEST(Roles, AStandbyGivesWhatTheActiveNodeKnows) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.acknowledge(0);
    rig.link.writable = false;
    rig.engine->on_created(flow(2)); // nobody has heard of it
    rig.engine->set_role(Role::standby);
    rig.hello(0, {.role = kActive});
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    EXPECT_EQ(rig.owner(2), "here term 0");
    // What it keeps as a copy now is armed as one at once.
    rig.table.take();
    rig.pass(200ms);
    EXPECT_EQ(rig.table.take(), "refresh 1 copy 4:4");
}

TEST(Roles, WhatWasGivenButNeverArrivedIsOursAgain) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.flush(); // said, and lost
    rig.engine->set_role(Role::standby);
    rig.hello(0, {.role = kActive});
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    rig.heard(0);
    rig.pass(300ms);
    EXPECT_EQ(rig.owner(1), "here term 2");
    EXPECT_EQ(rig.heard(0), "INS 1 4:4 live 2");
}

TEST(Roles, AnActiveNodeTakesWhatAStandbyClaims) {
    Met rig;
    rig.engine->set_role(Role::active);
    rig.hello(0, {.role = kStandby});
    rig.heard(0);
    rig.say(0, [](Packet& p) { p.full(flow(1, kPeer), {.term = 4}); });
    EXPECT_EQ(rig.owner(1), "here term 5");
    rig.flush();
    EXPECT_EQ(rig.heard(0), "UPD 1 4:4 live 5");
}

TEST(Roles, FlowsOfAVanishedNodeGoToTheOneActive) {
    Met rig;
    rig.engine->set_role(Role::active);
    rig.say(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.table.take();
    for (int n = 0; n < 5; n++) { // the other one is there all the time
        rig.pass(1s);
        rig.hello(1, {});
    }
    EXPECT_EQ(rig.owner(1), "here term 1");
    EXPECT_EQ(rig.engine->live(), 1u);
    // It lives as long as its traffic wills from now on.
    rig.pass(1s);
    EXPECT_EQ(rig.table.take(), "refresh 1 natural 4:4");
    // And if it turns out that the other lives, it is told so.
    rig.heard(0);
    rig.hello(0, {});
    rig.flush();
    EXPECT_EQ(rig.heard(0), "UPD 1 4:4 live 1");
}

TEST(Roles, WithoutAnActiveNodeTheyStay) {
    Met rig;
    rig.say(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.pass(5s);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(rig.engine->live(), 0u);
}

// ---- a node that lost its table ------------------------------------------------------------

TEST(LostTable, ItsFlowsGoToThoseWhoStillHoldThem) {
    Met rig;
    rig.say(0, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}); });
    rig.hello(0, {.session = 99, .flags = pfsync::extension::hello::kLost});
    EXPECT_EQ(rig.owner(1), "here term 4");
    rig.say(0, [](Packet& p) { p.bulk(false).bulk(true); });
    EXPECT_EQ(rig.owner(1), "here term 4");
    // Only once: what it gets from then on is its own.
    rig.say(0, [](Packet& p) { p.full(flow(2, kPeer)); });
    rig.hello(0, {.session = 99, .flags = pfsync::extension::hello::kLost});
    EXPECT_EQ(rig.owner(2), "peer 0 term 0");
}

TEST(LostTable, OneThatKeptItsTableNamesWhatLives) { // the twin
    Met rig;
    rig.say(0, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}); });
    rig.hello(0, {.session = 99});
    EXPECT_EQ(rig.owner(1), "peer 0 term 3");
    rig.say(0, [](Packet& p) { p.bulk(false).bulk(true); });
    EXPECT_EQ(rig.owner(1), "unknown");
}

// What the table shows long after all were in step is nothing that such a node might have owned.
TEST(LostTable, IsForgottenOnceAllAreInStep) {
    Rig rig;
    rig.options.role = Role::standby;
    rig.start();
    rig.greet(0, {.flags = pfsync::extension::hello::kLost});
    rig.greet(1);
    const auto show = [&] {
        rig.engine->on_dump_begin();
        rig.engine->on_dump_entry(flow(1), true);
        rig.engine->on_dump_end();
    };
    const auto later = [&](std::uint64_t session0, std::uint64_t session1) {
        for (int n = 0; n < 6; n++) {
            rig.pass(1s);
            rig.hello(0, {.session = session0});
            rig.hello(1, {.session = session1});
        }
    };
    show();
    EXPECT_EQ(rig.owner(1), "unclaimed");
    later(77, 77);
    EXPECT_EQ(rig.owner(1), "unknown");
    // The twin: one that comes without its table now may have owned it.
    rig.engine->on_link_down(1);
    rig.greet(0, {.session = 99, .flags = pfsync::extension::hello::kLost});
    show();
    rig.greet(1, {.session = 98});
    later(99, 98);
    EXPECT_EQ(rig.owner(1), "here term 1");
}

TEST(LostTable, IsSaidUntilInStep) {
    Rig rig;
    rig.start();
    rig.engine->on_link_up(0);
    rig.pass(1ms);
    EXPECT_EQ(rig.heard(0, true), "HELLO lost");
    rig.greet(0);
    rig.pass(50ms);
    rig.heard(0, true);
    rig.pass(1100ms);
    EXPECT_EQ(rig.heard(0, true), "HELLO");

    Rig kept;
    kept.options.table_kept = true;
    kept.start();
    kept.engine->on_link_up(0);
    kept.pass(1ms);
    EXPECT_EQ(kept.heard(0, true), "HELLO");
}

} // namespace
} // namespace encsync::sync::test
