// SPDX-License-Identifier: ISC
// Labels, helpers, lifetimes and expectations: what is sent, and what is accepted.
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
    const state::Extras& extras(std::uint16_t port) const {
        return engine->index().extras(engine->index().find(flow(port).key));
    }
    state::Flow known(std::uint16_t port) const {
        return engine->index().flow(engine->index().find(flow(port).key), engine->seconds());
    }
    std::size_t expected() const { return engine->expectations().size(); }
    // A dump of the table with these flows.
    void dump(const std::vector<state::Flow>& flows = {}, bool untouched = false) {
        engine->on_dump_begin();
        for (const state::Flow& f : flows)
            engine->on_dump_entry(f, untouched);
        engine->on_dump_end();
    }
    // Flow 1 of peer 0, with its expectations.
    void peer_expects(const std::vector<std::uint16_t>& ports) {
        const auto count = static_cast<std::uint8_t>(ports.size());
        send(0, [&](Packet& p) {
            const state::Flow f = flow(1, kPeer);
            p.full(f, {.expectations = count});
            for (std::uint8_t n = 0; n < count; n++)
                p.expect(f.id, n, count, expectation(1, ports[n]));
        });
    }
};

TEST(Extras, AnEventWithoutLabelsLeavesThemAsTheyWere) {
    Met rig;
    state::Flow f = flow(1);
    f.timeout = 100;
    f.extras = {{8}, *state::Name::of("ftp"), 0};
    rig.engine->on_created(f);
    rig.acknowledge(0);
    rig.sent_to(0);
    state::Flow event = f;
    event.extras.labels = {};
    event.labels_known = false;
    rig.engine->on_updated(event);
    rig.flush();
    EXPECT_EQ(rig.extras(1), f.extras);
    EXPECT_EQ(rig.sent_to(0), "");
    // Control: an event with labels that are none.
    event.labels_known = true;
    rig.engine->on_updated(event);
    rig.flush();
    EXPECT_EQ(rig.extras(1).labels, state::Labels{});
    EXPECT_EQ(rig.sent_to(0), "UPD 1 4:4 live 0");
}

TEST(Extras, WhatAnEventDoesNotTellStaysAsItWas) {
    Met rig;
    state::Flow f = flow(1);
    f.mark = 7;
    f.timeout = 100;
    rig.engine->on_created(f);
    rig.acknowledge(0);
    rig.sent_to(0);
    state::Flow event = f;
    event.mark = event.timeout = event.src_state = event.dst_state = 0;
    event.mark_known = event.timeout_known = event.progress_known = false;
    rig.engine->on_updated(event);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.known(1).mark, 7U);
    EXPECT_EQ(rig.known(1).timeout, 100U);
    EXPECT_EQ(rig.known(1).src_state, 4);
    // Control: an event with zeros.
    event.mark_known = event.timeout_known = event.progress_known = true;
    rig.engine->on_updated(event);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 0:0 live 0");
    EXPECT_EQ(rig.known(1).mark, 0U);
    EXPECT_EQ(rig.known(1).timeout, 0U);
}

// Such a timer looks like that of a copy for the last ten minutes of its time.
TEST(Extras, ALongerTimeoutOfOurOwnRunsOut) {
    Met rig;
    rig.engine->set_role(Role::active);
    state::Flow f = flow(1);
    f.timeout = 300;
    rig.engine->on_created(f);
    rig.acknowledge(0), rig.acknowledge(1);
    f.timeout = 250;
    rig.dump({f}, true);
    rig.table.take();
    rig.pass(61s);
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_EQ(rig.known(1).extras.lifetime, 300U);
}

TEST(Extras, ARestartDoesNotShortenALongerTimeout) {
    Met rig;
    rig.engine->set_role(Role::active);
    state::Flow f = flow(1);
    f.timeout = 250;
    rig.dump({f}, true); // there since before the restart
    rig.acknowledge(0), rig.acknowledge(1);
    rig.table.take();
    rig.pass(61s);
    EXPECT_EQ(rig.table.take(), "");
}

// As in a dump: without timeout and progress. It is established, because others are not offloaded.
state::Flow offloaded(std::uint16_t port) {
    state::Flow f = flow(port);
    f.timeout = 0;
    f.timeout_known = f.progress_known = false;
    return f;
}

