// SPDX-License-Identifier: ISC
#include "sync/timer_queue.hpp"

namespace encsync::sync {

using state::Index;
using state::Slot;

bool TimerQueue::Timer::same_flow(const Index& index) const {
    return index.used(slot) && index.record(slot).id == id;
}

void TimerQueue::add(Instant due, const Index& index, Slot slot) {
    line_.push_back({due, slot, index.record(slot).id});
    // Of flows that ended before their time the line keeps nothing but their places.
    if (line_.size() > 2 * index.size() + 1024)
        std::erase_if(line_, [&](const Timer& timer) { return !timer.same_flow(index); });
}

std::optional<Slot> TimerQueue::take(Instant until, const Index& index) {
    while (!line_.empty() && line_.front().due <= until) {
        const Timer timer = line_.front();
        line_.pop_front();
        if (timer.same_flow(index))
            return timer.slot;
    }
    return std::nullopt;
}

} // namespace encsync::sync
