// SPDX-License-Identifier: ISC
// Millions of messages between the engine and a pf firewall that shares no code with it
// (pf_process.hpp): afterwards both have the same states. Each test of that has a counterpart with
// a fault, which must be found.
#include "pf_exchange.hpp"
#include "pfsync/parse.hpp"

#include <functional>
#include <gtest/gtest.h>
#include <iostream>
#include <utility>

namespace encsync::sim {
namespace {

using pfsync::Dialect;

class SimPfExchange : public testing::TestWithParam<Dialect> {
  protected:
    void SetUp() override {
        if (!PfProcess::available())
            GTEST_SKIP() << "there is no /usr/bin/python3";
    }
    static void TearDownTestSuite() {
        const PfProcess::Totals all = PfProcess::totals();
        std::cout << "pfsync messages: " << all.sent << " sent by pf, " << all.received
                  << " received by it, in " << all.packets << " packets; " << seeds_
                  << " runs, compared " << compared_ << " times, found to differ " << differed_
                  << " times\n";
    }
    static void run(unsigned seeds, const std::function<void(std::uint64_t)>& scenario) {
        for_seeds(seeds, [&](std::uint64_t seed) {
            seeds_++;
            scenario(seed);
        });
    }
    static void expect_same(std::string difference, const std::string& when = "at the end") {
        compared_++;
        differed_ += difference.empty() ? 0 : 1;
        ASSERT_EQ(difference, "") << when;
    }

