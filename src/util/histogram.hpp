// SPDX-License-Identifier: ISC
// How many durations lie within each of a few fixed bounds. To observe one is a handful of
// comparisons; nothing is allocated.
//
//     Histogram latency;
//     latency.observe(acknowledged - changed);
//     latency.counts()[0]                       // of those up to kBounds[0]; not cumulative
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace encsync {

class Histogram {
  public:
    using Duration = std::chrono::nanoseconds;
    // Upper bounds, each included. From less than a peer waits before it acknowledges (20 ms) to
    // longer than a takeover takes.
    static constexpr std::array<std::chrono::milliseconds, 10> kBounds{
        std::chrono::milliseconds(5),    std::chrono::milliseconds(10),
        std::chrono::milliseconds(25),   std::chrono::milliseconds(50),
        std::chrono::milliseconds(100),  std::chrono::milliseconds(250),
        std::chrono::milliseconds(500),  std::chrono::milliseconds(1000),
        std::chrono::milliseconds(2500), std::chrono::milliseconds(10000)};

    void observe(Duration duration) {
        std::size_t n = 0;
        while (n < kBounds.size() && duration > kBounds[n])
            n++;
        counts_[n]++;
        sum_ += duration;
    }

    // The last one: above all bounds.
    const std::array<std::uint64_t, kBounds.size() + 1>& counts() const { return counts_; }
    Duration sum() const { return sum_; }

  private:
    std::array<std::uint64_t, kBounds.size() + 1> counts_{};
    Duration sum_{};
};

} // namespace encsync
