// SPDX-License-Identifier: ISC
// Parts of scenarios: traffic that begins, progresses and ends, bad links, many seeds.
//
// Every scenario runs for many seeds (ENCSYNC_SIM_SEEDS for all; each has its own number). A
// failing seed is named in the message; ENCSYNC_SIM_SEED=N runs that one alone and replays it
// exactly.
#pragma once

#include "world.hpp"

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace encsync::sim {

using namespace std::chrono_literals;
using sync::Role;

// `first`: of those seeds; for scenarios that are split to run in parallel.
void for_seeds(unsigned seeds, const std::function<void(std::uint64_t)>& scenario,
               std::uint64_t first = 1);
LinkQuality bad_link(World& world);

// Traffic: flows begin, progress, and end. Two of these with different `offset`s are disjoint.
struct Churn {
    World& world;
    std::uint32_t offset = 0;
    std::map<std::uint32_t, state::Flow> alive{};
    std::uint32_t next = 1;

    void step(unsigned through, unsigned events) { step(std::vector{through}, events); }
    // Packets pass any of these nodes; a flow ends at all of them.
    void step(const std::vector<unsigned>& through, unsigned events);
    // Packets of every flow keep its timer armed while time passes.
    void wait(unsigned through, Duration span);
    void wait_until_in_step(unsigned through);
    // A minute at most: where a third of all packets is lost, one repair in thousands takes more
    // than eight seconds.
    void wait_until_agreed(unsigned through);
    void keep_alive(unsigned through) const {
        for (const auto& [number, flow] : alive)
            world.nodes[through]->kernel.traffic(flow);
    }
    // All live flows are in that kernel, with their last progress.
    std::string missing(unsigned at) const {
        for (const auto& [number, flow] : alive)
            if (!world.nodes[at]->kernel.entries.contains(flow.key))
                return "lost: " + to_string(flow);
        return {};
    }
    void expect_all_agree();
};

// Time passes, and each of these flows goes through that node.
void wait(World& world, Duration span, const std::vector<std::pair<const Churn*, unsigned>>& paths);

// Every running node holds exactly these flows, with their progress and owners.
void expect_agreement(const World& world, const std::vector<const Churn*>& all);

} // namespace encsync::sim
