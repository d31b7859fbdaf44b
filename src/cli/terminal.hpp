// SPDX-License-Identifier: ISC
// The whole terminal as a picture of lines, with ncurses. While it lives nothing else may be
// written there; its destructor leaves the terminal as it was.
//
//     auto terminal = Terminal::open();        // Result
//     terminal->show(lines);
//     if (const int key = terminal->key(1000ms); key == 'q') ...
#pragma once

#include "cli/top_screen.hpp"
#include "util/result.hpp"

#include <chrono>
#include <memory>

namespace encsync::cli {

class Terminal {
  public:
    static constexpr int kNoKey = -1, kResized = -2;

    // The error if stdin or stdout is none, or of a kind that ncurses does not know.
    static Result<Terminal> open();

    std::size_t columns() const;
    std::size_t rows() const;
    bool unicode() const { return unicode_; }
    void show(const std::vector<Line>& lines);
    // The next key that is pressed, kResized, or kNoKey after that time.
    int key(std::chrono::milliseconds patience);

  private:
    struct Close {
        void operator()(void* screen) const;
    };
    explicit Terminal(void* screen);

    std::unique_ptr<void, Close> screen_;
    bool unicode_ = false;
};

} // namespace encsync::cli
