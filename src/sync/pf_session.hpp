// SPDX-License-Identifier: ISC
// What the engine remembers of a session in standard pfsync, where nothing is acknowledged and
// nothing says how much a peer may ask for: limits, and requests that may have been lost.
#pragma once

#include "pfsync/progress.hpp"
#include "state/flow.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <set>

namespace encsync::sync {

// Of two versions each drops what the other says.
inline bool hear_each_other(pfsync::Dialect a, pfsync::Dialect b) {
    return version_of(a) == version_of(b);
}

// So many a second, all at once or one by one.
class Allowance {
  public:
    explicit Allowance(std::uint32_t a_second) : a_second_(a_second), left_(a_second) {}
    bool take(std::chrono::nanoseconds now) {
        if (now - since_ >= std::chrono::seconds(1)) {
            since_ = now;
            left_ = a_second_;
        }
        if (left_ == 0)
            return false;
        left_--;
        return true;
    }

  private:
    std::uint32_t a_second_, left_;
    std::chrono::nanoseconds since_{0};
};

// States that a peer was asked for. The answer may be lost, so a name is forgotten after 2 to 4
// seconds; it is asked again when the peer speaks of it again.
class Asked {
  public:
    static constexpr std::size_t kMax = 4096; // in 2 s
    // False: has been asked already, or there are too many.
    bool ask(state::StateId id, std::chrono::nanoseconds now) {
        constexpr std::chrono::seconds kGeneration(2);
        if (now - since_ >= kGeneration) {
            before_.clear();
            if (now - since_ < 2 * kGeneration)
                before_.swap(lately_);
            lately_.clear();
            since_ = now;
        }
        return !before_.contains(id) && lately_.size() < kMax && lately_.insert(id).second;
    }
    void answered(state::StateId id) {
        if (lately_.erase(id) == 0)
            before_.erase(id);
    }
    void clear() {
        lately_.clear();
        before_.clear();
    }

  private:
    std::set<state::StateId> lately_, before_;
    std::chrono::nanoseconds since_{0};
};

struct PfSession {
    using Instant = std::chrono::nanoseconds;

    Allowance answers{5000};                 // states in answer to UPD_REQ
    Instant bulk_asked{0};                   // when the bulk update under way was first asked for
    Instant bulk_began{0};                   // the one that we send: when it was asked for
    Instant bulk_not_before{0};              // the next one that we send
    bool gave_up = false;                    // the peer has answered no request for all its states
    Instant gave_up_at{0};                   // then it is asked again if it is heard
    std::array<std::uint32_t, 25> longest{}; // by timeout index: its timeouts, as far as seen

    // Seconds that the peer gives a state of this timeout index.
    std::uint32_t timeout(std::uint8_t index) const {
        return index < longest.size() ? std::max(pfsync::default_timeout(index), longest[index])
                                      : 0;
    }
};

} // namespace encsync::sync
