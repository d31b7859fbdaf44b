// SPDX-License-Identifier: ISC
// Differences that no packet loss can cause, only a fault: digests find and repair them, and no
// other mechanism does.
#include "churn.hpp"
#include "pfsync/dialects/openbsd.hpp"
#include "pfsync/extension.hpp"

#include <gtest/gtest.h>

namespace encsync::sim {
namespace {

namespace common = pfsync::common;
namespace extension = pfsync::extension;
using pfsync::openbsd::Action;

constexpr std::uint8_t kNothing = 0x7e; // an unknown action: skipped by its length

constexpr std::size_t kWithMore =
    pfsync::openbsd::kStateSize + extension::tail::size + extension::more::size;

// A fault in the receiver's program: it acknowledges sections that it has not processed.
template<class Each>
void each_section(MutableBytes packet, const Each& each) {
    for (std::size_t at = common::kHeaderSize; at + common::kSubheaderSize <= packet.size();) {
        std::uint8_t* section = &packet[at];
        const std::size_t stride = std::size_t{section[common::subheader::words]} * 4;
        const std::size_t count = load_be<std::uint16_t>(section + common::subheader::count);
        each(section[common::subheader::action], section + common::kSubheaderSize, stride, count);
        at += common::kSubheaderSize + stride * count;
    }
}

struct Fault {
    World& world;
    bool forgets = true; // sometimes, states and removals
    bool marks = true;   // changes mark and labels of received states
    bool never_compares = false;
    unsigned made = 0;

    void operator()(MutableBytes packet) {
        each_section(packet, [&](std::uint8_t& action, std::uint8_t* m, std::size_t stride,
                                 std::size_t count) {
            const bool state = action == static_cast<std::uint8_t>(Action::ins) ||
                               action == static_cast<std::uint8_t>(Action::upd);
            const bool other = action == static_cast<std::uint8_t>(Action::upd_c) ||
                               action == static_cast<std::uint8_t>(Action::del_c);
            const bool expected = action == extension::kExpect;
            if (forgets && (state || other || expected) && world.chance(0.2)) {
                action = kNothing;
                made++;
            } else if (marks && state && world.chance(0.2)) {
                for (; count > 0; count--, m += stride) {
                    std::uint8_t* tail = m + pfsync::openbsd::kStateSize;
                    tail[extension::tail::mark] ^= 0x80;
                    if (stride >= kWithMore)
                        tail[extension::tail::size + extension::more::labels] ^= 0x80;
                }
                made++;
            }
            if (never_compares && action == extension::kRoot)
                action = kNothing;
        });
    }
    void stop() { forgets = marks = false; }
};

TEST(Digests, RepairWhatAFaultHasBroken) {
    // Over all seeds: in a single one, the flows affected may have ended before a comparison.
    std::uint64_t repairs = 0, differing = 0;
    for_seeds(200, [&](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn churn{world};
        churn.wait_until_in_step(0);
        Fault fault{world};
        world.forge = [&](unsigned, unsigned to, MutableBytes packet) {
            if (to == 1)
                fault(packet);
        };
        for (int n = 0; n < 10; n++) {
            churn.step(0, 20);
            world.run(20ms);
        }
        fault.stop();
        churn.wait(0, 30s);
        churn.expect_all_agree();
        EXPECT_GT(fault.made, 0u);
        const sync::PeerCounters& counters = world.nodes[1]->engine->session(0).counters;
        EXPECT_LT(counters.differing, 2000u);
        repairs += counters.repairs;
        differing += counters.differing;
    });
    EXPECT_GT(repairs, 0u);
    EXPECT_GT(differing, 0u);
}

// Negative control: acknowledgements, HELLO and timers work, but no node compares digests.
TEST(Digests, WithoutThemItStaysBroken) {
    unsigned broken = 0;
    for_seeds(20, [&](std::uint64_t seed) {
        World world(seed, 2);
        world.quality = bad_link(world);
        Churn churn{world};
        churn.wait_until_in_step(0);
        Fault fault{world, true, true, true};
        const Instant began = world.now;
        world.forge = [&](unsigned, unsigned to, MutableBytes packet) {
            if (to == 1)
                fault(packet);
        };
        for (int n = 0; n < 10; n++) {
            churn.step(0, 20);
            world.run(20ms);
        }
        fault.stop();
        churn.wait(0, 120s);
        broken += !world.difference().empty();
        EXPECT_LE(world.nodes[1]->engine->session(0).checks.equal, began);
    });
    EXPECT_GT(broken, 0u);
}

// Even under steady change and packet loss, there are moments at which digests are compared.
TEST(Digests, AreComparedUnderSteadyChange) {
    for_seeds(20, [](std::uint64_t seed) {
        World world(seed, 2);
        world.quality.loss = 0.02;
        Churn churn{world};
        churn.wait_until_in_step(0);
        world.run(5s);
        const std::uint64_t before = world.nodes[1]->engine->session(0).counters.checks;
        for (int n = 0; n < 4000; n++) { // for 10 s
            churn.step(0, 1);
            world.run(2500us);
        }
        const sync::Peer& s = world.nodes[1]->engine->session(0);
        EXPECT_GE(s.counters.checks, before + 5);
        EXPECT_EQ(s.counters.repairs, 0u);
        EXPECT_GE(s.checks.equal, world.now - 5s);
        EXPECT_GE(world.nodes[0]->engine->session(0).checks.peer_equal, world.now - 6s);
    });
}

// Nothing is repaired where nothing is broken, not even with takeovers or restarts.
TEST(Digests, FindNothingWhereNothingIsBroken) {
    for_seeds(60, [](std::uint64_t seed) {
        World world(seed, 2);
        world.set_role(0, Role::active);
        world.set_role(1, Role::standby);
        Churn churn{world};
        churn.wait_until_in_step(0);
        unsigned active = 0;
        for (int n = 0; n < 4; n++) {
            churn.step(active, 50);
            churn.wait(active, std::chrono::milliseconds(world.below(8000)));
            world.set_role(active, Role::standby);
            active = 1 - active;
            world.set_role(active, Role::active);
            world.run(std::chrono::milliseconds(world.below(500)));
        }
        churn.wait(active, 10s);
        churn.expect_all_agree();
        for (const auto& node : world.nodes) {
            EXPECT_EQ(node->engine->session(0).counters.repairs, 0u);
            EXPECT_GT(node->engine->session(0).counters.checks, 0u);
        }
    });
}

} // namespace
} // namespace encsync::sim
