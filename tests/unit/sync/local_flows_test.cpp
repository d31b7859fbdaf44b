// SPDX-License-Identifier: ISC
// Reports of the table: dumps, ends, refusals; and how copies are kept alive.
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

struct Met : Rig {
    Met() {
        start();
        greet(0);
        greet(1);
    }
    struct Entry {
        std::uint16_t port;
        bool untouched = false;
        std::uint32_t timeout = 100;
    };
};

void dump(Rig& rig, const std::vector<Met::Entry>& entries) {
    rig.engine->on_dump_begin();
    for (const Met::Entry& e : entries) {
        state::Flow f = flow(e.port);
        f.timeout = e.timeout;
        rig.engine->on_dump_entry(f, e.untouched);
    }
    rig.engine->on_dump_end();
}

TEST(Dump, AtStartTellsOwnFromCopies) {
    for (const Role role : {Role::automatic, Role::active, Role::standby}) {
        Rig rig;
        rig.options.role = role;
        rig.options.table_kept = true;
        rig.start(false);
        dump(rig, {{1}, {2, true, 600}});
        EXPECT_EQ(rig.owner(1), role == Role::standby ? "unclaimed" : "here term 0");
        EXPECT_EQ(rig.owner(2), role == Role::active ? "here term 0" : "unclaimed");
        EXPECT_EQ(rig.engine->live() + rig.engine->copies_of(0xfe), 2u);
    }
}

TEST(Dump, CopiesAreClaimedByTheirOwnersBulkOrDropped) {
    Rig rig;
    rig.options.table_kept = true;
    rig.start(false);
    dump(rig, {{1, true, 600}, {2, true, 600}});
    rig.engine->on_link_up(0);
    rig.hello(0, {});
    rig.send(0, [](Packet& p) { p.bulk(false).full(flow(1, kPeer), {}, false).bulk(true); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(rig.owner(2), "unclaimed"); // the other peer may name it
    rig.table.take();
    rig.greet(1);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(rig.owner(2), "unknown");
    EXPECT_EQ(rig.engine->counters().dropped_unclaimed, 1u);
}

TEST(Dump, CopiesAreOursIfAPeerHasLostItsTable) { // it cannot know that they ended
    Rig rig;
    rig.options.table_kept = true;
    rig.start(false);
    dump(rig, {{1, true, 600}});
    rig.greet(0, {.flags = pfsync::extension::hello::kLost});
    EXPECT_EQ(rig.owner(1), "unclaimed"); // the other peer may name it
    rig.greet(1);
    EXPECT_EQ(rig.owner(1), "unclaimed"); // nor what the one without its table has forwarded since
    rig.pass(3s);
    rig.hello(0, {}), rig.hello(1, {});
    rig.pass(3s);
    EXPECT_EQ(rig.owner(1), "here term 1");
    EXPECT_EQ(rig.engine->counters().dropped_unclaimed, 0u);
    EXPECT_EQ(rig.engine->copies_of(0xfe), 0u);
}

// Their owner may name them soon, but they are not kept for ever.
TEST(Dump, CopiesThatTurnUpLaterAreDroppedIfNobodyNamesThem) {
    Met rig;
    dump(rig, {{1, true, 600}, {2, true, 600}});
    EXPECT_EQ(rig.owner(1), "unclaimed");
    rig.pass(3s);
    EXPECT_EQ(rig.owner(2), "unclaimed");
    rig.send(1, [](Packet& p) { p.full(flow(2, kPeer + 1)); });
    rig.hello(0, {}), rig.hello(1, {});
    rig.pass(3s);
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.owner(2), "peer 1 term 0");
    EXPECT_EQ(rig.engine->counters().dropped_unclaimed, 1u);
}

TEST(Dump, FindsWhatWasMissed) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.engine->on_created(flow(2, 0, 4, 2));
    rig.send(0, [](Packet& p) { p.full(flow(4, kPeer)); });
    rig.acknowledge(0);
    rig.sent_to(0);
    dump(rig, {{2}, {3}}); // 1 has ended, 2 progressed, 3 begun; the copy 4 is missing
    rig.flush();
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.owner(3), "here term 0");
    EXPECT_EQ(rig.owner(4), "peer 0 term 0");
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1, UPD_C 2 4:4, INS 3 4:4 live 0");
}

