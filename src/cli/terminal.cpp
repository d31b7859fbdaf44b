// SPDX-License-Identifier: ISC
#include "cli/terminal.hpp"

#include <algorithm>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <langinfo.h>
#include <string_view>
#include <unistd.h>
#define NCURSES_NOMACROS // they take names like move and clear
#include <ncurses.h>

namespace encsync::cli {

namespace {

attr_t attributes(Style style) {
    const auto color = [](short pair) { return has_colors() ? COLOR_PAIR(pair) : A_NORMAL; };
    switch (style) {
    case Style::plain:
        break;
    case Style::title:
        return A_REVERSE;
    case Style::heading:
        return A_BOLD;
    case Style::good:
        return color(1);
    case Style::bad:
        return color(2) | A_BOLD;
    }
    return A_NORMAL;
}

} // namespace

Result<Terminal> Terminal::open() {
    if (::isatty(STDIN_FILENO) != 1 || ::isatty(STDOUT_FILENO) != 1)
        return Error{"this is for a terminal; scripts have status --watch --json"};
    std::setlocale(LC_CTYPE, "");
    const char* type = std::getenv("TERM");
    SCREEN* screen = newterm(nullptr, stdout, stdin);
    if (screen == nullptr)
        return Error{fmt::format("the terminal is of an unknown kind: TERM={}",
                                 type != nullptr ? type : "")};
    return Terminal(screen);
}

Terminal::Terminal(void* screen)
    : screen_(screen), unicode_(std::string_view(nl_langinfo(CODESET)) == "UTF-8") {
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, true);
    if (has_colors()) {
        start_color();
        use_default_colors();
        init_pair(1, COLOR_GREEN, -1);
        init_pair(2, COLOR_RED, -1);
    }
}

void Terminal::Close::operator()(void* screen) const {
    endwin();
    delscreen(static_cast<SCREEN*>(screen));
}

std::size_t Terminal::columns() const {
    return static_cast<std::size_t>(std::max(getmaxx(stdscr), 1));
}

std::size_t Terminal::rows() const {
    return static_cast<std::size_t>(std::max(getmaxy(stdscr), 1));
}

void Terminal::show(const std::vector<Line>& lines) {
    werase(stdscr);
    for (std::size_t n = 0; n < std::min(lines.size(), rows()); n++) {
        const attr_t style = attributes(lines[n].style);
        wattr_on(stdscr, style, nullptr);
        wmove(stdscr, static_cast<int>(n), 0);
        waddnstr(stdscr, lines[n].text.c_str(), -1);
        wattr_off(stdscr, style, nullptr);
    }
    wrefresh(stdscr);
}

int Terminal::key(std::chrono::milliseconds patience) {
    wtimeout(stdscr, static_cast<int>(std::max<std::int64_t>(patience.count(), 0)));
    const int key = wgetch(stdscr);
    return key == ERR ? kNoKey : key == KEY_RESIZE ? kResized : key;
}

} // namespace encsync::cli