TEST(Extras, AnOffloadedFlowThatOnlyADumpTellsOfIsEstablished) {
    Met rig;
    rig.engine->set_role(Role::active);
    rig.dump({offloaded(1)});
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0");
    EXPECT_EQ(rig.known(1).timeout, 100U);
}

TEST(Extras, ADumpTakesAnOffloadedFlowNoStepBack) {
    for (const auto& [src, dst, then] : {std::tuple(7, 4, ""), // its FIN has been seen
                                         std::tuple(4, 2, "UPD_C 1 4:4")}) {
        Met rig;
        rig.engine->on_created(
            flow(1, 0, static_cast<std::uint8_t>(src), static_cast<std::uint8_t>(dst)));
        rig.acknowledge(0);
        rig.sent_to(0);
        rig.dump({offloaded(1)});
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), then);
    }
}

TEST(Extras, VerificationTagsStandInThePeerBlocks) {
    Met rig;
    state::Flow f = flow(1, kPeer);
    f.key.proto = 132;
    f.extras.verification_tags = {0x11223344, 0x55667788};
    rig.send(0, [&](Packet& p) { p.full(f); });
    const auto tags = [&] {
        return rig.engine->index().extras(rig.engine->index().find(f.key)).verification_tags;
    };
    EXPECT_EQ(tags(), f.extras.verification_tags);
    f.extras.verification_tags = {0x11223344, 0x99aabbcc};
    rig.send(0, [&](Packet& p) { p.full(f); });
    EXPECT_EQ(tags(), f.extras.verification_tags);
    // An event contains them with the progress, or not at all.
    f.extras.verification_tags = {};
    f.progress_known = false;
    rig.engine->on_updated(f);
    EXPECT_EQ(tags()[1], 0x99aabbccU);
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Extras, ALifetimeIsNotLearnedFromAnOffloadedFlow) {
    Met rig;
    state::Flow f = flow(1);
    f.timeout = 86400; // of the flowtable
    f.timeout_known = false;
    rig.engine->on_created(f);
    EXPECT_EQ(rig.extras(1).lifetime, 0U);
    f.timeout_known = true;
    rig.engine->on_updated(f);
    EXPECT_EQ(rig.extras(1).lifetime, 86400U);
}

TEST(Extras, ACopyThatIsOffloadedHasTrafficHere) {
    for (const bool bypassed : {true, false}) {
        Met rig;
        rig.send(0, [&](Packet& p) { p.full(flow(1, kPeer)); });
        rig.engine->on_link_down(0);
        state::Flow f = bypassed ? offloaded(1) : flow(1);
        if (!bypassed)
            f.timeout = 700; // as it was put here
        rig.dump({f}, !bypassed);
        EXPECT_EQ(rig.engine->live(), bypassed ? 1U : 0U);
    }
}

TEST(Extras, LabelsOfAFlowThatAnUpdateTellsOfFirstAreAskedFor) {
    Met rig;
    rig.dump();
    state::Flow f = flow(1);
    f.labels_known = false;
    rig.engine->on_updated(f);
    EXPECT_EQ(rig.table.take(), "look 1");
    // A new flow's event is complete; and a dump will be.
    f = flow(2);
    f.labels_known = false;
    rig.engine->on_created(f);
    rig.engine->on_dump_begin();
    f = flow(3);
    f.labels_known = false;
    rig.engine->on_updated(f);
    EXPECT_EQ(rig.table.take(), "");
}

TEST(Extras, LifetimeIsWhatAPacketGivesBeyondTheNaturalOne) {
    Met rig; // the table's natural timeout is 100 s
    state::Flow f = flow(1);
    f.timeout = 72000;
    rig.engine->on_created(f);
    EXPECT_EQ(rig.extras(1).lifetime, 72000U);
    f.timeout = 60; // temporarily shorter: TCP with data in flight
    rig.engine->on_updated(f);
    EXPECT_EQ(rig.extras(1).lifetime, 72000U);
    f.timeout = 100;
    rig.engine->on_updated(f);
    EXPECT_EQ(rig.extras(1).lifetime, 0U);
    // A dump shows only the remaining time, and a copy's timer shows nothing about the lifetime.
    const auto dump = [&](std::uint32_t timeout, bool untouched) {
        f.timeout = timeout;
        rig.engine->on_dump_begin();
        rig.engine->on_dump_entry(f, untouched);
        rig.engine->on_dump_end();
        return rig.extras(1).lifetime;
    };
    EXPECT_EQ(dump(700, true), 0U);
    EXPECT_EQ(dump(50000, false), 50000U);
    EXPECT_EQ(dump(40000, false), 50000U);
    EXPECT_EQ(dump(99, false), 50000U);
}

