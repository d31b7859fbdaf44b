// SPDX-License-Identifier: ISC
// The verbs that go on asking the daemon: wait, status --watch, and bulk on a terminal.
#include "cli/fields.hpp"
#include "cli/render.hpp"
#include "cli/top_screen.hpp"
#include "cli/verbs.hpp"
#include "control/request.hpp"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <thread>
#include <unistd.h>

namespace encsync::cli {

namespace json = boost::json;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr auto kPause = 250ms; // between two questions of `wait`
constexpr auto kWatch = 1s;    // between two pictures
constexpr std::size_t kBar = 20;

// What is waited for; empty: it is ready. A daemon that does not run may be about to start.
std::string what_is_missing(const Options& options) {
    const auto status = ask(options, {{"command", "status"}});
    if (!status)
        return status.error().text;
    if (truth(*status, "ready").value_or(false))
        return {};
    const auto why = control::text(*status, "why");
    return why.empty() ? "encsyncd does not say why" : std::string(why);
}

} // namespace

int wait_ready(const Options& options, std::optional<std::chrono::seconds> timeout) {
    const auto began = Clock::now();
    std::string last;
    for (;;) {
        std::string missing = what_is_missing(options);
        if (missing.empty())
            return 0;
        if (timeout && Clock::now() - began >= *timeout)
            return fail(fmt::format("not ready after {} s: {}", timeout->count(), missing));
        if (missing != last && !options.json)
            fmt::print(stderr, "encsync: waiting: {}\n", clean(missing));
        last = std::move(missing);
        std::this_thread::sleep_for(kPause);
    }
}

int watch_status(const Options& options) {
    // On a terminal each picture takes the place of the one before.
    const bool terminal = ::isatty(STDOUT_FILENO) == 1 && !options.json;
    for (;;) {
        const auto status = ask(options, {{"command", "status"}});
        std::string picture;
        if (options.json)
            picture = (status ? json::serialize(*status)
                              : json::serialize(json::object{{"error", status.error().text}})) +
                      "\n";
        else
            picture = status ? render_status(*status)
                             : fmt::format("encsync: {}\n", clean(status.error().text));
        if (terminal)
            picture.insert(0, "\x1b[H\x1b[2J");
        else if (!options.json)
            picture += "\n";
        if (std::fputs(picture.c_str(), stdout) < 0 || std::fflush(stdout) != 0)
            return 1; // whoever read it is gone
        std::this_thread::sleep_for(kWatch);
    }
}

namespace {

// Whether one peer's bulk update is over, and how.
enum class End : std::uint8_t { none, arrived, failed };

End look_at_bulk(const json::value& before, const json::value& now, std::string& why) {
    static const json::value none;
    const auto field = [&](const json::value& peer) -> const json::value& {
        const auto* bulk = member(peer, "bulk");
        return bulk != nullptr ? *bulk : none;
    };
    if (number(field(now), "received").value_or(0) > number(field(before), "received").value_or(0))
        return End::arrived;
    why = control::text(now, "state") != "up" ? "it is not up"
          : truth(field(now), "gave_up").value_or(false)
              ? "it does not answer; it is asked again when a packet of it arrives"
              : "";
    return why.empty() ? End::none : End::failed;
}

} // namespace

int follow_bulk(const Options& options, const json::value& before, const std::string& peer) {
    if (member(before, "relay") != nullptr)
        return 0; // a relay passes them on, and does not wait for their end
    TopHistory history;
    std::vector<std::string> waiting;
    for (const json::value& each : array_of(before, "peers"))
        if (const std::string name = clean(control::text(each, "name"));
            peer.empty() ? truth(each, "ready").value_or(false) : name == peer)
            waiting.push_back(name);
    int failed = 0;
    while (!waiting.empty()) {
        auto status = ask(options, {{"command", "status"}});
        if (!status)
            return fail(status.error().text);
        history.answer(*status, Clock::now(), "");
        const std::string name = waiting.front();
        const json::value* was = peer_of(before, name);
        const json::value* is = peer_of(*status, name);
        std::string why = "it is no longer configured";
        const End end =
            was == nullptr || is == nullptr ? End::failed : look_at_bulk(*was, *is, why);
        // Each picture takes the place of the one before.
        fmt::print("\r\x1b[K");
        if (end == End::arrived)
            fmt::print("{}: all states are here\n", name);
        else if (const auto bulk = history.arriving(name); end == End::none && bulk)
            fmt::print("{}: {} {}", name, progress_bar(bulk->states, bulk->of.value_or(0), kBar),
                       bulk_words(*bulk));
        std::fflush(stdout);
        if (end == End::failed)
            failed = fail(fmt::format("{}: {}", name, why));
        if (end != End::none)
            waiting.erase(waiting.begin());
        else
            std::this_thread::sleep_for(kPause);
    }
    return failed;
}

} // namespace encsync::cli
