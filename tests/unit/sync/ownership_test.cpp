// SPDX-License-Identifier: ISC
// The owner of a flow: terms, roles, nodes that are gone.
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
    // The peer claims flow 1, under the id that it has here.
    void claims(PeerId peer, std::uint8_t term, bool live = true) {
        state::Flow f = flow(1);
        f.id = id(1);
        send(peer, [&](Packet& p) { p.full(f, {.live = live, .term = term}, false); });
        flush();
    }
};

TEST(Owner, AnEventOnACopyMakesItOurs) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 4, 2), {.term = 5}); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 5");
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:2");
    rig.engine->on_updated(flow(1));
    EXPECT_EQ(rig.owner(1), "here term 6");
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 4:4 live 6");
    EXPECT_EQ(rig.sent_to(1), "UPD 1 4:4 live 6");
}

TEST(Owner, ByTerm) {
    struct Row {
        std::uint8_t term;
        const char* owner;
        const char* answer;
    };
    const Row kRows[] = {
        {1, "here term 2", "INS 1 4:4 live 2"}, // an earlier claim; it is corrected
        {2, "here term 2", "INS 1 4:4 live 2"}, // the same term: our creatorid is smaller
        {3, "peer 0 term 3", ""},               // a later one
        {65, "peer 0 term 65", ""},
        {67, "here term 2", "INS 1 4:4 live 2"}, // more than half of the range: earlier
    };
    for (const Row& row : kRows) {
        Met rig;
        rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 4, 2), {.term = 1}); });
        rig.engine->on_updated(flow(1));
        rig.acknowledge(0);
        rig.sent_to(0);
        ASSERT_EQ(rig.owner(1), "here term 2");
        rig.claims(0, row.term);
        EXPECT_EQ(rig.owner(1), row.owner) << int(row.term);
        EXPECT_EQ(rig.sent_to(0), row.answer) << int(row.term);
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
    rig.send(0, [&](Packet& p) { p.full(f); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:4");
}

TEST(Owner, AmongOthers) {
    Met rig;
    rig.send(1, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}); });
    rig.claims(0, 2);
    EXPECT_EQ(rig.owner(1), "peer 1 term 3");
    rig.claims(0, 3); // peer 0's creatorid is the smaller
    EXPECT_EQ(rig.owner(1), "peer 0 term 3");
    rig.claims(1, 3);
    EXPECT_EQ(rig.owner(1), "peer 0 term 3");
    rig.claims(0, 1); // the owner's update of its own flow: it has begun again
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
}

TEST(Owner, AgainstOneThatIsGoneAnyClaimHolds) {
    Met rig;
    rig.send(1, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}); });
    rig.engine->on_link_down(1);
    rig.claims(0, 0);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

TEST(Owner, ACopyChangesNothingUnlessItIsItsOwnersWord) {
    Met rig;
    rig.send(1, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}); });
    rig.claims(0, 9, false);
    EXPECT_EQ(rig.owner(1), "peer 1 term 3");
    rig.claims(1, 3, false); // the owner has only a copy, so it is ours
    EXPECT_EQ(rig.owner(1), "here term 4");
    EXPECT_EQ(rig.sent_to(0), "UPD 1 4:4 live 4");
}

TEST(Owner, ACopyOfTheUnknownIsNewsOnlyToOneThatJoins) {
    Rig joining;
    joining.start();
    joining.engine->on_link_up(0);
    joining.hello(0, {});
    joining.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.live = false}); });
    EXPECT_EQ(joining.owner(1), "unclaimed");
    EXPECT_EQ(joining.engine->copies_of(0), 0u);

    Met in_step;
    in_step.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.live = false}); });
    EXPECT_EQ(in_step.owner(1), "unknown");

    Rig kept;
    kept.options.table_kept = true;
    kept.start();
    kept.engine->on_link_up(0);
    kept.hello(0, {});
    kept.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.live = false}); });
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
    rig.sent_to(0);
    rig.send(0, [](Packet& p) { p.bulk(false).full(flow(1, kPeer), {.live = false}, false); });
    EXPECT_EQ(rig.owner(1), "unknown");
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "DEL_C ?"); // no other node may send it to the peer
    // A third node's flow is not ours to withdraw.
    rig.send(0,
             [](Packet& p) { p.full(flow(1, kPeer), {.live = false, .elsewhere = true}, false); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.owner(1), "unknown");
}

