// SPDX-License-Identifier: ISC
#include "daemon/repeats.hpp"

#include <gtest/gtest.h>

namespace encsync::daemon {
namespace {

using namespace std::chrono_literals;

constexpr Repeats::Time kStart{1000s};

TEST(Repeats, SaysAReasonOnceAMinuteWithItsCount) {
    Repeats repeats;
    EXPECT_EQ(repeats.line("wrong key", kStart), "wrong key");
    for (auto after = 1s; after < 60s; after += 4s)
        EXPECT_FALSE(repeats.line("wrong key", kStart + after));
    EXPECT_EQ(repeats.line("wrong key", kStart + 60s), "wrong key (15 more times)");
    EXPECT_FALSE(repeats.line("wrong key", kStart + 61s));
}

TEST(Repeats, SaysAnotherReasonAtOnce) {
    Repeats repeats;
    EXPECT_EQ(repeats.line("wrong key", kStart), "wrong key");
    EXPECT_EQ(repeats.line("wrong id", kStart + 1s), "wrong id");
    // Two that alternate are not logged again.
    EXPECT_FALSE(repeats.line("wrong key", kStart + 2s));
    EXPECT_FALSE(repeats.line("wrong id", kStart + 3s));
}

TEST(Repeats, PausesLongerWhileItGoesOn) {
    Repeats repeats;
    int lines = 0;
    for (auto after = 0s; after < 24h; after += 5s)
        lines += repeats.line("does not answer", kStart + after).has_value();
    EXPECT_GE(lines, 24);
    EXPECT_LE(lines, 24 + 7);
    // Control: after a pause without failures it is logged as at first.
    EXPECT_EQ(repeats.line("does not answer", kStart + 48h).value().substr(0, 15),
              "does not answer");
    EXPECT_EQ(repeats.line("does not answer", kStart + 72h), "does not answer");
    EXPECT_EQ(repeats.line("does not answer", kStart + 72h + 60s), "does not answer");
}

TEST(Repeats, SaysItAtOnceAfterASuccess) {
    Repeats repeats;
    EXPECT_TRUE(repeats.line("wrong key", kStart));
    EXPECT_FALSE(repeats.line("wrong key", kStart + 1s));
    repeats.forget();
    EXPECT_EQ(repeats.line("wrong key", kStart + 2s), "wrong key");
}

TEST(Repeats, AFloodOfReasonsIsCounted) {
    Repeats repeats(3);
    int lines = 0;
    for (int n = 0; n < 10'000; n++)
        lines += repeats.line("calls itself " + std::to_string(n), kStart).has_value();
    EXPECT_EQ(lines, 3);
    EXPECT_EQ(repeats.line("calls itself minnie", kStart + 60s),
              "calls itself minnie (and 9997 other failures)");
}

} // namespace
} // namespace encsync::daemon
