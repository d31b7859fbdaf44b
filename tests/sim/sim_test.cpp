// Every scenario runs for many seeds (ENCSYNC_SIM_SEEDS, default below). A failing seed is named
// in the message; ENCSYNC_SIM_SEED=N runs that one alone and replays it exactly.
#include "world.hpp"

#include <cstdlib>
#include <functional>
#include <gtest/gtest.h>

namespace encsync::sim {
namespace {

using namespace std::chrono_literals;

void for_seeds(unsigned seeds, const std::function<void(std::uint64_t)>& scenario) {
    if (const char* one = std::getenv("ENCSYNC_SIM_SEED")) {
        scenario(std::strtoull(one, nullptr, 10));
        return;
    }
    if (const char* many = std::getenv("ENCSYNC_SIM_SEEDS"))
        seeds = static_cast<unsigned>(std::strtoul(many, nullptr, 10));
    for (std::uint64_t seed = 1; seed <= seeds; seed++) {
        scenario(seed);
        if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure())
            FAIL() << "replay with ENCSYNC_SIM_SEED=" << seed;
    }
}

// Traffic through one node: flows begin, move on, and end.
struct Churn {
    World& world;
    std::map<std::uint32_t, state::Flow> alive{};
    std::uint32_t next = 1;

    void step(unsigned through, unsigned events) {
        Kernel& kernel = world.nodes[through]->kernel;
        for (unsigned n = 0; n < events; n++) {
            const auto dice = world.below(10);
            if (dice < 4 || alive.empty()) {
                // Now and then a tuple that has been used before.
                const std::uint32_t number =
                    world.chance(0.2) ? 1 + static_cast<std::uint32_t>(world.below(next)) : next++;
                if (alive.contains(number))
                    continue;
                const state::Flow flow = flow_number(number);
                alive[number] = flow;
                kernel.traffic(flow);
                continue;
            }
            auto it = alive.begin();
            std::advance(it, static_cast<long>(world.below(alive.size())));
            if (dice < 8 && advance(it->second)) {
                kernel.traffic(it->second);
            } else {
                kernel.close(it->second.key);
                alive.erase(it);
            }
        }
    }
    // Packets of every flow keep its timer armed while time passes.
    void wait(unsigned through, Instant span) {
        for (; span > Instant::zero(); span -= 5s) {
            for (const auto& [number, flow] : alive)
                world.nodes[through]->kernel.traffic(flow);
            world.run(std::min<Instant>(span, 5s));
        }
    }
    // Everything that is alive is in that kernel, as it was seen last.
    std::string missing(unsigned at) const {
        for (const auto& [number, flow] : alive) {
            const auto it = world.nodes[at]->kernel.entries.find(flow.key);
            if (it == world.nodes[at]->kernel.entries.end())
                return "lost: " + to_string(flow);
        }
        return {};
    }
    std::string zombies(unsigned at) const {
        std::map<state::Key, int> keys;
        for (const auto& [number, flow] : alive)
            keys[flow.key] = 1;
        for (const auto& [key, entry] : world.nodes[at]->kernel.entries)
            if (!keys.contains(key))
                return "came back: " + to_string(entry.flow);
        return {};
    }
    void expect_all_agree() {
        EXPECT_EQ(world.difference(), "");
        for (unsigned n = 0; n < world.nodes.size(); n++)
            if (world.nodes[n]->engine) {
                EXPECT_EQ(missing(n), "") << "node " << n;
                EXPECT_EQ(zombies(n), "") << "node " << n;
            }
    }
};

LinkQuality bad_link(World& world) {
    LinkQuality q;
    q.loss = static_cast<double>(world.below(30)) / 100;
    q.duplicate = static_cast<double>(world.below(10)) / 100;
    q.late = static_cast<double>(world.below(20)) / 100;
    q.jitter = std::chrono::microseconds(1 + world.below(5000));
    return q;
}

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
        churn.expect_all_agree();
    });
}

TEST(Sim, WithoutTheEngineNothingArrives) { // the negative twin of all of these
    World world(7, 2);
    world.run(2s);
    world.connect(0, 1, false);
    Churn churn{world};
    churn.step(0, 50);
    churn.wait(0, 5s);
    EXPECT_NE(world.difference(), "");
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
        churn.step(0, 100); // flows begin and end while nobody listens
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
        const auto role = [&](unsigned node, sync::Role r) {
            world.nodes[node]->role = r;
            if (world.nodes[node]->engine)
                world.nodes[node]->engine->set_role(r);
        };
        role(0, sync::Role::active);
        role(1, sync::Role::standby);
        churn.wait(0, 2s);
        churn.step(0, 300);
        churn.wait(0, 8s);
        world.nodes[0]->power_off();
        world.run(1s);
        role(1, sync::Role::active);
        EXPECT_EQ(churn.missing(1), "");
        churn.step(1, 100);
        churn.wait(1, 6s);
        role(0, sync::Role::standby);
        world.nodes[0]->start(); // comes back with an empty table
        churn.step(1, 50);
        churn.wait(1, 15s);
        churn.expect_all_agree();
        // And a planned one, back to the first: the flows follow the role.
        role(1, sync::Role::standby);
        role(0, sync::Role::active);
        churn.step(0, 50);
        churn.wait(0, 15s);
        churn.expect_all_agree();
        EXPECT_EQ(world.nodes[0]->engine->live(), churn.alive.size());
        EXPECT_EQ(world.nodes[1]->engine->live(), 0u);
    });
}

TEST(Sim, CopiesLiveWithoutTraffic) {
    World world(3, 2);
    world.run(2s);
    state::Flow udp = flow_number(3); // UDP: 30 s to live by nature
    world.nodes[0]->kernel.traffic(udp);
    world.nodes[0]->engine->flush();
    for (int n = 0; n < 200; n++) { // packets every 10 s: no events for an established flow
        world.run(10s);
        world.nodes[0]->kernel.traffic(udp);
    }
    EXPECT_EQ(world.nodes[1]->kernel.entries.size(), 1u);
    world.run(60s); // and when its traffic ends, it ends on both
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

TEST(Sim, ThreeNodes) {
    for_seeds(80, [](std::uint64_t seed) {
        World world(seed, 3);
        world.quality = bad_link(world);
        Churn churn{world};
        const auto role = [&](unsigned node, sync::Role r) {
            world.nodes[node]->role = r;
            if (world.nodes[node]->engine)
                world.nodes[node]->engine->set_role(r);
        };
        role(0, sync::Role::active);
        role(1, sync::Role::standby);
        role(2, sync::Role::standby);
        churn.wait(0, 2s);
        churn.step(0, 200);
        churn.wait(0, 6s);
        churn.expect_all_agree();
        world.nodes[0]->power_off();
        world.run(500ms);
        role(1, sync::Role::active);
        churn.step(1, 100);
        churn.wait(1, 8s);
        role(0, sync::Role::standby);
        world.nodes[0]->start();
        churn.step(1, 30);
        churn.wait(1, 20s);
        churn.expect_all_agree();
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
    EXPECT_LE(full, 150u * 2); // once when told, then once a slow round
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

} // namespace
} // namespace encsync::sim
