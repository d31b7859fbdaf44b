// SPDX-License-Identifier: ISC
#include "ipsec/link/path_mtu.hpp"
#include "tests/unit/link/routed.hpp"

namespace encsync::link {
namespace {

using std::chrono::minutes;

// ---- what is believed ----------------------------------------------------------------------

using Change = PathMtu::Change;
using Due = PathMtu::Due;

struct Belief : testing::Test {
    PathMtu path{1500, 640, {}};
    Clock::time_point now{};
};

TEST_F(Belief, FallsToWhatIsSaidAndNotBelowTheFloor) {
    EXPECT_EQ(1500, path.mtu());
    EXPECT_FALSE(path.next());
    EXPECT_EQ(Change::none, path.told(1500, now));
    EXPECT_EQ(Change::none, path.told(9000, now));
    EXPECT_EQ(Change::lowered, path.told(1400, now));
    EXPECT_EQ(Change::none, path.told(1400, now)); // the same about the next packet
    EXPECT_EQ(Change::none, path.told(1450, now)); // late
    EXPECT_EQ(Change::lowered, path.told(640, now));
    EXPECT_EQ(Change::refused, path.told(639, now));
    EXPECT_EQ(Change::refused, path.told(0, now));
    EXPECT_EQ(640, path.mtu());
}

TEST_F(Belief, GoesDownInStepsWhereNobodySaysHowFar) {
    EXPECT_EQ(Change::lowered, path.too_big(now));
    EXPECT_EQ(1436, path.mtu());
    while (path.too_big(now) == Change::lowered)
        ;
    EXPECT_EQ(640, path.mtu());
}

TEST_F(Belief, AConfiguredMtuBelowTheFloorIsTheFloor) {
    PathMtu low(1000, 1280, {});
    EXPECT_EQ(Change::refused, low.told(999, now));
    EXPECT_EQ(1000, low.mtu());
}

TEST_F(Belief, RisesWhenAProbeIsNotAnswered) {
    path.told(1300, now);
    EXPECT_EQ(now + minutes(10), path.next());
    EXPECT_EQ(Due::nothing, path.due(now + minutes(9)));
    now += minutes(10);
    EXPECT_EQ(Due::probe, path.due(now));
    path.probed(now);
    EXPECT_EQ(Due::nothing, path.due(now + std::chrono::seconds(2)));
    EXPECT_EQ(1300, path.mtu());
    EXPECT_EQ(Due::raised, path.due(now + std::chrono::seconds(3)));
    EXPECT_EQ(1500, path.mtu());
    EXPECT_FALSE(path.next());
}

TEST_F(Belief, StaysWhenAProbeIsAnswered) {
    path.told(1300, now);
    now += minutes(10);
    ASSERT_EQ(Due::probe, path.due(now));
    path.probed(now);
    EXPECT_EQ(Change::refused, path.told(100, now)); // a forger's answer is none
    EXPECT_TRUE(path.probing());
    EXPECT_EQ(Change::none, path.told(1300, now));
    EXPECT_FALSE(path.probing());
    EXPECT_EQ(Due::nothing, path.due(now + minutes(1)));
    EXPECT_EQ(1300, path.mtu());
    EXPECT_EQ(now + minutes(10), path.next());
}

TEST_F(Belief, RisesToWhatTheAnswerToAProbeSays) {
    path.told(1300, now);
    path.probed(now);
    EXPECT_EQ(Change::raised, path.told(1400, now));
    EXPECT_EQ(1400, path.mtu());
    path.probed(now);
    EXPECT_EQ(Change::lowered, path.told(1200, now));
}

TEST_F(Belief, AProbeThatCannotBeSentIsPutOff) {
    path.told(1300, now);
    now += minutes(10);
    ASSERT_EQ(Due::probe, path.due(now));
    path.put_off(now);
    EXPECT_EQ(now + minutes(10), path.next());
    EXPECT_EQ(1300, path.mtu());
}

// ---- a real router -------------------------------------------------------------------------

TEST_F(Routed, TheMtuFallsWhenARouterSaysSo) {
    build();
    send_full(5);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 5; }));
    EXPECT_EQ(1500, mickey->stats().mtu);
    narrow(1300);
    send_full(3);
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1300; }));
    EXPECT_EQ(5u, minnie->packets.size());
    EXPECT_EQ(max_payload(1300, false, false), mickey->link->acquire(0).size());
    mickey->link->commit(0, 0);
    send_full(20);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 25; }));
    EXPECT_EQ(1u, mickey->stats().mtu_lowered);
    EXPECT_EQ(0u, mickey->stats().icmp_refused);
    EXPECT_EQ(1500, minnie->stats().mtu);
    expect_no_fragments();
}

