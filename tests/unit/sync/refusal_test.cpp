// SPDX-License-Identifier: ISC
// All messages that are refused, each with its reason, and a control that is accepted.
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

using pfsync::Fault;
using pfsync::Kind;

struct Met : Rig {
    Met() {
        start();
        greet(0);
        greet(1);
    }
};

TEST(Refusal, EveryReasonHasANameOfItsOwn) {
    std::set<std::string> names;
    for (int n = 0; n < policy::kReasons; n++)
        names.insert(to_string(static_cast<Reason>(n)));
    EXPECT_EQ(names.size(), static_cast<std::size_t>(policy::kReasons));
}

TEST(Refusal, UnknownActionsAreSkippedByTheirLength) {
    Met rig;
    rig.send(0, [](Packet& p) { p.raw(99, std::vector<std::uint8_t>(8)).full(flow(1, kPeer)); });
    EXPECT_EQ(rig.refused(Reason::unknown_action), 1u);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

TEST(Refusal, ShortMessagesToo) {
    Met rig;
    for (const std::uint8_t action : {1, 2, 3, 4, 5, 7, 10, 13, 14, 0xe0, 0xe2})
        rig.send(0, [&](Packet& p) { p.raw(action, std::vector<std::uint8_t>(4)); });
    EXPECT_EQ(rig.refused(Reason::short_message) + rig.refused(Reason::unknown_action), 11u);
    EXPECT_GE(rig.refused(Reason::short_message), 8u);
    EXPECT_EQ(rig.engine->index().size(), 0u);
}

TEST(Refusal, FaultyStates) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 13, 0)); });
    EXPECT_EQ(rig.fault(Fault::bad_peer_state), 1u);
    state::Flow nameless = flow(1);
    nameless.id = {7, 0};
    rig.send(0, [&](Packet& p) { p.full(nameless); });
    EXPECT_EQ(rig.fault(Fault::bad_creatorid), 1u);
    rig.send(0, [](Packet& p) { p.update(flow(1, kPeer, 0, 200)); });
    EXPECT_EQ(rig.fault(Fault::bad_peer_state), 2u);
    rig.send(0, [](Packet& p) { p.raw(10, std::vector<std::uint8_t>(12)); });
    EXPECT_EQ(rig.fault(Fault::bad_bus_status), 1u);
    rig.engine->on_packet(0, {});
    EXPECT_EQ(rig.fault(Fault::short_header), 1u);
    EXPECT_EQ(rig.faults(), 5u);
    EXPECT_EQ(rig.engine->index().size(), 0u);
}

TEST(Refusal, WhatCameBeforeAFaultCounts) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)).full(flow(2, kPeer, 13, 13)); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(rig.owner(2), "unknown");
}

TEST(Refusal, PacketsCutAnywhere) {
    Packet p;
    const auto whole = p.seq(1000, 77).full(flow(1, kPeer)).update(flow(2, kPeer)).bytes();
    for (std::size_t size = 0; size < whole.size(); size++) {
        Met rig;
        const std::vector<std::uint8_t> cut(whole.begin(), whole.begin() + static_cast<long>(size));
        rig.engine->on_packet(0, cut);
        EXPECT_EQ(rig.faults(), 1u) << size; // the length field is larger
        EXPECT_EQ(rig.engine->index().size(), 0u) << size;
    }
    Met rig;
    rig.engine->on_packet(0, whole);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

TEST(Refusal, AnIdThatNamesAnotherFlow) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    state::Flow other = flow(2, kPeer);
    other.id = flow(1, kPeer).id;
    rig.send(0, [&](Packet& p) { p.full(other); });
    EXPECT_EQ(rig.refused(Reason::id_clash), 1u);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(rig.owner(2), "unknown");
}