TEST(Extras, ACopyGetsItsOwnersLifetimeWhenTheOwnerHasVanished) {
    Met rig;
    state::Flow longer = flow(1, kPeer), plain = flow(2, kPeer);
    longer.extras.lifetime = 72000;
    rig.send(0, [&](Packet& p) { p.full(longer, {.more = true}).full(plain); });
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:4, put 2 copy 4:4");
    rig.engine->on_link_down(0);
    EXPECT_EQ(rig.table.take(), "refresh 1 natural 4:4");
}

TEST(Extras, OnlyTheOwnersWordCounts) {
    Met rig;
    state::Flow f = flow(1, kPeer);
    f.extras.labels = {8};
    rig.send(0, [&](Packet& p) { p.full(f, {.term = 2, .more = true}); });
    EXPECT_EQ(rig.extras(1).labels, (state::Labels{8}));
    f.extras.labels = {16};
    rig.send(1, [&](Packet& p) { p.full(f, {.live = false, .term = 2, .more = true}); });
    EXPECT_EQ(rig.extras(1).labels, (state::Labels{8}));
    rig.send(0, [&](Packet& p) { p.full(f, {.term = 2, .more = true}); });
    EXPECT_EQ(rig.extras(1).labels, (state::Labels{16}));
    rig.send(0, [&](Packet& p) { p.full(f, {.term = 2}); }); // none any more
    EXPECT_TRUE(rig.extras(1).empty());
}

TEST(Extras, AnEventWithoutSequenceAdjustmentsLeavesThemAsTheyWere) {
    Met rig;
    state::Flow f = flow(1);
    f.extras.seq_adjust = {{{1000, 0, 2}, {}}};
    rig.engine->on_created(f);
    rig.acknowledge(0);
    rig.sent_to(0);
    state::Flow event = f;
    event.extras.seq_adjust = {};
    event.seq_adjust_known = false;
    rig.engine->on_updated(event);
    rig.flush();
    EXPECT_EQ(rig.extras(1).seq_adjust, f.extras.seq_adjust);
    EXPECT_EQ(rig.sent_to(0), "");
    event.seq_adjust_known = true;
    event.extras.seq_adjust = {{{2000, 2, 4}, {}}};
    rig.engine->on_updated(event);
    rig.flush();
    EXPECT_EQ(rig.extras(1).seq_adjust, event.extras.seq_adjust);
    EXPECT_EQ(rig.sent_to(0), "UPD 1 4:4 live 0");
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Extras, ATranslatedMasterIsLookedAtOnceItsHelperHasWritten) {
    Met rig;
    state::Flow translated = flow(1), plain = flow(2);
    translated.reply.dport = 40000;
    rig.engine->on_created(translated);
    rig.engine->on_created(plain);
    rig.table.take();
    rig.engine->on_expected(expectation(1, 5000), true);
    rig.engine->on_expected(expectation(2, 5000), true); // whose payload is not changed
    rig.engine->on_expected(expectation(1, 5000), false);
    EXPECT_EQ(rig.table.take(), "");
    rig.pass(60ms);
    EXPECT_EQ(rig.table.take(), "look 1");
    rig.engine->on_expected(expectation(1, 5001), true);
    rig.engine->on_destroyed(translated);
    rig.pass(60ms);
    EXPECT_EQ(rig.table.take(), "");
}

// ---- expectations --------------------------------------------------------------------------

// The table does not report the zone of a master (0), but answers queries.
struct TwoZones : Met {
    state::Slot slots[2]{};
    explicit TwoZones(state::Flow a, state::Flow b) {
        engine->on_created(a);
        engine->on_created(b);
        slots[0] = engine->index().find(a.key);
        slots[1] = engine->index().find(b.key);
    }
    std::size_t expected(int n) const { return engine->expectations().of(slots[n]).size(); }
};

