// SPDX-License-Identifier: ISC
// The table forgets flows because an address leaves: an end, or not?
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
        heard(0);
        table.take();
    }
    // While the peer is there.
    void wait(Instant span) {
        for (const Instant end = now + span; now < end;) {
            becomes(peer_role_);
            pass(1s);
            flush();
            acknowledge(0);
        }
    }
    void becomes(std::uint8_t role) {
        peer_role_ = role;
        hello(0, {.heard = options.session, .role = role});
        flush();
    }

  private:
    std::uint8_t peer_role_ = kStandby;
};

TEST(Stranded, AFlowThatGoesWithItsAddressIsNotRemovedAtThePeer) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.wait(1s);
    EXPECT_EQ(rig.heard(0), "");
    EXPECT_EQ(rig.owner(1), "here term 0");
    // Roles change, as keepalived says.
    rig.engine->set_role(Role::standby);
    rig.becomes(kActive);
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    rig.wait(1s);
    EXPECT_EQ(rig.table.take(), "refresh 1 copy 4:4"); // which makes it anew
    rig.wait(10s);
    EXPECT_EQ(rig.heard(0), "");
    EXPECT_EQ(rig.engine->counters().stranded, 1u);
    EXPECT_TRUE(rig.engine->digests_hold());
}

TEST(Stranded, AFlowThatEndsWhileItsAddressIsHereIsRemovedAtOnce) {
    Serving rig;
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    EXPECT_EQ(rig.heard(0), "DEL_C 1");
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.engine->counters().stranded, 0u);
}

TEST(Stranded, AClosedConnectionHasEndedWhereverItsAddressIs) {
    Serving rig;
    rig.engine->on_updated(flow(1, 0, state::tcp::kTimeWait, state::tcp::kTimeWait));
    rig.flush();
    rig.heard(0);
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    EXPECT_EQ(rig.heard(0), "DEL_C 1");
}

TEST(Stranded, ItEndsIfNobodyTakesIt) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.wait(4s);
    EXPECT_EQ(rig.heard(0), "");
    rig.wait(2s);
    EXPECT_EQ(rig.heard(0), "DEL_C 1");
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(rig.table.take(), "");
}

TEST(Stranded, AnActivePeerGetsItThoughNobodyToldUsToStandBy) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.becomes(kActive); // as we still are
    EXPECT_EQ(rig.owner(1), "here term 0");
    rig.wait(6s);
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    EXPECT_EQ(rig.heard(0), "UPD 1 4:4 copy 1"); // so that it takes it
}

TEST(Stranded, TheAddressComesBack) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.wait(2s);
    rig.table.left = false;
    rig.wait(4s);
    EXPECT_EQ(rig.table.take(), "put 1 natural 4:4");
    EXPECT_EQ(rig.owner(1), "here term 0");
    EXPECT_EQ(rig.heard(0), "");
    // Its place may be taken by then.
    rig.engine->on_refused(flow(1).key, table::Refusal::clash);
    rig.flush();
    EXPECT_EQ(rig.heard(0), "DEL_C 1");
    EXPECT_EQ(rig.owner(1), "unknown");
}

TEST(Stranded, APacketThatComesAfterAllEndsTheWait) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.engine->on_created(flow(1));
    rig.wait(10s);
    EXPECT_EQ(rig.heard(0), "");
    EXPECT_EQ(rig.owner(1), "here term 0");
    rig.table.left = false;
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    EXPECT_EQ(rig.heard(0), "DEL_C 1");
}

TEST(Stranded, AStandbyWaitsForSomebodyToBecomeActive) {
    Serving rig;
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    rig.engine->set_role(Role::standby);
    rig.wait(20s);
    EXPECT_EQ(rig.owner(1), "here term 0");
    rig.becomes(kActive);
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
    EXPECT_EQ(rig.heard(0), "");
}

TEST(Stranded, AStandbyDoesNotWaitForEver) {
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

TEST(Stranded, ADumpFindsThoseWhoseEventsWereLost) {
    Serving rig;
    rig.engine->on_created(flow(2));
    rig.flush();
    rig.acknowledge(0);
    rig.heard(0);
    rig.table.left = true;
    rig.engine->on_destroyed(flow(1));
    for (int dump = 0; dump < 2; dump++) {
        rig.engine->on_dump_begin();
        rig.engine->on_dump_end();
    }
    rig.flush();
    EXPECT_EQ(rig.heard(0), "");
    EXPECT_EQ(rig.owner(2), "here term 0");
    EXPECT_EQ(rig.engine->counters().stranded, 2u);
    rig.wait(6s);
    EXPECT_EQ(rig.heard(0), "DEL_C 1, DEL_C 2");
}

} // namespace
} // namespace encsync::sync::test
