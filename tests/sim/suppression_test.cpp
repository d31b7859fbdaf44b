// SPDX-License-Identifier: ISC
// Flows that peers are not told of: by a rule for one of them, or while they are young.
#include "churn.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::sim {
namespace {

void restart_with_delay(World& world, Duration delay) {
    for (auto& node : world.nodes) {
        node->stop();
        node->delay = delay;
        node->start();
    }
}

// A connection that is closed before its delay is announced to no peer, though the table keeps it.
void end_what_is_over(Churn& churn) {
    std::erase_if(churn.alive, [&](const auto& each) {
        const state::Flow& flow = each.second;
        const bool over = flow.key.proto == IPPROTO_TCP && flow.src_state == 9;
        if (over)
            churn.world.nodes[0]->kernel.close(flow.key);
        return over;
    });
}

TEST(Sim, ThoseThatLivedAreOnAllInTheEnd) {
    for_seeds(100, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        restart_with_delay(world, std::chrono::milliseconds(1 + world.below(1500)));
        Churn churn{world};
        churn.wait_until_in_step(0);
        for (int n = 0; n < 30; n++) {
            churn.step(0, 20);
            world.run(std::chrono::milliseconds(world.below(150)));
        }
        end_what_is_over(churn);
        churn.wait(0, 10s);
        churn.expect_all_agree();
    });
}

std::uint64_t messages_of_short_flows(Duration delay) {
    World world(1, 2);
    restart_with_delay(world, delay);
    Churn churn{world};
    churn.wait_until_in_step(0);
    const sync::PeerCounters& counters = world.nodes[0]->engine->session(0).counters;
    const std::uint64_t before = counters.tx_messages;
    for (std::uint32_t n = 1; n <= 100; n++) {
        state::Flow flow = flow_number(n);
        do {
            world.nodes[0]->kernel.traffic(flow);
            world.run(10ms);
        } while (advance(flow));
        world.nodes[0]->kernel.close(flow.key);
    }
    world.run(2s);
    return counters.tx_messages - before;
}

TEST(Sim, ShortFlowsCostNothingWithDelay) {
    EXPECT_EQ(messages_of_short_flows(200ms), 0u);
    EXPECT_GT(messages_of_short_flows(0s), 200u);
}

TEST(Sim, ATakeoverLosesTheYoungAndNoOther) {
    for_seeds(50, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        restart_with_delay(world, 1s);
        world.set_role(0, Role::active);
        world.set_role(1, Role::standby);
        Churn old{world}, young{world, 10000};
        old.wait_until_in_step(0);
        old.step(0, 200);
        end_what_is_over(old);
        old.wait(0, 8s);
        do
            young.step(0, 50);
        while (young.alive.empty());
        world.run(500ms);
        world.nodes[0]->power_off();
        world.run(1s);
        world.set_role(1, Role::active);
        EXPECT_EQ(old.missing(1), "");
        EXPECT_NE(young.missing(1), "");
        young.alive.clear();
        old.wait(1, 6s);
        old.expect_all_agree();
    });
}

TEST(Sim, AnOrderlyTakeoverLosesNotEvenThose) {
    for_seeds(50, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        restart_with_delay(world, 30s);
        world.set_role(0, Role::active);
        world.set_role(1, Role::standby);
        Churn churn{world};
        churn.wait_until_in_step(0);
        churn.step(0, 200);
        end_what_is_over(churn);
        world.set_role(0, Role::standby);
        world.set_role(1, Role::active);
        churn.wait(1, 15s);
        churn.expect_all_agree();
    });
}

