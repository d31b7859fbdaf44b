// SPDX-License-Identifier: ISC
// Peers with standard pfsync only: pf firewalls.
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

using pfsync::Kind;

struct PlainRig : Rig {
    PlainRig() {
        options.peers = {{"pf", false, pfsync::Dialect::openbsd}};
        start();
        engine->on_link_up(0);
    }
    void finish_bulk() {
        send_plain(0, [](Packet& p) { p.bulk(false).bulk(true); });
        flush();
        sent_to(0, true);
    }
};

TEST(Plain, HearsNothingOfOurs) {
    PlainRig rig;
    rig.finish_bulk();
    rig.engine->on_created(flow(1));
    rig.pass(2s);
    rig.engine->on_updated(flow(1, 0, 9, 9));
    rig.pass(2s);
    rig.engine->on_destroyed(flow(1));
    rig.send_plain(0, [](Packet& p) { p.full(flow(2, kPeer), {.tail = false}); });
    rig.pass(40s);
    EXPECT_EQ(rig.sent_to(0, true), "INS 1 4:4, UPD_C 1 9:9, DEL_C 1");
}

TEST(Plain, SayingHelloDoesNotChangeThat) {
    PlainRig rig;
    rig.finish_bulk();
    Packet p;
    rig.engine->on_packet(0, p.hello({}).bytes());
    EXPECT_EQ(rig.refused(Reason::unknown_action), 1u);
    EXPECT_FALSE(rig.engine->session(0).extended);
    rig.pass(10s);
    EXPECT_EQ(rig.sent_to(0, true), "");
}

TEST(Plain, ANodeOfOursHearsHello) { // negative control of the two above
    Rig rig;
    rig.start();
    rig.engine->on_link_up(0);
    rig.pass(10ms);
    EXPECT_EQ(rig.sent_to(0, true), "HELLO lost");
}

TEST(Plain, BulkIsAskedForTwelveTimesThenNobodyWaits) {
    PlainRig rig;
    rig.flush();
    std::string all = "UPD_REQ all";
    EXPECT_EQ(rig.sent_to(0, true), all);
    for (int n = 1; n < 12; n++) {
        rig.pass(1900ms);
        EXPECT_EQ(rig.sent_to(0, true), "") << n;
        rig.pass(100ms);
        EXPECT_EQ(rig.sent_to(0, true), all) << n;
        EXPECT_FALSE(rig.engine->session(0).in_step);
    }
    EXPECT_FALSE(rig.engine->ready());
    rig.pass(2s);
    EXPECT_FALSE(rig.engine->session(0).in_step); // although pf itself would assume it
    EXPECT_TRUE(rig.engine->session(0).bulk.gave_up);
    EXPECT_TRUE(rig.engine->ready());
    rig.pass(70s);
    EXPECT_EQ(rig.sent_to(0, true), "");
    // Once it is heard the request is repeated.
    rig.send_plain(0, [](Packet& p) { p.full(flow(1, kPeer), {.tail = false}); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0, true), all);
    rig.send_plain(0, [](Packet& p) { p.bulk(true); });
    EXPECT_TRUE(rig.engine->session(0).in_step);
    EXPECT_FALSE(rig.engine->session(0).bulk.gave_up);
}

TEST(Plain, BulkThatIsAnsweredIsNotAskedForAgain) {
    PlainRig rig;
    rig.flush();
    rig.sent_to(0);
    rig.send_plain(0, [](Packet& p) {
        p.bulk(false).full(flow(1, kPeer), {.tail = false}, false).bulk(true);
    });
    EXPECT_TRUE(rig.engine->session(0).in_step);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.pass(30s);
    EXPECT_EQ(rig.sent_to(0, true), "");
}

