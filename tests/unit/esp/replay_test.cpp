// SPDX-License-Identifier: ISC
#include "ipsec/esp/replay.hpp"

#include <gtest/gtest.h>
#include <ostream>
#include <vector>

namespace encsync::esp {
namespace {

using Answer = ReplayWindow::Answer;
constexpr Answer fresh = Answer::fresh, replayed = Answer::replayed, too_old = Answer::too_old;

// One packet: its number on the wire, and the result. A fresh one counts as authentic.
struct Row {
    std::uint64_t sequence;
    Answer verdict;
};

Answer take(ReplayWindow& window, std::uint64_t number) {
    const Answer answer = window.check(number);
    if (answer == Answer::fresh)
        window.advance(number);
    return answer;
}

void run(std::uint32_t size, const std::vector<Row>& rows) {
    ReplayWindow window(size, false);
    std::size_t line = 0;
    for (const Row& row : rows) {
        EXPECT_EQ(
            static_cast<int>(row.verdict),
            static_cast<int>(take(window, window.infer(static_cast<std::uint32_t>(row.sequence)))))
            << "window " << size << ", row " << line << ", sequence " << row.sequence;
        line++;
    }
}

class Window : public testing::TestWithParam<std::uint32_t> {};

TEST_P(Window, EdgesAsATable) {
    const std::uint32_t w = GetParam();
    run(w, {
               {0, too_old},
               {1, fresh},
               {1, replayed},
               {9, fresh},
               {8, fresh},
               {7, fresh},
               {7, replayed},
               {w, fresh},         // 1 is the left edge
               {1, replayed},      //
               {2, fresh},         //
               {w + 1, fresh},     // now 2 is
               {1, too_old},       //
               {2, replayed},      //
               {3, fresh},         //
               {w + 1, replayed},  //
               {2 * w, fresh},     // now w + 1 is
               {w, too_old},       //
               {w + 1, replayed},  //
               {w + 2, fresh},     // not 2 of the earlier round
               {2 * w - 1, fresh}, //
               {2 * w, replayed},  //
               {5 * w, fresh},     // beyond a whole window: no earlier number is left
               {4 * w, too_old},   //
               {4 * w + 1, fresh}, //
               {4 * w + 1, replayed},
               {5 * w - 1, fresh},
               {5 * w - 1, replayed},
           });
}

TEST_P(Window, CountingDownFillsItWholly) {
    const std::uint32_t w = GetParam();
    std::vector<Row> rows{{3 * w + 5, fresh}};
    for (std::uint32_t i = 1; i < w; i++)
        rows.push_back({3 * w + 5 - i, fresh});
    rows.push_back({2 * w + 5, too_old});
    for (std::uint32_t i = 0; i < w; i++)
        rows.push_back({3 * w + 5 - i, replayed});
    run(w, rows);
}

TEST_P(Window, CountingUpKeepsWhatIsInside) {
    const std::uint32_t w = GetParam();
    std::vector<Row> rows;
    for (std::uint32_t i = 1; i < 3 * w; i += 2)
        rows.push_back({i, fresh});
    const std::uint32_t top = static_cast<std::uint32_t>(rows.back().sequence);
    for (std::uint32_t i = top - w + 1; i <= top; i++)
        rows.push_back({i, i % 2 == 1 ? replayed : fresh});
    run(w, rows);
}

// Compared with the simplest implementation: a list of all that was seen.
TEST_P(Window, AgreesWithAListOfAll) {
    const std::uint32_t w = GetParam();
    ReplayWindow window(w, false);
    std::vector<bool> seen(40 * w);
    std::uint64_t top = 0;
    std::uint32_t random = 12345;
    for (int i = 0; i < 20000; i++) {
        random = random * 1664525 + 1013904223;
        std::uint64_t number = top + (random >> 16) % (w + w / 4);
        number = number > w ? number - w : 1;
        if (number >= seen.size())
            break;
        const Answer expected = number + w <= top ? too_old : seen[number] ? replayed : fresh;
        ASSERT_EQ(static_cast<int>(expected), static_cast<int>(take(window, number)))
            << "number " << number << ", top " << top;
        if (expected == fresh)
            seen[number] = true;
        top = std::max(top, number);
    }
    EXPECT_EQ(top, window.top());
}

INSTANTIATE_TEST_SUITE_P(Sizes, Window, testing::Values(32, 33, 63, 64, 65, 1000, 1024, 4096));

TEST(ReplayWindow, SizesAreTakenToTheNearerEnd) {
    EXPECT_EQ(32u, ReplayWindow(1, false).size());
    EXPECT_EQ(4096u, ReplayWindow(100000, false).size());
    EXPECT_EQ(1024u, ReplayWindow(1024, false).size());
}

TEST(ReplayWindow, CheckAloneMovesNothing) {
    ReplayWindow window(64, false);
    EXPECT_EQ(fresh, window.check(1000000));
    EXPECT_EQ(fresh, window.check(1));
    EXPECT_EQ(0u, window.top());
}

TEST(ReplayWindow, Without_EsnTheNumberEndsAt32Bits) {
    run(64, {{UINT32_MAX, fresh}, {UINT32_MAX, replayed}, {0, too_old}, {1, too_old}});
}

// RFC 4303 appendix A2.2, around every edge of the two cases. Window of 64 packets.
TEST(ReplayWindow, EsnInfersTheUpperHalf) {
    constexpr std::uint64_t k4g = std::uint64_t{1} << 32;
    struct EsnRow {
        std::uint64_t top;
        std::uint32_t low;
        std::uint64_t number; // 0: none
    };
    const std::vector<EsnRow> rows{
        // Nothing received yet: only the first round is possible.
        {0, 1, 1},
        {0, 5000, 5000},
        {0, UINT32_MAX - 63, UINT32_MAX - 63},
        {0, UINT32_MAX - 62, 0}, // would be in the round before the first
        {0, UINT32_MAX, 0},
        // Case A, the window in the middle of a round.
        {1000, 1000, 1000},
        {1000, 937, 937},       // left edge
        {1000, 936, k4g + 936}, // left of it: the next round
        {1000, UINT32_MAX, UINT32_MAX},
        {7 * k4g + 1000, 937, 7 * k4g + 937},
        {7 * k4g + 1000, 936, 8 * k4g + 936},
        // Between the cases: top 63 has its left edge at 0.
        {7 * k4g + 63, 0, 7 * k4g},
        {7 * k4g + 63, UINT32_MAX, 7 * k4g + UINT32_MAX},
        {7 * k4g + 62, 0, 7 * k4g},
        {7 * k4g + 62, UINT32_MAX, 6 * k4g + UINT32_MAX},
        {7 * k4g + 62, UINT32_MAX - 1, 7 * k4g + UINT32_MAX - 1},
        // Case B, the window across the border of two rounds.
        {7 * k4g, 0, 7 * k4g},
        {7 * k4g, UINT32_MAX - 62, 6 * k4g + UINT32_MAX - 62},
        {7 * k4g, UINT32_MAX - 63, 7 * k4g + UINT32_MAX - 63},
        {7 * k4g + 5, 70, 7 * k4g + 70},
        // The end of the last round.
        {UINT64_MAX - 5, UINT32_MAX - 2, UINT64_MAX - 2},
        {UINT64_MAX - 5, 3, 0},
    };
    for (const EsnRow& row : rows) {
        ReplayWindow window(64, true);
        if (row.top != 0)
            window.advance(row.top);
        EXPECT_EQ(row.number, window.infer(row.low)) << "top " << row.top << " low " << row.low;
    }
}

TEST(ReplayWindow, EsnRollsOver) {
    constexpr std::uint64_t k4g = std::uint64_t{1} << 32;
    ReplayWindow window(1024, true);
    window.advance(k4g - 500);
    for (std::uint64_t number = k4g - 499; number < k4g + 600; number++) {
        ASSERT_EQ(number, window.infer(static_cast<std::uint32_t>(number)));
        ASSERT_EQ(fresh, take(window, number));
    }
    // Numbers seen in the earlier round are replays, and not new ones of this round.
    EXPECT_EQ(replayed, window.check(window.infer(static_cast<std::uint32_t>(k4g - 400))));
    EXPECT_EQ(k4g + 599, window.top());
}

} // namespace
} // namespace encsync::esp
