// SPDX-License-Identifier: ISC
// Everything combined, from one seed: two to four nodes; links that lose, delay, reorder, duplicate
// and damage packets, and are cut; flows of two protocols and families, with NAT, zones and marks,
// that begin, progress and end, sometimes all at once; peers that are forgotten and trusted again;
// processes that are killed and restarted, nodes that lose power and return without their table;
// roles that change in either order. In the end all nodes hold exactly the live flows, agree on
// their owners, and all counts are consistent.
#include "churn.hpp"

#include <gtest/gtest.h>

namespace encsync::sim {
namespace {

class Everything {
  public:
    explicit Everything(std::uint64_t seed) : world_(seed, count_of(seed)), churn_{world_} {}

    void run() {
        world_.quality = worst_link();
        const bool roles = world_.chance(0.7);
        if (roles)
            for (unsigned n = 0; n < count(); n++)
                world_.set_role(n, n == 0 ? Role::active : Role::standby);
        churn_.wait_until_in_step(active_);
        for (unsigned n = 4 + static_cast<unsigned>(world_.below(6)); n > 0; n--) {
            traffic();
            happen(roles);
            if (testing::Test::HasFailure())
                return;
        }
        traffic();
        settle();
        expect_all_well();
        end();
    }

  private:
    static unsigned count_of(std::uint64_t seed) { return 2 + static_cast<unsigned>(seed % 3); }
    unsigned count() const { return static_cast<unsigned>(world_.nodes.size()); }
    unsigned other() {
        return (active_ + 1 + static_cast<unsigned>(world_.below(count() - 1))) % count();
    }
    Duration up_to(Duration most) {
        return Duration(
            static_cast<std::int64_t>(world_.below(static_cast<std::uint64_t>(most.count()))));
    }
    LinkQuality worst_link() {
        LinkQuality q = bad_link(world_);
        q.corrupt = static_cast<double>(world_.below(10)) / 100;
        return q;
    }

    void traffic() {
        for (std::uint64_t n = 1 + world_.below(4); n > 0; n--) {
            churn_.step(active_, static_cast<unsigned>(world_.below(25)));
            world_.run(up_to(100ms));
        }
    }
    void wait(Duration span) { churn_.wait(active_, span); }

    void happen(bool roles) {
        switch (world_.below(roles ? 8 : 6)) {
        case 0:
            world_.quality = worst_link();
            return wait(up_to(3s));
        case 1:
            return part();
        case 2:
            return restart(static_cast<unsigned>(world_.below(count())));
        case 3:
            return lose_power(other());
        case 4:
            return forget();
        case 5:
            return flush();
        case 6:
            return hand_over();
        default:
            return die();
        }
    }
    // A node without traffic does not hear some or all of the others for a while.
    void part() {
        const unsigned lonely = other();
        for (unsigned n = 0; n < count(); n++)
            if (n != lonely && (n == active_ || world_.chance(0.5))) {
                world_.cut[n][lonely] = true;
                world_.cut[lonely][n] = world_.chance(0.7);
            }
        for (int n = 0; n < 3; n++) {
            traffic();
            wait(up_to(4s));
        }
        for (unsigned n = 0; n < count(); n++)
            world_.connect(n, lonely, true);
        wait(up_to(2s));
    }
    // `encsync keys forget` and `trust`: one of the two has no SA for a while, and soon after the
    // other has none either. All flows may end meanwhile, or right afterwards.
    void forget() {
        const unsigned lonely = other();
        const unsigned peer =
            (lonely + 1 + static_cast<unsigned>(world_.below(count() - 1))) % count();
        world_.connect(lonely, peer, false);
        traffic();
        world_.link(lonely, peer, false);
        for (int n = 0; n < 3; n++) {
            traffic();
            wait(up_to(4s));
        }
        if (world_.chance(0.3))
            flush();
        world_.link(lonely, peer, true);
        wait(up_to(2s));
        if (world_.chance(0.3))
            flush();
    }
    // `conntrack -F` on the node with the traffic.
    void flush() {
        for (const auto& [number, flow] : churn_.alive)
            world_.nodes[active_]->kernel.close(flow.key);
        churn_.alive.clear();
        traffic();
    }
    void restart(unsigned node) {
        world_.nodes[node]->stop();
        churn_.step(active_, 10);
        wait(up_to(6s));
        world_.nodes[node]->start();
        // Until it is in step again it cannot distinguish a copy from a flow that has ended.
        churn_.wait_until_in_step(active_);
    }
    void lose_power(unsigned node) {
        world_.nodes[node]->power_off();
        traffic();
        wait(up_to(6s));
        world_.nodes[node]->start();
        churn_.wait_until_in_step(active_);
    }
    // In the right order, or in that of keepalived, whose two ends are not synchronized.
    void hand_over() {
        wait(8s);
        churn_.wait_until_agreed(active_);
        const unsigned next = other();
        if (world_.chance(0.5)) {
            world_.set_role(active_, Role::standby);
            world_.run(up_to(1s));
            world_.set_role(next, Role::active);
        } else {
            world_.set_role(next, Role::active);
            world_.run(up_to(1s));
            world_.set_role(active_, Role::standby);
        }
        active_ = next;
        EXPECT_EQ(churn_.missing(active_), "");
        wait(5s); // until all nodes know
    }
    void die() {
        wait(8s);
        churn_.wait_until_agreed(active_);
        const unsigned dead = active_, next = other();
        world_.nodes[dead]->power_off();
        active_ = next;
        world_.run(up_to(2s));
        world_.set_role(next, Role::active);
        EXPECT_EQ(churn_.missing(active_), "");
        wait(6s); // until all nodes know
        traffic();
        world_.nodes[dead]->role = Role::standby;
        world_.nodes[dead]->start();
        churn_.wait_until_in_step(active_);
    }