TEST(Plain, BulkAnswerGoesOnePacketATick) {
    PlainRig rig;
    rig.finish_bulk();
    for (std::uint16_t n = 1; n <= 100; n++)
        rig.engine->on_created(flow(n));
    rig.pass(21s);
    rig.link.sent.clear();
    rig.send_plain(0, [](Packet& p) { p.id(Kind::request, {}); });
    rig.flush();
    EXPECT_EQ(rig.link.sent.size(), 1u);
    rig.flush();
    EXPECT_EQ(rig.link.sent.size(), 1u);
    rig.pass(1ms);
    EXPECT_EQ(rig.link.sent.size(), 2u);
    rig.pass(100ms);
    EXPECT_EQ(rig.link.sent.size(), 20u); // five full states a packet
}

TEST(Plain, IsRecognizedByWhatItSays) { // wire=auto, or encsync and it turns out otherwise
    Rig rig;
    rig.start();
    rig.engine->on_link_up(0);
    rig.send_plain(0, [](Packet& p) { p.full(flow(1, kPeer), {.tail = false}); });
    EXPECT_TRUE(rig.engine->session(0).is_pf());
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD_REQ all");
    // Until it sends HELLO.
    rig.hello(0, {});
    EXPECT_FALSE(rig.engine->session(0).is_pf());
}

TEST(Plain, ANodeOfOursIsNotTakenForOne) { // even by packets of its former session
    Rig rig;
    rig.start();
    rig.engine->on_link_up(0);
    Packet late;
    rig.engine->on_packet(0, late.seq(9, 12).full(flow(1, kPeer)).bytes());
    EXPECT_FALSE(rig.engine->session(0).is_pf());
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.refused(Reason::foreign_session), 1u);
    rig.pass(4s);
    EXPECT_FALSE(rig.engine->session(0).is_pf());
    EXPECT_EQ(rig.sent_to(0), "");
}

