// SPDX-License-Identifier: ISC
// Gateways whose cables are one: what one sends to its firewall, the other takes for a firewall's.
#include "sites.hpp"

#include <array>

namespace encsync::relay {
namespace {

using namespace std::chrono_literals;
using Why = Relay::Unready::Why;

constexpr PeerId kCable = Sites::kCable;
constexpr std::uint32_t kDaisy = 20;

// Sites 0 and 1 hear each other on their cables; site 2 has a firewall, daisy.
void join(Sites& s) {
    s.sites[0].joined = 1;
    s.sites[1].joined = 0;
}

TEST(Loop, IsNamedAndNothingGoesRound) {
    Sites s(3);
    EXPECT_FALSE(s.relay(0).loop(kCable));
    join(s);
    s.run(2s);
    for (const std::size_t n : {0, 1}) {
        const auto loop = s.relay(n).loop(kCable);
        ASSERT_TRUE(loop);
        EXPECT_FALSE(loop->self);
        EXPECT_EQ(loop->peer, 2 - n) << "the other's number";
        ASSERT_TRUE(s.relay(n).unready());
        EXPECT_EQ(s.relay(n).unready()->why, Why::loop);
    }
    EXPECT_FALSE(s.relay(2).unready());
    s.sites[2].firewall.received.clear();
    const std::size_t before = s.sites[0].sent_to_cable;
    s.create(2, 1, 100, kDaisy);
    s.run(10s);
    EXPECT_TRUE(s.sites[2].firewall.received.empty()) << "daisy hears nothing of herself";
    EXPECT_LT(s.sites[0].sent_to_cable - before, 50U);
    EXPECT_EQ(s.relay(1).counters(kCable).looped, s.relay(1).counters(kCable).received);
    EXPECT_GE(s.relay(1).counters(kCable).looped, 110U);
    EXPECT_EQ(s.ids(0).size(), 100U);
    // Firewalls again: they are asked for what they have, and heard.
    s.sites[0].joined = s.sites[1].joined = std::nullopt;
    s.sites[0].firewall.received.clear();
    s.run(6s);
    EXPECT_FALSE(s.relay(0).loop(kCable));
    EXPECT_FALSE(s.relay(0).unready());
    EXPECT_EQ(s.sites[0].firewall.count(pfsync::Kind::request), 1U);
    s.create(0, 1, 10, 10);
    EXPECT_EQ(s.ids(2).size(), 110U);
}

// The twin: without names, a single state goes round for ever.
TEST(Loop, WithoutNamesIsAStorm) {
    Sites s(3);
    s.nameless = true;
    join(s);
    s.create(2, 1, 1, kDaisy);
    s.run(200ms);
    const std::uint64_t before = s.relay(0).counters(kCable).received;
    s.run(200ms);
    EXPECT_GT(s.relay(0).counters(kCable).received, before + 1'000);
    EXPECT_FALSE(s.relay(0).loop(kCable));
    EXPECT_GT(s.sites[2].firewall.received.size(), 1'000U) << "daisy hears of herself";
}

// One of them only hears the other, as with multicast: it is the one that is configured wrongly.
TEST(Loop, TheOneThatHearsAGatewayIsTheOneThatIsNotReady) {
    Sites s(3);
    s.sites[0].joined = 1;
    s.run(2s);
    EXPECT_FALSE(s.relay(0).loop(kCable));
    EXPECT_TRUE(s.relay(1).loop(kCable));
    s.create(0, 1, 10, 10); // a firewall is there, too
    s.create(2, 1, 100, kDaisy);
    s.run(2s);
    EXPECT_EQ(s.ids(2).size(), 110U);
    EXPECT_EQ(s.sites[2].firewall.count(pfsync::Kind::insert), 10U);
}

TEST(Loop, AStandbyGatewayNamesNobodyAndIsToldTheLoop) {
    Sites s(3);
    s.relay(1).set_active(false);
    join(s);
    s.sites[1].firewall = {};
    s.run(2s);
    EXPECT_EQ(s.sites[1].firewall.names, 0U);
    EXPECT_FALSE(s.relay(0).loop(kCable));
    EXPECT_TRUE(s.relay(1).loop(kCable)) << "it is not to be promoted";
}

TEST(Loop, TwoCablesOfOneGateway) {
    Sites s(2);
    s.sites[0].joined = 0;
    s.run(2s);
    ASSERT_TRUE(s.relay(0).loop(kCable));
    EXPECT_TRUE(s.relay(0).loop(kCable)->self);
    // And one that is no peer.
    s.sites[0].joined = 1;
    s.run(2s);
    s.relay(1).remove(1);
    ASSERT_TRUE(s.relay(1).loop(kCable));
    EXPECT_FALSE(s.relay(1).loop(kCable)->self);
    EXPECT_EQ(s.relay(1).loop(kCable)->peer, kNoPeer);
}

} // namespace
} // namespace encsync::relay