TEST(Dump, DoesNotBringBackWhatEndedMeanwhile) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.engine->on_dump_begin();
    rig.engine->on_destroyed(flow(1));
    rig.engine->on_dump_entry(flow(1), false);
    rig.engine->on_dump_end();
    EXPECT_EQ(rig.owner(1), "unknown");
    // Unless it began again.
    rig.engine->on_dump_begin();
    rig.engine->on_created(flow(2));
    rig.engine->on_destroyed(flow(2));
    rig.engine->on_created(flow(2));
    rig.engine->on_dump_entry(flow(2), false);
    rig.engine->on_dump_end();
    EXPECT_EQ(rig.owner(2), "here term 0");
}

TEST(Dump, TakesCopiesOfAVanishedNodeWhereTrafficIs) {
    Met rig;
    for (const std::uint16_t port : {1, 2, 3})
        rig.send(0, [&](Packet& p) { p.full(flow(port, kPeer)); });
    // Its owner is reachable: traffic here does not change the owner.
    dump(rig, {{1}, {2, true, 700}, {3}});
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.table.dumps = 0;
    for (int n = 0; n < 10; n++) {
        rig.hello(1, {});
        rig.pass(1s);
    }
    EXPECT_EQ(rig.table.dumps, 1u); // requested 5 s after it became silent
    dump(rig, {{1, false, 99}, {2, true, 690}, {3, false, 689}});
    EXPECT_EQ(rig.owner(1), "here term 1");
    EXPECT_EQ(rig.owner(2), "peer 0 term 0");
    EXPECT_EQ(rig.owner(3), "peer 0 term 0"); // its timer is as it was set
    rig.flush();
    EXPECT_NE(rig.sent_to(1).find("UPD 1 4:4 live 1"), std::string::npos);
}

TEST(Dump, NotAtAStandby) {
    Met rig;
    rig.engine->set_role(Role::standby);
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.pass(12s);
    EXPECT_EQ(rig.table.dumps, 0u);
    dump(rig, {{1, false, 99}});
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

TEST(End, OfOurOwnIsNews) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.acknowledge(0);
    rig.sent_to(0);
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1");
    EXPECT_EQ(rig.engine->index().size(), 0u);
}

TEST(End, OfOurOwnCarriesItsTerm) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 4, 2), {.term = 6}); });
    rig.engine->on_updated(flow(1));
    rig.sent_to(0);
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1 term 7");
}

TEST(End, OfACopyWhoseOwnerIsGoneToo) {
    Met rig;
    rig.engine->set_role(Role::active);
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.sent_to(1);
    rig.engine->on_destroyed(flow(1));
    rig.engine->on_link_down(0);
    rig.flush();
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.sent_to(1), "DEL_C 1 term 1"); // no other node will send it
}

TEST(End, OfAnOrphanIsNoNews) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.engine->on_link_down(0);
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.sent_to(1), "");
}

TEST(End, OfWhatIsNoLongerForOthers) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.send(0, [](Packet& p) { p.full(flow(2, kPeer)); });
    rig.acknowledge(0);
    rig.sent_to(0);
    rig.table.take();
    rig.engine->on_withdrawn(flow(1));
    rig.engine->on_withdrawn(flow(2)); // only its owner can withdraw it
    rig.engine->on_withdrawn(flow(3)); // unknown
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1");
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.owner(2), "peer 0 term 0");
    EXPECT_EQ(rig.table.take(), ""); // it stays in the table
}

TEST(Copies, AreRearmedWhileTheirOwnerLives) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.engine->on_created(flow(2));
    rig.table.take();
    unsigned rearmed = 0;
    for (int n = 0; n < 1000; n++) {
        rig.hello(0, {});
        rig.pass(1s);
        const std::string done = rig.table.take();
        EXPECT_TRUE(done.empty() || done == "refresh 1 copy 4:4") << done;
        rearmed += !done.empty();
    }
    EXPECT_EQ(rearmed, 3u); // every 300 s
    rig.engine->on_link_down(0);
    rig.pass(1000s);
    EXPECT_EQ(rig.table.take(), "");
}

