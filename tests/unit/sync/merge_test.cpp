// SPDX-License-Identifier: ISC
#include "sync/merge.hpp"
#include "sync/record.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::sync {
namespace {

TEST(Merge, EachSideByItself) {
    struct Row {
        int ours_src, ours_dst, their_src, their_dst;
        int src, dst;
        bool src_stale, dst_stale;
    };
    constexpr Row kRows[] = {
        {2, 0, 2, 0, 2, 0, false, false}, // no change
        {2, 0, 4, 2, 4, 2, false, false}, // both have progressed
        {4, 4, 2, 0, 4, 4, true, true},   // the update is stale
        {4, 2, 2, 4, 4, 4, true, false},  // each is ahead on one side
        {2, 4, 4, 2, 4, 4, false, true},  //
        {9, 9, 10, 10, 10, 10, false, false}, {10, 10, 9, 10, 10, 10, true, false},
        {0, 0, 12, 12, 12, 12, false, false}, // synproxy's own states
    };
    for (const Row& row : kRows) {
        state::Record record;
        record.src_state = static_cast<std::uint8_t>(row.ours_src);
        record.dst_state = static_cast<std::uint8_t>(row.ours_dst);
        const Merge result = merge(record, static_cast<std::uint8_t>(row.their_src),
                                   static_cast<std::uint8_t>(row.their_dst));
        EXPECT_EQ(record.src_state, row.src);
        EXPECT_EQ(record.dst_state, row.dst);
        EXPECT_EQ(result.src_stale, row.src_stale);
        EXPECT_EQ(result.dst_stale, row.dst_stale);
        EXPECT_EQ(result.any_stale(), row.src_stale || row.dst_stale);
    }
}

TEST(Merge, FlagsFollowFromProgress) {
    struct Row {
        int proto, src, dst, flags;
    };
    constexpr Row kRows[] = {
        {IPPROTO_TCP, 2, 0, 0},
        {IPPROTO_TCP, 4, 2, state::kSeenReply},
        {IPPROTO_TCP, 4, 4, state::kSeenReply | state::kAssured},
        {IPPROTO_TCP, 2, 4, state::kSeenReply},
        {IPPROTO_UDP, 1, 0, 0},
        {IPPROTO_UDP, 2, 1, state::kSeenReply},
        {IPPROTO_UDP, 2, 2, state::kSeenReply | state::kAssured},
    };
    for (const Row& row : kRows)
        EXPECT_EQ(progress_flags(static_cast<std::uint8_t>(row.proto),
                                 static_cast<std::uint8_t>(row.src),
                                 static_cast<std::uint8_t>(row.dst)),
                  row.flags)
            << row.proto << " " << row.src << ":" << row.dst;
}

TEST(Terms, CompareLikeSequenceNumbers) {
    struct Row {
        int a, b, sign;
    };
    constexpr Row kRows[] = {{0, 0, 0},    {1, 0, 1},   {0, 1, -1}, {127, 126, 1}, {0, 127, 1},
                             {127, 0, -1}, {5, 120, 1}, {63, 0, 1}, {0, 63, -1},   {120, 5, -1}};
    for (const Row& row : kRows) {
        const int result =
            compare_terms(static_cast<std::uint8_t>(row.a), static_cast<std::uint8_t>(row.b));
        EXPECT_EQ((result > 0) - (result < 0), row.sign) << row.a << " " << row.b;
    }
    EXPECT_EQ(next_term(0), 1);
    EXPECT_EQ(next_term(127), 0);
}

} // namespace
} // namespace encsync::sync
