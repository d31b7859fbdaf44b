// SPDX-License-Identifier: ISC
// Limits what is logged of a repeated failure: each reason at once, then after a minute, two, four,
// up to an hour, with how often it happened meanwhile. Anybody may be able to cause it and to vary
// the reason, so there is room for few of them; the rest is only counted.
//
//     if (auto line = repeats.line("no trusted key", Clock::now()))
//         log::warning("{}", *line);              // "no trusted key (14 more times)"
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace encsync::daemon {

class Repeats {
  public:
    using Time = std::chrono::steady_clock::time_point;

    Repeats() = default;
    explicit Repeats(std::size_t room) : room_(room) {}
    // None: not now.
    std::optional<std::string> line(const std::string& reason, Time now);
    // The failure is over: the next one is logged at once.
    void forget() { reasons_.clear(); }

  private:
    struct Reason {
        std::string text;
        Time next{}; // not before
        std::chrono::seconds pause{};
        std::uint64_t more = 0;
    };
    std::vector<Reason> reasons_;
    std::size_t room_ = 4;
    std::uint64_t others_ = 0; // for which there was no room
};

} // namespace encsync::daemon
