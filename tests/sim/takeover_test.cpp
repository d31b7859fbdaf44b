// SPDX-License-Identifier: ISC
// Nodes that die, restart, and take over from each other; traffic through several at once.
#include "churn.hpp"

#include <gtest/gtest.h>

namespace encsync::sim {
namespace {

TEST(Sim, ARestartedSyncProcessLosesNothingAndRevivesNothing) {
    for_seeds(150, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn churn{world};
        churn.wait(0, 2s);
        churn.step(0, 300);
        churn.wait(0, 2s);
        const unsigned victim = static_cast<unsigned>(world.below(2));
        world.nodes[victim]->stop();
        churn.step(0, 100); // flows begin and end while no daemon runs
        churn.wait(0, std::chrono::milliseconds(world.below(8000)));
        world.nodes[victim]->start();
        churn.step(0, 30);
        churn.wait(0, 15s);
        churn.expect_all_agree();
    });
}

TEST(Sim, TakeoverWithRoles) {
    for_seeds(150, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn churn{world};
        world.set_role(0, Role::active);
        world.set_role(1, Role::standby);
        churn.wait(0, 2s);
        churn.step(0, 300);
        churn.wait(0, 8s);
        world.nodes[0]->power_off();
        world.run(1s);
        world.set_role(1, Role::active);
        EXPECT_EQ(churn.missing(1), "");
        churn.step(1, 100);
        churn.wait(1, 6s);
        world.set_role(0, Role::standby);
        world.nodes[0]->start(); // restarts with an empty table
        churn.step(1, 50);
        churn.wait(1, 15s);
        churn.expect_all_agree();
        // And an orderly one, back to the first: the flows follow the role.
        world.set_role(1, Role::standby);
        world.set_role(0, Role::active);
        churn.step(0, 50);
        churn.wait(0, 15s);
        churn.expect_all_agree();
        EXPECT_EQ(world.nodes[0]->engine->live(), churn.alive.size());
        EXPECT_EQ(world.nodes[1]->engine->live(), 0u);
    });
}

// Traffic moves to the other node, and back: by a handover, while a sync process is killed, or in a
// split in which both are active. No entry is strict with stale windows when traffic arrives.
std::uint64_t invalid_after_moves(std::uint64_t seed, bool stays_strict) {
    World world(seed, 2);
    world.quality = bad_link(world);
    for (auto& node : world.nodes)
        node->kernel.stays_strict = stays_strict;
    Churn churn{world};
    const bool roles = world.chance(0.5);
    const auto tell = [&](unsigned node, Role role) {
        if (roles)
            world.set_role(node, role);
    };
    unsigned at = 0;
    tell(0, Role::active);
    tell(1, Role::standby);
    churn.wait(at, 6s);
    for (int moves = 0; moves < 6; moves++) {
        churn.step(at, 60);
        churn.wait(at, 12s);
        const unsigned from = at, to = 1 - at;
        const auto way = world.below(3);
        if (way == 0) {
            tell(from, Role::standby);
            tell(to, Role::active);
            churn.wait(to, 12s);
            at = to;
        } else if (way == 1) {
            world.nodes[from]->stop();
            tell(to, Role::active);
            tell(from, Role::standby);
            churn.wait(to, 12s);
            world.nodes[from]->start();
            churn.wait(to, 12s);
            at = to;
        } else {
            world.connect(0, 1, false);
            churn.wait(from, 6s);
            tell(to, Role::active);
            for (const unsigned node : {to, from, to, from})
                churn.wait(node, 12s);
            world.connect(0, 1, true);
            churn.wait(from, 12s);
            tell(to, Role::standby);
            churn.wait(from, 12s);
        }
    }
    return world.nodes[0]->kernel.invalid + world.nodes[1]->kernel.invalid;
}

TEST(Sim, WhatComesBackIsTaken) {
    for_seeds(60, [](std::uint64_t seed) { EXPECT_EQ(invalid_after_moves(seed, false), 0u); });
}

TEST(Sim, WhatComesBackToAnEntryThatStaysStrictIsNot) {
    EXPECT_GT(invalid_after_moves(1, true), 0u);
}

TEST(Sim, ThreeNodes) {
    for_seeds(80, [](std::uint64_t seed) {
        World world(seed, 3);
        world.quality = bad_link(world);
        Churn churn{world};
        world.set_role(0, Role::active);
        world.set_role(1, Role::standby);
        world.set_role(2, Role::standby);
        churn.wait(0, 2s);
        churn.step(0, 200);
        churn.wait(0, 6s);
        churn.expect_all_agree();
        world.nodes[0]->power_off();
        world.run(500ms);
        world.set_role(1, Role::active);
        churn.step(1, 100);
        churn.wait(1, 8s);
        world.set_role(0, Role::standby);
        world.nodes[0]->start();
        churn.step(1, 30);
        churn.wait(1, 20s);
        churn.expect_all_agree();
    });
}

TEST(Sim, AllRolesAutomatic) {
    for_seeds(100, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn churn{world};
        churn.wait(0, 2s);
        for (int n = 0; n < 10; n++) {
            churn.step(0, 40);
            world.run(50ms);
        }
        churn.wait(0, 6s);
        world.nodes[0]->power_off();
        churn.step(1, 60);
        churn.wait(1, 6s);
        world.nodes[0]->start();
        churn.step(1, 60);
        churn.wait(1, 40s);
        churn.expect_all_agree();
    });
}