// node0 does not tell node2 of UDP.
TEST(Sim, WhatOnePeerIsNotTold) {
    for_seeds(80, [](std::uint64_t seed) {
        World world(seed, 3);
        world.quality = bad_link(world);
        world.nodes[0]->stop();
        state::NoSyncRule udp;
        udp.proto = IPPROTO_UDP;
        world.nodes[0]->nosync[2] = state::NoSync({udp});
        world.nodes[0]->start();
        Churn churn{world};
        churn.wait_until_in_step(0);
        for (int n = 0; n < 30; n++) {
            churn.step(0, 20);
            churn.wait(0, std::chrono::milliseconds(world.below(1000)));
        }
        churn.wait(0, 15s);
        EXPECT_EQ(churn.missing(1), "");
        std::size_t hidden = 0;
        for (const auto& [number, flow] : churn.alive) {
            const bool kept = udp.matches(flow);
            EXPECT_EQ(world.nodes[2]->kernel.entries.contains(flow.key), !kept) << to_string(flow);
            hidden += kept;
        }
        EXPECT_GT(hidden, 0u);
        EXPECT_EQ(world.nodes[1]->kernel.entries.size(), churn.alive.size());
        EXPECT_EQ(world.nodes[2]->kernel.entries.size(), churn.alive.size() - hidden);
        // The counts in HELLO include only announced flows: no repairs are requested.
        const auto repairs = [&] {
            return world.nodes[1]->engine->session(0).counters.repairs +
                   world.nodes[2]->engine->session(0).counters.repairs;
        };
        const std::uint64_t before = repairs();
        churn.wait(0, 10s);
        EXPECT_EQ(repairs(), before);
    });
}

// node2 accepts no UDP from node0 and, because they are its own, some other flows from no node. It
// holds none of them, digests agree, and a takeover by node2 does not take them over.
TEST(Sim, WhatOneNodeDoesNotTake) {
    for_seeds(80, [](std::uint64_t seed) {
        World world(seed, 3);
        world.quality = bad_link(world);
        world.nodes[2]->stop();
        state::NoSyncRule udp;
        udp.proto = IPPROTO_UDP;
        world.nodes[2]->refuse[0] = state::NoSync({udp});
        for (std::uint32_t n = 1; n < 500; n += 7)
            world.nodes[2]->kernel.own.insert(flow_number(n).key);
        world.nodes[2]->start();
        world.set_role(0, Role::active);
        for (const unsigned standby : {1U, 2U})
            world.set_role(standby, Role::standby);
        Churn churn{world};
        churn.wait_until_in_step(0);
        for (int n = 0; n < 30; n++) {
            churn.step(0, 20);
            churn.wait(0, std::chrono::milliseconds(world.below(1000)));
        }
        churn.wait(0, 15s);
        EXPECT_EQ(churn.missing(1), "");
        const auto refused = [&](const state::Flow& flow) {
            return udp.matches(flow) || world.nodes[2]->kernel.own.contains(flow.key);
        };
        const auto holds_none = [&] {
            for (const auto& [key, entry] : world.nodes[2]->kernel.entries)
                EXPECT_FALSE(refused(entry.flow)) << to_string(entry.flow);
        };
        std::size_t kept_out = 0;
        for (const auto& [number, flow] : churn.alive) {
            EXPECT_EQ(world.nodes[2]->kernel.entries.contains(flow.key), !refused(flow))
                << to_string(flow);
            kept_out += refused(flow);
        }
        EXPECT_GT(kept_out, 0u);
        holds_none();
        EXPECT_EQ(world.nodes[2]->engine->refused_of(0), kept_out);
        EXPECT_TRUE(world.nodes[2]->engine->ready());
        const sync::Peer& s = world.nodes[2]->engine->session(0);
        const auto repairs = s.counters.repairs;
        churn.wait(0, 10s);
        EXPECT_EQ(s.counters.repairs, repairs);
        EXPECT_GE(s.checks.equal, world.now - 6s); // once a second, and some are lost

        if (world.chance(0.5))
            world.nodes[0]->power_off();
        else
            world.set_role(0, Role::standby);
        world.set_role(2, Role::active);
        std::erase_if(churn.alive, [&](const auto& each) { return refused(each.second); });
        EXPECT_EQ(churn.missing(2), "");
        churn.wait(2, 60s);
        EXPECT_EQ(churn.missing(2), "");
        holds_none();
        if (!world.nodes[0]->engine)
            return;
        // Flows that it did not accept stay with their former owner, and no search goes on for
        // ever.
        const auto searches = [&] {
            return s.counters.repairs + world.nodes[0]->engine->session(1).counters.repairs;
        };
        const auto before = searches();
        churn.wait(2, 20s);
        EXPECT_EQ(searches(), before);
    });
}

} // namespace
} // namespace encsync::sim
