// SPDX-License-Identifier: ISC
// First packets that wait until the peers have the flow.
#include "churn.hpp"

#include <gtest/gtest.h>

namespace encsync::sim {
namespace {

// A flow begins at node0 when its packet is released; one in ten is dropped then.
struct Gate {
    World& world;
    Churn& churn;
    std::map<std::uint32_t, Instant> since{};
    unsigned early = 0, there = 0, dropped = 0;
    Duration longest{};

    explicit Gate(World& w, Churn& c) : world(w), churn(c) {
        Node& node = *world.nodes[0];
        node.stop();
        node.release = [this](std::uint32_t n) { let_go(n); };
        node.start();
    }
    void let_go(std::uint32_t n) {
        const state::Flow flow = flow_number(n);
        const Duration waited = world.now - since.at(n);
        since.erase(n);
        longest = std::max(longest, waited);
        if (waited < 20ms) {
            early++;
            there += world.nodes[1]->kernel.entries.contains(flow.key) &&
                     world.nodes[2]->kernel.entries.contains(flow.key);
        }
        begin(n, flow);
    }
    void begin(std::uint32_t n, const state::Flow& flow) {
        if (n % 10 == 0) {
            dropped++;
            return;
        }
        churn.alive[n] = flow;
        world.nodes[0]->kernel.traffic(flow);
    }
    void packet(std::uint32_t n) {
        state::Flow flow = flow_number(n);
        flow.timeout = 60;
        since[n] = world.now;
        if (world.nodes[0]->engine->defer(flow, n))
            return;
        since.erase(n);
        begin(n, flow);
    }
};

TEST(Sim, FirstPacketsWaitForThePeersAndNotForLong) {
    for_seeds(60, [](std::uint64_t seed) {
        World world(seed, 3);
        world.quality = bad_link(world);
        world.quality.loss /= 4;
        Churn churn{world};
        Gate gate(world, churn);
        churn.wait_until_in_step(0);
        for (std::uint32_t n = 1; n <= 300; n++) {
            gate.packet(n);
            world.run(std::chrono::microseconds(world.below(3000)));
        }
        world.run(20ms);
        EXPECT_TRUE(gate.since.empty());
        EXPECT_LE(gate.longest, 20ms);
        EXPECT_GT(gate.early, 0u);
        EXPECT_EQ(gate.there, gate.early); // all peers had the flows released before the timeout
        EXPECT_EQ(gate.dropped, 30u);
        // Flows that never began are on no node in the end.
        churn.wait(0, 12s);
        churn.expect_all_agree();
        EXPECT_GT(world.nodes[0]->engine->counters().defer_unconfirmed, 0u);
    });
}

} // namespace
} // namespace encsync::sim
