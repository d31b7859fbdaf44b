// SPDX-License-Identifier: ISC
// First packets that wait until the peers have the flow.
#include "rig.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::sync::test {
namespace {

using pfsync::Kind;

struct Deferring : Rig {
    std::vector<std::uint32_t> released;

    explicit Deferring(unsigned in_step = 2) {
        options.release = [this](std::uint32_t token) { released.push_back(token); };
        start();
        for (unsigned peer = 0; peer < in_step; peer++)
            greet(static_cast<PeerId>(peer));
        flush();
    }
    void ack(PeerId peer, std::uint16_t port) {
        send(peer, [&](Packet& p) { p.id(Kind::insert_ack, id(port)); });
    }
    // Whether the last full state to this peer requested an INS_ACK.
    bool asked(PeerId peer) {
        bool wanted = false;
        for (const auto& [to, packet] : link.sent) {
            pfsync::Parser parser{Bytes(packet)};
            while (const pfsync::Section* section = parser.next())
                if (to == peer &&
                    (section->kind == Kind::insert || section->kind == Kind::update)) {
                    pfsync::FullState full;
                    EXPECT_EQ(pfsync::read(section->message(0), full), pfsync::Fault::none);
                    wanted = full.wants_ack;
                }
        }
        return wanted;
    }
};
using Tokens = std::vector<std::uint32_t>;

TEST(Defer, GoesWhenAllPeersHaveIt) {
    Deferring rig;
    EXPECT_TRUE(rig.engine->defer(flow(1, 0, 2, 0), 70));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 2:0 live 0");
    EXPECT_EQ(rig.sent_to(1), "INS 1 2:0 live 0");
    EXPECT_TRUE(rig.asked(0) && rig.asked(1));
    EXPECT_EQ(rig.engine->deferred(), 1u);
    rig.ack(0, 1);
    EXPECT_EQ(rig.released, Tokens{});
    rig.ack(1, 1);
    EXPECT_EQ(rig.released, Tokens{70});
    EXPECT_EQ(rig.engine->deferred(), 0u);
    EXPECT_EQ(rig.engine->counters().defer_acknowledged, 1u);
    rig.acknowledge(0), rig.acknowledge(1);
    // The flow begins, and is not announced twice.
    rig.engine->on_created(flow(1, 0, 2, 0));
    rig.pass(10s);
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.owner(1), "here term 0");
    EXPECT_EQ(rig.released, Tokens{70});
    EXPECT_EQ(rig.engine->counters().defer_unconfirmed, 0u);
}

TEST(Defer, GoesAfterTwentyMillisecondsAnyway) {
    Deferring rig;
    EXPECT_TRUE(rig.engine->defer(flow(1), 70));
    rig.flush();
    EXPECT_LE(rig.engine->deadline(), rig.now + 20ms);
    rig.ack(0, 1); // one of two
    rig.pass(19ms);
    EXPECT_EQ(rig.released, Tokens{});
    rig.pass(1ms);
    EXPECT_EQ(rig.released, Tokens{70});
    EXPECT_EQ(rig.engine->counters().defer_timed_out, 1u);
    EXPECT_EQ(rig.engine->counters().defer_acknowledged, 0u);
    rig.ack(1, 1); // too late, and without effect
    EXPECT_EQ(rig.released, Tokens{70});
}

TEST(Defer, AnAckOfSomethingElseReleasesNothing) {
    Deferring rig(1);
    EXPECT_TRUE(rig.engine->defer(flow(1), 70));
    rig.send(0, [](Packet& p) { p.id(Kind::insert_ack, {0x4711, kOurs}); });
    EXPECT_EQ(rig.released, Tokens{});
    rig.ack(0, 1);
    EXPECT_EQ(rig.released, Tokens{70});
}

TEST(Defer, WaitsForNobodyWhoIsNotInStep) {
    Deferring alone(0);
    EXPECT_FALSE(alone.engine->defer(flow(1), 70));
    EXPECT_EQ(alone.owner(1), "unknown"); // the table will report it
    Deferring rig(1);
    EXPECT_TRUE(rig.engine->defer(flow(1), 70));
    rig.ack(0, 1);
    EXPECT_EQ(rig.released, Tokens{70});
    rig.pass(5s); // the peer becomes silent
    EXPECT_FALSE(rig.engine->defer(flow(2), 71));
}