  private:
    static inline std::uint64_t seeds_ = 0, compared_ = 0, differed_ = 0;
};
INSTANTIATE_TEST_SUITE_P(, SimPfExchange, testing::Values(Dialect::openbsd, Dialect::freebsd1400),
                         [](const auto& dialect) {
                             return dialect.param == Dialect::openbsd ? "OpenBsd" : "FreeBsd";
                         });

// What a pf firewall may be like.
PfProcess::Options any_options(std::uint64_t seed) {
    return {.bound = seed % 2 == 1, .both = seed % 4 >= 2};
}

// A few seconds in which much happens.
void churn(Exchange& x) {
    for (int n = 0; n < 5; n++) {
        x.step(8);
        x.world.run(std::chrono::milliseconds(x.world.below(500)));
    }
}

std::string round_name(int round) {
    return "round " + std::to_string(round);
}

// Whenever nothing has been new for a moment, both have the same: all that pfsync says has arrived.
TEST_P(SimPfExchange, OnAGoodLinkBothHaveTheSame) {
    run(4, [](std::uint64_t seed) {
        Exchange x(seed, GetParam(), any_options(seed));
        x.world.quality.delay = std::chrono::microseconds(200 + x.world.below(30000));
        x.world.quality.duplicate = 0.05;
        x.world.run(5s);
        for (int round = 0; round < 30; round++) {
            churn(x);
            x.settle();
            ASSERT_NO_FATAL_FAILURE(expect_same(x.difference(), round_name(round)));
        }
        EXPECT_EQ(x.lost, 0u);
    });
}

TEST_P(SimPfExchange, TwoFirewallsAndANodeHaveTheSame) {
    run(3, [](std::uint64_t seed) {
        Exchange x(seed, GetParam(), {}, 2);
        x.world.run(5s);
        for (int round = 0; round < 20; round++) {
            churn(x);
            x.settle();
            ASSERT_NO_FATAL_FAILURE(expect_same(x.difference(), round_name(round)));
        }
        EXPECT_EQ(x.lost, 0u);
    });
}

// pf never gets numbers back that are behind those of packets that have passed it, except of a
// flow that moves: conntrack does not say how far its packets have come.
TEST_P(SimPfExchange, NoWindowIsSetBack) {
    run(2, [](std::uint64_t seed) {
        Exchange x(seed, GetParam(), any_options(seed));
        x.moves = false;
        x.world.quality = bad_link(x.world);
        x.world.quality.jitter = 3s; // old updates arrive after newer ones
        x.world.run(5s);
        for (int round = 0; round < 20; round++)
            churn(x);
        x.world.quality = {};
        x.keep(6min);
        ASSERT_NO_FATAL_FAILURE(expect_same(x.difference_but_for_what_has_ended()));
        EXPECT_EQ(x.rolled_back(), 0u);
    });
}

TEST_P(SimPfExchange, APfThatTakesOlderUpdatesIsFound) { // control
    std::uint64_t rolled_back = 0;
    for (std::uint64_t seed = 1; rolled_back == 0 && seed <= 5; seed++) { // 19 of 20 show it
        Exchange x(seed, GetParam(), {.faults = {"stale"}});
        x.moves = false;
        x.world.quality.late = 0.3;
        x.world.quality.jitter = 3s;
        x.world.run(5s);
        for (int round = 0; round < 80; round++)
            churn(x);
        rolled_back = x.rolled_back();
    }
    EXPECT_NE(rolled_back, 0u);
}

// Each with nothing on its way.
TEST_P(SimPfExchange, AfterARestartBothHaveTheSame) {
    run(4, [](std::uint64_t seed) {
        const PfProcess::Options options = any_options(seed);
        Exchange x(seed, GetParam(), options);
        x.closes_elsewhere = false; // what node0's kernel lacks, node0 gives nobody
        x.world.run(5s);
        for (int round = 0; round < 16; round++) {
            churn(x);
            x.settle();
            ASSERT_NO_FATAL_FAILURE(expect_same(x.difference(), round_name(round)));
            const auto what = x.world.below(5);
            if (what == 0)
                x.power_off();
            else if (what == 1)
                x.flush();
            else if (what == 2)
                x.take_over(8s);
            // A pf with two states of a flow gets one of them back, with both NATs and under the
            // name that was heard first; the next packets make another one of that direction, which
            // takes the name over for a moment.
            else if (what == 3 && !options.both)
                x.reboot();
            else
                x.kill(std::chrono::milliseconds(x.world.below(3000)));
            x.world.run(3s);
            x.settle();
            ASSERT_NO_FATAL_FAILURE(expect_same(x.difference(), round_name(round) + ", restart " +
                                                                    std::to_string(what)));
        }
        EXPECT_EQ(x.lost, 0u);
    });
}

// Byte for byte, and nothing of it from pf itself.
TEST_P(SimPfExchange, APfThatRebootsGetsBackWhatItHad) {
    run(4, [](std::uint64_t seed) {
        Exchange x(seed, GetParam());
        x.closes_elsewhere = false;
        x.world.run(5s);
        for (int round = 0; round < 10; round++)
            churn(x);
        x.settle();
        const auto ids = [&] {
            std::map<state::StateId, PfState> out;
            for (const PfState& s : x.pfs[0]->list())
                out.emplace(s.flow.id, s);
            return out;
        };
        const auto before = ids();
        ASSERT_FALSE(before.empty());
        x.pfs[0]->reboot();
        EXPECT_TRUE(x.pfs[0]->list().empty());
        x.world.run(2s);
        const auto after = ids();
        EXPECT_TRUE(x.pfs[0]->status().in_step);
        EXPECT_EQ(after.size(), before.size());
        for (const auto& [id, was] : before) {
            const auto now = after.find(id);
            ASSERT_NE(now, after.end()) << to_string(was.flow);
            const PfState& is = now->second;
            EXPECT_EQ(is.flow.key, was.flow.key);
            EXPECT_EQ(is.flow.reply, was.flow.reply);
            EXPECT_EQ(is.src, was.src) << to_string(was.flow);
            EXPECT_EQ(is.dst, was.dst) << to_string(was.flow);
            EXPECT_EQ(is.outgoing, was.outgoing);
        }
    });
}

// Updates may be lost, come twice, late or never, and machines may restart: where packets pass
// again, all is the same again. pfsync does not promise more: nothing is acknowledged.
TEST_P(SimPfExchange, AfterABadLinkBothHaveTheSame) {
    run(3, [](std::uint64_t seed) {
        Exchange x(seed, GetParam(), {.both = seed % 2 == 0});
        x.world.quality = bad_link(x.world);
        if (seed % 3 == 1) // old updates arrive after newer ones
            x.world.quality.jitter = 3s;
        x.world.run(20s);
        for (int n = 0; n < 60; n++) {
            x.step(8);
            x.world.run(std::chrono::milliseconds(x.world.below(800)));
            const auto what = x.world.below(40);
            if (what == 0) {
                x.world.connect(0, 1, false);
                x.step(20);
                x.world.run(std::chrono::milliseconds(x.world.below(8000)));
                x.world.connect(0, 1, true);
            } else if (what == 1) {
                // node0 names its flows anew. pf refuses a name for what it has under another, and
                // says nothing, so that this node must hear the old ones.
                const LinkQuality bad = std::exchange(x.world.quality, {});
                x.kill(std::chrono::milliseconds(x.world.below(3000)));
                x.world.run(2s);
                x.world.quality = bad;
            } else if (what == 2) {
                x.reboot();
            } else if (what == 3) {
                x.flush();
            } else if (what == 4 && seed % 2 != 0) { // else before it has heard of the NAT
                x.take_over(8s);
            }
        }
        x.world.quality = {};
        x.keep(14min); // copies without an owner, after a restart, live for 12 minutes
        x.settle();
        ASSERT_NO_FATAL_FAILURE(expect_same(x.difference_but_for_what_has_ended()));
        EXPECT_EQ(faults(*x.world.nodes[0]->engine), 0u);
        // Nor does pf refuse what it is told, or the two of them answer each other without end.
        const std::uint64_t before = x.world.traffic.sent;
        x.world.run(20s);
        EXPECT_LT(x.world.traffic.sent - before, 20u * x.live.size() + 100);
    });
}

// Without packets, each state ends where it lives, or, if that is not heard, by the timer of its
// copy; TCP states a day after their last packet.
TEST_P(SimPfExchange, WithoutPacketsEverythingEnds) {
    run(1, [](std::uint64_t seed) {
        Exchange x(seed, GetParam(), any_options(seed));
        x.world.quality = bad_link(x.world);
        x.world.run(5s);
        for (int round = 0; round < 10; round++)
            churn(x);
        // Established flows of node0 last for the five days that conntrack gives them.
        for (const auto& [number, l] : x.live)
            x.world.nodes[0]->kernel.close(l.flow.key);
        x.live.clear();
        EXPECT_NE(x.left_over(), 0u);
        x.world.run(25h);
        EXPECT_EQ(x.left_over(), 0u);
    });
}

// ---- faults are found ----------------------------------------------------------------------

// Whether both differ at any time, if pf does not follow a rule, or what it is sent is forged.
bool differ(Exchange& x) {
    x.world.run(5s);
    for (int round = 0; round < 20; round++) {
        churn(x);
        x.settle();
        if (!x.difference().empty())
            return true;
    }
    x.flush();
    x.settle();
    return !x.difference().empty();
}

TEST_P(SimPfExchange, ARuleThatPfDoesNotFollowIsFound) { // control
    for (const std::string fault : {"", "del", "nat"}) {
        Exchange x(1, GetParam(), {.faults = {fault}});
        EXPECT_EQ(differ(x), !fault.empty()) << fault;
    }
}

// One byte of each message of a kind, of those that node0 sends or of those that it is sent.
TEST_P(SimPfExchange, AForgedMessageIsFound) { // control
    struct Forged {
        pfsync::Kind kind;
        std::size_t at;
        bool to_pf;
    };
    const pfsync::Layout& full = traits(GetParam()).state;
    const std::size_t seqlo = pfsync::common::peer::seqlo + 3, state = pfsync::common::peer::state;
    for (const auto& [kind, at, to_pf] :
         {Forged{pfsync::Kind::update_c, 8 + state, true},
          Forged{pfsync::Kind::update_c, 8 + state, false},
          Forged{pfsync::Kind::update_c, 8 + 32 + state, true},
          Forged{pfsync::Kind::update_c, 8 + seqlo, false}, Forged{pfsync::Kind::remove_c, 7, true},
          Forged{pfsync::Kind::remove_c, 7, false}, Forged{pfsync::Kind::insert, full.id + 7, true},
          Forged{pfsync::Kind::insert, full.wire + full.addr1 + 3, true},
          Forged{pfsync::Kind::insert, full.stack + full.port1 + 1, false}}) {
        Exchange x(1, GetParam());
        x.world.forge = [&](unsigned, unsigned to, MutableBytes packet) {
            pfsync::Parser parser(packet, GetParam());
            while (const pfsync::Section* section = parser.next())
                for (std::uint16_t n = 0; section->kind == kind && n < section->count; n++)
                    if ((to == 1) == to_pf)
                        packet[static_cast<std::size_t>(section->message(n).data() -
                                                        packet.data()) +
                               at] ^= 1;
        };
        EXPECT_TRUE(differ(x)) << "kind " << static_cast<int>(kind) << ", byte " << at
                               << (to_pf ? " to pf" : " from pf");
    }
}

} // namespace
} // namespace encsync::sim