TEST(Plain, WhatItSpeaksOfIsItsOwn) {
    PlainRig rig;
    rig.finish_bulk();
    rig.engine->on_created(flow(1));
    rig.flush();
    const state::StateId id = rig.id(1);
    state::Flow theirs = flow(1, 0, 9, 9);
    theirs.id = id;
    // A bulk update also contains copies, so it shows no owner.
    rig.send_plain(0, [&](Packet& p) { p.bulk(false).full(theirs, {.tail = false}, false); });
    EXPECT_EQ(rig.owner(1), "here term 0");
    rig.send_plain(0, [&](Packet& p) { p.bulk(true); });
    // Nor does a possible answer to a recent message of ours.
    rig.send_plain(0, [&](Packet& p) { p.update(theirs); });
    EXPECT_EQ(rig.owner(1), "here term 0");
    rig.pass(3s);
    rig.send_plain(0, [&](Packet& p) { p.update(theirs); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
}

TEST(Plain, IsNotSweptByItsBulk) {
    PlainRig rig;
    rig.finish_bulk();
    rig.send_plain(0, [](Packet& p) { p.full(flow(1, kPeer), {.tail = false}); });
    rig.send_plain(0, [](Packet& p) { p.bulk(false).bulk(true); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

TEST(Plain, WantsAnAckForADeferredPacket) {
    PlainRig rig;
    rig.finish_bulk();
    rig.send_plain(0,
                   [](Packet& p) { p.full(flow(1, kPeer), {.tail = false, .wants_ack = true}); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0, true), "INS_ACK 1");
    rig.send_plain(0, [](Packet& p) { p.full(flow(2, kPeer), {.tail = false}); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0, true), "");
}

TEST(Plain, NoTailIsReadOfIt) {
    PlainRig rig;
    rig.finish_bulk();
    state::Flow f = flow(1, kPeer);
    f.mark = 99;
    f.key.zone = 5;
    rig.send_plain(0, [&](Packet& p) { p.full(f, {.tail = true, .live = false, .term = 9}); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 0"); // in zone 0
    EXPECT_EQ(rig.engine->index().record(rig.engine->index().find(f.id)).mark, 0u);
}

TEST(Plain, ItIsNotToldOfZonesItsWireHasNot) {
    PlainRig rig;
    rig.finish_bulk();
    rig.flush();
    rig.sent_to(0);
    state::Flow zoned = flow(1), one_way = flow(2);
    zoned.key.zone = 5;
    one_way.extras.reply_zone = 5;
    for (const state::Flow& f : {zoned, one_way, flow(3)})
        rig.engine->on_created(f);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 3 4:4");
    EXPECT_EQ(rig.engine->session(0).counters.zone_suppressed, 2u);
    EXPECT_EQ(rig.engine->live_for(0), 1u);
}

TEST(Plain, LinkDownEndsItAllAtOnce) {
    PlainRig rig;
    rig.finish_bulk();
    EXPECT_TRUE(rig.engine->session(0).reachable() || rig.engine->session(0).link_up);
    rig.engine->on_link_down(0);
    EXPECT_FALSE(rig.engine->session(0).reachable());
    rig.engine->on_created(flow(1));
    rig.pass(1s);
    EXPECT_EQ(rig.sent_to(0, true), "");
    rig.engine->on_link_up(0);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0, true), "UPD_REQ all");
}

TEST(Plain, OneThatSaysHelloIsNoFreebsd) {
    Rig rig;
    rig.options.peers = {{"any", true, std::nullopt}};
    rig.start();
    std::array<std::uint8_t, 600> room{};
    pfsync::Builder builder(room, pfsync::Dialect::freebsd1400);
    pfsync::write_state(pfsync::Dialect::freebsd1400, builder.add(Kind::insert), flow(1, kPeer),
                        {});
    const Bytes version5 = Bytes(room).first(builder.finish());
    rig.greet(0);
    rig.engine->on_packet(0, version5);
    EXPECT_EQ(rig.fault(pfsync::Fault::bad_version), 1u);
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.engine->session(0).dialect, pfsync::Dialect::openbsd);
    // In the other order, HELLO ends it.
    Rig other;
    other.options.peers = {{"any", true, std::nullopt}};
    other.start();
    other.engine->on_link_up(0);
    other.engine->on_packet(0, version5);
    EXPECT_EQ(other.owner(1), "peer 0 term 0");
    EXPECT_EQ(other.engine->session(0).dialect, pfsync::Dialect::freebsd1400);
    other.hello(0, {});
    EXPECT_EQ(other.engine->session(0).dialect, pfsync::Dialect::openbsd);
    other.engine->on_created(flow(2));
    other.flush();
    EXPECT_EQ(other.sent_to(0), "UPD_REQ all, INS 2 4:4 live 0");
}

TEST(Plain, FreebsdHearsItsDialectAndNoHello) {
    Rig rig;
    rig.options.peers = {{"bsd", true, std::nullopt}}; // wire=auto
    rig.start();
    rig.engine->on_link_up(0);
    rig.flush();
    std::array<std::uint8_t, 600> room{};
    pfsync::Builder builder(room, pfsync::Dialect::freebsd1400);
    pfsync::write_state(pfsync::Dialect::freebsd1400, builder.add(Kind::insert), flow(1, kPeer),
                        {});
    rig.engine->on_packet(0, Bytes(room).first(builder.finish()));
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.link.sent.clear();
    rig.engine->on_created(flow(2));
    rig.pass(5s);
    ASSERT_FALSE(rig.link.sent.empty());
    std::string kinds;
    for (const auto& [peer, packet] : rig.link.sent) {
        pfsync::Parser parser(Bytes(packet), pfsync::Dialect::freebsd1400);
        while (const pfsync::Section* s = parser.next())
            kinds += std::string(to_string(s->kind)) + " ";
        EXPECT_EQ(parser.fault(), pfsync::Fault::none);
    }
    EXPECT_NE(kinds.find("ins "), std::string::npos) << kinds;
    // It is a pf peer in every respect: live flows are announced in time.
    rig.engine->on_updated(flow(2, 0, 4, 2));
    rig.pass(1s);
    rig.link.sent.clear();
    rig.pass(30s);
    unsigned updates = 0;
    for (const auto& [peer, packet] : rig.link.sent) {
        pfsync::Parser parser(Bytes(packet), pfsync::Dialect::freebsd1400);
        while (const pfsync::Section* s = parser.next())
            updates += s->kind == Kind::update_c;
    }
    EXPECT_GE(updates, 2u);
}

} // namespace
} // namespace encsync::sync::test