state::Flow in_zone(std::uint16_t zone, std::optional<std::uint16_t> reply_zone = {}) {
    state::Flow f = flow(1);
    f.key.zone = zone;
    f.extras.reply_zone = reply_zone;
    return f;
}

TEST(Expectations, AreOfTheMasterInTheZoneThatHasThem) {
    TwoZones rig(in_zone(10), in_zone(20, 0));
    rig.table.has = [](const state::Expectation& e) { return e.zone == 20 && e.master.zone == 20; };
    rig.engine->on_expected(expectation(1, 1001), true);
    EXPECT_EQ(rig.expected(0), 0u);
    ASSERT_EQ(rig.expected(1), 1u);
    EXPECT_EQ(rig.engine->expectations().of(rig.slots[1])[0].expectation.master.zone, 20);
    // The same tuple in both zones.
    rig.table.has = [](const auto&) { return true; };
    rig.engine->on_expected(expectation(1, 1001), true);
    EXPECT_EQ(rig.expected(0), 1u);
    EXPECT_EQ(rig.expected(1), 1u);
    rig.table.has = [](const state::Expectation& e) { return e.zone == 10; };
    rig.engine->on_unexpected(expectation(1, 1001));
    EXPECT_EQ(rig.expected(0), 1u);
    EXPECT_EQ(rig.expected(1), 0u);
    EXPECT_EQ(rig.engine->counters().ambiguous_masters, 0u);
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Expectations, AreNobodysIfTheTableCannotTellWhose) {
    TwoZones rig(in_zone(10, 0), in_zone(0, 10));
    rig.engine->on_expected(expectation(1, 1001), true);
    EXPECT_EQ(rig.expected(0), 0u);
    EXPECT_EQ(rig.expected(1), 0u);
    EXPECT_EQ(rig.engine->counters().ambiguous_masters, 1u);
}

TEST(Expectations, OfAZoneThatIsNotSyncedAreNotTakenForAnothers) {
    TwoZones rig(in_zone(0), in_zone(10));
    rig.table.has = [](const auto&) { return false; };
    rig.engine->on_expected(expectation(1, 1001), true);
    EXPECT_EQ(rig.expected(0) + rig.expected(1), 0u);
}

TEST(Expectations, AreToldBehindTheirMaster) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.acknowledge(0);
    rig.sent_to(0);
    rig.engine->on_expected(expectation(1, 1001), true);
    rig.engine->on_expected(expectation(1, 1002), true);
    rig.engine->on_expected(expectation(7, 1003), true); // its master is not one of our flows
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 4:4 live 0, EXPECT 1 1/2 to 1001, EXPECT 1 2/2 to 1002");
    rig.acknowledge(0);
    rig.engine->on_expected(expectation(1, 1001), false); // found again by a dump
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    rig.engine->on_unexpected(expectation(1, 1001));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 4:4 live 0, EXPECT 1 1/1 to 1002");
    rig.engine->on_unexpected(expectation(1, 1002));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 4:4 live 0");
    EXPECT_EQ(rig.expected(), 0U);
}