TEST(Refusal, MoreThanWeMayHold) {
    Rig rig;
    rig.options.max_states = 3;
    rig.start();
    rig.greet(0);
    for (std::uint16_t n = 1; n <= 5; n++)
        rig.send(0, [&](Packet& p) { p.full(flow(n, kPeer)); });
    EXPECT_EQ(rig.refused(Reason::table_limit), 2u);
    EXPECT_EQ(rig.engine->index().size(), 3u);
    // Our own flows are never refused, nor updates of known ones.
    rig.engine->on_created(flow(9));
    EXPECT_EQ(rig.owner(9), "here term 0");
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer, 9, 9), {}, false); });
    EXPECT_EQ(rig.refused(Reason::table_limit), 2u);
    // Fewer states here than at the peer do not start a search.
    rig.acknowledge(0);
    rig.sent_to(0);
    rig.pass(5s);
    for (int n = 0; n < 3; n++)
        rig.send(0, [](Packet& p) { p.root(1, 4711, 5); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.engine->session(0).counters.repairs, 0u);
}

TEST(Refusal, RemovalOfWhatIsLiveHere) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.acknowledge(0);
    rig.sent_to(0);
    rig.send(0, [&](Packet& p) { p.removal(rig.id(1)); });
    EXPECT_EQ(rig.refused(Reason::not_owner), 1u);
    EXPECT_EQ(rig.owner(1), "here term 0");
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 1 4:4 live 0"); // it is sent again
}

TEST(Refusal, RemovalOfAThirdNodesFlow) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)); });
    rig.table.take();
    rig.send(1, [](Packet& p) { p.removal(flow(1, kPeer).id); });
    EXPECT_EQ(rig.refused(Reason::not_owner), 1u);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.send(0, [](Packet& p) { p.removal(flow(1, kPeer).id); });
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.table.take(), "remove 1");
    EXPECT_EQ(rig.refused(Reason::not_owner), 1u);
}

TEST(Refusal, RemovalByALaterOwnerHolds) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.acknowledge(0);
    rig.send(0, [&](Packet& p) { p.removal(rig.id(1), 1); });
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.refused(Reason::not_owner), 0u);
}

TEST(Refusal, RemovalAtAStandbyHolds) {
    Met rig;
    rig.engine->set_role(Role::standby);
    rig.engine->on_created(flow(1));
    rig.acknowledge(0);
    rig.acknowledge(1);
    rig.sent_to(1);
    rig.send(0, [&](Packet& p) { p.removal(rig.id(1)); });
    EXPECT_EQ(rig.owner(1), "unknown");
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "DEL_C 1"); // we had announced it to the third node
}

TEST(Refusal, RemovalOfTheUnknownIsNothing) {
    Met rig;
    const auto before = rig.engine->session(0).verdict.counters().refused;
    rig.send(0, [](Packet& p) { p.removal({1234, kPeer}); });
    EXPECT_EQ(rig.engine->session(0).verdict.counters().refused, before);
}

TEST(Refusal, RequestsForTheUnknownAndTheSecret) {
    Met rig;
    rig.send(0, [](Packet& p) { p.id(Kind::request, {1234, kPeer}); });
    EXPECT_EQ(rig.refused(Reason::unknown_state), 1u);
    state::Flow secret = flow(1);
    secret.flags |= state::kNoSync;
    rig.engine->on_created(secret);
    rig.engine->on_created(flow(2));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "INS 2 4:4 live 0, ABSENT ?");
    rig.send(0, [&](Packet& p) { p.id(Kind::request, rig.id(1)); });
    EXPECT_EQ(rig.refused(Reason::no_sync), 1u);
    rig.send(0, [&](Packet& p) { p.id(Kind::request, rig.id(2)); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD 2 4:4 live 0, ABSENT 1");
    EXPECT_EQ(rig.refused(Reason::no_sync), 1u);
}

TEST(Refusal, AStateThatIsNotToBeSent) {
    Met rig;
    state::Flow secret = flow(1, kPeer);
    secret.flags |= state::kNoSync;
    rig.send(0, [&](Packet& p) { p.full(secret); });
    EXPECT_EQ(rig.refused(Reason::no_sync), 1u);
    EXPECT_EQ(rig.owner(1), "unknown");
}

TEST(Refusal, UnknownUpdatesAreAskedAboutOnce) {
    Met rig;
    rig.link.writable = false;
    for (int n = 0; n < 3; n++)
        rig.send(0, [](Packet& p) { p.update(flow(1, kPeer)); });
    rig.link.writable = true;
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD_REQ ?");
    EXPECT_EQ(rig.engine->session(0).counters.requests, 3u);
}

struct Limited : Rig {
    explicit Limited(policy::Rules rules) {
        options.peers[0].rules = std::move(rules);
        start();
        greet(0), greet(1);
    }
};

TEST(Refusal, APeerSpeaksForItsCreators) {
    Limited rig({.creators = {kPeer, kOurs}});
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)).full(flow(2, 0x7777)); });
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(rig.owner(2), "unknown");
    rig.send(1, [](Packet& p) { p.full(flow(3, 0x7777)); }); // another peer may
    EXPECT_EQ(rig.owner(3), "peer 1 term 0");
    rig.send(0, [](Packet& p) { p.removal(flow(3, 0x7777).id).update(flow(3, 0x7777)); });
    EXPECT_EQ(rig.owner(3), "peer 1 term 0");
    EXPECT_EQ(rig.refused(Reason::foreign_creatorid), 3u);
    rig.send_plain(0, [](Packet& p) { p.hello({.session = 99, .creatorid = 0x7777}); });
    EXPECT_EQ(rig.refused(Reason::foreign_creatorid), 4u); // nor is it that node
    EXPECT_EQ(rig.engine->session(0).creatorid, kPeer);
}

