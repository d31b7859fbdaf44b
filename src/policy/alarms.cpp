// SPDX-License-Identifier: ISC
#include "policy/alarms.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::policy {

using namespace std::chrono_literals;

namespace {

constexpr std::chrono::seconds kFirstPause = 1min, kLongestPause = 1h;

log::Level level_of(Weight weight) {
    switch (weight) {
    case Weight::ordinary:
        return log::Level::debug;
    case Weight::configured:
        return log::Level::info;
    case Weight::alarm:
        break;
    }
    return log::Level::warning;
}

} // namespace

std::vector<std::pair<log::Level, std::string>> Alarms::look(const VerdictCounters& counters,
                                                             Time now) {
    std::vector<std::pair<log::Level, std::string>> out;
    for (std::size_t n = 1; n < kinds_.size(); n++) {
        Kind& kind = kinds_[n];
        const std::uint64_t more = counters.refused[n] - kind.logged;
        if (more == 0 || now < kind.next) {
            if (more == 0 && now >= kind.next)
                kind.pause = 0s;
            continue;
        }
        const auto reason = static_cast<Reason>(n);
        const char* what = reason < kFirstMessageReason ? "packet"
                           : reason < kFirstStateReason ? "message"
                                                        : "state";
        const auto& [name, text, weight] = describe(reason);
        out.emplace_back(
            level_of(weight),
            kind.pause == 0s && more == 1
                ? fmt::format("a {} is not accepted: {} ({})", what, text, name)
                : fmt::format("{} {}s are not accepted: {} ({})", more, what, text, name));
        kind.pause = std::clamp(kind.pause * 2, kFirstPause, kLongestPause);
        kind.next = now + kind.pause;
        kind.logged = counters.refused[n];
    }
    return out;
}

} // namespace encsync::policy
