// SPDX-License-Identifier: ISC
// Links that lose, delay and break; late nodes, full tables, timers.
#include "churn.hpp"

#include <gtest/gtest.h>

namespace encsync::sim {
namespace {

TEST(Sim, LiveUpdatesOverACleanLink) {
    for_seeds(50, [](std::uint64_t seed) {
        World world(seed, 2);
        Churn churn{world};
        world.run(1s);
        for (int n = 0; n < 50; n++) {
            churn.step(0, 20);
            world.run(5ms);
        }
        world.run(500ms);
        churn.expect_all_agree();
    });
}

TEST(Sim, ALoneFlowNeedsNoTimer) {
    World world(1, 2);
    world.run(2s);
    world.nodes[0]->kernel.traffic(flow_number(1));
    world.nodes[0]->engine->flush();
    world.run(300us); // the link's own delay is 200
    EXPECT_EQ(world.nodes[1]->kernel.entries.size(), 1u);
}

TEST(Sim, WithoutTheEngineNothingArrives) { // negative control for all of these
    World world(7, 2);
    world.run(2s);
    world.connect(0, 1, false);
    Churn churn{world};
    churn.step(0, 50);
    churn.wait(0, 5s);
    EXPECT_NE(world.difference(), "");
}

TEST(Sim, LossReorderingDuplication) {
    for_seeds(150, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn churn{world};
        churn.wait(0, 2s);
        for (int n = 0; n < 60; n++) {
            churn.step(0, 1 + static_cast<unsigned>(world.below(60)));
            world.run(std::chrono::microseconds(world.below(8000)));
        }
        churn.wait(0, 8s);
        churn.wait_until_agreed(0);
        churn.expect_all_agree();
    });
}

TEST(Sim, WhatIsDamagedIsLost) {
    for_seeds(30, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        world.quality.corrupt = 0.2;
        Churn churn{world};
        churn.wait(0, 2s);
        for (int n = 0; n < 20; n++) {
            churn.step(0, 20);
            world.run(20ms);
        }
        churn.wait(0, 10s);
        churn.expect_all_agree();
        EXPECT_GT(world.traffic.corrupted, 0u);
        for (const auto& node : world.nodes) // no damaged packet was accepted
            EXPECT_EQ(faults(*node->engine), 0u);
    });
}

TEST(Sim, CountersAddUp) {
    for_seeds(30, [](std::uint64_t seed) {
        World world(seed, 3);
        world.quality = bad_link(world);
        world.quality.duplicate = 0;
        world.quality.loss = 0.1;
        Churn churn{world};
        churn.step(0, 100);
        churn.wait(0, 5s);
        churn.step(0, 100);
        churn.wait(0, 5s);
        const World::Traffic& t = world.traffic;
        EXPECT_EQ(t.sent, t.arrived + t.lost + t.in_flight);
        std::uint64_t tx = 0, rx = 0, taken_for_lost = 0, late = 0;
        for (const auto& node : world.nodes)
            for (PeerId peer = 0; peer < 2; peer++) {
                const sync::PeerCounters& c = node->engine->session(peer).counters;
                tx += c.tx_packets;
                rx += c.rx_packets;
                taken_for_lost += c.lost_packets;
                late += c.late_packets;
            }
        EXPECT_EQ(tx, t.sent);
        EXPECT_EQ(rx, t.arrived);
        EXPECT_GE(rx, late);
        EXPECT_GT(taken_for_lost, 0u);
    });
}

TEST(Sim, PartitionHeals) {
    for_seeds(100, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn churn{world};
        churn.wait(0, 2s);
        for (int round = 0; round < 3; round++) {
            churn.step(0, 100);
            world.run(200ms);
            world.connect(0, 1, false);
            churn.step(0, 150);
            churn.wait(0, std::chrono::milliseconds(world.below(15000)));
            churn.step(0, 20);
            world.connect(0, 1, true);
            world.run(200ms);
        }
        churn.wait(0, 20s);
        churn.expect_all_agree();
    });
}