    void settle() {
        wait(5s);
        world_.quality = {};
        wait(25s);
    }
    void expect_all_well() {
        churn_.expect_all_agree();
        EXPECT_EQ(world_.nodes[active_]->engine->live(), churn_.alive.size());
        for (const auto& node : world_.nodes)
            for (PeerId peer = 0; peer + 1u < count(); peer++) {
                const sync::Checks& checks = node->engine->session(peer).checks;
                EXPECT_EQ(checks.differing, 0u);
                EXPECT_GE(checks.equal, world_.now - 3s) << "node " << node->index;
                EXPECT_GE(checks.peer_equal, world_.now - 5s) << "node " << node->index;
            }
        const World::Traffic& t = world_.traffic;
        EXPECT_EQ(t.sent, t.arrived + t.lost + t.corrupted + t.in_flight);
        for (const auto& node : world_.nodes) // no damaged packet was accepted
            EXPECT_EQ(faults(*node->engine), 0u);
    }
    // All flows end, and none remains or comes back.
    void end() {
        for (const auto& [number, flow] : churn_.alive)
            world_.nodes[active_]->kernel.close(flow.key);
        churn_.alive.clear();
        world_.run(5s);
        churn_.expect_all_agree();
        for (const auto& node : world_.nodes)
            EXPECT_EQ(node->engine->index().size(), 0u);
    }

    World world_;
    Churn churn_;
    unsigned active_ = 0;
};

// A node that never forwards does not hear the active one, which is forgotten and trusted again,
// for seconds or for as long as a copy lives; at some time all flows end (`conntrack -F`). No other
// node becomes their owner.
TEST(Sim, ForgottenAndTrustedAgain) {
    for_seeds(300, [](std::uint64_t seed) {
        const unsigned count = 2 + static_cast<unsigned>(seed % 3);
        World world(seed, count);
        world.quality = bad_link(world);
        for (unsigned n = 0; n < count; n++)
            world.set_role(n, n == 0              ? Role::active
                              : world.chance(0.5) ? Role::standby
                                                  : Role::automatic);
        Churn churn{world};
        churn.wait_until_in_step(0);
        churn.step(0, 150);
        churn.wait(0, 5s);
        const std::uint64_t when = world.below(5);
        const auto moment = [&](std::uint64_t now) {
            if (now != when)
                return;
            for (const auto& [number, flow] : churn.alive)
                world.nodes[0]->kernel.close(flow.key);
            churn.alive.clear();
            churn.step(0, 20);
        };
        const unsigned lonely = 1 + static_cast<unsigned>(world.below(count - 1));
        moment(0);
        world.connect(0, lonely, false);
        churn.wait(0, std::chrono::milliseconds(world.below(6000)));
        world.link(0, lonely, false);
        moment(1);
        churn.wait(0, std::chrono::seconds(1 + world.below(world.chance(0.2) ? 1500 : 60)));
        moment(2);
        churn.step(0, 30);
        churn.wait(0, 1s);
        world.link(0, lonely, true);
        moment(3);
        churn.wait(0, std::chrono::milliseconds(world.below(8000)));
        moment(4);
        churn.wait(0, 30s);
        churn.expect_all_agree();
        for (unsigned n = 1; n < count; n++)
            EXPECT_EQ(world.nodes[n]->engine->live(), 0u) << "node " << n;
    });
}

constexpr unsigned kParts = 4, kSeedsAPart = 400;

class SimOf : public testing::TestWithParam<unsigned> {};

TEST_P(SimOf, EverythingAtOnce) {
    for_seeds(
        kSeedsAPart, [](std::uint64_t seed) { Everything(seed).run(); },
        1 + GetParam() * kSeedsAPart);
}

INSTANTIATE_TEST_SUITE_P(Part, SimOf, testing::Range(0u, kParts));

} // namespace
} // namespace encsync::sim
