// SPDX-License-Identifier: ISC
// Copies that the table lacks: counted, put back, and which of two flows with the same NAT port
// the table must have.
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

struct Met : Rig {
    explicit Met(Role role = Role::automatic) {
        options.role = role;
        options.on_clash = [this](const state::Flow& a, const state::Flow& b) {
            ended.emplace_back(a.key.orig.sport, b.key.orig.sport);
        };
        start();
        greet(0);
        greet(1);
    }
    void second(unsigned count = 1, const Greeting& of_peer_0 = {}) {
        for (; count > 0; count--) {
            pass(1s);
            hello(0, of_peer_0), hello(1, {});
        }
    }
    void copy(std::uint16_t port, PeerId owner = 0, std::uint8_t term = 0) {
        send(owner, [&](Packet& p) { p.full(flow(port, kPeer + owner), {.term = term}); });
    }
    std::string why() const {
        std::string out;
        return engine->ready(&out) ? "ready" : out;
    }
    std::vector<std::pair<std::uint16_t, std::uint16_t>> ended; // and the flow that replaced it
};

// ---- vanished ------------------------------------------------------------------------------

TEST(Missing, ACopyIsPutBackOnceItsOwnerIsHeardOfAgain) {
    Met rig(Role::standby);
    rig.copy(1);
    rig.table.take();
    rig.pass(100ms);
    rig.engine->on_destroyed(flow(1));
    EXPECT_EQ(rig.engine->missing_of(0, Missing::vanished), 1u);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    rig.pass(500ms);
    EXPECT_EQ(rig.table.take(), ""); // its owner may already be dead
    rig.hello(1, {});
    rig.pass(1ms);
    EXPECT_EQ(rig.table.take(), ""); // this peer is not its owner
    rig.hello(0, {});
    rig.pass(1ms);
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:4");
    EXPECT_EQ(rig.engine->missing_of(0), 0u);
    EXPECT_EQ(rig.engine->counters().put_back, 1u);
}

// Traffic may pass here, and the owner may be dead: then this is the flow's end.
TEST(Missing, ACopyThatMayHaveEndedHereWaitsForLonger) {
    Met rig(Role::automatic);
    rig.copy(1);
    rig.pass(100ms);
    rig.engine->on_destroyed(flow(1));
    rig.table.take();
    rig.second(3);
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_EQ(rig.engine->missing_of(0, Missing::vanished), 1u);
    rig.second(70);
    EXPECT_NE(rig.table.take(), "");
    EXPECT_EQ(rig.engine->missing_of(0), 0u);
}

TEST(Missing, ACopyWhoseOwnerIsFoundDeadIsNot) {
    Met rig;
    rig.copy(1);
    rig.table.take();
    rig.pass(100ms);
    rig.engine->on_destroyed(flow(1));
    for (int n = 0; n < 5; n++) {
        rig.pass(1s);
        rig.hello(1, {});
    }
    EXPECT_FALSE(rig.engine->session(0).reachable());
    EXPECT_EQ(rig.table.take(), "");
}

TEST(Missing, WhatADumpDoesNotNameIsPutBack) {
    Met rig;
    rig.copy(1), rig.copy(2);
    rig.pass(100ms);
    rig.table.take();
    rig.engine->on_dump_begin();
    rig.engine->on_dump_entry(flow(1), true);
    rig.engine->on_dump_end();
    rig.second();
    rig.pass(1ms);
    EXPECT_EQ(rig.table.take(), "put 2 copy 4:4");
}

TEST(Missing, ATableThatPushesOutWhatIsPutBackMakesNoLoop) {
    Met rig(Role::standby);
    constexpr std::uint16_t kFlows = 2000;
    for (std::uint16_t port = 1; port <= kFlows; port++)
        rig.copy(port);
    rig.pass(100ms);
    rig.table.ops.clear();
    for (std::uint16_t port = 1; port <= kFlows; port++)
        rig.engine->on_destroyed(flow(port));
    std::size_t put = 0;
    for (int n = 0; n < 55; n++) {
        rig.second();
        const auto ops = std::exchange(rig.table.ops, {});
        for (const auto& op : ops)
            rig.engine->on_destroyed(flow(op.key.orig.sport));
        put += ops.size();
    }
    EXPECT_GE(put, 2u * kFlows);
    EXPECT_LE(put, 3u * kFlows + 1000);
}

TEST(Missing, ACopyOfAPeerThatTakesOverIsPutAtOnce) {
    Met rig(Role::standby);
    rig.copy(1);
    rig.pass(100ms);
    rig.engine->on_destroyed(flow(1));
    rig.table.take();
    rig.engine->set_role(Role::active);
    rig.engine->on_link_down(0);
    rig.pass(100ms);
    EXPECT_EQ(rig.owner(1), "here term 1");
    EXPECT_EQ(rig.table.take(), "refresh 1 natural 4:4");
}

