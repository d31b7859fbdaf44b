// SPDX-License-Identifier: ISC
// The verbs that go on asking the daemon: wait and status --watch.
#include "cli/fields.hpp"
#include "cli/render.hpp"
#include "cli/verbs.hpp"
#include "control/client.hpp"
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

Result<json::value> ask_for_status(const Options& options) {
    auto client = control::Client::connect(options.run_dir);
    if (!client)
        return client.error();
    return client->call({{"command", "status"}});
}

// What is waited for; empty: it is ready. A daemon that does not run may be about to start.
std::string what_is_missing(const Options& options) {
    const auto status = ask_for_status(options);
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
        const auto status = ask_for_status(options);
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

} // namespace encsync::cli
