// SPDX-License-Identifier: ISC
// How two nodes connect: HELLO, sessions, bulk updates, and when a node is ready.
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

using pfsync::Kind;

TEST(Hello, IsSaidAtOnceAndAnsweredWithARequestForAll) {
    Rig rig;
    rig.start();
    rig.engine->on_link_up(0);
    rig.pass(1ms);
    EXPECT_EQ(rig.sent_to(0, true), "HELLO lost");
    rig.hello(0, {});
    rig.flush();
    EXPECT_EQ(rig.sent_to(0, true), "SEQ, HELLO lost, UPD_REQ all");
    EXPECT_TRUE(rig.engine->session(0).extended);
    EXPECT_TRUE(rig.engine->session(0).reachable());
    EXPECT_FALSE(rig.engine->session(1).reachable());
}

TEST(Hello, OfOneThatHasNotHeardUsIsAnsweredAndNoMore) {
    Rig rig;
    rig.start();
    rig.engine->on_link_up(0);
    rig.pass(1ms);
    rig.sent_to(0, true);
    Packet p;
    rig.engine->on_packet(0, p.hello({.session = 77, .peer_session = 12345}).bytes());
    rig.flush();
    EXPECT_EQ(rig.sent_to(0, true), "HELLO lost");
    EXPECT_FALSE(rig.engine->session(0).extended);
    rig.send(0,
             [](Packet& q) { q.full(flow(1, kPeer)); }); // its messages are accepted all the same
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

TEST(Hello, RefusedByName) {
    const Greeting kBad[] = {
        {.session = 0}, {.creatorid = 0}, {.creatorid = kOurs}, {.role = 3}, {.role = 255},
    };
    std::uint64_t count = 0;
    Rig rig;
    rig.start();
    rig.engine->on_link_up(0);
    for (const Greeting& g : kBad) {
        Packet p;
        rig.engine->on_packet(0, p.hello(g).bytes());
        EXPECT_EQ(rig.refused(Reason::bad_hello), ++count);
        EXPECT_EQ(rig.engine->session(0).remote, 0u);
        EXPECT_FALSE(rig.engine->session(0).reachable());
    }
    Packet p;
    rig.engine->on_packet(0, p.hello({}).bytes());
    EXPECT_EQ(rig.refused(Reason::bad_hello), count);
    EXPECT_TRUE(rig.engine->session(0).reachable());
}

TEST(Hello, OfAnotherVersionIsRefusedByName) {
    Rig rig;
    rig.start();
    rig.engine->on_link_up(0);
    for (const std::uint16_t version : {0, 2, 65535})
        rig.engine->on_packet(0, Packet().hello({.version = version}).bytes());
    EXPECT_EQ(rig.refused(Reason::hello_version), 3u);
    EXPECT_EQ(rig.engine->session(0).remote, 0u);
    EXPECT_FALSE(rig.engine->session(0).reachable());
}

// conntrack's settings; a peer of the earlier release does not send them.
TEST(Hello, TellsHowTcpIsJudged) {
    namespace hello = pfsync::extension::hello;
    Rig rig;
    rig.start();
    rig.greet(0);
    EXPECT_EQ(rig.engine->session(0).tracking, std::nullopt);
    rig.hello(0, {.flags = hello::kTracking | hello::kLoose});
    EXPECT_EQ(rig.engine->session(0).tracking, (TcpTracking{.loose = true}));
    rig.hello(0, {.flags = hello::kTracking | hello::kLiberal});
    EXPECT_EQ(rig.engine->session(0).tracking, (TcpTracking{.liberal = true}));
    EXPECT_EQ(rig.sent_to(0, true).find("tracking"), std::string::npos);
    rig.engine->set_tracking(TcpTracking{.liberal = true});
    rig.pass(2s);
    EXPECT_NE(rig.sent_to(0, true).find("HELLO tracking liberal"), std::string::npos);
    rig.engine->set_tracking(TcpTracking{.loose = true});
    rig.pass(2s);
    EXPECT_NE(rig.sent_to(0, true).find("HELLO tracking loose"), std::string::npos);
}

TEST(Hello, CutAnywhereChangesNothing) {
    Packet p;
    const auto whole = p.hello({}).bytes();
    for (std::size_t size = 0; size < whole.size(); size++) {
        Rig rig;
        rig.start();
        rig.engine->on_link_up(0);
        // Truncated, and truncated with a length field that agrees.
        std::vector<std::uint8_t> cut(whole.begin(), whole.begin() + static_cast<long>(size));
        rig.engine->on_packet(0, cut);
        if (size >= 4) {
            cut[2] = 0;
            cut[3] = static_cast<std::uint8_t>(size);
            rig.engine->on_packet(0, cut);
        }
        EXPECT_EQ(rig.engine->session(0).remote, 0u) << size;
        EXPECT_FALSE(rig.engine->session(0).reachable()) << size;
        // A header alone is a valid packet without messages.
        EXPECT_GE(rig.faults(), size == 20 ? 1u : size >= 4 ? 2u : 1u) << size;
    }
}

TEST(Session, OnesThatAreOverAreRefusedAndAnsweredWithHello) {
    Rig rig;
    rig.start();
    rig.greet(0);
    rig.sent_to(0, true);
    Packet p;
    rig.engine->on_packet(0, p.seq(1, 4711).full(flow(1, kPeer)).bytes());
    EXPECT_EQ(rig.refused(Reason::foreign_session), 1u);
    Packet unnumbered;
    rig.engine->on_packet(0, unnumbered.full(flow(1, kPeer)).bytes());
    EXPECT_EQ(rig.refused(Reason::foreign_session), 2u);
    EXPECT_EQ(rig.owner(1), "unknown");
    rig.flush();
    EXPECT_EQ(rig.sent_to(0, true), "HELLO");
    Packet late_ack;
    rig.engine->on_packet(0, late_ack.ack(1, 4711).bytes());
    EXPECT_EQ(rig.refused(Reason::foreign_session), 3u);
    Packet lie;
    rig.engine->on_packet(0, lie.ack(1'000'000, rig.engine->session(0).local).bytes());
    EXPECT_EQ(rig.refused(Reason::bad_ack), 1u);
    rig.send(0, [](Packet& q) { q.full(flow(1, kPeer)); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

TEST(Session, LatePacketsCountAsLost) {
    Rig rig;
    rig.start();
    rig.greet(0);
    Packet three;
    rig.engine->on_packet(0, three.seq(50, 77).full(flow(3, kPeer)).bytes());
    Packet two;
    rig.engine->on_packet(0, two.seq(49, 77).full(flow(2, kPeer)).bytes());
    Packet again;
    rig.engine->on_packet(0, again.seq(50, 77).full(flow(4, kPeer)).bytes());
    EXPECT_EQ(rig.owner(3), "peer 0 term 0");
    EXPECT_EQ(rig.owner(2), "unknown");
    EXPECT_EQ(rig.owner(4), "unknown");
    EXPECT_EQ(rig.engine->session(0).counters.late_packets, 2u);
    rig.sent_to(0);
    rig.pass(25ms);
    EXPECT_EQ(rig.sent_to(0, true), "ACK 50");
}

TEST(Session, ANewOneOfThePeerBeginsAnew) {
    Rig rig;
    rig.start();
    rig.greet(0);
    EXPECT_TRUE(rig.engine->session(0).in_step);
    rig.hello(0, {.session = 99});
    rig.flush();
    EXPECT_FALSE(rig.engine->session(0).in_step);
    EXPECT_EQ(rig.sent_to(0), "UPD_REQ all");
    // The same again has no effect.
    rig.hello(0, {.session = 99});
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
}

TEST(Session, SilenceIsNoticedAndOver) {
    Rig rig;
    rig.start();
    rig.greet(0);
    rig.pass(3900ms);
    EXPECT_TRUE(rig.engine->session(0).reachable());
    rig.pass(200ms);
    EXPECT_FALSE(rig.engine->session(0).reachable());
    // A peer that may be gone is sent only HELLO; the rest follows when it is back.
    rig.sent_to(0, true);
    rig.engine->on_created(flow(1));
    rig.pass(2500ms);
    EXPECT_EQ(rig.sent_to(0, true), "HELLO, HELLO");
    rig.hello(0, {});
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
}

TEST(Session, WhatWasLostIsSaidInTheFormItHasByThen) {
    Rig rig;
    rig.start();
    rig.greet(0);
    rig.engine->on_created(flow(1, 0, 2, 0));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 2:0 live 0");
    rig.engine->on_updated(flow(1, 0, 4, 2));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD_C 1 4:2");
    rig.pass(250ms); // neither was acknowledged
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:2 live 0");
    rig.acknowledge(0);
    rig.pass(500ms);
    EXPECT_EQ(rig.sent_to(0), "");
}

TEST(Session, ALinkThatIsFullLosesNothing) {
    Rig rig;
    rig.start();
    rig.greet(0);
    rig.link.writable = false;
    rig.engine->on_created(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    rig.link.writable = true;
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
}

TEST(Session, ManyChangesForOneOutOfReachTakeNoRoom) {
    Rig rig;
    rig.start();
    rig.greet(0);
    rig.pass(5s); // it becomes silent
    for (std::uint32_t n = 0; n < 50'000; n++) {
        const state::Flow f = flow(static_cast<std::uint16_t>(n % 100 + 1), 0, 2, 0);
        rig.engine->on_created(f);
        rig.engine->on_destroyed(f);
    }
    EXPECT_LT(rig.engine->session(0).outbox.queued(), 3000u);
    rig.engine->on_created(flow(7));
    rig.hello(0, {});
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 7 4:4 live 0");
}

TEST(Bulk, AnswersWithEverythingBetweenStartAndEnd) {
    Rig rig;
    rig.start();
    rig.greet(1, {}, {flow(9, kPeer + 1)});
    rig.engine->on_created(flow(1));
    rig.greet(0);
    rig.sent_to(0);
    rig.send(0, [](Packet& p) { p.id(Kind::request, {}); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "BUS start, UPD 9 4:4 copy 0, UPD 1 4:4 live 0");
    // The end is sent when all of it has arrived.
    rig.pass(10ms);
    EXPECT_EQ(rig.sent_to(0), "");
    rig.acknowledge(0);
    EXPECT_EQ(rig.sent_to(0), "BUS end");
}

TEST(Bulk, ASecondRequestMeanwhileChangesNothing) {
    Rig rig;
    rig.start();
    rig.engine->on_created(flow(1));
    rig.greet(0);
    rig.sent_to(0);
    for (int n = 0; n < 3; n++)
        rig.send(0, [](Packet& p) { p.id(Kind::request, {}); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "BUS start, UPD 1 4:4 live 0");
}

TEST(Bulk, WhatIsLostOfItComesAgainBeforeItsEnd) {
    Rig rig;
    rig.start();
    rig.engine->on_created(flow(1));
    rig.greet(0);
    rig.sent_to(0);
    rig.send(0, [](Packet& p) { p.id(Kind::request, {}); });
    rig.flush();
    rig.sent_to(0);
    rig.pass(300ms);
    EXPECT_EQ(rig.sent_to(0), "BUS start, UPD 1 4:4 live 0");
    rig.acknowledge(0);
    EXPECT_EQ(rig.sent_to(0), "BUS end");
}

TEST(Bulk, ARequestThatIsNotAnsweredIsRepeated) {
    Rig rig;
    rig.start();
    rig.engine->on_link_up(0);
    rig.hello(0, {});
    rig.acknowledge(0);
    EXPECT_EQ(rig.sent_to(0), "UPD_REQ all");
    for (int n = 0; n < 5; n++) {
        rig.pass(1s);
        rig.hello(0, {});
    }
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD_REQ all");
}

// A request is 12 bytes, an answer the whole table.
TEST(Bulk, APeerThatAsksAgainAndAgainIsAnsweredOnceASecond) {
    Rig rig;
    rig.start();
    rig.engine->on_created(flow(1));
    rig.greet(0);
    rig.sent_to(0);
    const std::string all = "BUS start, UPD 1 4:4 live 0";
    const auto answer = [&] {
        rig.flush();
        const std::string sent = rig.sent_to(0);
        rig.acknowledge(0); // and so its end is sent
        rig.sent_to(0);
        return sent;
    };
    const auto ask = [&] { rig.send(0, [](Packet& p) { p.id(Kind::request, {}); }); };
    ask();
    EXPECT_EQ(answer(), all);
    ask(); // too soon: it waits
    EXPECT_EQ(answer(), "");
    EXPECT_EQ(rig.refused(Reason::too_often), 0u);
    ask();
    ask();
    EXPECT_EQ(answer(), "");
    EXPECT_EQ(rig.refused(Reason::too_often), 2u);
    rig.pass(1s);
    EXPECT_EQ(answer(), all); // once, for all that waited
    rig.pass(1s);
    EXPECT_EQ(answer(), "");
    ask(); // control: as honest nodes ask, now and then
    EXPECT_EQ(answer(), all);
    EXPECT_EQ(rig.refused(Reason::too_often), 2u);
    // And at once in a new session: it has forgotten everything.
    rig.greet(0, {.session = 78});
    rig.sent_to(0);
    Packet p;
    rig.engine->on_packet(0, p.seq(100, 78).id(Kind::request, {}).bytes());
    EXPECT_EQ(answer(), all);
}

TEST(Bulk, SweepsWhatItsOwnerDidNotName) {
    Rig rig;
    rig.start();
    rig.greet(0, {}, {flow(1, kPeer), flow(2, kPeer)});
    rig.greet(1, {}, {flow(3, kPeer + 1)});
    rig.send(0, [](Packet& p) { p.bulk(false).full(flow(2, kPeer), {}, false).bulk(true); });
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.owner(2), "peer 0 term 0");
    EXPECT_EQ(rig.owner(3), "peer 1 term 0");
    EXPECT_EQ(rig.table.take(), "remove 1");
    // An end without a start removes nothing.
    rig.send(0, [](Packet& p) { p.bulk(true); });
    EXPECT_EQ(rig.owner(2), "peer 0 term 0");
}

// ---- ready ---------------------------------------------------------------------------------

std::string why(const Rig& rig) {
    std::string text;
    return rig.engine->ready(&text) ? "ready" : text;
}

TEST(Bulk, ShowsHowFarItIs) {
    Rig rig;
    rig.start();
    for (int n = 0; n < 4000; n++)
        rig.engine->on_created(flow(static_cast<std::uint16_t>(1000 + n), kOurs));
    rig.greet(0, {}, {});
    const Peer& s = rig.engine->session(0);
    rig.send(0, [](Packet& p) { p.bulk(false).full(flow(2, kPeer), {}, false); });
    EXPECT_TRUE(s.bulk.arriving);
    EXPECT_EQ(s.bulk.received, 1u);
    rig.send(0, [](Packet& p) { p.full(flow(3, kPeer), {}, false).bulk(true); });
    EXPECT_FALSE(s.bulk.arriving);
    EXPECT_EQ(s.bulk.received, 2u);
    rig.send(0, [](Packet& p) { p.full(flow(4, kPeer)); }); // not part of it
    EXPECT_EQ(s.bulk.received, 2u);

    rig.send(0, [](Packet& p) { p.id(pfsync::Kind::request, {}); });
    rig.flush(); // one turn's worth
    EXPECT_TRUE(s.bulk.sending);
    EXPECT_GT(s.bulk.sent, 0u);
    EXPECT_LT(s.bulk.sent, 4000u);
}

TEST(Ready, StepByStep) {
    Rig rig;
    rig.start(false);
    EXPECT_EQ(why(rig), "the state table has not been read yet");
    rig.engine->on_dump_begin();
    EXPECT_EQ(why(rig), "the state table has not been read yet");
    rig.engine->on_dump_end();
    EXPECT_EQ(why(rig), "no peer has been heard yet");
    rig.engine->on_link_up(0);
    EXPECT_EQ(why(rig), "no peer has been heard yet");
    rig.hello(0, {});
    EXPECT_EQ(why(rig), "the bulk update of minnie is not complete");
    rig.engine->session(0);
    rig.greet(0);
    EXPECT_EQ(why(rig), "ready");
    // A second peer that is heard must have sent all, too; one that is gone need not.
    rig.engine->on_link_up(1);
    rig.hello(1, {});
    EXPECT_EQ(why(rig), "the bulk update of goofy is not complete");
    rig.engine->on_link_down(1);
    EXPECT_EQ(why(rig), "ready");
}

// While its SAs are up, it is alive. The control is AloneAfterAWhile.
TEST(Ready, NotWithAPeerThatIsNotUnderstood) {
    Rig rig;
    rig.options.join_wait = 30s;
    rig.start();
    rig.engine->on_link_up(0);
    const auto hello = Packet().hello({.version = 2}).bytes();
    for (int n = 0; n < 40; n++) {
        rig.engine->on_packet(0, hello);
        rig.pass(1s);
    }
    EXPECT_EQ(why(rig), "peer minnie: its packets are not understood: it speaks version 2 of "
                        "encsync's own messages, and version 1 was expected");
    // An active node stays ready.
    rig.engine->set_role(Role::active);
    EXPECT_EQ(why(rig), "ready");
    rig.engine->set_role(Role::automatic);
    // After an upgrade, it is understood.
    rig.greet(0);
    EXPECT_EQ(why(rig), "ready");
    // It is changed back while its SAs stay.
    rig.pass(5s);
    EXPECT_EQ(why(rig), "ready");
    rig.engine->on_packet(0, hello);
    EXPECT_NE(why(rig), "ready");
    // It dies.
    rig.engine->on_link_down(0);
    EXPECT_EQ(why(rig), "ready");
}

TEST(Ready, NotWithAPeerOfWhichThePolicyRefusesAll) {
    Rig rig;
    rig.options.peers[1].extended = false;
    rig.start();
    rig.engine->on_link_up(1); // a pf firewall: may have nothing to send
    rig.pass(40s);
    EXPECT_EQ(why(rig), "ready");
    rig.engine->on_packet_refused(1, "its packets have TTL 64, and 255 was expected");
    EXPECT_EQ(why(rig), "peer goofy: its packets are not understood: its packets have TTL 64, "
                        "and 255 was expected");
    rig.send_plain(1, [](Packet& p) { p.bulk(false).bulk(true); });
    EXPECT_EQ(why(rig), "ready");
    // A single refused packet among accepted ones has no effect.
    rig.engine->on_packet_refused(1, "its packets have TTL 64, and 255 was expected");
    rig.pass(10s);
    EXPECT_EQ(why(rig), "ready");
}

TEST(Ready, NotWithAPeerOfWhichNothingArrives) {
    Rig rig;
    rig.start();
    rig.engine->on_link_up(0);
    rig.pass(3s);
    EXPECT_EQ(why(rig), "no peer has been heard yet");
    rig.pass(40s);
    EXPECT_EQ(why(rig), "peer minnie: its SAs are up, but none of its packets arrives");
    rig.greet(0);
    EXPECT_EQ(why(rig), "ready");
    // A peer that was heard is probably dead: this node must serve.
    rig.pass(40s);
    EXPECT_FALSE(rig.engine->session(0).reachable());
    EXPECT_EQ(why(rig), "ready");
}

TEST(Ready, AloneAfterAWhile) {
    Rig rig;
    rig.options.join_wait = 30s;
    rig.start();
    rig.pass(29s);
    EXPECT_EQ(why(rig), "no peer has been heard yet");
    rig.pass(2s);
    EXPECT_EQ(why(rig), "ready");
}

TEST(Ready, WithoutPeersAtOnce) {
    Rig rig;
    rig.options.peers.clear();
    rig.start();
    EXPECT_EQ(why(rig), "ready");
}

TEST(Ready, AnActiveNodeDoesNotWaitForItsStandbys) {
    Rig rig;
    rig.start();
    rig.greet(0);
    rig.engine->on_link_up(1);
    rig.hello(1, {});
    EXPECT_EQ(why(rig), "the bulk update of goofy is not complete");
    rig.engine->set_role(Role::active);
    EXPECT_EQ(why(rig), "ready");
}

} // namespace
} // namespace encsync::sync::test