TEST(Refusal, NewStatesBeyondTheRate) {
    Limited rig({.max_inserts = 2});
    const auto states = [&](std::uint16_t first) {
        rig.send(0, [&](Packet& p) {
            for (std::uint16_t n = first; n < first + 3; n++)
                p.full(flow(n, kPeer));
        });
    };
    states(1);
    EXPECT_EQ(rig.refused(Reason::insert_rate), 1u);
    EXPECT_EQ(rig.engine->copies_of(0), 2u);
    states(1); // two of them are known
    EXPECT_EQ(rig.refused(Reason::insert_rate), 2u);
    rig.pass(1s);
    states(1);
    EXPECT_EQ(rig.engine->copies_of(0), 3u);
}

TEST(Refusal, RequestsAndClearsBeyondTheRate) {
    Limited rig({.max_requests = 2, .max_clears = 1});
    rig.engine->on_created(flow(1));
    rig.flush();
    rig.sent_to(0);
    for (int n = 0; n < 3; n++)
        rig.send(0, [&](Packet& p) { p.id(Kind::request, rig.id(1)); });
    EXPECT_EQ(rig.refused(Reason::request_rate), 1u);
    rig.send(0, [](Packet& p) { p.full(flow(2, kPeer)).full(flow(3, 0x7777)); });
    rig.send(0, [](Packet& p) { p.clear(kPeer).clear(0x7777); });
    EXPECT_EQ(rig.refused(Reason::clear_rate), 1u);
    EXPECT_EQ(rig.owner(2), "unknown");
    EXPECT_EQ(rig.owner(3), "peer 0 term 0");
}

TEST(Clear, OurOwnIsRefused) {
    Met rig;
    rig.engine->on_created(flow(1));
    rig.send(0, [](Packet& p) { p.clear(kOurs); });
    EXPECT_EQ(rig.refused(Reason::own_creatorid), 1u);
    EXPECT_EQ(rig.owner(1), "here term 0");
}

TEST(Clear, RemovesTheSpeakersOwnAndNothingElse) {
    Met rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer)).full(flow(2, 0x7777)); });
    rig.send(1, [](Packet& p) { p.full(flow(3, kPeer)); }); // a third node's, under that id
    rig.engine->on_created(flow(4));
    rig.send(0, [](Packet& p) { p.clear(kPeer, "em0"); }); // no state is bound to an interface
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.send(0, [](Packet& p) { p.clear(kPeer); });
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.owner(2), "peer 0 term 0");
    EXPECT_EQ(rig.owner(3), "peer 1 term 0");
    EXPECT_EQ(rig.owner(4), "here term 0");
    rig.send(0, [](Packet& p) { p.clear(0x7777, "all"); });
    EXPECT_EQ(rig.owner(2), "unknown");
}

} // namespace
} // namespace encsync::sync::test
