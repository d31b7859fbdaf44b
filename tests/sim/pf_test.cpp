// SPDX-License-Identifier: ISC
// Standard pfsync over bad networks: with pf firewalls, between them, and between two nodes of
// ours. pfsync has no acknowledgements, so the tests check what it guarantees: updates reach the
// peer while packets pass; no state is ever rolled back; live states do not time out. Each with
// both pf firewalls (pf.hpp).
#include "churn.hpp"
#include "pf_firewall.hpp"
#include "pf_process.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <ostream>

namespace encsync::sim {
namespace {

using pfsync::Dialect;

bool is_tcp(const state::Flow& flow) {
    return flow.key.proto == IPPROTO_TCP;
}

// Without the fields that pfsync does not have.
state::Flow pf_flow(std::uint32_t n) {
    state::Flow flow = flow_number(n);
    flow.key.zone = 0;
    flow.mark = 0;
    flow.extras = {};
    return flow;
}

// Flows whose packets pass one of the two; each step updates some, begins some and ends some.
struct Load {
    World& world;
    Pf& pf;
    struct Live {
        state::Flow flow;
        bool here; // at node0
    };
    std::map<std::uint32_t, Live> live{};
    std::uint32_t next = 1;

    void packet(const Live& l) {
        if (l.here)
            world.nodes[0]->kernel.traffic(l.flow);
        else
            pf.packet(l.flow);
    }
    void step(unsigned count) {
        for (unsigned n = 0; n < count; n++) {
            if (live.empty() || world.chance(0.3)) {
                const Live l{pf_flow(next), world.chance(0.5)};
                packet(live[next++] = l);
                continue;
            }
            auto it = std::next(live.begin(), static_cast<long>(world.below(live.size())));
            Live& l = it->second;
            if (world.chance(0.1)) {
                if (l.here)
                    world.nodes[0]->kernel.close(l.flow.key);
                else
                    pf.close(l.flow);
                live.erase(it);
            } else {
                if (world.chance(0.5) && (l.flow.src_state < 4 || l.flow.dst_state < 4))
                    advance(l.flow);
                packet(l);
            }
        }
    }
    // Every flow has a packet every few seconds.
    void keep(Duration span) {
        for (const Instant end = world.now + span; world.now < end; world.run(4s))
            for (const auto& [number, l] : live)
                packet(l);
    }
    std::string difference() const {
        for (const auto& [number, l] : live) {
            const auto entry = world.nodes[0]->kernel.entries.find(l.flow.key);
            if (entry == world.nodes[0]->kernel.entries.end())
                return std::string("node0 lacks ") + (l.here ? "its own " : "pf's ") +
                       to_string(l.flow);
            const PfState* state = pf.find(l.flow.key);
            if (state == nullptr)
                return std::string("pf lacks ") + (l.here ? "node0's " : "its own ") +
                       to_string(l.flow);
            if (entry->second.flow.src_state != state->flow.src_state ||
                entry->second.flow.dst_state != state->flow.dst_state)
                return "they disagree about " + to_string(l.flow);
        }
        return {};
    }
    // States of flows that have ended and will not time out for hours.
    std::size_t left_over() const {
        std::size_t n = 0;
        for (const PfState& state : pf.list())
            n += !is_tcp(state.flow);
        for (const auto& [key, entry] : world.nodes[0]->kernel.entries)
            n += !is_tcp(entry.flow);
        for (const auto& [number, l] : live)
            n -= is_tcp(l.flow) ? 0 : 2;
        return n;
    }
};

struct Model {
    const char* name;
    std::vector<Dialect> dialects;
    std::unique_ptr<Pf> (*make)(World& world, unsigned self, Dialect dialect);
};
void PrintTo(const Model& model, std::ostream* out) {
    *out << model.name;
}
template<class Kind>
std::unique_ptr<Pf> make(World& world, unsigned self, Dialect dialect) {
    return std::make_unique<Kind>(world, self, dialect);
}
const Model kModels[] = {
    {"Model", {pfsync::kAllDialects.begin(), pfsync::kAllDialects.end()}, make<PfFirewall>},
    {"Process", {Dialect::openbsd, Dialect::freebsd1400}, make<PfProcess>},
};

class SimPf : public testing::TestWithParam<Model> {
  protected:
    void SetUp() override {
        if (GetParam().make == make<PfProcess> && !PfProcess::available())
            GTEST_SKIP() << "there is no /usr/bin/python3";
    }
    static const std::vector<Dialect>& dialects() { return GetParam().dialects; }
    static std::unique_ptr<Pf> make_pf(World& world, unsigned self, Dialect dialect) {
        return GetParam().make(world, self, dialect);
    }
};
INSTANTIATE_TEST_SUITE_P(, SimPf, testing::ValuesIn(kModels),
                         [](const auto& model) { return model.param.name; });

TEST_P(SimPf, WherePacketsPassThePeerKnows) {
    for (const Dialect dialect : dialects())
        for_seeds(6, [&](std::uint64_t seed) {
            SCOPED_TRACE(to_string(dialect));
            World world(seed, 2);
            const auto pf = make_pf(world, 1, dialect);
            Load load{world, *pf};
            world.quality = bad_link(world);
            world.run(20s);
            for (int n = 0; n < 40; n++) {
                load.step(10);
                world.run(std::chrono::milliseconds(world.below(600)));
            }
            world.quality = {};
            load.keep(6min);
            EXPECT_EQ(load.difference(), "");
            EXPECT_EQ(load.left_over(), 0u);
            EXPECT_EQ(pf->status().rolled_back, 0u);
            EXPECT_TRUE(pf->status().in_step || pf->status().gave_up);
            EXPECT_TRUE(world.nodes[0]->engine->session(0).in_step ||
                        world.nodes[0]->engine->session(0).bulk.gave_up);
            EXPECT_EQ(faults(*world.nodes[0]->engine), 0u);
        });
}

// A firewall demotes itself for carp until its request for all states has been answered.
TEST_P(SimPf, OneRequestIsEnoughEvenIfThereIsNothing) {
    for (const Dialect dialect : dialects())
        for (const bool empty : {true, false}) {
            SCOPED_TRACE(to_string(dialect));
            World world(1, 2);
            if (!empty)
                world.nodes[0]->kernel.traffic(pf_flow(1));
            const auto pf = make_pf(world, 1, dialect);
            world.run(20s);
            EXPECT_TRUE(pf->status().in_step);
            EXPECT_EQ(pf->status().tries, 1u);
        }
}

TEST_P(SimPf, WithoutThePathTheyDiffer) { // control
    World world(1, 2);
    const auto pf = make_pf(world, 1, Dialect::openbsd);
    Load load{world, *pf};
    world.run(5s);
    world.connect(0, 1, false);
    load.step(100);
    load.keep(10s);
    EXPECT_NE(load.difference(), "");
}

// Established flows raise no events here; pf keeps its copies only with announcements.
TEST_P(SimPf, WhatIsLiveHereDoesNotTimeOutThere) {
    for (const Dialect dialect : dialects())
        for_seeds(2, [&](std::uint64_t seed) {
            World world(seed, 2);
            const auto pf = make_pf(world, 1, dialect);
            Load load{world, *pf};
            world.run(5s);
            for (std::uint32_t n = 1; n <= 30; n++) {
                state::Flow flow = pf_flow(n);
                while (flow.src_state < 4 && !(flow.src_state == 2 && flow.dst_state == 2) &&
                       advance(flow))
                    ;
                load.live[n] = {flow, true};
            }
            world.quality.loss = 0.05;
            load.keep(10min);
            world.quality = {};
            load.keep(1min);
            EXPECT_EQ(load.difference(), "");
            EXPECT_EQ(pf->status().rolled_back, 0u);
        });
}

// pf becomes silent for good, and node0 is made the active one: no flow of pf's is lost.
TEST_P(SimPf, ATakeoverLosesNothing) {
    for (const Dialect dialect : dialects())
        for_seeds(5, [&](std::uint64_t seed) {
            World world(seed, 2);
            const auto pf = make_pf(world, 1, dialect);
            Load load{world, *pf};
            world.run(5s);
            load.step(200);
            load.keep(12s);
            ASSERT_EQ(load.difference(), "");
            world.connect(0, 1, false);
            world.nodes[0]->engine->on_link_down(0);
            world.set_role(0, sync::Role::active);
            for (auto& [number, l] : load.live)
                l.here = true;
            load.keep(3min);
            for (const auto& [number, l] : load.live)
                EXPECT_TRUE(world.nodes[0]->kernel.entries.contains(l.flow.key))
                    << to_string(l.flow);
            // pf returns, and keeps the flows that have continued here.
            world.connect(0, 1, true);
            world.nodes[0]->engine->on_link_up(0);
            load.keep(2min);
            EXPECT_EQ(load.difference(), "");
        });
}

TEST_P(SimPf, TwoThatCannotHearEachOther) {
    for (const Dialect freebsd : dialects()) {
        if (version_of(freebsd) != 5)
            continue;
        for_seeds(6, [&](std::uint64_t seed) {
            SCOPED_TRACE(to_string(freebsd));
            World world(seed, 3);
            const auto a = make_pf(world, 1, Dialect::openbsd), b = make_pf(world, 2, freebsd);
            Load load{world, *a};
            world.run(20s);
            world.quality = bad_link(world);
            for (int n = 0; n < 30; n++) {
                load.step(10);
                world.run(std::chrono::milliseconds(world.below(600)));
            }
            world.quality = {};
            load.keep(6min);
            EXPECT_EQ(load.difference(), "");
            for (const auto& [number, l] : load.live) {
                const PfState *there = a->find(l.flow.key), *here = b->find(l.flow.key);
                ASSERT_NE(here, nullptr)
                    << (l.here ? "node0's " : "the other's ") << to_string(l.flow);
                ASSERT_NE(there, nullptr);
                EXPECT_EQ(here->flow.id, there->flow.id);
                EXPECT_EQ(here->flow.src_state, there->flow.src_state);
                EXPECT_EQ(here->flow.dst_state, there->flow.dst_state);
            }
            EXPECT_EQ(a->status().rolled_back + b->status().rolled_back, 0u);
            // No loops: without changes only keepalive messages are sent.
            const std::uint64_t before = world.traffic.sent;
            world.run(20s);
            EXPECT_LT(world.traffic.sent - before, 20u * load.live.size() + 100);
        });
    }
}

TEST(SimPfBetweenNodes, TwoNodesOfOursInEveryDialect) {
    for (const Dialect dialect : pfsync::kAllDialects)
        for_seeds(6, [&](std::uint64_t seed) {
            SCOPED_TRACE(to_string(dialect));
            World world(seed, 2);
            for (unsigned n = 0; n < 2; n++)
                world.nodes[n]->stop();
            for (unsigned n = 0; n < 2; n++) {
                world.nodes[n]->wire[1 - n] = dialect;
                world.nodes[n]->start();
            }
            world.quality = bad_link(world);
            world.run(20s);
            std::map<std::uint32_t, state::Flow> live;
            for (std::uint32_t n = 1; n <= 120; n++) {
                state::Flow flow = pf_flow(n);
                Kernel& kernel = world.nodes[n % 2]->kernel;
                do {
                    kernel.traffic(flow);
                    world.run(std::chrono::milliseconds(world.below(30)));
                } while (flow.src_state < 4 && advance(flow));
                if (n % 4 == 1)
                    kernel.close(flow.key);
                else
                    live[n] = flow;
            }
            world.quality = {};
            for (int n = 0; n < 70; n++) { // long enough for each to be announced again
                for (const auto& [number, flow] : live)
                    world.nodes[number % 2]->kernel.traffic(flow);
                world.run(5s);
            }
            for (const auto& [number, flow] : live)
                for (const auto& node : world.nodes) {
                    const auto it = node->kernel.entries.find(flow.key);
                    const bool own = number % 2 == node->index;
                    ASSERT_NE(it, node->kernel.entries.end()) << own << to_string(flow);
                    EXPECT_EQ(it->second.flow.src_state, flow.src_state) << to_string(flow);
                }
            for (const auto& node : world.nodes)
                EXPECT_EQ(faults(*node->engine), 0u);
        });
}

} // namespace
} // namespace encsync::sim
