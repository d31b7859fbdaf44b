// SPDX-License-Identifier: ISC
#include "ipsec/esp/sa.hpp"
#include "ipsec/link/batch.hpp"

#include <gtest/gtest.h>
#include <set>

namespace encsync::link {
namespace {

constexpr std::size_t kLargest = 1472;

// Every packet once and in order, and each run one that the kernel accepts.
std::vector<Run> plan(const std::vector<std::size_t>& sizes) {
    std::vector<Run> runs;
    plan_runs(sizes, kLargest, runs);
    std::size_t next = 0;
    for (const Run& run : runs) {
        EXPECT_EQ(next, run.first);
        EXPECT_GE(run.count, 1u);
        EXPECT_LE(run.count, kMaxSegments);
        if (run.count > 1) {
            EXPECT_LE(run.count * run.wire_size, kMaxGsoBytes);
        }
        for (std::size_t i = 0; i < run.count; i++) {
            const std::size_t size = sizes[run.first + i];
            EXPECT_LE(wire_size(size, kLargest), run.wire_size);
            EXPECT_TRUE(i + 1 == run.count || esp::OutboundSa::can_pad(size, run.wire_size));
            EXPECT_TRUE(size > esp::max_inner_size(kLargest) ||
                        esp::OutboundSa::can_pad(size, wire_size(size, kLargest)));
        }
        next = run.first + run.count;
    }
    EXPECT_EQ(sizes.size(), next);
    return runs;
}

TEST(PlanRuns, NothingIsNoRun) {
    EXPECT_TRUE(plan({}).empty());
}

TEST(WireSize, IsOneOfAFew) {
    std::set<std::size_t> seen;
    for (std::size_t inner = 0; inner <= esp::max_inner_size(kLargest); inner++)
        seen.insert(wire_size(inner, kLargest));
    EXPECT_EQ((std::set<std::size_t>{256, 512, 768, 1024, 1280, 1472}), seen);
    // A packet that the path cannot carry is not padded further.
    EXPECT_EQ(esp::sealed_size(1460), wire_size(1460, kLargest));
}

TEST(PlanRuns, EqualOnesGoTogether) {
    EXPECT_EQ(1u, plan(std::vector<std::size_t>(40, 1400)).size());
    EXPECT_EQ(2u, plan(std::vector<std::size_t>(64, 1400)).size()); // 65,000 bytes a call
    EXPECT_EQ(1u, plan(std::vector<std::size_t>(64, 200)).size());
    EXPECT_EQ(2u, plan(std::vector<std::size_t>(65, 200)).size());
}

TEST(PlanRuns, NearlyEqualOnesArePadded) {
    EXPECT_EQ(1u, plan({1400, 1200, 1300, 1401, 1190}).size());
    EXPECT_EQ(1u, plan({1200, 1400, 1200}).size());
    EXPECT_EQ(1u, plan({20, 222, 30, 100}).size());
}

TEST(PlanRuns, AShortOneEndsARun) {
    const auto runs = plan({1400, 1400, 60, 1400});
    ASSERT_EQ(2u, runs.size());
    EXPECT_EQ(3u, runs[0].count);
}

TEST(PlanRuns, ALongOneBeginsARun) {
    const auto runs = plan({60, 1400, 1400});
    ASSERT_EQ(2u, runs.size());
    EXPECT_EQ(1u, runs[0].count);
}

TEST(PlanRuns, JumboPacketsGoAlone) {
    EXPECT_EQ(3u, plan({40000, 40000, 40000}).size());
}

TEST(PlanRuns, AnySizes) {
    std::uint32_t random = 1;
    for (int round = 0; round < 500; round++) {
        std::vector<std::size_t> sizes;
        for (int i = 0; i < 64; i++) {
            random = random * 1664525 + 1013904223;
            sizes.push_back(40 + (random >> 16) % (round % 2 == 0 ? 1400 : 300));
        }
        plan(sizes);
    }
}

} // namespace
} // namespace encsync::link
