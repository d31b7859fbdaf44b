// SPDX-License-Identifier: ISC
// What is logged of a peer's refusals: the first of each kind, and then how many there were
// meanwhile, after a minute, two, four, up to an hour. A kind that has rested for as long begins
// anew. Looks at the counters, so what is refused costs nothing here.
//
//     each second: for (const auto& [level, line] : alarms.look(verdict.counters(), now)) ...
#pragma once

#include "policy/verdict.hpp"
#include "util/log.hpp"

#include <string>
#include <utility>
#include <vector>

namespace encsync::policy {

class Alarms {
  public:
    // Lines that are due: a warning of what no honest peer does, and less of the rest.
    std::vector<std::pair<log::Level, std::string>> look(const VerdictCounters& counters, Time now);

  private:
    struct Kind {
        std::uint64_t logged = 0;     // of its counter
        std::chrono::seconds pause{}; // after the last line; 0: there was none
        Time next{};                  // no line before
    };
    std::array<Kind, kReasons> kinds_{};
};

} // namespace encsync::policy