TEST(Copies, AFullTableIsCountedAndAskedSeldom) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.table.take();
    rig.engine->on_refused(flow(1).key, table::Refusal::table_full);
    rig.engine->on_refused(flow(99).key, table::Refusal::clash); // an unknown flow
    EXPECT_EQ(rig.engine->counters().table_refused[0], 1u);
    EXPECT_EQ(rig.engine->counters().table_refused[1], 1u);
    unsigned asked = 0;
    for (int n = 0; n < 200; n++) {
        rig.hello(0, {});
        rig.pass(1s);
        if (!rig.table.take().empty()) {
            asked++;
            rig.engine->on_refused(flow(1).key, table::Refusal::table_full);
        }
    }
    EXPECT_EQ(asked, 3u); // once a minute
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

TEST(Copies, WhoHasNoRoomForAllIsNotReadyAndSaysWhy) {
    Met rig;
    std::string why;
    ASSERT_TRUE(rig.engine->ready(&why)) << why;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)).full(flow(2, kPeer)); });
    rig.engine->on_refused(flow(1).key, table::Refusal::clash); // a conflict of this flow only
    EXPECT_TRUE(rig.engine->ready(&why)) << why;
    rig.engine->on_refused(flow(1).key, table::Refusal::table_full);
    rig.engine->on_refused(flow(2).key, table::Refusal::table_full);
    EXPECT_FALSE(rig.engine->ready(&why));
    EXPECT_EQ(why, "the state table has no room for 2 states of " +
                       rig.engine->session(0).options.name +
                       ": raise net.netfilter.nf_conntrack_max");
    EXPECT_EQ(rig.engine->missing_of(0, Missing::no_room), 2u);
    EXPECT_FALSE(rig.engine->holds_all_of(0));
    EXPECT_TRUE(rig.engine->holds_all_of(1));
    // One ends, and there is room for the other.
    rig.send(0, [](Packet& p) { p.removal(flow(1, kPeer).id); });
    EXPECT_EQ(rig.engine->missing_of(0, Missing::no_room), 1u);
    for (int n = 0; n < 130; n++) {
        rig.hello(0, {});
        rig.pass(1s);
    }
    EXPECT_TRUE(rig.engine->ready(&why)) << why;
    EXPECT_EQ(rig.engine->missing_of(0, Missing::no_room), 0u);
}

TEST(Copies, WithoutRoomForAllTheLastNodeServesAllTheSame) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.engine->on_refused(flow(1).key, table::Refusal::table_full);
    EXPECT_FALSE(rig.engine->ready());
    rig.engine->set_role(Role::active); // an active node stays ready
    EXPECT_TRUE(rig.engine->ready());
    rig.engine->set_role(Role::automatic);
    EXPECT_FALSE(rig.engine->ready());
    rig.engine->on_link_down(0);
    EXPECT_TRUE(rig.engine->ready());
}

TEST(Copies, ATakerOfAFlowWithoutRoomTriesAnew) {
    Met rig;
    rig.greet(1);
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.engine->on_refused(flow(1).key, table::Refusal::table_full);
    rig.engine->on_created(flow(1)); // its traffic passes here, so there is an entry
    EXPECT_EQ(rig.engine->missing_of(0, Missing::no_room), 0u);
    EXPECT_TRUE(rig.engine->ready());
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Copies, MoreStatesThanMayBeKept) {
    Rig rig;
    rig.options.max_states = 2;
    rig.start();
    rig.greet(0);
    std::string why;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)).full(flow(2, kPeer)); });
    EXPECT_TRUE(rig.engine->ready(&why)) << why;
    rig.send(0, [](Packet& p) { p.full(flow(3, kPeer)); });
    EXPECT_FALSE(rig.engine->ready(&why));
    EXPECT_EQ(why, rig.engine->session(0).options.name +
                       " has more states than this node takes from it (table_limit)");
    EXPECT_EQ(rig.refused(Reason::table_limit), 1u);
}

TEST(Copies, OneThatHasNoPlaceAtTakeoverIsGivenUp) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)).full(flow(2, kPeer)); });
    rig.engine->on_refused(flow(1).key, table::Refusal::table_full);
    rig.engine->set_role(Role::active);
    rig.engine->on_link_down(0);
    EXPECT_EQ(rig.engine->live(), 2u);
    rig.table.take();
    rig.pass(200ms);
    EXPECT_EQ(rig.table.take(), "refresh 1 natural 4:4, refresh 2 natural 4:4"); // a last attempt
    rig.engine->on_refused(flow(1).key, table::Refusal::table_full);
    rig.engine->on_refused(flow(2).key, table::Refusal::other); // the entry may exist all the same
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.owner(2), "here term 1");
}

} // namespace
} // namespace encsync::sync::test
