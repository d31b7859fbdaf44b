// SPDX-License-Identifier: ISC
// Kernels that lack entries: deleted by other programs, or flows on several nodes that got the same
// NAT port while the nodes did not hear each other.
#include "churn.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::sim {
namespace {

// Deletes everything, as `conntrack -F` does, with or without events.
void flush(Kernel& kernel, bool events) {
    std::vector<state::Key> keys;
    for (const auto& [key, entry] : kernel.entries)
        keys.push_back(key);
    for (const state::Key& key : keys)
        if (events)
            kernel.close(key);
        else
            kernel.erase(key);
    if (!events)
        kernel.request_dump(); // the sweep
}

TEST(Sim, AFlushedStandbyIsFullAgain) {
    for_seeds(100, [](std::uint64_t seed) {
        World world(seed, 2 + static_cast<unsigned>(seed % 2));
        world.quality = bad_link(world);
        Churn churn{world};
        for (const auto& node : world.nodes)
            world.set_role(node->index, node->index == 0 ? Role::active : Role::standby);
        churn.wait(0, 2s);
        churn.step(0, 300);
        churn.wait(0, 8s);
        flush(world.nodes[1]->kernel, world.chance(0.5));
        EXPECT_FALSE(!world.nodes[1]->kernel.dump_wanted && world.nodes[1]->engine->ready());
        churn.step(0, 20);
        churn.wait(0, 5s);
        churn.expect_all_agree();
        EXPECT_TRUE(world.nodes[1]->engine->ready());
    });
}

// Its owner dies before it is heard again.
TEST(Sim, AFlushedStandbyTakesOver) {
    for_seeds(50, [](std::uint64_t seed) {
        World world(seed, 2);
        Churn churn{world};
        world.set_role(0, Role::active);
        world.set_role(1, Role::standby);
        churn.wait(0, 2s);
        churn.step(0, 300);
        churn.wait(0, 8s);
        flush(world.nodes[1]->kernel, true);
        world.nodes[0]->power_off();
        world.run(1s);
        world.set_role(1, Role::active);
        world.run(4s);
        EXPECT_EQ(churn.missing(1), "");
    });
}

state::Flow natted(unsigned node, unsigned number) {
    state::Flow flow;
    flow.key.proto = number % 2 == 0 ? IPPROTO_TCP : IPPROTO_ICMP;
    flow.key.zone = number % 5 == 0 ? 7 : 0;
    flow.key.orig.src.bytes = {10, 9, static_cast<std::uint8_t>(node), 2};
    flow.key.orig.dst.bytes = {198, 51, 100, 10};
    flow.key.orig.sport = static_cast<std::uint16_t>(1000 + number);
    flow.key.orig.dport = flow.key.proto == IPPROTO_ICMP ? 8 << 8 : 53;
    flow.reply = inverse(flow.key);
    flow.reply.dst.bytes = {203, 0, 113, 1};
    (flow.key.proto == IPPROTO_ICMP ? flow.reply.sport : flow.reply.dport) =
        static_cast<std::uint16_t>(30000 + number);
    flow.src_state = flow.dst_state = flow.key.proto == IPPROTO_ICMP ? 2 : 4;
    flow.flags = state::kSeenReply | state::kAssured;
    return flow;
}

// All nodes were active. Then some or all of them still are, and traffic may continue: a flow that
// was ended begins again with another port.
TEST(Sim, OneNatPortForSeveralFlows) {
    for_seeds(200, [](std::uint64_t seed) {
        constexpr unsigned kPorts = 20;
        const unsigned count = 2 + static_cast<unsigned>(seed % 2);
        World world(seed, count);
        world.quality = bad_link(world);
        Churn churn{world};
        churn.wait(0, 2s);
        for (const bool up : {false, true}) {
            for (unsigned a = 0; a < count; a++)
                for (unsigned b = 0; b < a; b++)
                    world.connect(a, b, up);
            if (up)
                break;
            for (unsigned n = 0; n < count; n++)
                world.set_role(n, Role::active);
            world.run(6s);
            for (unsigned n = 0; n < count; n++)
                for (unsigned port = 0; port < kPorts; port++)
                    world.nodes[n]->kernel.traffic(natted(n, port));
            world.run(Duration(world.below(5'000'000'000)));
        }
        const bool one = world.chance(0.5); // or traffic passes all nodes
        const unsigned sole = one ? static_cast<unsigned>(world.below(count)) : 0;
        const Role others = world.chance(0.5) ? Role::active : Role::automatic;
        const bool traffic = world.chance(0.5);
        world.run(Duration(world.below(3'000'000'000)));
        for (unsigned n = 0; n < count; n++)
            if (!one)
                world.set_role(n, others);
            else if (n != sole)
                world.set_role(n, Role::standby);
        for (int n = 0; n < 30; n++) {
            for (unsigned node = 0; node < count && traffic; node++)
                for (unsigned port = 0; port < kPorts && (!one || node == sole); port++)
                    world.nodes[node]->kernel.traffic(natted(node, port));
            world.run(1s);
        }
        EXPECT_EQ(world.difference(), "");
        const auto& entries = world.nodes[0]->kernel.entries;
        EXPECT_EQ(entries.size(), traffic && !one ? kPorts * count : kPorts);
        for (unsigned port = 0; port < kPorts && one; port++)
            EXPECT_TRUE(entries.contains(natted(sole, port).key)) << "of node " << sole;
        std::uint64_t ended = 0;
        for (const auto& node : world.nodes) {
            ended += node->engine->counters().clashes;
            for (PeerId peer = 0; peer + 1u < count; peer++)
                EXPECT_EQ(node->engine->missing_of(peer), 0u);
        }
        EXPECT_GE(ended, kPorts); // others have timed out meanwhile
    });
}

} // namespace
} // namespace encsync::sim