TEST(Defer, NoMoreThan128AtOnce) {
    Deferring rig;
    for (std::uint16_t n = 1; n <= 128; n++)
        EXPECT_TRUE(rig.engine->defer(flow(n), n));
    EXPECT_FALSE(rig.engine->defer(flow(129), 129));
    EXPECT_EQ(rig.engine->counters().defer_over_limit, 1u);
    EXPECT_EQ(rig.owner(129), "unknown");
    rig.pass(20ms);
    EXPECT_EQ(rig.released.size(), 128u);
    EXPECT_TRUE(rig.engine->defer(flow(129), 129));
}

TEST(Defer, ASecondPacketOfTheFlowDoesNotWait) {
    Deferring rig;
    EXPECT_TRUE(rig.engine->defer(flow(1), 70));
    EXPECT_FALSE(rig.engine->defer(flow(1), 71));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
}

TEST(Defer, AFlowThatNeverBeginsIsWithdrawn) {
    Deferring rig;
    EXPECT_TRUE(rig.engine->defer(flow(1), 70));
    EXPECT_TRUE(rig.engine->defer(flow(2), 71));
    rig.acknowledge(0), rig.acknowledge(1);
    rig.engine->on_created(flow(2));
    rig.sent_to(0);
    rig.pass(2900ms);
    EXPECT_EQ(rig.owner(1), "here term 0");
    // Nor does a dump without the flow end it.
    rig.engine->on_dump_begin();
    rig.engine->on_dump_entry(flow(2), false);
    rig.engine->on_dump_end();
    EXPECT_EQ(rig.owner(1), "here term 0");
    rig.pass(100ms);
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.owner(2), "here term 0");
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1");
    EXPECT_EQ(rig.engine->counters().defer_unconfirmed, 1u);
}

TEST(Defer, WhoIsNotToldIsNotWaitedFor) {
    Deferring rig;
    rig.engine->remove_peer(1);
    state::NoSyncRule tcp;
    tcp.proto = IPPROTO_TCP;
    rig.engine->add_peer(1, {.name = "goofy", .nosync = state::NoSync({tcp})});
    rig.greet(1, {.session = 500});
    EXPECT_TRUE(rig.engine->defer(flow(1), 70));
    rig.ack(0, 1);
    EXPECT_EQ(rig.released, Tokens{70});
}

TEST(Defer, WhatIsLostOnTheWayAsksAgain) {
    Deferring rig(1);
    rig.engine->defer(flow(1), 70);
    rig.flush();
    rig.link.sent.clear();
    rig.pass(10ms);
    rig.engine->on_link_down(0);
    rig.engine->on_link_up(0);
    rig.hello(0, {});
    rig.flush();
    EXPECT_TRUE(rig.asked(0));
    // Once released, no INS_ACK is requested.
    rig.pass(10ms);
    EXPECT_EQ(rig.released, Tokens{70});
    rig.engine->on_link_down(0);
    rig.engine->on_link_up(0);
    rig.hello(0, {});
    rig.link.sent.clear();
    rig.flush();
    EXPECT_FALSE(rig.asked(0));
}

TEST(Defer, APeersInsertIsAcknowledgedOnceTheTableHasIt) {
    Rig rig;
    struct Order : RecordingTable {
        RecordingLink* link = nullptr;
        std::vector<std::size_t> flushed_at; // number of packets sent before
        void flush() override { flushed_at.push_back(link->sent.size()); }
    } order;
    order.link = &rig.link;
    rig.engine = std::make_unique<Engine>(rig.options, order, rig.link);
    rig.engine->advance(rig.now);
    rig.greet(0);
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.wants_ack = true}); });
    order.flushed_at.clear();
    const std::size_t before = rig.link.sent.size();
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS_ACK 1");
    ASSERT_FALSE(order.flushed_at.empty());
    EXPECT_EQ(order.flushed_at.front(), before);
}

} // namespace
} // namespace encsync::sync::test