TEST_F(Routed, TheMtuFallsOverIpv6) {
    build(true);
    narrow(1400);
    send_full(3);
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1400; }));
    EXPECT_TRUE(minnie->packets.empty());
    send_full(3);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 3; }));
    EXPECT_EQ(0u, mickey->stats().icmp_refused);
}

TEST_F(Routed, ForgedErrorsDoNot) {
    build();
    send_full(3); // numbers 1 to 3
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 3; }));
    const auto refused = [&](std::uint64_t n) {
        return until([&] { return mickey->stats().icmp_refused == n; });
    };
    forge(4, 700, {}); // quotes as little as RFC 792 asks for
    ASSERT_TRUE(refused(1));
    forge(4, 700, quote(0x12345678, 3)); // an SPI that is none
    ASSERT_TRUE(refused(2));
    forge(4, 700, quote(kMinnieIn, 4)); // a number not sent yet
    ASSERT_TRUE(refused(3));
    forge(4, 700, quote(kMinnieIn, 0)); // and one that never is
    ASSERT_TRUE(refused(4));
    forge(4, 639, quote(kMinnieIn, 3)); // seen on the way, but below any path
    ASSERT_TRUE(refused(5));
    forge(4, 0, quote(kMinnieIn, 3));
    ASSERT_TRUE(refused(6));
    EXPECT_EQ(1500, mickey->stats().mtu);
    EXPECT_EQ(0u, mickey->stats().mtu_lowered);
    send_full(3);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 6; }));
    EXPECT_EQ(0u, mickey->stats().too_big);
    // The twin: what cannot be told from a router's word is believed.
    forge(4, 700, quote(kMinnieIn, 3));
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 700; }));
}

// An error that waits on the socket must not be taken for a failure of what is sent next.
TEST_F(Routed, ForgedErrorsLoseNoPackets) {
    build();
    for (int i = 0; i < 50; i++) {
        forge(i % 2 == 0 ? 3 : 4, 700, quote(1, 1)); // port unreachable, too big
        send_full(2);
    }
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 100; }));
    EXPECT_EQ(0u, mickey->stats().unreachable + mickey->stats().too_big);
    EXPECT_EQ(100u, mickey->stats().tx_packets);
    ASSERT_TRUE(until([&] {
        return mickey->link->stats().receive_error == 25 && mickey->stats().icmp_refused == 25;
    }));
}

TEST_F(Routed, TheMtuRisesAgainWhenTheProbeGetsThrough) {
    options.path.raise_after = std::chrono::milliseconds(100);
    options.path.answer_within = std::chrono::milliseconds(500);
    build();
    narrow(1300);
    send_full(1);
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1300; }));
    narrow(1500);
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1500; }));
    EXPECT_GE(mickey->stats().mtu_probes, 1u);
    EXPECT_GE(minnie->stats().dummy, 1u);
    EXPECT_TRUE(minnie->packets.empty()); // a probe is nothing to the receiver
    send_full(5);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 5; }));
    expect_no_fragments();
}

TEST_F(Routed, TheMtuStaysWhenTheProbeDoesNot) {
    options.path.raise_after = std::chrono::milliseconds(10);
    options.path.answer_within = std::chrono::hours(1);
    build();
    narrow(1300);
    send_full(1);
    ASSERT_TRUE(until([&] { return mickey->stats().mtu_probes >= 3; }));
    EXPECT_EQ(1300, mickey->stats().mtu);
    EXPECT_EQ(0u, mickey->stats().mtu_raised);
    narrow(1400); // wider, but not as wide as configured: the answer says so
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1400; }));
    EXPECT_EQ(1u, mickey->stats().mtu_raised);
    EXPECT_EQ(0u, minnie->stats().dummy);
}

} // namespace
} // namespace encsync::link
