// SPDX-License-Identifier: ISC
#include "daemon/next_key.hpp"

#include <gtest/gtest.h>

namespace encsync::daemon {
namespace {

using namespace std::chrono_literals;
constexpr bool kUp = true, kDown = false, kNext = true, kOlder = false;

struct NextKeyTest : testing::Test {
    NextKey next;
    NextKey::Clock::time_point now{1h};

    bool after(std::chrono::seconds pause, bool up) {
        now += pause;
        return next.advance(now, up);
    }
};

TEST_F(NextKeyTest, IsTriedBesideTheTunnelAndStaysIfItIsAccepted) {
    EXPECT_FALSE(next.in_use());
    EXPECT_TRUE(after(1s, kUp));
    EXPECT_TRUE(next.in_use());
    EXPECT_FALSE(next.accepted());
    EXPECT_FALSE(next.succeeded(now, kNext));
    EXPECT_TRUE(next.accepted());
    EXPECT_FALSE(after(10min, kUp));
    EXPECT_TRUE(next.in_use());
}

TEST_F(NextKeyTest, IsTriedAgainEachMinuteUntilThen) {
    for (int attempt = 0; attempt < 3; attempt++) {
        EXPECT_TRUE(after(NextKey::kPause, kUp));
        EXPECT_TRUE(next.in_use());
        EXPECT_TRUE(next.failed(now, kUp));
        EXPECT_FALSE(next.in_use());
        EXPECT_FALSE(after(NextKey::kPause - 1s, kUp)) << "not all the time";
        now -= NextKey::kPause - 1s;
    }
}

TEST_F(NextKeyTest, IsTriedAtOnceAfterAChange) {
    EXPECT_TRUE(after(1s, kUp));
    EXPECT_TRUE(next.failed(now, kUp));
    EXPECT_FALSE(after(1s, kUp));
    next.hurry();
    EXPECT_TRUE(after(1s, kUp));
}

TEST_F(NextKeyTest, IsGivenUpForAWhileIfThereIsNoAnswer) {
    EXPECT_TRUE(after(1s, kUp));
    EXPECT_FALSE(after(NextKey::kAttempt - 1s, kUp));
    EXPECT_TRUE(after(1s, kUp));
    EXPECT_FALSE(next.in_use());
    EXPECT_FALSE(after(NextKey::kPause - 1s, kUp));
    EXPECT_TRUE(after(1s, kUp));
}

TEST_F(NextKeyTest, TakesTurnsWithTheOlderOneWhileThePeerIsDown) {
    EXPECT_FALSE(after(10min, kDown)) << "the older one first";
    EXPECT_TRUE(next.failed(now, kDown));
    EXPECT_TRUE(next.in_use());
    EXPECT_FALSE(after(10min, kDown)) << "for as long as nobody answers";
    EXPECT_TRUE(next.failed(now, kDown));
    EXPECT_FALSE(next.in_use());
    EXPECT_FALSE(next.succeeded(now, kOlder));
    EXPECT_FALSE(next.accepted());
}

// Its SAs of before are rekeyed for a while, and anybody may fail in the peer's name.
TEST_F(NextKeyTest, StaysAcceptedWhileThePeerIsUp) {
    EXPECT_TRUE(after(1s, kUp));
    EXPECT_FALSE(next.succeeded(now, kNext));
    EXPECT_FALSE(next.succeeded(now, kOlder));
    EXPECT_FALSE(next.failed(now, kUp));
    EXPECT_TRUE(next.accepted());
    // But not if the peer is back with the older key only.
    EXPECT_TRUE(next.failed(now, kDown));
    EXPECT_FALSE(next.accepted());
    EXPECT_FALSE(next.in_use());
}

} // namespace
} // namespace encsync::daemon