TEST(Sim, ACutOfOneDirection) {
    for_seeds(60, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn churn{world};
        churn.wait(0, 3s);
        for (int n = 0; n < 4; n++) {
            const unsigned from = static_cast<unsigned>(world.below(2));
            world.cut[from][1 - from] = true;
            for (int k = 0; k < 4; k++) {
                churn.step(0, 30);
                churn.wait(0, std::chrono::milliseconds(world.below(4000)));
            }
            world.cut[from][1 - from] = false;
            churn.step(0, 30);
            churn.wait(0, std::chrono::milliseconds(world.below(6000)));
        }
        churn.wait(0, 20s);
        churn.expect_all_agree();
    });
}

TEST(Sim, ClocksDiffer) { // by years, and one of them jumps: its process was suspended
    for_seeds(40, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn churn{world};
        world.nodes[1]->stop();
        world.nodes[1]->clock = std::chrono::hours(24 * 365 * 5);
        world.nodes[1]->start();
        churn.step(0, 200);
        churn.wait(0, 10s);
        churn.expect_all_agree();
        for (int n = 0; n < 4; n++) {
            world.nodes[world.below(2)]->clock += std::chrono::seconds(world.below(7200));
            churn.step(0, 30);
            churn.wait(0, std::chrono::milliseconds(world.below(10000)));
        }
        churn.wait(0, 20s);
        churn.expect_all_agree();
    });
}

TEST(Sim, ALateStandbyGetsEverything) {
    for_seeds(60, [](std::uint64_t seed) {
        World world(seed, 2);
        world.nodes[1]->power_off();
        world.quality = bad_link(world);
        Churn churn{world};
        churn.step(0, 800);
        world.run(1s);
        world.nodes[1]->start();
        for (int n = 0; n < 20; n++) {
            churn.step(0, 10);
            world.run(20ms);
        }
        churn.wait(0, 8s);
        churn.expect_all_agree();
        std::string why;
        EXPECT_TRUE(world.nodes[1]->engine->ready(&why)) << why;
    });
}

TEST(Sim, AFullTableIsNoLoop) {
    World world(5, 2);
    world.nodes[1]->kernel.capacity = 50;
    Churn churn{world};
    churn.wait(0, 2s);
    for (std::uint32_t n = 1; n <= 200; n++)
        world.nodes[0]->kernel.traffic(flow_number(n));
    world.nodes[0]->engine->flush();
    world.run(20s);
    EXPECT_EQ(world.nodes[1]->kernel.entries.size(), 50u);
    const auto full = world.nodes[1]->engine->counters().table_refused[0];
    EXPECT_GE(full, 150u);
    EXPECT_LE(full, 150u * 2); // once when refused, then once a slow round
}

TEST(Sim, CopiesLiveWithoutTraffic) {
    World world(3, 2);
    world.run(2s);
    state::Flow udp = flow_number(3); // UDP: its natural timeout is 30 s
    world.nodes[0]->kernel.traffic(udp);
    world.nodes[0]->engine->flush();
    for (int n = 0; n < 200; n++) { // packets every 10 s: no events for an established flow
        world.run(10s);
        world.nodes[0]->kernel.traffic(udp);
    }
    EXPECT_EQ(world.nodes[1]->kernel.entries.size(), 1u);
    world.run(60s); // when its traffic ends, it ends on both
    EXPECT_EQ(world.nodes[0]->kernel.entries.size(), 0u);
    EXPECT_EQ(world.nodes[1]->kernel.entries.size(), 0u);
}

TEST(Sim, CopiesOfADeadOwnerRunOut) {
    World world(3, 2);
    world.run(2s);
    world.nodes[0]->kernel.traffic(flow_number(3));
    world.nodes[0]->engine->flush();
    world.run(1s);
    world.nodes[0]->power_off();
    world.run(2000s);
    EXPECT_EQ(world.nodes[1]->kernel.entries.size(), 0u);
    EXPECT_EQ(world.nodes[1]->engine->index().size(), 0u);
}

} // namespace
} // namespace encsync::sim