TEST(Missing, BearsOnReadinessIfItIsMoreThanAFewOrLasts) {
    Met rig(Role::standby);
    for (std::uint16_t port = 1; port <= 30; port++)
        rig.copy(port);
    rig.second();
    const auto lose = [&](std::uint16_t count) {
        for (std::uint16_t port = 1; port <= count; port++)
            rig.engine->on_destroyed(flow(port));
    };
    lose(10);
    EXPECT_EQ(rig.why(), "ready");
    rig.second();
    rig.pass(1ms);
    EXPECT_EQ(rig.engine->missing_of(0), 0u);
    lose(11);
    EXPECT_EQ(rig.why(), "the state table does not hold 11 states of minnie");
    EXPECT_FALSE(rig.engine->holds_all_of(0));
    EXPECT_TRUE(rig.engine->holds_all_of(1));
    rig.second();
    rig.pass(1ms);
    EXPECT_EQ(rig.why(), "ready");
    // A single flow, for a long time. Further attempts change nothing.
    rig.engine->on_refused(flow(1).key, table::Refusal::invalid);
    rig.second(2);
    EXPECT_EQ(rig.why(), "ready");
    rig.second(3);
    EXPECT_EQ(rig.why(), "the state table does not hold 1 states of minnie");
    EXPECT_EQ(rig.engine->missing_of(0, Missing::refused), 1u);
    // The last node serves with the flows that it has.
    rig.engine->on_link_down(0);
    EXPECT_EQ(rig.why(), "ready");
}

// An active node that loses its outer links says standby, and is within reach all the same.
TEST(Missing, DoesNotMatterOnceNobodyServes) {
    const Greeting active{.role = 1}, standby{.role = 2};
    for (const bool full : {true, false}) {
        Met rig(Role::standby);
        rig.hello(0, active), rig.hello(1, standby);
        rig.copy(1);
        rig.engine->on_refused(flow(1).key,
                               full ? table::Refusal::table_full : table::Refusal::invalid);
        const auto pass = [&](unsigned seconds, const Greeting& of_peer_0) {
            for (; seconds > 0; seconds--) {
                rig.pass(1s);
                rig.hello(0, of_peer_0), rig.hello(1, standby);
            }
        };
        pass(5, active);
        EXPECT_NE(rig.why(), "ready") << full;
        pass(2, standby); // it may be active again in a moment
        EXPECT_NE(rig.why(), "ready") << full;
        pass(2, standby);
        EXPECT_EQ(rig.why(), "ready") << full;
        EXPECT_EQ(rig.engine->missing_of(0), 1u);
        pass(1, active);
        EXPECT_NE(rig.why(), "ready") << full;
    }
}

// ---- missing in a dump ---------------------------------------------------------------------

TEST(Missing, AFlowOfOursThatADumpMissedIsLookedAtOnceMore) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.engine->on_created(flow(2));
    rig.acknowledge(0);
    rig.sent_to(0);
    rig.table.take();
    rig.table.on_look = [&](const state::Flow& f) {
        if (f.key.orig.sport == 1)
            rig.engine->on_updated(flow(1));
    };
    rig.engine->on_dump_begin();
    rig.engine->on_dump_end();
    rig.flush(), rig.flush();
    EXPECT_EQ(rig.table.take(), "look 1, look 2");
    EXPECT_EQ(rig.owner(1), "here term 0");
    EXPECT_EQ(rig.owner(2), "unknown");
    EXPECT_EQ(rig.sent_to(0), "DEL_C 2");
}

TEST(Missing, ADumpKeepsWhatItsNewOwnerHasNotSpokenOf) {
    Met rig(Role::active);
    rig.engine->on_created(flow(1));
    rig.acknowledge(0), rig.acknowledge(1);
    rig.engine->set_role(Role::standby);
    rig.hello(0, {.role = 1});
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    rig.engine->on_dump_begin();
    rig.engine->on_dump_entry(flow(1), false);
    rig.engine->on_dump_end();
    rig.send(0, [&](Packet& p) { p.absent(rig.id(1), UINT64_MAX); }); // the owner does not have it
    EXPECT_EQ(rig.owner(1), "here term 2");
}

// ---- clashes -------------------------------------------------------------------------------

void clash(Rig& rig, std::uint16_t wanted, std::uint16_t holder, bool untouched = false) {
    rig.engine->on_clash(flow(wanted).key, flow(holder), untouched);
    rig.flush();
}

