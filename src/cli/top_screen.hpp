// SPDX-License-Identifier: ISC
// The picture of `encsync top`: a pure function from what is known to lines that fit.
#pragma once

#include "cli/top_history.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace encsync::cli {

enum class Style : std::uint8_t { plain, title, heading, good, bad };

struct Line {
    std::string text; // of one column a character
    Style style = Style::plain;
};

// What is shown, and how.
struct TopView {
    std::size_t columns = 80, rows = 24;
    std::string time{};         // now
    std::string by{};           // "source", "destination" or "service"
    std::string interval{};     // between two pictures: "1 s"
    bool help = false;          // in place of the picture
    bool blocks = true;         // the terminal has U+2581 to U+2588
    std::string told_nothing{}; // why there are no talkers; empty: there are
    std::vector<std::pair<std::string, std::uint64_t>> talkers{};
};

// At most so many rows, none longer than the columns.
std::vector<Line> render_top(const TopHistory& history, const TopView& view);

// "####------  45 %": a bar of that many columns.
std::string progress_bar(std::uint64_t done, std::uint64_t of, std::size_t columns);
// How a bulk update stands: "12,000 of 50,000 states, 3s left".
std::string bulk_words(const TopHistory::Bulk& bulk);

} // namespace encsync::cli
