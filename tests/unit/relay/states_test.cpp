// SPDX-License-Identifier: ISC
// What a relay does with the states that it keeps: it answers firewalls, and gateways repair what
// differs.
#include "sites.hpp"

namespace encsync::relay {
namespace {

using namespace std::chrono_literals;
using pfsync::Kind;

constexpr std::uint32_t kDonald = 0xd0d0, kDaisy = 0xdada;
const Data kAll = Sites::name(0, 0);

class States : public testing::TestWithParam<pfsync::Dialect> {};
INSTANTIATE_TEST_SUITE_P(Dialects, States, testing::ValuesIn(pfsync::kAllDialects),
                         [](const auto& param) {
                             std::string name(pfsync::to_string(param.param));
                             std::ranges::replace(name, '-', '_');
                             return name;
                         });

std::uint32_t seqlo(const Data& state, pfsync::Dialect dialect) {
    return load_be<std::uint32_t>(
        &state[pfsync::traits(dialect).state.src + pfsync::common::peer::seqlo]);
}

// ---- a firewall asks -------------------------------------------------------------------------

TEST_P(States, ABulkRequestIsAnsweredAtOnceWhileTheOtherSiteIsAway) {
    Sites s(2, GetParam());
    s.create(0, 1, 500, kDonald);
    s.create(1, 1, 300, kDaisy);
    s.say(1, {{Kind::update_c, s.update(7, kDaisy, 4711)}});
    s.say(1, {{Kind::remove_c, Sites::name(8, kDaisy)}});
    s.connect(0, 1, false);
    s.run(3s);
    Firewall& donald = s.sites[0].firewall;
    donald = {};
    s.say(0, {{Kind::request, kAll}});
    s.run(1s);
    ASSERT_EQ(donald.states.size(), 799U);
    EXPECT_EQ(donald.received.front().first, Kind::bulk);
    EXPECT_EQ(donald.received.back().first, Kind::bulk);
    EXPECT_EQ(donald.count(Kind::bulk), 2U);
    EXPECT_EQ(donald.count(Kind::update), 799U);
    EXPECT_EQ(seqlo(donald.states.at({7, kDaisy}), GetParam()), 4711U);
    EXPECT_FALSE(donald.states.contains({8, kDaisy}));
}

TEST_P(States, OneStateThatAFirewallAsksForComesFromHereIfItIsHere) {
    Sites s(2, GetParam());
    s.create(1, 1, 3, kDaisy);
    Firewall& donald = s.sites[0].firewall;
    donald = {};
    s.say(0, {{Kind::request, Sites::name(2, kDaisy)}});
    EXPECT_EQ(donald.states.size(), 1U);
    EXPECT_TRUE(s.sites[1].firewall.count(Kind::request) == 0);
    // Not known here: it is asked for at the other site.
    s.say(0, {{Kind::request, Sites::name(99, kDaisy)}});
    EXPECT_EQ(s.sites[1].firewall.count(Kind::request), 1U);
}

TEST(Relay, TimesOfAStateGoOn) {
    Sites s(2);
    s.say(1, {{Kind::insert, s.full(1, kDaisy, 1000, 600)}});
    s.run(100s, 1s);
    Firewall& donald = s.sites[0].firewall;
    donald = {};
    s.say(0, {{Kind::request, Sites::name(1, kDaisy)}});
    const pfsync::Layout& layout = pfsync::traits(pfsync::Dialect::openbsd).state;
    const Data& state = donald.states.at({1, kDaisy});
    EXPECT_NEAR(load_be<std::uint32_t>(&state[layout.expire]), 500, 1);
    EXPECT_NEAR(load_be<std::uint32_t>(&state[layout.creation]), 100, 1);
    s.run(700s, 1s);
    EXPECT_TRUE(s.ids(0).empty()) << "it has expired";
    EXPECT_TRUE(s.ids(1).empty());
}

TEST(Relay, AFirewallThatIsBackGetsAllStatesAtALimitedPace) {
    Sites s(2);
    s.create(1, 1, 30'000, kDaisy);
    s.run(2s);
    Firewall& donald = s.sites[0].firewall;
    s.relay(0).on_down(Sites::kCable);
    donald = {};
    s.relay(0).on_up(Sites::kCable);
    s.run(100ms, 1ms);
    EXPECT_LE(donald.states.size(), kCableBurst + kCableRate / 10 + 100);
    EXPECT_GT(donald.states.size(), kCableRate / 20);
    s.run(1s, 1ms);
    EXPECT_EQ(donald.states.size(), 30'000U);
    EXPECT_EQ(donald.count(Kind::request), 1U) << "and is asked for its own";
}

TEST(Relay, AFirewallIsNotToldTheEndBeforeTheGatewaysStatesAreHere) {
    Sites s(2);
    s.create(1, 1, 2000, kDaisy);
    s.run(2s);
    // Only half of the packets pass at first.
    s.start(0);
    std::size_t packets = 0;
    s.lose = [&](std::size_t from, PeerId) { return from == 1 && packets++ > 50; };
    s.connect(0, 1, false);
    s.connect(0, 1, true);
    Firewall& donald = s.sites[0].firewall;
    donald = {};
    s.say(0, {{Kind::request, kAll}});
    s.run(2s);
    EXPECT_EQ(donald.count(Kind::bulk), 0U);
    ASSERT_TRUE(s.relay(0).unready());
    EXPECT_EQ(s.relay(0).unready()->why, Relay::Unready::Why::filling);
    s.lose = [](std::size_t, PeerId) { return false; };
    s.run(15s);
    EXPECT_EQ(donald.count(Kind::bulk), 2U);
    EXPECT_EQ(donald.states.size(), 2000U);
    EXPECT_FALSE(s.relay(0).unready());
}

// ---- gateways compare --------------------------------------------------------------------------

TEST_P(States, WhatWasLostBetweenTheSitesIsRepaired) {
    Sites s(3, GetParam());
    s.create(0, 1, 2000, kDonald);
    s.run(3s);
    EXPECT_EQ(s.relay(1).counters(1).repaired, 0U) << "control: nothing is lost";
    std::size_t packets = 0;
    s.lose = [&](std::size_t from, PeerId) { return from == 0 && packets++ % 3 == 0; };
    std::vector<std::pair<Kind, Data>> changes;
    for (std::uint64_t id = 1; id <= 2000; id += 3)
        changes.emplace_back(Kind::update_c, s.update(id, kDonald, 5000));
    for (std::uint64_t id = 2; id <= 2000; id += 9)
        changes.emplace_back(Kind::remove_c, Sites::name(id, kDonald));
    for (std::uint64_t id = 3000; id <= 3300; id++)
        changes.emplace_back(Kind::insert, s.full(id, kDonald));
    s.say(0, changes);
    s.run(60s);
    s.lose = [](std::size_t, PeerId) { return false; };
    s.run(10s);
    for (const std::size_t n : {1U, 2U}) {
        EXPECT_GT(s.relay(n).counters(1).repaired, 0U);
        EXPECT_TRUE(s.ids(n) == s.ids(0));
        const auto& states = s.sites[n].firewall.states;
        EXPECT_EQ(states.size(), s.ids(0).size()) << "a firewall hears of each repair";
        EXPECT_FALSE(states.contains({2, kDonald}));
        EXPECT_TRUE(states.contains({3000, kDonald}));
        ASSERT_TRUE(s.relay(n).since_equal(1));
        EXPECT_LT(*s.relay(n).since_equal(1), 2s);
    }
}

TEST(Relay, AfterAnOutageBothSidesHoldTheSame) {
    Sites s(2);
    s.create(0, 1, 1000, kDonald);
    s.create(1, 1, 1000, kDaisy);
    s.run(2s);
    // The first seconds of an outage nobody knows of.
    s.lose = [](std::size_t, PeerId) { return true; };
    s.create(0, 2000, 100, kDonald);
    s.say(0, {{Kind::remove_c, Sites::name(5, kDonald)}});
    s.run(2s);
    s.connect(0, 1, false);
    s.create(1, 2000, 100, kDaisy);
    s.say(1, {{Kind::remove_c, Sites::name(6, kDaisy)}});
    s.run(10s);
    s.lose = [](std::size_t, PeerId) { return false; };
    s.connect(0, 1, true);
    s.run(5s);
    EXPECT_EQ(s.ids(0).size(), 2198U);
    EXPECT_TRUE(s.ids(0) == s.ids(1));
    EXPECT_FALSE(s.sites[1].firewall.states.contains({5, kDonald}));
    EXPECT_FALSE(s.sites[0].firewall.states.contains({6, kDaisy}));
}

// Of a state of donald, which daisy had taken over or whose end she was told.
TEST(Relay, WhatEndedAtTheOtherSiteDuringAnOutageIsOverUnlessItWentOnHere) {
    Sites s(2);
    s.create(0, 1, 20, kDonald);
    s.run(3s);
    s.lose = [](std::size_t, PeerId) { return true; };
    s.run(2s);
    s.connect(0, 1, false);
    s.say(0, {{Kind::update_c, s.update(7, kDonald, 5000)}});
    s.run(10s);
    // As a firewall does of which no update arrives any more.
    s.say(1,
          {{Kind::remove_c, Sites::name(6, kDonald)}, {Kind::remove_c, Sites::name(7, kDonald)}});
    s.run(5s);
    s.lose = [](std::size_t, PeerId) { return false; };
    s.connect(0, 1, true);
    s.run(10s);
    for (const std::size_t n : {0U, 1U}) {
        EXPECT_FALSE(s.ids(n).contains({6, kDonald}));
        EXPECT_TRUE(s.ids(n).contains({7, kDonald})) << "packets passed at donald meanwhile";
        EXPECT_EQ(s.ids(n).size(), 19U);
    }
    EXPECT_EQ(s.sites[0].firewall.count(Kind::remove_c), 1U);
    EXPECT_TRUE(s.sites[1].firewall.states.contains({7, kDonald}));
}

// The one that must never happen: to forget is not to know that something has ended.
TEST(Relay, AGatewayThatHasForgottenEverythingRemovesNothingElsewhere) {
    Sites s(2);
    s.create(0, 1, 1500, kDonald);
    s.create(1, 1, 1500, kDaisy);
    s.run(3s);
    s.sites[0].firewall.received.clear();
    s.start(1);
    s.connect(0, 1, false);
    s.connect(0, 1, true);
    s.run(20s);
    EXPECT_EQ(s.sites[0].firewall.count(Kind::remove_c), 0U);
    EXPECT_EQ(s.ids(0).size(), 3000U);
    EXPECT_TRUE(s.ids(1) == s.ids(0)) << "and it gets back what it had";
    EXPECT_EQ(s.relay(1).states_of(1), 1500U) << "donald's";
    EXPECT_EQ(s.relay(0).states_of(2), 0U) << "daisy's are nobody's until she speaks of them";
    // Then they are hers again, and she may end them.
    s.say(1, {{Kind::update_c, s.update(3, kDaisy, 9)}, {Kind::remove_c, Sites::name(4, kDaisy)}});
    s.run(3s);
    EXPECT_EQ(s.relay(0).states_of(2), 1U);
    EXPECT_FALSE(s.ids(0).contains({4, kDaisy}));
}

// Both sites speak of one state at the same moment: each takes the other for its origin.
TEST(Relay, MessagesThatCrossRemoveNothing) {
    Sites s(2);
    s.create(0, 1, 10, kDonald);
    s.run(2s);
    for (const std::size_t n : {0U, 1U}) { // delivered to the gateways only after both
        Data buffer(1400);
        pfsync::Builder packet(buffer);
        std::ranges::copy(s.update(3, kDonald, 77 + static_cast<std::uint32_t>(n)),
                          packet.add(Kind::update_c));
        buffer.resize(packet.finish());
        s.relay(n).on_packet(Sites::kCable, buffer);
    }
    s.run(20s);
    for (const std::size_t n : {0U, 1U}) {
        EXPECT_TRUE(s.ids(n).contains({3, kDonald}));
        EXPECT_EQ(s.sites[n].firewall.count(Kind::remove_c), 0U);
    }
    const auto repaired = s.relay(0).counters(2).repaired;
    s.run(20s);
    EXPECT_EQ(s.relay(0).counters(2).repaired, repaired) << "it is settled";
}

// A firewall that was away brings what has ended meanwhile.
TEST(Relay, ABulkUpdateBringsNothingToLifeAgain) {
    Sites s(2);
    s.create(0, 1, 10, kDonald);
    s.relay(0).on_down(Sites::kCable);
    s.say(1, {{Kind::remove_c, Sites::name(3, kDonald)}});
    s.relay(0).on_up(Sites::kCable);
    Data start(pfsync::common::kBusSize), end = start;
    pfsync::write_bus(start.data(), kDonald, 0, false);
    pfsync::write_bus(end.data(), kDonald, 0, true);
    s.sites[0].firewall = {};
    s.say(0, {{Kind::bulk, start},
              {Kind::update, s.full(3, kDonald)},
              {Kind::update, s.full(11, kDonald)},
              {Kind::bulk, end}});
    s.run(3s);
    for (const std::size_t n : {0U, 1U}) {
        EXPECT_FALSE(s.ids(n).contains({3, kDonald}));
        EXPECT_TRUE(s.ids(n).contains({11, kDonald}));
    }
    EXPECT_EQ(s.sites[0].firewall.count(Kind::remove_c), 1U);
    EXPECT_EQ(s.relay(0).counters(Sites::kCable).ended, 1U);
    // At any other time it is what the firewall goes on with.
    s.say(0, {{Kind::update, s.full(3, kDonald)}});
    EXPECT_TRUE(s.ids(1).contains({3, kDonald}));
}

// pf collects what it says for a second. An UPD that arrives meanwhile makes the state anew.
TEST(Relay, ARemovalThatCrossesAnUpdateIsSaidOnceMore) {
    Sites s(2);
    s.create(0, 1, 2, kDonald);
    s.run(10s);
    s.say(1, {{Kind::remove_c, Sites::name(1, kDonald)}});
    EXPECT_EQ(s.sites[1].firewall.count(Kind::remove_c), 0U) << "nothing goes back otherwise";
    s.say(0, {{Kind::update_c, s.update(2, kDonald, 77)}});
    s.say(1, {{Kind::remove_c, Sites::name(2, kDonald)}});
    EXPECT_EQ(s.sites[1].firewall.count(Kind::remove_c), 1U);
    EXPECT_FALSE(s.sites[1].firewall.states.contains({2, kDonald}));
}

TEST(Relay, ClearRemovesOneFirewallsStates) {
    Sites s(2);
    s.create(0, 1, 20, kDonald);
    s.create(1, 1, 30, kDaisy);
    Data clear(pfsync::common::kClrSize);
    store_be(&clear[pfsync::common::clr::creatorid], kDonald);
    s.say(0, {{Kind::clear, clear}});
    s.run(3s);
    for (const std::size_t n : {0U, 1U})
        EXPECT_EQ(s.ids(n).size(), 30U);
    EXPECT_EQ(s.sites[1].firewall.count(Kind::clear), 1U);
}

// ---- limits ------------------------------------------------------------------------------------

TEST(Relay, MoreStatesThanTheLimitArePassedOnButNotKept) {
    Sites s(2);
    s.limit = 100;
    s.start(0);
    s.connect(0, 1, false);
    s.connect(0, 1, true);
    s.create(0, 1, 150, kDonald);
    s.run(3s);
    EXPECT_EQ(s.ids(0).size(), 100U);
    EXPECT_EQ(s.relay(0).counters(Sites::kCable).not_kept, 50U);
    EXPECT_EQ(s.sites[1].firewall.states.size(), 150U);
    // What is kept can still change, and a place that is free is taken.
    s.say(0, {{Kind::remove_c, Sites::name(1, kDonald)}, {Kind::insert, s.full(777, kDonald)}});
    EXPECT_TRUE(s.ids(0).contains({777, kDonald}));
    EXPECT_EQ(s.relay(0).counters(Sites::kCable).not_kept, 50U);
}

TEST(Relay, WhileALegIsSlowAStatesUpdatesBecomeOne) {
    Sites s(2);
    s.create(0, 1, 2000, kDonald);
    s.run(2s);
    s.sites[0].free[2] = 0;
    for (std::uint32_t round = 1; round <= 20; round++) {
        std::vector<std::pair<Kind, Data>> updates;
        for (std::uint64_t id = 1; id <= 2000; id++)
            updates.emplace_back(Kind::update_c, s.update(id, kDonald, round * 100));
        s.say(0, updates);
    }
    EXPECT_GT(s.relay(0).counters(2).coalesced, 30'000U);
    EXPECT_LT(s.relay(0).waiting(2), std::size_t{1} << 20);
    s.sites[0].free[2] = 1'000'000;
    s.run(2s);
    EXPECT_EQ(s.relay(0).waiting(2), 0U);
    EXPECT_EQ(s.relay(0).counters(2).queue_full, 0U);
    for (const auto& [id, state] : s.sites[1].firewall.states)
        EXPECT_EQ(seqlo(state, pfsync::Dialect::openbsd), 2000U) << id.id;
}

TEST(Relay, TwoFirewallsWithOneCreatoridAreNoticed) {
    Sites s(2);
    s.say(0, {{Kind::insert, s.full(1, kDonald)}});
    s.say(1, {{Kind::insert, s.full(1, kDonald)}});
    EXPECT_EQ(s.relay(1).counters(Sites::kCable).clashes, 0U) << "the same flow is no clash";
    Data other = s.full(2, kDonald);
    store_be(&other[pfsync::traits(pfsync::Dialect::openbsd).state.id], std::uint64_t{1});
    s.say(1, {{Kind::insert, other}});
    EXPECT_EQ(s.relay(1).counters(Sites::kCable).clashes, 1U);
}

// ---- deferred packets, two gateways at one site ---------------------------------------------

Data deferred(const Sites& s, std::uint64_t id) {
    Data m = s.full(id, kDonald);
    m[pfsync::traits(pfsync::Dialect::openbsd).state.state_flags + 1] |= 0x10;
    return m;
}

TEST(Relay, AnInsertIsAcknowledgedFarOrNear) {
    Sites s(2);
    s.say(0, {{Kind::insert, deferred(s, 1)}});
    EXPECT_EQ(s.sites[0].firewall.count(Kind::insert_ack), 0U);
    s.say(1, {{Kind::insert_ack, Sites::name(1, kDonald)}}); // daisy does
    EXPECT_EQ(s.sites[0].firewall.count(Kind::insert_ack), 1U);
    Options near;
    near.ack_near = true;
    s.start(0, near);
    s.connect(0, 1, false);
    s.connect(0, 1, true);
    s.sites[0].firewall = {};
    s.say(0, {{Kind::insert, deferred(s, 2)}, {Kind::insert, s.full(3, kDonald)}});
    EXPECT_EQ(s.sites[0].firewall.count(Kind::insert_ack), 1U) << "only if it is asked for";
}

TEST(Relay, AGatewayThatTakesOverSendsWhatTheOtherMayHaveFailedToSend) {
    Sites s(3); // 0 and 1 at one site, 2 far away
    s.relay(1).set_active(false);
    s.create(2, 1, 500, kDaisy);
    s.run(60s);
    Firewall& seen = s.sites[1].firewall;
    seen = {};
    s.create(2, 1000, 50, kDaisy);
    s.say(2, {{Kind::remove_c, Sites::name(3, kDaisy)}});
    s.create(1, 5000, 10, kDonald);
    EXPECT_TRUE(seen.received.empty()) << "a standby gateway is silent";
    EXPECT_FALSE(s.ids(2).contains({5000, kDonald})) << "and passes nothing on";
    EXPECT_EQ(s.ids(1).size(), 559U) << "but learns";
    // Heard on the cable, and not passed on as the other gateway is dead.
    s.sites[0].up = false;
    s.create(1, 6000, 5, kDonald);
    s.create(2, 2000, 1, kDonald); // known everywhere, and then
    s.say(1, {{Kind::remove_c, Sites::name(2000, kDonald)}});
    EXPECT_FALSE(s.ids(2).contains({6000, kDonald}));
    s.relay(1).set_active(true);
    s.run(1s);
    EXPECT_TRUE(s.ids(2).contains({6000, kDonald}));
    EXPECT_FALSE(s.ids(2).contains({2000, kDonald}));
    EXPECT_EQ(seen.count(Kind::request), 1U);
    EXPECT_TRUE(seen.states.contains({1000, kDaisy}));
    EXPECT_FALSE(seen.states.contains({1, kDaisy})) << "what is older the firewall has";
    EXPECT_EQ(seen.count(Kind::remove_c), 2U);
    s.create(1, 5000, 10, kDonald);
    EXPECT_TRUE(s.ids(2).contains({5000, kDonald}));
}

} // namespace
} // namespace encsync::relay
