// SPDX-License-Identifier: ISC
#include "cli/top_screen.hpp"

#include "cli/fields.hpp"
#include "cli/render.hpp"
#include "control/request.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>

namespace encsync::cli {

namespace json = boost::json;

namespace {

constexpr std::size_t kFewTalkers = 3; // are shown if there is room for nothing else
constexpr std::size_t kBar = 20;

std::string word(const json::value& object, std::string_view name) {
    const auto text = control::text(object, name);
    return text.empty() ? "-" : clean(text);
}

std::string counted(const json::value& object, std::string_view name) {
    const auto value = number(object, name);
    return value ? count(*value) : "-";
}

// A rate, short: "0", "2.4", "1,234", "1.2M".
std::string rate(double a_second) {
    if (a_second >= 999'999.5)
        return fmt::format("{:.1f}M", a_second / 1e6);
    if (a_second >= 9.95 || a_second == 0)
        return count(static_cast<std::uint64_t>(std::llround(a_second)));
    return fmt::format("{:.1f}", a_second);
}

std::string lag(const json::value& peer) {
    const auto seconds = real(peer, "lag");
    if (!seconds || *seconds < 0)
        return "-";
    if (*seconds < 0.0005)
        return "0";
    return *seconds < 9.9995 ? fmt::format("{:.0f} ms", *seconds * 1000)
                             : duration(static_cast<std::uint64_t>(*seconds));
}

// The newest value on the right; each as high as its share of the highest.
std::string sparkline(const std::deque<double>& values, std::size_t columns, bool blocks) {
    static constexpr std::array kBlocks{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static constexpr std::array kPlain{" ", ".", ".", ":", "-", "=", "+", "*", "#"};
    const std::size_t from = values.size() - std::min(columns, values.size());
    double most = 0;
    for (std::size_t n = from; n < values.size(); n++)
        most = std::max(most, values[n]);
    std::string out(columns - (values.size() - from), ' ');
    for (std::size_t n = from; n < values.size(); n++) {
        const auto level =
            most > 0 ? static_cast<std::size_t>(std::ceil(values[n] / most * 8)) : std::size_t{0};
        out += (blocks ? kBlocks : kPlain)[std::min<std::size_t>(level, 8)];
    }
    return out;
}

// The first so many characters of UTF-8; '~' in place of the last if something is cut off.
std::string cut(const std::string& text, std::size_t columns) {
    std::size_t characters = 0, keep = 0;
    for (std::size_t at = 0; at < text.size(); at++)
        if ((static_cast<unsigned char>(text[at]) & 0xc0) != 0x80) {
            if (characters + 1 == columns)
                keep = at;
            characters++;
        }
    return characters <= columns ? text : columns == 0 ? "" : text.substr(0, keep) + "~";
}

class Picture {
  public:
    Picture(const TopHistory& history, const TopView& view)
        : history_(history), view_(view), status_(history.status()) {}

    std::vector<Line> draw() {
        title();
        if (view_.help)
            help();
        else if (!status_.is_null())
            body();
        lines_.resize(std::min(lines_.size(), view_.rows));
        for (Line& line : lines_)
            line.text = cut(line.text, view_.columns);
        return std::move(lines_);
    }

  private:
    void add(std::string text, Style style = Style::plain) {
        lines_.push_back({std::move(text), style});
    }
    std::size_t room() const { return view_.rows - std::min(lines_.size(), view_.rows); }

    void title() {
        std::string left =
            fmt::format("encsync top: {}, {}", word(status_, "node"), word(status_, "role"));
        const std::string right = fmt::format("{}  every {}  h: help", view_.time, view_.interval);
        if (left.size() + right.size() < view_.columns)
            left += std::string(view_.columns - left.size() - right.size(), ' ') + right;
        add(left, Style::title);
        if (!history_.trouble().empty())
            add(history_.trouble(), Style::bad);
    }

    void help() {
        for (const char* text :
             {"", "  q      quit", "  space  ask again at once",
              "  d      longer or shorter pauses: 1, 2, 5 or 10 seconds",
              "  t      who has most states: by source, destination or service",
              "  h      this; any key goes back", "",
              "  EVENTS/S  new, changed and ended flows that the kernel has reported",
              "  LAG       age of the oldest change that the peer has not acknowledged",
              "  OUT, IN   pfsync messages a second, and KiB a second with all headers"})
            add(text);
    }

    void body() {
        node();
        peers();
        talkers();
        happened();
    }

    void node() {
        if (truth(status_, "ready").value_or(false))
            add(fmt::format("ready to be promoted; encsyncd {}, up {}", word(status_, "version"),
                            duration(number(status_, "uptime").value_or(0))),
                Style::good);
        else
            add(fmt::format("NOT ready: {}", word(status_, "why")), Style::bad);
        if (const auto odd = word(status_, "role_warning"); odd != "-")
            add(odd, Style::bad);
        const auto missing = number(status_, "missing").value_or(0);
        add(fmt::format("states {}: own {}, copies {}, not in the kernel {}",
                        counted(status_, "states"), counted(status_, "own"),
                        counted(status_, "copies"), count(missing)),
            missing != 0 ? Style::bad : Style::plain);
        const auto& events = history_.events_per_second();
        const std::string text =
            fmt::format("events/s {:>8}  ", events.empty() ? "-" : rate(events.back()));
        if (text.size() < view_.columns)
            add(text + sparkline(events, view_.columns - text.size(), view_.blocks));
    }

    void peers() {
        const auto& all = array_of(status_, "peers");
        add("");
        add(fmt::format("{:<12} {:<10} {:<7} {:<7} {:>7}  {:>7} {:>7}  {:>7} {:>6}", "PEER",
                        "STATE", "ROLE", "IN STEP", "LAG", "OUT/S", "IN/S", "KiB OUT", "IN"),
            Style::heading);
        // At least something of what follows must have its place.
        const std::size_t most = room() > 8 ? room() - 6 : 2;
        std::size_t shown = 0, rows = 0;
        for (const json::value& peer : all) {
            if (rows >= most)
                break;
            const std::size_t before = lines_.size();
            this->peer(peer);
            rows += lines_.size() - before;
            shown++;
        }
        if (shown < all.size())
            add(fmt::format("... and {} more", all.size() - shown));
        if (all.empty())
            add("no peers");
    }

    void peer(const json::value& peer) {
        const auto name = word(peer, "name");
        const auto r = history_.rate(name);
        const bool up = word(peer, "state") == "up";
        const bool in_step = truth(peer, "in_step").value_or(false);
        add(fmt::format("{:<12} {:<10} {:<7} {:<7} {:>7}  {:>7} {:>7}  {:>7} {:>6}", cut(name, 12),
                        cut(word(peer, "state"), 10), cut(word(peer, "role"), 7),
                        in_step ? "yes" : "NO", lag(peer), rate(r.messages_out),
                        rate(r.messages_in), rate(r.bytes_out / 1024), rate(r.bytes_in / 1024)),
            up && in_step ? Style::plain : Style::bad);
        if (!up && word(peer, "last_error") != "-")
            add("  " + word(peer, "last_error"), Style::bad);
        if (r.refused > 0)
            add(fmt::format("  refused {} a second", rate(r.refused)), Style::bad);
        if (const auto bulk = history_.sending(name))
            add(fmt::format("  to it   {} {}",
                            progress_bar(bulk->states, bulk->of.value_or(0), kBar),
                            bulk_words(*bulk)));
        if (const auto bulk = history_.arriving(name))
            add(fmt::format("  from it {} {}",
                            progress_bar(bulk->states, bulk->of.value_or(0), kBar),
                            bulk_words(*bulk)));
    }

    void talkers() {
        if (room() < 2 + kFewTalkers)
            return;
        add("");
        add(fmt::format("{:>12}  {:>5}  {}", "STATES", "SHARE", "BY " + upper(view_.by)),
            Style::heading);
        if (!view_.told_nothing.empty())
            return add(view_.told_nothing, Style::bad);
        const auto all = static_cast<double>(number(status_, "states").value_or(0));
        const std::size_t most =
            std::max(kFewTalkers, room() / 2 - std::min<std::size_t>(room() / 2, 1));
        for (std::size_t n = 0; n < std::min(most, view_.talkers.size()); n++) {
            const auto& [name, states] = view_.talkers[n];
            // Of what was counted a moment before, there may be fewer now.
            const double share = std::min(1.0, all > 0 ? static_cast<double>(states) / all : 1.0);
            add(fmt::format("{:>12}  {:>3.0f} %  {}", count(states), share * 100, clean(name)));
        }
    }

    void happened() {
        if (room() < 3)
            return;
        add("");
        add("WHAT HAPPENED", Style::heading);
        const auto& all = history_.happened();
        const std::size_t most = std::min(room(), all.size());
        for (std::size_t n = 0; n < most; n++)
            add(fmt::format("{}  {}{}", all[n].time, all[n].text,
                            all[n].times != 0 ? fmt::format(": {} times", count(all[n].times))
                                              : ""),
                all[n].bad ? Style::bad : Style::plain);
    }

    static std::string upper(std::string text) {
        std::ranges::transform(text, text.begin(), [](char c) {
            return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        });
        return text;
    }

    const TopHistory& history_;
    const TopView& view_;
    const json::value& status_;
    std::vector<Line> lines_;
};

} // namespace

std::string progress_bar(std::uint64_t done, std::uint64_t of, std::size_t columns) {
    const double share =
        of == 0 ? 0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(of));
    const auto full = static_cast<std::size_t>(share * static_cast<double>(columns));
    const std::string bar = std::string(full, '#') + std::string(columns - full, '-');
    return of == 0 ? bar + "    ?" : fmt::format("{} {:>3.0f} %", bar, std::floor(share * 100));
}

std::string bulk_words(const TopHistory::Bulk& bulk) {
    std::string out = count(bulk.states);
    if (bulk.of)
        out += fmt::format(" of {}", count(*bulk.of));
    out += " states";
    if (bulk.seconds_left)
        out += fmt::format(", {} left", duration(*bulk.seconds_left));
    return out;
}

std::vector<Line> render_top(const TopHistory& history, const TopView& view) {
    return Picture(history, view).draw();
}

} // namespace encsync::cli
