// SPDX-License-Identifier: ISC
// The live view, `encsync top`, and who has the most states, which is a part of it.
#include "cli/fields.hpp"
#include "cli/render.hpp"
#include "cli/terminal.hpp"
#include "cli/verbs.hpp"
#include "control/client.hpp"
#include "control/request.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <fmt/chrono.h>
#include <fmt/format.h>

namespace encsync::cli {

namespace json = boost::json;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::array<const char*, 3> kBy{"source", "destination", "service"};
constexpr std::array kPauses{1s, 2s, 5s, 10s};
constexpr auto kTalkersEach = 5s;

using Talkers = std::vector<std::pair<std::string, std::uint64_t>>;

Result<Talkers> ask_for_talkers(const Options& options, const std::string& by) {
    auto client = control::Client::connect(options.run_dir);
    if (!client)
        return client.error();
    Talkers all;
    const auto done =
        client->stream({{"command", "talkers"}, {"by", by}}, [&](const json::value& item) {
            all.emplace_back(control::text(item, "name"), number(item, "states").value_or(0));
        });
    return done ? Result(std::move(all)) : done.error();
}

std::string time_of_day() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::localtime_r(&now, &parts);
    return fmt::format("{:%H:%M:%S}", parts);
}

class Top {
  public:
    Top(const Options& options, Terminal terminal)
        : options_(options), terminal_(std::move(terminal)) {}

    int run() {
        for (;;) {
            if (const auto now = Clock::now(); now >= next_) {
                ask();
                next_ = now + kPauses[pause_];
            }
            terminal_.show(render_top(history_, view()));
            const auto left = next_ - Clock::now();
            if (!obey(terminal_.key(std::chrono::ceil<std::chrono::milliseconds>(
                    std::max<Clock::duration>(left, 0s)))))
                return 0;
        }
    }

  private:
    void ask() {
        auto status = cli::ask(options_, {{"command", "status"}});
        if (!status)
            return history_.no_answer(status.error().text, time_of_day());
        history_.answer(std::move(*status), Clock::now(), time_of_day());
        // The daemon walks through all states for that, so that a large table is seldom asked.
        if (const auto now = Clock::now(); now >= next_talkers_) {
            auto talkers = ask_for_talkers(options_, kBy[by_]);
            told_nothing_ = talkers ? "" : talkers.error().text;
            talkers_ = talkers ? std::move(*talkers) : Talkers{};
            next_talkers_ =
                now + std::max<Clock::duration>(kTalkersEach, 20 * (Clock::now() - now));
        }
    }

    TopView view() const {
        return {.columns = terminal_.columns(),
                .rows = terminal_.rows(),
                .time = time_of_day(),
                .by = kBy[by_],
                .interval = fmt::format("{} s", kPauses[pause_].count()),
                .help = help_,
                .blocks = terminal_.unicode(),
                .told_nothing = told_nothing_,
                .talkers = talkers_};
    }

    // False: it was the key to leave.
    bool obey(int key) {
        if (key == Terminal::kNoKey || key == Terminal::kResized)
            return true;
        if (std::exchange(help_, false))
            return key != 'q';
        switch (key) {
        case 'q':
            return false;
        case ' ':
            next_ = next_talkers_ = Clock::now();
            break;
        case 'd':
            pause_ = (pause_ + 1) % kPauses.size();
            next_ = std::min(next_, Clock::now() + kPauses[pause_]);
            break;
        case 't':
            by_ = (by_ + 1) % kBy.size();
            next_ = next_talkers_ = Clock::now();
            break;
        case 'h':
        case '?':
            help_ = true;
            break;
        default:
            break;
        }
        return true;
    }

    const Options& options_;
    Terminal terminal_;
    TopHistory history_;
    Talkers talkers_;
    std::string told_nothing_;
    std::size_t by_ = 0, pause_ = 0; // of kBy, of kPauses
    bool help_ = false;
    Clock::time_point next_{}, next_talkers_{};
};

} // namespace

int top(const Options& options) {
    // Before the terminal changes: nothing to look at is one line, not an empty picture.
    if (auto client = control::Client::connect(options.run_dir); !client)
        return fail(client.error().text);
    auto terminal = Terminal::open();
    if (!terminal)
        return fail(terminal.error().text);
    return Top(options, std::move(*terminal)).run();
}

int talkers(const Options& options, const std::string& by) {
    const auto status = ask(options, {{"command", "status"}});
    if (!status)
        return fail(status.error().text);
    const auto found = ask_for_talkers(options, by);
    if (!found)
        return fail(found.error().text);
    if (options.json) {
        json::array all;
        for (const auto& [name, states] : *found)
            all.push_back(json::object{{"name", name}, {"states", states}});
        return print_json(all);
    }
    const auto states = number(*status, "states").value_or(0);
    std::vector<std::vector<std::string>> rows{{"STATES", "SHARE", by}};
    std::ranges::transform(rows[0][2], rows[0][2].begin(),
                           [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    for (const auto& [name, n] : *found)
        rows.push_back({count(n),
                        states != 0
                            ? fmt::format("{} %", std::min<std::uint64_t>(100, 100 * n / states))
                            : "-",
                        clean(name)});
    return std::fputs(table(rows).c_str(), stdout) < 0;
}

} // namespace encsync::cli