TEST(Owner, TwoNamesOfOneFlow) {
    Met rig;
    rig.engine->on_created(flow(1));
    const state::StateId ours = rig.id(1);
    rig.acknowledge(0);
    rig.sent_to(0);
    // Created on two nodes in one term: our creatorid is smaller, so it is sent.
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.flush();
    EXPECT_EQ(rig.id(1), ours);
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
    // A later term also changes the id.
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 2, 0), {.term = 1}); });
    EXPECT_EQ(rig.id(1), flow(1, kPeer).id);
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    EXPECT_EQ(rig.table.take(), "put 1 copy 2:0"); // a new flow: it has that node's progress
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

// Its former owner may not know yet that the former flow has ended.
TEST(Owner, ANewLifeOfATupleThatHasChangedHandsIsOfALaterTerm) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}).full(flow(2, kPeer)); });
    rig.engine->on_updated(flow(1, 0, 4, 5));
    ASSERT_EQ(rig.owner(1), "here term 4");
    rig.engine->on_destroyed(flow(1));
    rig.engine->on_created(flow(1));
    EXPECT_EQ(rig.owner(1), "here term 5");
    rig.engine->on_destroyed(flow(1));
    rig.engine->on_created(flow(1));
    EXPECT_EQ(rig.owner(1), "here term 6");
    rig.engine->on_destroyed(flow(1));
    rig.pass(11s); // by now all nodes know
    rig.engine->on_created(flow(1));
    EXPECT_EQ(rig.owner(1), "here term 0");
    // A flow that never had another owner needs no later term.
    rig.engine->on_created(flow(3));
    rig.engine->on_destroyed(flow(3));
    rig.engine->on_created(flow(3));
    EXPECT_EQ(rig.owner(3), "here term 0");
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Owner, ALaterMarkAndNatAreTakenFromTheOwnerOnly) {
    Met rig;
    state::Flow theirs = flow(1, kPeer);
    rig.send(0, [&](Packet& p) { p.full(theirs); });
    theirs.mark = 7;
    theirs.reply.dst.bytes = {203, 0, 113, 1};
    rig.send(1, [&](Packet& p) { p.full(theirs, {.live = false}, false); });
    const auto slot = rig.engine->index().find(theirs.key);
    EXPECT_EQ(rig.engine->index().record(slot).mark, 0u);
    rig.send(0, [&](Packet& p) { p.full(theirs, {}, false); });
    EXPECT_EQ(rig.engine->index().record(slot).mark, 7u);
    EXPECT_EQ(rig.engine->index().reply(slot), theirs.reply);
}

// ---- roles ---------------------------------------------------------------------------------

TEST(Roles, TheOneActiveNodeTakesOverFromStandbys) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.send(1, [](Packet& p) { p.full(flow(2, kPeer + 1)); });
    rig.hello(0, {.role = kStandby});
    rig.engine->set_role(Role::active);
    EXPECT_EQ(rig.owner(1), "here term 1");
    EXPECT_EQ(rig.owner(2), "peer 1 term 0"); // its role is auto: it may have traffic
    EXPECT_EQ(rig.engine->counters().adopted, 1u);
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), ""); // every node concludes that itself
}

TEST(Roles, NotWhereTwoAreActive) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
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
    rig.engine->on_created(flow(2)); // not announced to any peer
    rig.engine->set_role(Role::standby);
    rig.hello(0, {.role = kActive});
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    EXPECT_EQ(rig.owner(2), "here term 0");
    // A flow that is now a copy gets the timer of a copy at once.
    rig.table.take();
    rig.pass(200ms);
    EXPECT_EQ(rig.table.take(), "refresh 1 copy 4:4");
}

TEST(Roles, WhatWasGivenButNeverArrivedIsOursAgain) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.flush(); // sent, and lost
    rig.engine->set_role(Role::standby);
    rig.hello(0, {.role = kActive});
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    rig.sent_to(0);
    rig.pass(300ms);
    EXPECT_EQ(rig.owner(1), "here term 2");
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 2");
}

TEST(Roles, AnActiveNodeTakesWhatAStandbyClaims) {
    Met rig;
    rig.engine->set_role(Role::active);
    rig.hello(0, {.role = kStandby});
    rig.sent_to(0);
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.term = 4}); });
    EXPECT_EQ(rig.owner(1), "here term 5");
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 4:4 live 5");
}

