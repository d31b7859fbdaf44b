// SPDX-License-Identifier: ISC
// maxupd: several changes of one state in one message.
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

using pfsync::Kind;

struct Collapsing : Rig {
    explicit Collapsing(std::uint8_t maxupd = 128) {
        for (PeerOptions& peer : options.peers)
            peer.maxupd = maxupd;
        start();
        greet(0);
    }
    // One millisecond between the events of a connection, as on a fast network.
    void event(const state::Flow& f) {
        engine->on_updated(f);
        pass(1ms);
    }
};

// The messages about a connection that is opened, used for a while, and closed.
std::string connection(Rig& rig) {
    rig.engine->on_created(flow(1, 0, 2, 0)); // SYN
    rig.pass(1ms);
    for (const auto& [src, dst] : {std::pair{4, 2}, {4, 4}}) { // SYN ACK, ACK
        rig.engine->on_updated(
            flow(1, 0, static_cast<std::uint8_t>(src), static_cast<std::uint8_t>(dst)));
        rig.pass(1ms);
    }
    rig.acknowledge(0);
    rig.pass(50ms);
    for (const auto& [src, dst] : {std::pair{7, 4}, {9, 4}, {9, 7}, {9, 9}}) { // FIN, ACK ...
        rig.engine->on_updated(
            flow(1, 0, static_cast<std::uint8_t>(src), static_cast<std::uint8_t>(dst)));
        rig.pass(1ms);
    }
    rig.pass(50ms);
    rig.acknowledge(0);
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    return rig.sent_to(0);
}

TEST(MaxUpd, AConnectionTakesHalfTheMessages) {
    Collapsing many(128);
    EXPECT_EQ(connection(many), "INS 1 2:0 live 0, UPD_C 1 4:4, UPD_C 1 9:9, DEL_C 1");
    EXPECT_EQ(many.engine->session(0).counters.collapsed, 4u);
    for (const std::uint8_t none : {std::uint8_t{0}, std::uint8_t{1}}) {
        Collapsing one(none);
        EXPECT_EQ(connection(one), "INS 1 2:0 live 0, UPD_C 1 4:2, UPD_C 1 4:4, UPD_C 1 7:4, "
                                   "UPD_C 1 9:4, UPD_C 1 9:7, UPD_C 1 9:9, DEL_C 1");
        EXPECT_EQ(one.engine->session(0).counters.collapsed, 0u);
    }
}

TEST(MaxUpd, SoManyAndNoMore) {
    Collapsing rig(3);
    rig.engine->on_created(flow(1));
    rig.acknowledge(0);
    rig.sent_to(0);
    rig.event(flow(1, 0, 5, 4));
    rig.event(flow(1, 0, 6, 4));
    EXPECT_EQ(rig.sent_to(0), "");
    rig.event(flow(1, 0, 7, 4));
    EXPECT_EQ(rig.sent_to(0), "UPD_C 1 7:4");
    rig.event(flow(1, 0, 8, 4)); // the count starts again at one
    rig.event(flow(1, 0, 9, 4));
    EXPECT_EQ(rig.sent_to(0), "");
    rig.pass(20ms);
    EXPECT_EQ(rig.sent_to(0), "UPD_C 1 9:4");
}

TEST(MaxUpd, NoWaitIsLongerThanTwentyMilliseconds) {
    Collapsing rig;
    rig.engine->on_created(flow(1));
    rig.acknowledge(0);
    rig.sent_to(0);
    rig.pass(25ms);
    const Instant changed = rig.now;
    rig.engine->on_updated(flow(1, 0, 5, 4));
    rig.flush();
    EXPECT_LE(rig.engine->deadline(), changed + 20ms);
    rig.pass(19ms);
    rig.engine->on_updated(flow(1, 0, 6, 4)); // a further change does not restart the delay
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    rig.pass(1ms);
    EXPECT_EQ(rig.sent_to(0), "UPD_C 1 6:4");
}

