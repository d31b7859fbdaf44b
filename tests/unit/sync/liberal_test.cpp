// SPDX-License-Identifier: ISC
// Flows whose TCP sequence numbers are not checked, because packets may have passed elsewhere.
#include "rig.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::sync::test {
namespace {

using Ports = std::vector<std::uint16_t>;

constexpr std::uint8_t kAuto = 0, kActive = 1, kStandby = 2;

struct Pair : Rig {
    explicit Pair(Role ours = Role::automatic, std::uint8_t theirs = kAuto) : role(theirs) {
        options.peers.resize(1);
        options.role = ours;
        start();
        greet(0, {.role = role});
        pass_with_peer(1s);
        EXPECT_EQ(relaxed(), Ports());
    }
    // Time in which the peer is heard.
    void pass_with_peer(Duration span) {
        for (; span > 0s; span -= 1s) {
            hello(0, {.role = role});
            pass(1s);
        }
    }
    Ports relaxed() { return std::exchange(table.relaxed, {}); }

    std::uint8_t role;
};

TEST(Liberal, OurOwnOnceWherePacketsMayPassElsewhere) {
    const std::pair<Role, std::uint8_t> kRoles[] = {
        {Role::automatic, kAuto}, {Role::automatic, kStandby}, {Role::active, kActive},
        {Role::active, kAuto},    {Role::standby, kStandby},
    };
    for (const auto& [ours, theirs] : kRoles) {
        Pair rig(ours, theirs);
        rig.engine->on_created(flow(1));
        rig.pass_with_peer(12s);
        EXPECT_EQ(rig.relaxed(), Ports{1}) << to_string(ours) << int(theirs);
        rig.pass_with_peer(30s);
        EXPECT_EQ(rig.relaxed(), Ports());
    }
}

TEST(Liberal, TheOneActiveNodeStaysStrict) {
    Pair rig(Role::active, kStandby);
    rig.engine->on_created(flow(1));
    rig.pass_with_peer(60s);
    EXPECT_EQ(rig.relaxed(), Ports());
    // Until another node is or may have been active.
    rig.role = kActive;
    rig.pass_with_peer(1s);
    EXPECT_EQ(rig.relaxed(), Ports{1});
    rig.role = kStandby;
    rig.pass_with_peer(1s);
    rig.engine->on_created(flow(2));
    rig.pass_with_peer(30s);
    EXPECT_EQ(rig.relaxed(), Ports());
    rig.pass(20s); // nothing is received from the peer: it may be a split
    EXPECT_EQ(rig.relaxed(), Ports{2});
}

TEST(Liberal, AllOfThemWhenAPeerIsHeardAgain) {
    Pair rig(Role::active, kStandby);
    rig.pass(6s);
    rig.engine->on_created(flow(1, 0, 2, 0)); // begins just then
    rig.pass_with_peer(1s);
    EXPECT_EQ(rig.relaxed(), Ports{1});
}

TEST(Liberal, ShortConnectionsCostNothing) {
    Pair rig;
    rig.engine->on_created(flow(1, 0, 2, 0));
    rig.engine->on_created(flow(2, 0, 9, 9)); // TIME_WAIT
    rig.engine->on_created(flow(3, 0, 7, 4)); // one side may still send
    rig.pass_with_peer(12s);
    EXPECT_EQ(rig.relaxed(), Ports{3});
    rig.engine->on_updated(flow(1));
    rig.pass_with_peer(12s);
    EXPECT_EQ(rig.relaxed(), Ports{1});
}

TEST(Liberal, OtherProtocolsHaveNoSequenceNumbersToCheck) {
    Pair rig;
    state::Flow udp = flow(1, 0, 2, 2);
    udp.key.proto = IPPROTO_UDP;
    rig.engine->on_created(udp);
    rig.pass_with_peer(12s);
    rig.engine->set_role(Role::standby);
    rig.pass_with_peer(1s);
    EXPECT_EQ(rig.relaxed(), Ports());
}

TEST(Liberal, WhatTrafficMadeAnewIsStrictAgain) {
    Pair rig;
    rig.engine->on_created(flow(1));
    rig.pass_with_peer(12s);
    EXPECT_EQ(rig.relaxed(), Ports{1});
    rig.engine->on_destroyed(flow(1));
    rig.engine->on_created(flow(1));
    rig.pass_with_peer(12s);
    EXPECT_EQ(rig.relaxed(), Ports{1});
    // The table reports that it is liberal already.
    state::Flow told = flow(1, 0, 7, 4);
    told.liberal = true;
    rig.engine->on_updated(told);
    rig.pass_with_peer(12s);
    EXPECT_EQ(rig.relaxed(), Ports());
}

TEST(Liberal, ADumpTells) {
    Rig rig;
    rig.start(false);
    state::Flow liberal = flow(1);
    liberal.liberal = true;
    rig.engine->on_dump_begin();
    rig.engine->on_dump_entry(liberal, true);
    rig.engine->on_dump_entry(flow(2), true); // a copy of an earlier release
    rig.engine->on_dump_entry(flow(3, 0, 2, 0), false);
    rig.engine->on_dump_end();
    rig.pass(1s);
    EXPECT_EQ(rig.table.relaxed, (Ports{2, 3}));
}

TEST(Liberal, WhatIsHandedOverIsWrittenAsACopyAtOnce) {
    Pair rig(Role::active, kStandby);
    rig.engine->on_created(flow(1));
    rig.flush();
    rig.acknowledge(0);
    rig.engine->set_role(Role::standby);
    rig.role = kActive;
    rig.pass_with_peer(1s);
    // Done by either of the two: a copy becomes liberal with its refresh.
    const std::string done = rig.table.take();
    EXPECT_TRUE(rig.relaxed() == Ports{1} || done.find("refresh 1 copy") != std::string::npos)
        << done;
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    // And returns without further operations.
    rig.engine->set_role(Role::active);
    rig.role = kStandby;
    rig.pass_with_peer(5s);
    EXPECT_EQ(rig.relaxed(), Ports());
    EXPECT_EQ(rig.owner(1), "here term 2");
}

TEST(Liberal, ACopyIsWrittenSo) {
    Pair rig;
    rig.send(0, [](Packet& p) { p.full(flow(1, kPeer), {.term = 3}); });
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:4");
    rig.engine->set_role(Role::active);
    rig.pass_with_peer(12s);
    EXPECT_EQ(rig.relaxed(), Ports());
}

} // namespace
} // namespace encsync::sync::test