// A standby that claims a flow of the active node, under its name or another one, or removes it
// then, changes neither its mark nor its NAT and does not end it. Its progress is taken.
TEST(Roles, AStandbyChangesNoFlowOfTheActiveNode) {
    for (const std::uint8_t role : {kStandby, std::uint8_t{0}}) {
        for (const bool same_name : {true, false}) {
            Met rig;
            rig.engine->set_role(Role::active);
            rig.hello(0, {.role = role});
            state::Flow ours = flow(1, 0, 4, 2);
            ours.mark = 7;
            ours.mark_known = true;
            rig.engine->on_created(ours);
            rig.flush();
            rig.acknowledge(0);
            rig.sent_to(0);
            rig.table.take();
            state::Flow theirs = flow(1, kPeer);
            if (same_name)
                theirs.id = rig.id(1);
            theirs.mark = 66;
            theirs.reply.dst.bytes = {203, 0, 113, 1};
            rig.send(0, [&](Packet& p) { p.full(theirs, {.term = 9}); });
            rig.flush();
            const auto slot = rig.engine->index().find(ours.key);
            const auto& record = rig.engine->index().record(slot);
            const bool kept = role == kStandby;
            EXPECT_EQ(record.mark, kept ? 7u : 66u);
            EXPECT_EQ(rig.engine->index().reply(slot) == ours.reply, kept);
            EXPECT_EQ(rig.owner(1), kept ? "here term 10" : "peer 0 term 9");
            EXPECT_EQ(rig.id(1) == flow(1, kPeer).id, !kept && !same_name);
            EXPECT_EQ(record.dst_state, kept && !same_name ? 2 : 4);
            if (kept) { // the standby learns whose it is
                EXPECT_NE(rig.sent_to(0).find("live 10"), std::string::npos);
            }
            rig.send(0, [&](Packet& p) { p.removal(rig.id(1), 50); });
            EXPECT_EQ(rig.owner(1), kept ? "here term 10" : "unknown");
            EXPECT_EQ(rig.refused(Reason::not_owner), kept ? 1u : 0u);
            EXPECT_TRUE(rig.engine->digests_hold());
        }
    }
}

TEST(Roles, FlowsOfAVanishedNodeGoToTheOneActive) {
    Met rig;
    rig.engine->set_role(Role::active);
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.table.take();
    for (int n = 0; n < 5; n++) { // the other one is reachable all the time
        rig.pass(1s);
        rig.hello(1, {});
    }
    EXPECT_EQ(rig.owner(1), "here term 1");
    EXPECT_EQ(rig.engine->live(), 1u);
    // From now on its timeout depends on its traffic.
    rig.pass(1s);
    EXPECT_EQ(rig.table.take(), "refresh 1 natural 4:4");
    // If the former owner turns out to be alive, it is sent the change.
    rig.sent_to(0);
    rig.hello(0, {});
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 4:4 live 1");
}

TEST(Roles, WithoutAnActiveNodeTheyStay) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.pass(5s);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(rig.engine->live(), 0u);
}

// ---- a node that lost its table ------------------------------------------------------------

TEST(LostTable, ItsFlowsGoToThoseWhoStillHoldThem) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}); });
    rig.hello(0, {.session = 99, .flags = pfsync::extension::hello::kLost});
    EXPECT_EQ(rig.owner(1), "here term 4");
    rig.send(0, [](Packet& p) { p.bulk(false).bulk(true); });
    EXPECT_EQ(rig.owner(1), "here term 4");
    // Only once: later flows of that peer are its own.
    rig.send(0, [](Packet& p) { p.full(flow(2, kPeer)); });
    rig.hello(0, {.session = 99, .flags = pfsync::extension::hello::kLost});
    EXPECT_EQ(rig.owner(2), "peer 0 term 0");
}

TEST(LostTable, OneThatKeptItsTableNamesWhatLives) { // control
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}); });
    rig.hello(0, {.session = 99});
    EXPECT_EQ(rig.owner(1), "peer 0 term 3");
    rig.send(0, [](Packet& p) { p.bulk(false).bulk(true); });
    EXPECT_EQ(rig.owner(1), "unknown");
}

// A copy found long after all were in step cannot have belonged to such a node.
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
    // Control: a node that restarts without its table now may have owned it.
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
    EXPECT_EQ(rig.sent_to(0, true), "HELLO lost");
    rig.greet(0);
    rig.pass(50ms);
    rig.sent_to(0, true);
    rig.pass(1100ms);
    EXPECT_EQ(rig.sent_to(0, true), "HELLO");

    Rig kept;
    kept.options.table_kept = true;
    kept.start();
    kept.engine->on_link_up(0);
    kept.pass(1ms);
    EXPECT_EQ(kept.sent_to(0, true), "HELLO");
}

} // namespace
} // namespace encsync::sync::test
