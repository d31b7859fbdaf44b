// SPDX-License-Identifier: ISC
// What is queued for one peer, except bulk updates. A flow's message is encoded from its present
// state when it is sent. Only Outbound fills and empties it.
#pragma once

#include "state/index.hpp"
#include "sync/aged_queue.hpp"
#include "sync/reliability.hpp"
#include "sync/time.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <set>

namespace encsync::sync {

// States that were requested from a peer. The answer may be lost, so a name is forgotten after 2 to
// 4 seconds; it is asked again when the peer names it again.
class Asked {
  public:
    static constexpr std::size_t kMax = 4096; // in 2 s
    // False: has been asked already, or there are too many.
    bool ask(state::StateId id, Instant now) {
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
    Instant since_;
};

class Outbox {
  public:
    std::size_t queued() const { return queue_.size(); }
    std::size_t removals() const { return removals_.size(); }
    std::size_t waiting() const { return waiting_.size(); }
    bool acknowledges_inserts() const { return !insert_acks_.empty(); }
    bool empty() const { // but for changes that may wait
        return queue_.empty() && removals_.empty() && requests_.empty() && insert_acks_.empty();
    }
    // Since when the oldest change here waits. Instant::max(): none does.
    Instant oldest() const {
        const Instant first = waiting_.empty() ? Instant::max() : waiting_.front().since;
        return std::min({first, queue_.oldest(), removals_.oldest()});
    }
    // Too many removals wait for a reliable peer: it is to request a bulk update.
    bool overflowed() const { return overflowed_; }

  private:
    friend class Outbound;
    struct Waiting {
        Instant since;
        state::Slot slot;
    };
    struct Removal {
        state::StateId id;
        std::uint8_t term = 0;
    };
    AgedQueue<state::Slot> queue_; // with their bit set in LocalState::queued; each once at most
    std::deque<Waiting> waiting_; // with their bit set in LocalState::waiting, in the order of time
    AgedQueue<Removal> removals_;
    std::deque<state::StateId> requests_, insert_acks_;
    Asked asked_; // states that we do not know
    bool overflowed_ = false;
};

} // namespace encsync::sync
