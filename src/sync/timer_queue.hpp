// SPDX-License-Identifier: ISC
// Flows that are to be looked at later, in the order of time. Owns the places in the line and no
// flow: one that has ended meanwhile, or whose slot is another's by now, is passed over.
//
//     queue.add(now + 5s, index, slot);              // never earlier than those before it
//     while (const auto slot = queue.take(now, index)) ...
//     deadline = queue.next();
#pragma once

#include "state/index.hpp"
#include "sync/reliability.hpp"
#include "sync/time.hpp"

#include <cstddef>
#include <deque>
#include <optional>

namespace encsync::sync {

class TimerQueue {
  public:
    void add(Instant due, const state::Index& index, state::Slot slot);
    // The first flow that is due by then and still the one that was added.
    std::optional<state::Slot> take(Instant until, const state::Index& index);
    // When the first is due; Instant::max(): never.
    Instant next() const { return line_.empty() ? Instant::max() : line_.front().due; }
    bool empty() const { return line_.empty(); }
    std::size_t size() const { return line_.size(); } // with those that will be passed over

  private:
    struct Timer {
        Instant due;
        state::Slot slot;
        state::StateId id;
        bool same_flow(const state::Index& index) const;
    };
    std::deque<Timer> line_;
};

} // namespace encsync::sync
