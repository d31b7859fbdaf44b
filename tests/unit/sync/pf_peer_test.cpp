// SPDX-License-Identifier: ISC
// pf firewalls as peers: how often a flow is announced, how long their copies live, who owns a
// flow, and what is passed from one to another.
#include "pf_rig.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::sync::test {
namespace {

using pfsync::Dialect;
using pfsync::Kind;

std::string owner(const Rig& rig, const state::Flow& f) {
    const state::Slot slot = rig.engine->index().find(f.key);
    if (slot == state::kNoSlot)
        return "unknown";
    const std::uint8_t by = rig.engine->index().record(slot).owner;
    return by == 0xff ? "here" : "peer " + std::to_string(by);
}

// ---- timers --------------------------------------------------------------------------------

// How often a flow that is live here and does not change is announced in `span`, and the longest
// time without.
std::pair<unsigned, Duration> announced(PfRig& rig, Duration span) {
    unsigned times = 0;
    Instant last = rig.now;
    Duration longest{};
    for (const Instant end = rig.now + span; rig.now < end;) {
        rig.pass(1s);
        if (rig.sent_to(0).empty())
            continue;
        times++;
        longest = std::max(longest, rig.now - last);
        last = rig.now;
    }
    return {times, std::max(longest, rig.now - last)};
}

TEST(PfTimers, WhatIsLiveHereIsAnnouncedInTime) {
    struct Row {
        state::Flow flow;
        Duration timeout;
    };
    state::Flow ping = flow(7, 0, 0, 0);
    ping.key.proto = IPPROTO_ICMP;
    ping.reply = inverse(ping.key);
    for (const Row& row : {Row{udp(1), 60s}, Row{udp(2, 0, 1, 0), 60s}, Row{udp(3, 0, 2, 1), 30s},
                           Row{flow(4, 0, 2, 0), 120s}, Row{flow(5, 0, 4, 2), 30s},
                           Row{flow(6, 0, 7, 4), 900s}, Row{ping, 20s}, Row{flow(8), 86'400s}}) {
        PfRig rig({Dialect::freebsd1400});
        for (std::uint16_t other = 100; other < 130; other++) // whatever its slot
            rig.engine->on_created(flow(other, 0, 9, 9));
        rig.engine->on_created(row.flow);
        for (std::uint16_t other = 100; other < 130; other++)
            rig.engine->on_destroyed(flow(other, 0, 9, 9));
        rig.flush();
        rig.sent_to(0);
        const auto [times, longest] = announced(rig, std::min<Duration>(2 * row.timeout, 30min));
        EXPECT_LE(longest, row.timeout / 2 - 1s) << to_string(row.flow);
        EXPECT_GE(times, 2u) << to_string(row.flow);
        EXPECT_LE(times, 12u) << to_string(row.flow);
    }
}

TEST(PfTimers, ANodeOfOursNeedsNoAnnouncements) { // control
    Rig rig;
    rig.start();
    rig.greet(0);
    rig.engine->on_created(udp(1));
    rig.acknowledge(0);
    rig.sent_to(0);
    for (int n = 0; n < 40; n++) {
        rig.pass(1s);
        rig.hello(0, {});
    }
    EXPECT_EQ(rig.sent_to(0), "");
}

TEST(PfTimers, ACopyLivesAsItsPeerSays) {
    for (const Dialect d : kAllDialects) {
        PfRig rig({d});
        rig.send(0, Kind::insert, {.flow = udp(1, kPeer), .expire = 40});
        rig.table.take();
        rig.pass(45s);
        EXPECT_EQ(owner(rig, udp(1)), "peer 0") << to_string(d);
        rig.send(0, Kind::update_c, {.flow = udp(1, kPeer), .timeout = 8}); // 60 s from now
        rig.pass(65s);
        EXPECT_EQ(owner(rig, udp(1)), "peer 0") << to_string(d);
        EXPECT_EQ(rig.engine->counters().leases_over, 0u);
        rig.pass(15s);
        EXPECT_EQ(owner(rig, udp(1)), "unknown") << to_string(d);
        EXPECT_EQ(rig.engine->counters().leases_over, 1u);
        EXPECT_EQ(rig.table.take(), "remove 1");
        EXPECT_EQ(rig.sent_to(0), ""); // nothing new for that peer
    }
}

TEST(PfTimers, LongerOnesAreLearned) {
    PfRig rig({Dialect::openbsd});
    rig.send(0, Kind::insert, {.flow = udp(2, kPeer), .expire = 900}); // set timeout udp.multiple
    rig.send(0, Kind::insert, {.flow = udp(1, kPeer), .expire = 900});
    rig.send(0, Kind::update_c, {.flow = udp(1, kPeer)});
    rig.pass(890s);
    EXPECT_EQ(owner(rig, udp(1)), "peer 0");
    rig.pass(30s);
    EXPECT_EQ(owner(rig, udp(1)), "unknown");
}

TEST(PfTimers, StandStillWhileThePeerIsOutOfReach) {
    PfRig rig({Dialect::openbsd});
    rig.send(0, Kind::insert, {.flow = udp(1, kPeer), .expire = 40});
    rig.engine->on_link_down(0);
    rig.pass(120s);
    EXPECT_EQ(owner(rig, udp(1)), "peer 0"); // its timer in the table decides
    rig.engine->on_link_up(0);
    rig.send_bulk(0, false);
    rig.pass(20s);
    EXPECT_EQ(owner(rig, udp(1)), "peer 0");
    rig.send_bulk(0, true);
    rig.pass(80s);
    EXPECT_EQ(owner(rig, udp(1)), "unknown");
}

TEST(PfTimers, ADeletionOfWhatIsLiveHereIsAnsweredWithIt) {
    PfRig rig({Dialect::openbsd});
    rig.send(0, Kind::insert, {flow(1, kPeer), window(1), window(2)});
    rig.send_id(0, Kind::remove_c, flow(1, kPeer).id); // of its own: it ends
    EXPECT_EQ(rig.owner(1), "unknown");
    rig.engine->on_created(flow(2));
    rig.flush();
    rig.sent_to(0);
    rig.send_id(0, Kind::remove_c, rig.id(2));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "ins 2 4:4 sloppy");
    EXPECT_EQ(rig.owner(2), "here term 0");
}

// ---- owner ---------------------------------------------------------------------------------

TEST(PfOwner, AnEchoOfWhatWeSaidClaimsNothing) {
    PfRig rig({Dialect::openbsd});
    rig.engine->on_created(udp(1, 0, 1, 0));
    rig.engine->on_updated(udp(1));
    rig.flush();
    state::Flow f = udp(1);
    f.id = rig.engine->index().record(rig.engine->index().find(f.key)).id;
    rig.send(0, Kind::update_c, {f}); // its answer to an update that arrived late
    EXPECT_EQ(owner(rig, f), "here");
    rig.pass(3s);
    rig.send(0, Kind::update_c, {f}); // nothing was sent since: packets pass there
    EXPECT_EQ(owner(rig, f), "peer 0");
}

// It was on its way while the flow moved.
TEST(PfOwner, WhatIsBehindOnOneSideClaimsNothing) {
    PfRig rig({Dialect::openbsd});
    rig.send(0, Kind::insert, {flow(1, kPeer, 9, 7), window(10), window(20)});
    rig.engine->on_updated(flow(1, 0, 9, 9));
    EXPECT_EQ(rig.owner(1), "here term 1");
    rig.send(0, Kind::update_c, {flow(1, kPeer, 9, 7), window(11), window(21)});
    EXPECT_EQ(rig.owner(1), "here term 1");
    rig.send(0, Kind::update_c, {flow(1, kPeer, 9, 9), window(12), window(22)}); // control
    EXPECT_EQ(rig.owner(1), "peer 0 term 2");
}

// Firewalls on one cable believe each other's removals.
TEST(PfOwner, ARemovalOfWhatIsLiveHereIsAnsweredToAllWhoHeardIt) {
    PfRig rig({Dialect::openbsd, Dialect::openbsd, Dialect::freebsd1400});
    rig.engine->on_created(flow(1));
    rig.flush();
    for (const PeerId peer : {0, 1, 2})
        rig.sent_to(peer);
    rig.send_id(0, Kind::remove_c, rig.id(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "ins 1 4:4 sloppy");
    EXPECT_EQ(rig.sent_to(1), "ins 1 4:4 sloppy");
    EXPECT_EQ(rig.sent_to(2), "");
}

TEST(PfOwner, WhatIsBehindOnBothSidesClaimsNothing) {
    PfRig rig({Dialect::openbsd});
    rig.engine->on_created(udp(1));
    rig.flush();
    rig.pass(20s);
    rig.sent_to(0);
    state::Flow f = udp(1, 0, 1, 0);
    f.id = rig.engine->index().record(rig.engine->index().find(f.key)).id;
    rig.send(0, Kind::update_c, {f});
    rig.flush();
    EXPECT_EQ(owner(rig, f), "here");
    EXPECT_EQ(rig.sent_to(0), "upd_c 1 2:2");
}

TEST(PfOwner, ProgressClaimsAtOnce) {
    PfRig rig({Dialect::openbsd});
    rig.engine->on_created(flow(1, 0, 2, 0));
    rig.flush();
    state::Flow f = flow(1);
    f.id = rig.id(1);
    rig.send(0, Kind::update_c, {f});
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
}

// Firewalls that share a cable receive each other's answers. What one has removed, it asks for as
// soon as it receives an update of it, and the other answers with a full state.
TEST(PfOwner, AnAnswerToAnotherFirewallClaimsNothing) {
    for (const Kind kind : {Kind::update, Kind::update_c}) { // the second is the control
        PfRig rig({Dialect::openbsd, Dialect::openbsd});
        rig.send(0, Kind::insert, {flow(1, kPeer), window(10), window(20)});
        rig.pass(3s);
        rig.send(1, kind, {flow(1, kPeer), window(15), window(25)});
        EXPECT_EQ(rig.owner(1), kind == Kind::update ? "peer 0 term 0" : "peer 1 term 1");
        rig.engine->on_updated(flow(1));
        EXPECT_EQ(rig.owner(1).substr(0, 4), "here");
        rig.pass(18s); // nothing has been sent just now
        rig.send(1, kind, {flow(1, kPeer), window(16), window(26)});
        EXPECT_EQ(rig.owner(1).substr(0, 4), kind == Kind::update ? "here" : "peer");
    }
}

TEST(PfOwner, AnAnswerWithAnotherNameClaimsNothing) {
    for (const Kind kind : {Kind::update, Kind::insert}) { // the second is the control
        PfRig rig({Dialect::openbsd});
        rig.engine->on_created(udp(1));
        rig.flush();
        rig.pass(3s);
        rig.send(0, kind, {udp(1, kPeer)});
        EXPECT_EQ(owner(rig, udp(1)), kind == Kind::update ? "here" : "peer 0");
    }
}

TEST(PfOwner, AnAnswerThatBringsTheFlowFurtherClaimsIt) {
    PfRig rig({Dialect::openbsd});
    rig.engine->on_created(flow(1, 0, 2, 0));
    rig.flush();
    state::Flow f = flow(1);
    f.id = rig.id(1);
    rig.send(0, Kind::update, {f});
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
}

// After a restart here, the names are new: pf's is taken, and nothing else changes.
TEST(PfOwner, WhatIsLiveHereStaysSoInABulkUpdate) {
    for (const bool bulk : {true, false}) {
        PfRig rig({Dialect::openbsd});
        rig.engine->on_created(udp(1));
        rig.flush();
        if (bulk)
            rig.send_bulk(0, false);
        rig.send(0, bulk ? Kind::update : Kind::insert, {udp(1, kPeer)});
        if (bulk)
            rig.send_bulk(0, true);
        const auto& index = rig.engine->index();
        EXPECT_EQ(index.record(index.find(udp(1).key)).id, udp(1, kPeer).id);
        EXPECT_EQ(owner(rig, udp(1)), bulk ? "here" : "peer 0");
    }
}

// Source NAT, so that ours is sent as one that goes out: pf's two are both names of it.
TEST(PfOwner, AndHasBothNamesThatABulkUpdateHas) {
    for (const bool in_first : {true, false}) {
        PfRig rig({Dialect::openbsd});
        state::Flow here = udp(1), in = udp(1, kPeer), out = in;
        here.reply.dst.bytes = out.reply.dst.bytes = {203, 0, 113, 1};
        out.id.id++;
        rig.engine->on_created(here);
        rig.flush();
        rig.send_bulk(0, false);
        for (const bool incoming : {in_first, !in_first})
            rig.send(0, Kind::update, {.flow = incoming ? in : out, .outgoing = !incoming});
        rig.send_bulk(0, true);
        const auto& index = rig.engine->index();
        const state::Slot slot = index.find(in.key);
        for (const state::StateId id : {in.id, out.id})
            EXPECT_TRUE(index.record(slot).id == id || rig.engine->pf_states().find(id) == slot);
        EXPECT_EQ(index.reply(slot), here.reply);
        EXPECT_EQ(owner(rig, in), "here");
        rig.flush();
        EXPECT_EQ(rig.messages(0, Kind::remove_c).size(), 1u); // ours
    }
}

// Its packets raise no event, so that the time since the last one says nothing.
TEST(PfTimers, WhatIsLiveHereHasPfsWholeTimeout) {
    for (const Dialect d : kAllDialects) {
        PfRig rig({d});
        state::Flow f = udp(1);
        f.timeout = 120;
        rig.engine->on_created(f);
        rig.flush();
        rig.pass(100s);
        rig.flush();
        rig.sent_to(0);
        rig.send_id(0, Kind::request,
                    rig.engine->index().record(rig.engine->index().find(f.key)).id);
        rig.flush();
        const auto sent = rig.messages(0, Kind::update);
        ASSERT_EQ(sent.size(), 1u) << to_string(d);
        pfsync::FullState full;
        ASSERT_EQ(pfsync::read(d, sent[0], full), pfsync::Fault::none);
        EXPECT_EQ(full.flow.timeout, 60u) << to_string(d);
    }
}

TEST(PfOwner, WhoBecomesActiveTakesAllOfIt) {
    PfRig rig({Dialect::openbsd});
    rig.send(0, Kind::insert, {flow(1, kPeer), window(10), window(20)});
    rig.send(0, Kind::insert, {udp(2, kPeer)});
    rig.engine->set_role(Role::standby);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.engine->set_role(Role::active);
    EXPECT_EQ(rig.owner(1), "here term 1");
    rig.pass(20s);
    rig.send(0, Kind::update_c, {udp(2, kPeer)}); // no evidence that packets pass there
    EXPECT_EQ(owner(rig, udp(2)), "here");
    rig.send(0, Kind::update_c, {flow(1, kPeer), window(11), window(20)}); // this is
    EXPECT_EQ(rig.owner(1), "peer 0 term 2");
    // The live flows are announced, so that they do not time out there.
    rig.sent_to(0);
    rig.pass(30s);
    EXPECT_NE(rig.sent_to(0).find("upd_c 2 2:2"), std::string::npos);
}

TEST(PfOwner, OneThatIsActiveOwnsWhatAPeerOnlyKeeps) {
    for (const Role role : {Role::automatic, Role::active}) {
        PfRig rig({Dialect::openbsd});
        rig.engine->set_role(role);
        rig.engine->on_link_down(0);
        rig.engine->on_link_up(0);
        rig.send_bulk(0, false);
        rig.send(0, Kind::update, {flow(1, kPeer)});
        rig.send_bulk(0, true);
        EXPECT_EQ(rig.owner(1), role == Role::active ? "here term 1" : "peer 0 term 0");
    }
}

TEST(PfOwner, AnotherStateOfTheSameFlowReplacesNoneOfAnActiveNode) {
    state::Flow again = flow(1, kPeer);
    again.id.id += 1000;
    for (const Dialect d : kAllDialects)
        for (const Role role : {Role::automatic, Role::active}) {
            PfRig rig({d});
            rig.engine->set_role(role);
            rig.engine->on_created(flow(1));
            rig.flush();
            rig.sent_to(0);
            const auto refused = [&] { return rig.refused(Reason::not_owner); };
            rig.send(0, Kind::insert, {again});
            const bool kept = role == Role::active;
            EXPECT_EQ(rig.id(1) == again.id, !kept) << to_string(d);
            EXPECT_EQ(refused(), kept ? 1u : 0u);
            rig.flush();
            if (kept) { // the peer is sent the state that is in use
                EXPECT_NE(rig.sent_to(0), "");
            }
            rig.send_id(0, Kind::remove_c, again.id);
            EXPECT_EQ(rig.owner(1), kept ? "here term 0" : "unknown") << to_string(d);
        }
}

TEST(PfOwner, ARemovalEndsNoneOfAnActiveNodeInAnyTerm) { // pf knows no terms, and they wrap
    PfRig rig({Dialect::openbsd});
    rig.send(0, Kind::insert, {flow(1, kPeer), window(10), window(20)});
    for (std::uint32_t n = 0; n < 40; n++) {
        rig.engine->set_role(Role::standby);
        rig.engine->set_role(Role::active);
        ASSERT_EQ(rig.owner(1).substr(0, 4), "here");
        rig.send_id(0, Kind::remove_c, flow(1, kPeer).id);
        ASSERT_EQ(rig.owner(1).substr(0, 4), "here") << n;
        rig.pass(23s); // so that it is no answer
        rig.send(0, Kind::update_c, {flow(1, kPeer), window(11 + n), window(20)});
        ASSERT_EQ(rig.owner(1).substr(0, 4), "peer");
    }
    EXPECT_EQ(rig.owner(1), "peer 0 term 80");
}

// ---- passed from one to another ------------------------------------------------------------

TEST(PassingOn, GoesToThoseWhoCannotHearIt) {
    PfRig rig({Dialect::openbsd, Dialect::freebsd1400, Dialect::openbsd, Dialect::freebsd1500});
    const auto told = [&] {
        rig.flush();
        return rig.sent_to(0) + "|" + rig.sent_to(1) + "|" + rig.sent_to(2) + "|" + rig.sent_to(3);
    };
    const state::Flow f = flow(1, kPeer, 2, 0);
    rig.send(0, Kind::insert, {f, window(100), window(0)});
    EXPECT_EQ(told(), "|ins 1 2:0 100/0||ins 1 2:0 100/0");
    rig.send(0, Kind::insert, {f, window(100), window(0)}); // nothing new
    EXPECT_EQ(told(), "|||");
    rig.send(0, Kind::update_c, {flow(1, kPeer), window(101), window(900)});
    EXPECT_EQ(told(), "|upd_c 1 4:4 101/900||upd_c 1 4:4 101/900");
    rig.send(0, Kind::update_c, {flow(1, kPeer), window(101), window(900)});
    EXPECT_EQ(told(), "|||");
    rig.send(0, Kind::update_c, {flow(1, kPeer), window(150), window(900)});
    EXPECT_EQ(told(), "|upd_c 1 4:4 150/900||upd_c 1 4:4 150/900");
    // The other end's answers are not passed back.
    rig.send(1, Kind::update_c, {flow(1, kPeer), window(150), window(900)});
    EXPECT_EQ(told(), "|||");
    rig.send(0, Kind::update_c, {flow(1, kPeer, 9, 9), window(150), window(900)});
    EXPECT_EQ(told(), "|upd_c 1 9:9 150/900||upd_c 1 9:9 150/900");
    rig.send_id(0, Kind::remove_c, f.id);
    EXPECT_EQ(told(), "|del_c 1||del_c 1");
}

TEST(PassingOn, IsKeptAliveAsLongAsItsOwnerSpeaksOfIt) {
    PfRig rig({Dialect::openbsd, Dialect::freebsd1400});
    rig.send(0, Kind::insert, {.flow = udp(1, kPeer), .expire = 60});
    rig.flush();
    rig.sent_to(1);
    unsigned announced = 0;
    for (int n = 0; n < 12; n++) {
        rig.send(0, Kind::update_c, {udp(1, kPeer)}); // packets pass there, without a change
        rig.pass(10s);
        announced += rig.sent_to(1) == "upd_c 1 2:2";
        EXPECT_EQ(rig.sent_to(0), "");
    }
    EXPECT_GE(announced, 5u);
    rig.pass(100s);
    EXPECT_EQ(owner(rig, udp(1)), "unknown");
}

TEST(PassingOn, TheOtherMayTakeItOver) {
    PfRig rig({Dialect::openbsd, Dialect::freebsd1400});
    rig.send(0, Kind::insert, {flow(1, kPeer), window(100), window(100)});
    rig.flush();
    rig.sent_to(0);
    rig.send(1, Kind::update_c, {flow(1, kPeer), window(200), window(300)});
    rig.flush();
    EXPECT_EQ(rig.owner(1), "peer 1 term 1");
    EXPECT_EQ(rig.sent_to(0), "upd_c 1 4:4 200/300");
}

// ---- what a takeover here cannot continue --------------------------------------------------

TEST(PfModulate, AStateWhoseSequenceNumbersAreMovedIsCountedOnceAndTaken) {
    for (const Dialect dialect : kAllDialects) {
        PfRig rig({dialect});
        Block moved = window(1000);
        store_be<std::uint32_t>(&moved[pfsync::common::peer::seqdiff], 0x12345678);
        rig.send(0, Kind::insert, {flow(1, kPeer), moved, window(2000)});
        rig.send(0, Kind::update, {flow(1, kPeer), moved, window(2000)});
        rig.send(0, Kind::insert, {flow(2, kPeer), window(1000), moved});
        EXPECT_EQ(rig.engine->session(0).counters.modulated, 2u);
        EXPECT_EQ(owner(rig, flow(1, kPeer)), "peer 0");
        rig.send(0, Kind::insert, {flow(3, kPeer), window(1000), window(2000)}); // control
        EXPECT_EQ(rig.engine->session(0).counters.modulated, 2u);
    }
}

} // namespace
} // namespace encsync::sync::test
