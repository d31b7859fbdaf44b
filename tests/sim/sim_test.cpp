// SPDX-License-Identifier: ISC
// Every scenario runs for many seeds (ENCSYNC_SIM_SEEDS, default below). A failing seed is named
// in the message; ENCSYNC_SIM_SEED=N runs that one alone and replays it exactly.
#include "world.hpp"

#include <cstdlib>
#include <functional>
#include <gtest/gtest.h>
#include <set>

namespace encsync::sim {
namespace {

using namespace std::chrono_literals;
using sync::Role;

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

// Traffic: flows begin, move on, and end. Two of these with different `offset`s never meet.
struct Churn {
    World& world;
    std::uint32_t offset = 0;
    std::map<std::uint32_t, state::Flow> alive{};
    std::uint32_t next = 1;

    void step(unsigned through, unsigned events) { step(std::vector{through}, events); }
    // Packets take any of these nodes; a flow ends at all of them.
    void step(const std::vector<unsigned>& through, unsigned events) {
        const auto any = [&]() -> Kernel& {
            const auto n = through.size() == 1 ? 0 : world.below(through.size());
            return world.nodes[through[n]]->kernel;
        };
        for (unsigned n = 0; n < events; n++) {
            const auto dice = world.below(10);
            if (dice < 4 || alive.empty()) {
                // Now and then a tuple that has been used before.
                const std::uint32_t number =
                    world.chance(0.2) ? 1 + static_cast<std::uint32_t>(world.below(next)) : next++;
                if (alive.contains(number))
                    continue;
                const state::Flow flow = flow_number(offset + number);
                alive[number] = flow;
                any().traffic(flow);
                continue;
            }
            auto it = alive.begin();
            std::advance(it, static_cast<long>(world.below(alive.size())));
            if (dice < 8 && advance(it->second)) {
                any().traffic(it->second);
            } else {
                for (const unsigned node : through)
                    world.nodes[node]->kernel.close(it->second.key);
                alive.erase(it);
            }
        }
    }
    // Packets of every flow keep its timer armed while time passes.
    void wait(unsigned through, Instant span);
    void keep_alive(unsigned through) const {
        for (const auto& [number, flow] : alive)
            world.nodes[through]->kernel.traffic(flow);
    }
    // Everything that is alive is in that kernel, as it was seen last.
    std::string missing(unsigned at) const {
        for (const auto& [number, flow] : alive)
            if (!world.nodes[at]->kernel.entries.contains(flow.key))
                return "lost: " + to_string(flow);
        return {};
    }
    void expect_all_agree();
};

// Time passes, and each of these flows goes through that node.
void wait(World& world, Instant span, const std::vector<std::pair<const Churn*, unsigned>>& paths) {
    for (; span > Instant::zero(); span -= 5s) {
        for (const auto& [churn, node] : paths)
            churn->keep_alive(node);
        world.run(std::min<Instant>(span, 5s));
    }
}

void Churn::wait(unsigned through, Instant span) {
    sim::wait(world, span, {{this, through}});
}

std::string zombies(const World& world, unsigned at, const std::vector<const Churn*>& all) {
    std::set<state::Key> keys;
    for (const Churn* churn : all)
        for (const auto& [number, flow] : churn->alive)
            keys.insert(flow.key);
    for (const auto& [key, entry] : world.nodes[at]->kernel.entries)
        if (!keys.contains(key))
            return "came back: " + to_string(entry.flow);
    return {};
}

void expect_agreement(const World& world, const std::vector<const Churn*>& all) {
    EXPECT_EQ(world.difference(), "");
    for (unsigned n = 0; n < world.nodes.size(); n++) {
        if (!world.nodes[n]->engine)
            continue;
        for (const Churn* churn : all)
            EXPECT_EQ(churn->missing(n), "") << "node " << n;
        EXPECT_EQ(zombies(world, n, all), "") << "node " << n;
    }
}

void Churn::expect_all_agree() {
    expect_agreement(world, {this});
}

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
        // In step once, so that no node says any more that it began without a table: what such a
        // node does not name may be what it lost, and is kept (ownership.cpp, drop_unclaimed).
        for (int n = 0; n < 40 && !(world.nodes[0]->engine->session(0).in_step &&
                                    world.nodes[1]->engine->session(0).in_step);
             n++)
            churn.wait(0, 500ms);
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
        world.nodes[0]->start(); // comes back with an empty table
        churn.step(1, 50);
        churn.wait(1, 15s);
        churn.expect_all_agree();
        // And a planned one, back to the first: the flows follow the role.
        world.set_role(1, Role::standby);
        world.set_role(0, Role::active);
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
        // One dies, and all its traffic goes through the other; then it comes back for new flows.
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

TEST(Sim, OneFlowThroughBothNodes) { // each direction takes its own way
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
            // keepalived's two ends do not speak at the same instant, nor in a set order.
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

// Both take themselves for active while they cannot hear each other; the traffic has moved to the
// second, and so does the role, once they can.
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
        // until then the end of another active node's flow is no news.
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

// No roles, and traffic that moves without an event while the nodes cannot hear each other: the
// timers tell.
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
        // For good: the first node's own timers have long run out, and take nothing with them.
        churn.wait(1, 200s);
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
        for (const auto& node : world.nodes) // nothing damaged came through
            EXPECT_EQ(node->engine->counters().faults, decltype(sync::Counters::faults){});
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

TEST(Sim, ClocksDiffer) { // by years, and one of them leaps: its process was asleep
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

} // namespace
} // namespace encsync::sim