TEST(Expectations, WaitForTheirMaster) {
    Met rig;
    rig.engine->on_expected(expectation(1, 1001), true);
    rig.engine->on_expected(expectation(1, 1002), true);
    rig.engine->on_expected(expectation(1, 1003), true);
    rig.engine->on_expected(expectation(1, 1003), true); // once more: still one
    rig.engine->on_expected(expectation(2, 1004), true);
    rig.engine->on_unexpected(expectation(1, 1002)); // removed before its master is known
    EXPECT_EQ(rig.engine->early_expectations(), 3U);
    rig.engine->on_created(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0, EXPECT 1 1/2 to 1001, EXPECT 1 2/2 to 1003");
    EXPECT_EQ(rig.engine->early_expectations(), 1U);
    rig.dump({flow(1), flow(2)}); // contains the other master
    rig.acknowledge(0);
    rig.flush();
    EXPECT_EQ(rig.engine->early_expectations(), 0U);
    EXPECT_EQ(rig.expected(), 3U);
    EXPECT_EQ(rig.engine->counters().expectations_without_master, 0U);
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Expectations, WhoseMasterThePeerNamesFirstWaitForItToMoveHere) {
    Met rig;
    rig.engine->on_expected(expectation(1, 1001), true);
    rig.send(0, [&](Packet& p) { p.full(flow(1, kPeer)); });
    EXPECT_EQ(rig.expected(), 0U); // the expectations of a peer's flow are sent by the peer
    rig.engine->on_updated(flow(1));
    EXPECT_EQ(rig.expected(), 1U);
    EXPECT_EQ(rig.owner(1), "here term 1");
}

TEST(Expectations, OfAMasterThatNeverComesAreGivenUp) {
    Met rig;
    rig.engine->on_expected(expectation(7, 1001), true);
    rig.pass(6s);
    rig.engine->on_expected(expectation(8, 1002), true);
    rig.pass(6s);
    EXPECT_EQ(rig.engine->early_expectations(), 1U);
    EXPECT_EQ(rig.engine->counters().expectations_without_master, 1U);
    rig.pass(6s);
    EXPECT_EQ(rig.engine->early_expectations(), 0U);
    EXPECT_EQ(rig.engine->counters().expectations_without_master, 2U);
    rig.engine->on_created(flow(7));
    EXPECT_EQ(rig.expected(), 0U);
}

TEST(Expectations, OnlySoManyWaitForTheirMasters) {
    Met rig;
    for (std::uint16_t n = 1; n <= 1030; n++)
        rig.engine->on_expected(expectation(n, 2000), true);
    EXPECT_EQ(rig.engine->early_expectations(), 1024U);
    EXPECT_EQ(rig.engine->counters().expectations_over_limit, 6U);
}

TEST(Expectations, OfAnEndedMasterAreForgotten) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.engine->on_expected(expectation(1, 1001), true);
    rig.engine->on_destroyed(flow(1));
    EXPECT_EQ(rig.expected(), 0U);
}

// The entry is a new one; what the helper had read belonged to the former one.
TEST(Expectations, OfAFormerLifeAreForgotten) {
    Met rig;
    rig.peer_expects({1001});
    rig.engine->on_destroyed(flow(1)); // only here: the copy will be put back with its expectations
    EXPECT_EQ(rig.expected(), 1U);
    rig.engine->on_created(flow(1, 0, 2, 0));
    EXPECT_EQ(rig.expected(), 0U);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 1 2:0 live 1");
}

TEST(Expectations, AreMadeAndWhatIsNoLongerNamedGoes) {
    Met rig;
    rig.peer_expects({1001, 1002});
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:4, expect to 1001, expect to 1002");
    rig.peer_expects({1001, 1002}); // again: nothing new
    EXPECT_EQ(rig.table.take(), "");
    rig.peer_expects({1002, 1003});
    EXPECT_EQ(rig.table.take(), "expect to 1003, unexpect to 1001");
    rig.peer_expects({});
    EXPECT_EQ(rig.table.take(), "unexpect to 1002, unexpect to 1003");
    EXPECT_EQ(rig.expected(), 0U);
}

// A connection came here, perhaps by another way than its master's packets. The owner does not know
// that, and names the expectation again; made again, it would let in another connection.
TEST(Expectations, OneThatWasUsedHereIsNotMadeAgain) {
    Met rig;
    rig.peer_expects({1001, 1002});
    rig.table.take();
    rig.engine->on_unexpected(expectation(1, 1001));
    EXPECT_EQ(rig.expected(), 2U); // as at its owner, with whom we are in step
    EXPECT_TRUE(rig.engine->digests_hold());
    rig.peer_expects({1001, 1002});
    EXPECT_EQ(rig.table.take(), "");
    rig.peer_expects({1001});
    EXPECT_EQ(rig.table.take(), "unexpect to 1002");
    // One of that name that came later is another.
    rig.pass(10s);
    rig.peer_expects({1001});
    EXPECT_EQ(rig.table.take(), "expect to 1001");
    // If the entry was lost with all that it expects, nobody knows what was used.
    rig.engine->on_unexpected(expectation(1, 1001));
    rig.engine->on_destroyed(flow(1));
    std::string made;
    for (int n = 0; n < 70 && made.empty(); n++) { // it is put back within a minute
        rig.peer_expects({1001});
        rig.pass(1s);
        made = rig.table.take();
    }
    EXPECT_NE(made.find("expect to 1001"), std::string::npos) << made;
}

