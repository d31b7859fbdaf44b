// SPDX-License-Identifier: ISC
// Updates of one node about a flow that another one knows: those of the owner are accepted, and
// those of others only if they name the right owner.
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
    state::Flow known(std::uint16_t port, std::uint8_t src, std::uint8_t dst) {
        state::Flow f = flow(port, 0, src, dst);
        f.id = id(port);
        return f;
    }
    const state::Record& record(std::uint16_t port) const {
        return engine->index().record(engine->index().find(flow(port).key));
    }
};

TEST(Word, OfTheOwnerHoldsInFull) {
    Met rig;
    state::Flow f = flow(1, kPeer, 7, 7);
    f.mark = 5;
    rig.send(0, [&](Packet& p) { p.full(f); });
    rig.table.take();
    // Also backwards: the owner knows best.
    rig.send(0, [](Packet& p) { p.update(flow(1, kPeer, 4, 4)); });
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:4");
    f = flow(1, kPeer, 4, 2);
    f.flags = state::kSeenReply;
    rig.send(0, [&](Packet& p) { p.full(f, {}, false); });
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:2");
    EXPECT_EQ(rig.record(1).flags, state::kSeenReply);
    EXPECT_EQ(rig.record(1).mark, 0u);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), ""); // nothing to answer
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Word, OfAFormerOwnerIsNotWrittenIntoWhatIsLive) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 4, 4)); });
    rig.engine->on_updated(flow(1, 0, 4, 5)); // its traffic has moved here
    ASSERT_EQ(rig.owner(1), "here term 1");
    rig.acknowledge(0);
    rig.sent_to(0), rig.table.take();
    rig.send(0, [](Packet& p) { p.update(flow(1, kPeer, 7, 7)); });
    rig.flush();
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_EQ(rig.record(1).src_state, 4);
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:5 live 1"); // it is sent once more
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 7, 7), {.live = false}, false); });
    EXPECT_EQ(rig.record(1).src_state, 4);
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 7, 7), {.live = true}, false); });
    EXPECT_EQ(rig.record(1).src_state, 4);
    EXPECT_EQ(rig.owner(1), "here term 1");
}

TEST(Word, OfABystanderWhoKnowsWhoseItIsBringsTheFlowFurther) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 4, 4)); });
    rig.engine->on_updated(flow(1, 0, 4, 5));
    rig.acknowledge(0), rig.acknowledge(1);
    rig.sent_to(0), rig.sent_to(1), rig.table.take();
    rig.send(0, [&](Packet& p) { p.full(rig.known(1, 7, 4), {.live = false, .term = 1}, false); });
    EXPECT_EQ(rig.table.take(), "put 1 natural 7:5"); // whichever is further
    EXPECT_EQ(rig.owner(1), "here term 1");
    EXPECT_EQ(rig.engine->session(0).counters.stale, 1u);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 7:5 live 1");
    EXPECT_EQ(rig.sent_to(1), "UPD_C 1 7:5");
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Word, WhoLosesTheFlowTellsWhatTheOwnerHasNotSeen) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 4, 4)); });
    rig.engine->on_updated(flow(1, 0, 7, 4));
    rig.acknowledge(0);
    rig.sent_to(0), rig.table.take();
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 4, 5), {.term = 2}, false); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 2");
    EXPECT_EQ(rig.table.take(), "put 1 copy 7:5");
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 7:5 copy 2");
}

TEST(Word, OfAThirdNodeAboutALivingOwnersFlowIsNotHeard) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 4, 4)); });
    rig.table.take();
    rig.send(1, [](Packet& p) { p.full(flow(1, kPeer, 7, 7), {.live = false}, false); });
    EXPECT_EQ(rig.record(1).src_state, 4);
    // A short update is only valid from the owner: a peer that claims to be it must send a full
    // one.
    rig.send(1, [](Packet& p) { p.update(flow(1, kPeer, 7, 7)); });
    rig.flush();
    EXPECT_EQ(rig.record(1).src_state, 4);
    EXPECT_EQ(rig.sent_to(1), "UPD_REQ 1");
    EXPECT_EQ(rig.table.take(), "");
    rig.send(1, [](Packet& p) { p.full(flow(1, kPeer, 7, 7), {.live = true, .term = 1}, false); });
    EXPECT_EQ(rig.owner(1), "peer 1 term 1");
    EXPECT_EQ(rig.record(1).src_state, 7);
}

TEST(Word, OfWhoDisownsTheFlow) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)).full(flow(2, kPeer)); });
    // No owner is named: it is ours.
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.live = false}, false); });
    EXPECT_EQ(rig.owner(1), "here term 1");
    // A third node's: that node will send it itself.
    rig.send(0, [](Packet& p) {
        p.full(flow(2, kPeer), {.live = false, .term = 1, .elsewhere = true}, false);
    });
    EXPECT_EQ(rig.owner(2), "unclaimed");
    rig.send(1, [](Packet& p) { p.full(flow(2, kPeer), {.live = true, .term = 1}, false); });
    EXPECT_EQ(rig.owner(2), "peer 1 term 1");
    EXPECT_TRUE(rig.engine->digests_hold());
}

} // namespace
} // namespace encsync::sync::test
