// SPDX-License-Identifier: ISC
#include "daemon/repeats.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <utility>

namespace encsync::daemon {

using namespace std::chrono_literals;

namespace {
constexpr std::chrono::seconds kFirstPause = 1min, kLongestPause = 1h;
} // namespace

std::optional<std::string> Repeats::line(const std::string& reason, Time now) {
    auto known = std::ranges::find(reasons_, reason, &Reason::text);
    if (known == reasons_.end()) {
        if (reasons_.size() == room_) {
            const auto oldest = std::ranges::min_element(reasons_, {}, &Reason::next);
            if (now < oldest->next) {
                others_++;
                return {};
            }
            reasons_.erase(oldest);
        }
        known = reasons_.insert(reasons_.end(), {reason, now, 0s, 0});
    }
    if (now < known->next) {
        known->more++;
        return {};
    }
    // Without repetitions since the last line, the pauses start again at the shortest.
    known->pause = known->more == 0 ? kFirstPause : std::min(known->pause * 2, kLongestPause);
    known->next = now + known->pause;
    std::string out = reason;
    if (const auto more = std::exchange(known->more, 0))
        out += fmt::format(" ({} more time{})", more, more == 1 ? "" : "s");
    if (const auto others = std::exchange(others_, 0))
        out += fmt::format(" (and {} other failure{})", others, others == 1 ? "" : "s");
    return out;
}

} // namespace encsync::daemon