TEST(MaxUpd, WhatBeginsOrEndsDoesNotWait) {
    Collapsing rig;
    rig.engine->on_created(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
    rig.engine->on_updated(flow(1, 0, 5, 4));
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1");
    rig.pass(30ms);
    EXPECT_EQ(rig.sent_to(0), "");
}

TEST(MaxUpd, HandsAddressesAndMarksDoNotWait) {
    Collapsing rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.engine->on_updated(flow(1, 0, 5, 4));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 5:4 live 1");
    rig.engine->on_updated(flow(1, 0, 6, 4));
    state::Flow f = flow(1, 0, 6, 4);
    f.mark = 7;
    rig.engine->on_updated(f); // includes the pending changes
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 6:4 live 1");
    rig.pass(30ms);
    EXPECT_EQ(rig.sent_to(0), "");
    f.reply.dport = 4711;
    rig.engine->on_updated(f);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 6:4 live 1");
}

TEST(MaxUpd, WhatHasWaitedRidesAlong) {
    Collapsing rig;
    rig.engine->on_created(flow(1));
    rig.engine->on_created(flow(2));
    rig.acknowledge(0);
    rig.sent_to(0);
    rig.pass(25ms); // ACKs are due
    rig.engine->on_updated(flow(1, 0, 5, 4));
    rig.pass(6ms);
    rig.engine->on_updated(flow(2, 0, 5, 4));
    rig.engine->on_created(flow(3));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 3 4:4 live 0, UPD_C 1 5:4"); // the delay of 2 has just begun
    rig.pass(19ms);
    EXPECT_EQ(rig.sent_to(0), "");
    rig.pass(1ms);
    EXPECT_EQ(rig.sent_to(0), "UPD_C 2 5:4");
}

TEST(MaxUpd, APacketfulGoesSooner) {
    Collapsing rig;
    for (std::uint16_t port = 1; port <= 40; port++)
        rig.engine->on_created(flow(port));
    rig.acknowledge(0);
    rig.sent_to(0);
    for (std::uint16_t port = 1; port <= 40; port++)
        rig.engine->on_updated(flow(port, 0, 5, 4));
    rig.pass(4ms);
    EXPECT_EQ(rig.sent_to(0), "");
    rig.pass(1ms);
    EXPECT_NE(rig.sent_to(0).find("UPD_C 32 5:4"), std::string::npos);
    EXPECT_EQ(rig.engine->session(0).outbox.waiting(), 8u); // they do not fill a packet
    rig.pass(15ms);
    EXPECT_NE(rig.sent_to(0).find("UPD_C 40 5:4"), std::string::npos);
}

TEST(MaxUpd, WhileABulkUpdateGoesNothingWaits) {
    Collapsing rig;
    rig.engine->on_created(flow(1));
    rig.acknowledge(0);
    rig.sent_to(0);
    rig.send(0, [](Packet& p) { p.id(Kind::request, {}); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "BUS start, UPD 1 4:4 live 0");
    rig.engine->on_updated(flow(1, 0, 5, 4));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 5:4 live 0");
}

TEST(MaxUpd, IsSaidBeforeTheSumThatCountsIt) {
    Collapsing rig;
    rig.engine->on_created(flow(1));
    rig.hello(0, {.flags = pfsync::extension::hello::kInStep});
    rig.acknowledge(0);
    rig.pass(999ms); // the next digest is almost due
    rig.engine->on_updated(flow(1, 0, 5, 4));
    rig.flush();
    rig.sent_to(0);
    rig.pass(1ms);
    EXPECT_EQ(rig.sent_to(0, true), "SEQ, HELLO, UPD_C 1 5:4, ROOT 1");
}

TEST(MaxUpd, APeerThatIsAwayHearsTheLastWord) {
    Collapsing rig;
    rig.engine->on_created(flow(1));
    rig.engine->on_created(flow(2));
    rig.acknowledge(0);
    rig.engine->on_updated(flow(1, 0, 5, 4));
    rig.engine->on_updated(flow(2, 0, 5, 4));
    rig.engine->on_link_down(0);
    rig.pass(6s);
    rig.engine->on_updated(flow(1, 0, 6, 4));
    rig.engine->on_destroyed(flow(2));
    rig.engine->on_created(flow(3)); // may get the slot of 2
    rig.sent_to(0);
    rig.engine->on_link_up(0);
    rig.hello(0, {});
    rig.pass(20ms);
    const std::string heard = rig.sent_to(0);
    EXPECT_NE(heard.find("UPD_C 1 6:4"), std::string::npos) << heard;
    EXPECT_EQ(heard.find("5:4"), std::string::npos) << heard;
    EXPECT_NE(heard.find("DEL_C 2"), std::string::npos) << heard;
    EXPECT_NE(heard.find("INS 3"), std::string::npos) << heard;
}

TEST(MaxUpd, EachPeerHasItsOwn) {
    Rig rig;
    rig.options.peers[1].maxupd = 128;
    rig.start();
    rig.greet(0), rig.greet(1);
    rig.engine->on_created(flow(1));
    rig.acknowledge(0), rig.acknowledge(1);
    rig.sent_to(0), rig.sent_to(1);
    rig.engine->on_updated(flow(1, 0, 5, 4));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD_C 1 5:4");
    EXPECT_EQ(rig.sent_to(1), "");
    rig.pass(20ms);
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.sent_to(1), "UPD_C 1 5:4");
}

TEST(MaxUpd, TowardsPfAsWell) {
    Rig rig;
    rig.options.peers[0] = {
        .name = "pf", .extended = false, .dialect = pfsync::Dialect::openbsd, .maxupd = 128};
    rig.start();
    rig.engine->on_link_up(0);
    rig.engine->on_created(flow(1));
    rig.flush();
    rig.sent_to(0);
    rig.engine->on_updated(flow(1, 0, 5, 4));
    rig.engine->on_updated(flow(1, 0, 6, 4));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    rig.pass(20ms);
    EXPECT_EQ(rig.sent_to(0), "UPD_C 1 6:4");
}

} // namespace
} // namespace encsync::sync::test