TEST(Sim, BothNodesCarryTraffic) {
    for_seeds(60, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn left{world}, right{world, 20000};
        wait(world, 2s, {{&left, 0}, {&right, 1}});
        for (int n = 0; n < 20; n++) {
            left.step(0, static_cast<unsigned>(world.below(30)));
            right.step(1, static_cast<unsigned>(world.below(30)));
            world.run(std::chrono::milliseconds(world.below(100)));
        }
        wait(world, 10s, {{&left, 0}, {&right, 1}});
        expect_agreement(world, {&left, &right});
        EXPECT_EQ(world.nodes[0]->engine->live(), left.alive.size());
        EXPECT_EQ(world.nodes[1]->engine->live(), right.alive.size());
        // One dies, and all its traffic passes the other; then it returns for new flows.
        world.nodes[0]->power_off();
        wait(world, 10s, {{&left, 1}, {&right, 1}});
        EXPECT_EQ(left.missing(1), "");
        world.nodes[0]->start();
        Churn again{world, 40000};
        for (int n = 0; n < 10; n++) {
            left.step(1, 10);
            again.step(0, 10);
            world.run(100ms);
        }
        wait(world, 20s, {{&left, 1}, {&right, 1}, {&again, 0}});
        expect_agreement(world, {&left, &right, &again});
    });
}

TEST(Sim, OneFlowThroughBothNodes) { // each direction takes its own path
    for_seeds(100, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn churn{world};
        wait(world, 2s, {{&churn, 0}, {&churn, 1}});
        for (int n = 0; n < 20; n++) {
            churn.step({0, 1}, 20);
            world.run(std::chrono::milliseconds(world.below(200)));
        }
        for (int n = 0; n < 3; n++)
            wait(world, 5s, {{&churn, 0}, {&churn, 1}});
        churn.expect_all_agree();
    });
}

TEST(Sim, BothRestartOneAfterTheOther) {
    for_seeds(80, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        if (world.chance(0.5)) {
            world.set_role(0, Role::active);
            world.set_role(1, Role::standby);
        }
        Churn churn{world};
        churn.wait(0, 4s);
        churn.step(0, 200);
        churn.wait(0, 10s);
        for (const unsigned node : {1u, 0u, 0u, 1u}) {
            world.nodes[node]->stop();
            churn.step(0, 30);
            churn.wait(0, std::chrono::milliseconds(world.below(7000)));
            world.nodes[node]->start();
            for (int n = 0; n < 5; n++) {
                churn.step(0, 20);
                churn.wait(0, std::chrono::milliseconds(world.below(3000)));
            }
        }
        churn.wait(0, 20s);
        churn.expect_all_agree();
    });
}

TEST(Sim, TakeoverBackAndForth) {
    for_seeds(60, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        world.set_role(0, Role::active);
        world.set_role(1, Role::standby);
        Churn churn{world};
        churn.wait(0, 4s);
        churn.step(0, 200);
        churn.wait(0, 10s);
        unsigned active = 0;
        for (int n = 0; n < 6; n++) {
            const unsigned other = 1 - active;
            // keepalived's two ends are not synchronized, and their order varies.
            if (world.chance(0.5)) {
                world.set_role(active, Role::standby);
                world.run(std::chrono::milliseconds(world.below(1500)));
                world.set_role(other, Role::active);
            } else {
                world.set_role(other, Role::active);
                world.run(std::chrono::milliseconds(world.below(1500)));
                world.set_role(active, Role::standby);
            }
            active = other;
            EXPECT_EQ(churn.missing(active), "");
            churn.step(active, 40);
            churn.wait(active, 5s + std::chrono::milliseconds(world.below(5000)));
        }
        churn.wait(active, 20s);
        churn.expect_all_agree();
        EXPECT_EQ(world.nodes[active]->engine->live(), churn.alive.size());
        EXPECT_EQ(world.nodes[1 - active]->engine->live(), 0u);
    });
}

// Both are active while they do not hear each other; the traffic has moved to the second, and so
// does the role, once they hear each other.
TEST(Sim, TwoActiveNodesForAWhile) {
    for_seeds(80, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        world.set_role(0, Role::active);
        world.set_role(1, Role::standby);
        Churn churn{world};
        churn.wait(0, 4s);
        churn.step(0, 200);
        churn.wait(0, 10s);
        world.connect(0, 1, false);
        churn.wait(0, 1s);
        world.set_role(1, Role::active);
        // Flows may end without another event only once the second node knows that it is alone:
        // until then the end of another active node's flow is not announced.
        churn.wait(1, 5s);
        churn.step(1, 50);
        churn.wait(1, std::chrono::milliseconds(world.below(20000)));
        world.connect(0, 1, true);
        churn.wait(1, std::chrono::milliseconds(world.below(3000)));
        world.set_role(0, Role::standby);
        churn.step(1, 20);
        churn.wait(1, 30s);
        churn.expect_all_agree();
        EXPECT_EQ(world.nodes[1]->engine->live(), churn.alive.size());
    });
}

// No roles, and traffic that moves without an event while the nodes do not hear each other: the
// timers show it.
TEST(Sim, TrafficMovesDuringAPartition) {
    for_seeds(80, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn churn{world};
        churn.wait(0, 4s);
        churn.step(0, 200);
        churn.wait(0, 10s);
        world.connect(0, 1, false);
        churn.wait(1, 30s);
        world.connect(0, 1, true);
        churn.wait(1, 30s);
        churn.expect_all_agree();
        EXPECT_EQ(world.nodes[1]->engine->live(), churn.alive.size());
        // For good: the first node's own timers have expired long ago, without effect on the flows.
        churn.wait(1, 200s);
        churn.expect_all_agree();
    });
}

} // namespace
} // namespace encsync::sim