TEST(Expectations, OneThatWasUsedHereIsGoneWhenItsMasterMovesHere) {
    Met rig;
    rig.peer_expects({1001, 1002});
    rig.engine->on_unexpected(expectation(1, 1001));
    rig.engine->on_updated(flow(1));
    EXPECT_EQ(rig.owner(1), "here term 1");
    EXPECT_EQ(rig.expected(), 1U);
    EXPECT_TRUE(rig.engine->digests_hold());
    rig.flush();
    const std::string sent = rig.sent_to(0);
    EXPECT_NE(sent.find("EXPECT 1 1/1 to 1002"), std::string::npos) << sent;
}

TEST(Expectations, OneThatIsMissingTakesNoneAway) {
    Met rig;
    rig.peer_expects({1001, 1002});
    rig.table.take();
    const state::Flow f = flow(1, kPeer);
    rig.send(0, [&](Packet& p) {
        p.full(f, {.expectations = 2}).expect(f.id, 1, 2, expectation(1, 1003));
    });
    EXPECT_EQ(rig.table.take(), "expect to 1003");
    EXPECT_EQ(rig.expected(), 3U);
}

TEST(Expectations, AreLostAndToldAgain) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.acknowledge(0);
    rig.engine->on_expected(expectation(1, 1001), true);
    rig.flush();
    rig.sent_to(0);
    rig.pass(3s); // no ACK is received
    EXPECT_TRUE(rig.sent_to(0).starts_with("INS 1 4:4 live 0, EXPECT 1 1/1 to 1001"));
}

TEST(Expectations, AHelperThatReadsACopyTakesItOver) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.term = 2}); });
    rig.engine->on_expected(expectation(1, 1001), false); // a dump only shows existing ones
    EXPECT_EQ(rig.owner(1), "peer 0 term 2");
    rig.engine->on_expected(expectation(1, 1002), true);
    EXPECT_EQ(rig.owner(1), "here term 3");
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "UPD 1 4:4 live 3, EXPECT 1 1/2 to 1001, EXPECT 1 2/2 to 1002");
}

TEST(Expectations, TheBookWaitsForNoMoreThanItMayKeep) {
    const auto first = expectation(1, 1001), second = expectation(1, 1002);
    ExpectationBook book;
    book.add(1, first, 10);
    book.begin(1, state::kMaxExpectations + 1);
    for (std::uint8_t n = 0; n <= state::kMaxExpectations; n++)
        EXPECT_TRUE(book.listed(1, n, state::kMaxExpectations + 1, second).empty()) << int{n};
    EXPECT_EQ(book.size(), 1U);
    // The number of such masters is limited as well.
    for (state::Slot slot = 2; slot < 2 + ExpectationBook::kMax; slot++)
        book.begin(slot, 2);
    book.begin(1, 1);
    EXPECT_TRUE(book.listed(1, 0, 1, second).empty());
    book.forget(2);
    book.begin(1, 1);
    EXPECT_EQ(book.listed(1, 0, 1, second), std::vector{first});
}

TEST(Expectations, AreRefusedByName) {
    Met rig;
    const state::Flow f = flow(1, kPeer);
    const auto send_one = [&](PeerId peer, std::uint8_t index, std::uint16_t port) {
        rig.send(peer, [&](Packet& p) { p.expect(f.id, index, 16, expectation(1, port)); });
    };
    send_one(0, 0, 1001);
    EXPECT_EQ(rig.refused(Reason::unknown_state), 1U);
    rig.send(0, [&](Packet& p) { p.full(f); });
    send_one(1, 0, 1001);
    EXPECT_EQ(rig.refused(Reason::not_owner), 1U);
    for (std::uint16_t n = 0; n < state::kMaxExpectations; n++)
        send_one(0, 0, static_cast<std::uint16_t>(1001 + n));
    EXPECT_EQ(rig.refused(Reason::expectation_limit), 0U);
    send_one(0, 0, 2000);
    EXPECT_EQ(rig.refused(Reason::expectation_limit), 1U);
    EXPECT_EQ(rig.expected(), state::kMaxExpectations);
    // Without a packet number it could be an old one.
    Packet p;
    rig.engine->on_packet(0, p.expect(f.id, 0, 1, expectation(1, 1001)).bytes());
    EXPECT_EQ(rig.refused(Reason::foreign_session), 1U);
}

} // namespace
} // namespace encsync::sync::test