TEST(Clash, AnEntryThatNobodyOwnsGoes) {
    Met rig(Role::standby);
    rig.copy(1);
    rig.table.take();
    clash(rig, 1, 2);
    EXPECT_EQ(rig.table.take(), "remove 2, put 1 copy 4:4");
    EXPECT_EQ(rig.owner(2), "unknown");
    EXPECT_EQ(rig.engine->missing_of(0), 0u);
}

TEST(Clash, ACopyOfANodeThatIsGoneGoes) {
    Met rig;
    rig.copy(1), rig.copy(2, 1);
    rig.engine->on_link_down(1);
    rig.table.take();
    clash(rig, 1, 2, true);
    EXPECT_EQ(rig.table.take(), "remove 2, put 1 copy 4:4");
    EXPECT_EQ(rig.owner(2), "unknown");
    // Control: it does not replace one whose owner is alive.
    Met other;
    other.copy(1), other.copy(2, 1);
    other.engine->on_link_down(0);
    other.table.take();
    clash(other, 1, 2, true);
    EXPECT_EQ(other.table.take(), "");
    EXPECT_EQ(other.owner(2), "peer 1 term 0");
}

TEST(Clash, OfTwoThatLiveTheSmallerCreatoridIsRight) {
    Met rig; // our creatorid is the smallest
    rig.engine->on_created(flow(1));
    rig.copy(2), rig.copy(3, 1);
    rig.second(4);
    rig.sent_to(0), rig.table.take();
    clash(rig, 2, 1);
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_EQ(rig.engine->missing_of(0, Missing::clash), 1u);
    EXPECT_TRUE(rig.ended.empty());
    // A third node's and another's: their owners must end one of them.
    clash(rig, 2, 3, true);
    EXPECT_EQ(rig.table.take(), "remove 3, put 2 copy 4:4");
    EXPECT_EQ(rig.owner(3), "peer 1 term 0");
    EXPECT_EQ(rig.engine->missing_of(1, Missing::clash), 1u);
    clash(rig, 3, 2, true);
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_EQ(rig.sent_to(0), "");
}

TEST(Clash, ALaterTermIsRight) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.copy(2, 0, 1);
    rig.second(4);
    rig.acknowledge(0), rig.sent_to(0), rig.table.take();
    clash(rig, 2, 1);
    EXPECT_EQ(rig.table.take(), "remove 1, put 2 copy 4:4");
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1");
    EXPECT_EQ(rig.engine->counters().clashes, 1u);
    ASSERT_EQ(rig.ended.size(), 1u);
    EXPECT_EQ(rig.ended[0], std::pair(std::uint16_t{1}, std::uint16_t{2}));
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Clash, TheOneActiveNodesFlowIsRightOnceRolesHaveSettled) {
    Met rig;
    rig.hello(0, {.role = 1});
    rig.engine->on_created(flow(1)); // traffic passes here all the same
    rig.copy(2);
    rig.sent_to(0), rig.table.take();
    clash(rig, 2, 1);
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_EQ(rig.owner(1), "here term 0"); // another node may not know the roles yet
    rig.second(4, {.role = 1});
    EXPECT_EQ(rig.table.take(), "put 2 copy 4:4"); // tried again
    clash(rig, 2, 1);
    EXPECT_EQ(rig.table.take(), "remove 1, put 2 copy 4:4");
    EXPECT_EQ(rig.owner(1), "unknown");
}

TEST(Clash, OfTwoFlowsOfOneOwnerOneHasEnded) {
    Met rig;
    rig.copy(1), rig.copy(2);
    rig.sent_to(0), rig.table.take();
    clash(rig, 2, 1, true);
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_EQ(rig.sent_to(0), "UPD_REQ 2, UPD_REQ 1");
    rig.send(0, [](Packet& p) { p.absent(flow(1, kPeer).id, UINT64_MAX); });
    EXPECT_EQ(rig.table.take(), "remove 1");
    rig.second(3);
    EXPECT_EQ(rig.table.take(), "put 2 copy 4:4");
}

TEST(Clash, WhatIsTakenOverAndHasNoPlaceEnds) {
    Met rig;
    rig.copy(1);
    rig.engine->on_created(flow(2));
    rig.engine->on_refused(flow(1).key, table::Refusal::clash);
    rig.engine->set_role(Role::active);
    rig.hello(0, {.role = 2});
    EXPECT_EQ(rig.owner(1), "here term 1");
    rig.acknowledge(0), rig.sent_to(0);
    clash(rig, 1, 2);
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.owner(2), "here term 0");
    EXPECT_EQ(rig.ended.size(), 1u);
}

} // namespace
} // namespace encsync::sync::test
