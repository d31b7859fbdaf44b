// SPDX-License-Identifier: ISC
// The table removes flows because an address is removed: have they ended or not?
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

constexpr std::uint8_t kActive = 1, kStandby = 2;

// An active node with one flow that peer 0 knows.
struct Serving : Rig {
    Serving() {
        options.role = Role::active;
        start();
        greet(0, {.role = kStandby});
        engine->on_created(flow(1));
        flush();
        acknowledge(0);
        sent_to(0);
        table.take();
    }
    // While the peer is there.
    void wait(Duration span) {
        for (const Instant end = now + span; now < end;) {
            becomes(peer_role_);
            pass(1s);
            flush();
            acknowledge(0);
        }
    }
    void becomes(std::uint8_t role) {
        peer_role_ = role;
        hello(0, {.peer_session = options.session, .role = role});
        flush();
    }

  private:
    std::uint8_t peer_role_ = kStandby;
};

TEST(AddressLoss, AFlowThatGoesWithItsAddressIsNotRemovedAtThePeer) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.wait(1s);
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.owner(1), "here term 0");
    // Roles change, as with keepalived.
    rig.engine->set_role(Role::standby);
    rig.becomes(kActive);
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    rig.wait(1s);
    EXPECT_EQ(rig.table.take(), "refresh 1 copy 4:4"); // which creates it again
    rig.wait(10s);
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.engine->counters().address_lost, 1u);
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(AddressLoss, AFlowThatEndsWhileItsAddressIsHereIsRemovedAtOnce) {
    Serving rig;
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1");
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.engine->counters().address_lost, 0u);
}

TEST(AddressLoss, AClosedConnectionHasEndedWhereverItsAddressIs) {
    Serving rig;
    rig.engine->on_updated(flow(1, 0, state::tcp::kTimeWait, state::tcp::kTimeWait));
    rig.flush();
    rig.sent_to(0);
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1");
}

TEST(AddressLoss, ItEndsIfNobodyTakesIt) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.wait(4s);
    EXPECT_EQ(rig.sent_to(0), "");
    rig.wait(2s);
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1");
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.table.take(), "");
}

TEST(AddressLoss, AnActivePeerGetsItThoughNoRoleWasGivenToThisNode) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.becomes(kActive); // as we still are
    EXPECT_EQ(rig.owner(1), "here term 0");
    rig.wait(6s);
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    EXPECT_EQ(rig.sent_to(0), "UPD 1 4:4 copy 1"); // so that the peer takes it
}

TEST(AddressLoss, TheAddressComesBack) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.wait(2s);
    rig.table.left = false;
    rig.wait(4s);
    EXPECT_EQ(rig.table.take(), "put 1 natural 4:4");
    EXPECT_EQ(rig.owner(1), "here term 0");
    EXPECT_EQ(rig.sent_to(0), "");
    // Another flow may have its tuple by then.
    rig.engine->on_refused(flow(1).key, table::Refusal::clash);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1");
    EXPECT_EQ(rig.owner(1), "unknown");
}

TEST(AddressLoss, APacketThatComesAfterAllEndsTheWait) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.engine->on_created(flow(1));
    rig.wait(10s);
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.owner(1), "here term 0");
    rig.table.left = false;
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1");
}

TEST(AddressLoss, AStandbyWaitsForSomebodyToBecomeActive) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.engine->set_role(Role::standby);
    rig.wait(20s);
    EXPECT_EQ(rig.owner(1), "here term 0");
    rig.becomes(kActive);
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    EXPECT_EQ(rig.sent_to(0), "");
}

TEST(AddressLoss, AStandbyDoesNotWaitForEver) {
    Serving rig;
    state::Flow brief = flow(1);
    brief.timeout = 12;
    rig.engine->on_updated(brief);
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.engine->set_role(Role::standby);
    rig.wait(20s);
    EXPECT_EQ(rig.owner(1), "unknown");
}

TEST(AddressLoss, ADumpFindsThoseWhoseEventsWereLost) {
    Serving rig;
    rig.engine->on_created(flow(2));
    rig.flush();
    rig.acknowledge(0);
    rig.sent_to(0);
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    for (int dump = 0; dump < 2; dump++) {
        rig.engine->on_dump_begin();
        rig.engine->on_dump_end();
    }
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.owner(2), "here term 0");
    EXPECT_EQ(rig.engine->counters().address_lost, 2u);
    rig.wait(6s);
    EXPECT_EQ(rig.sent_to(0), "DEL_C 1, DEL_C 2");
}

} // namespace
} // namespace encsync::sync::test
