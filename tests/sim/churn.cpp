// SPDX-License-Identifier: ISC
#include "churn.hpp"

#include <cstdlib>
#include <gtest/gtest.h>
#include <set>

namespace encsync::sim {

void for_seeds(unsigned seeds, const std::function<void(std::uint64_t)>& scenario,
               std::uint64_t first) {
    if (const char* one = std::getenv("ENCSYNC_SIM_SEED")) {
        scenario(std::strtoull(one, nullptr, 10));
        return;
    }
    if (const char* many = std::getenv("ENCSYNC_SIM_SEEDS"))
        seeds = static_cast<unsigned>(std::strtoul(many, nullptr, 10));
    for (std::uint64_t seed = first; seed < first + seeds; seed++) {
        scenario(seed);
        if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure())
            FAIL() << "replay with ENCSYNC_SIM_SEED=" << seed;
    }
}

void Churn::step(const std::vector<unsigned>& through, unsigned events) {
    const auto any = [&]() -> Kernel& {
        const auto n = through.size() == 1 ? 0 : world.below(through.size());
        return world.nodes[through[n]]->kernel;
    };
    for (unsigned n = 0; n < events; n++) {
        const auto dice = world.below(10);
        if (dice < 4 || alive.empty()) {
            // Sometimes a tuple that has been used before.
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

void wait(World& world, Duration span,
          const std::vector<std::pair<const Churn*, unsigned>>& paths) {
    for (; span > 0s; span -= 5s) {
        for (const auto& [churn, node] : paths)
            churn->keep_alive(node);
        world.run(std::min<Duration>(span, 5s));
    }
}

void Churn::wait(unsigned through, Duration span) {
    sim::wait(world, span, {{this, through}});
}

namespace {

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

} // namespace

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

void Churn::wait_until_in_step(unsigned through) {
    const auto in_step = [this] {
        for (const auto& node : world.nodes)
            for (PeerId peer = 0; peer + 1u < world.nodes.size(); peer++)
                if (!node->engine->session(peer).in_step)
                    return false;
        return true;
    };
    for (int n = 0; n < 60 && !in_step(); n++)
        wait(through, 1s);
    ASSERT_TRUE(in_step());
}

void Churn::wait_until_agreed(unsigned through) {
    for (int n = 0; n < 60 && !world.difference().empty(); n++)
        wait(through, 1s);
}

LinkQuality bad_link(World& world) {
    LinkQuality q;
    q.loss = static_cast<double>(world.below(30)) / 100;
    q.duplicate = static_cast<double>(world.below(10)) / 100;
    q.late = static_cast<double>(world.below(20)) / 100;
    q.jitter = std::chrono::microseconds(1 + world.below(5000));
    return q;
}

} // namespace encsync::sim
