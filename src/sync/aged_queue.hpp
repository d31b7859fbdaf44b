// SPDX-License-Identifier: ISC
// A queue that knows since when its entries wait, without a time for each: all that were queued at
// one instant share a mark. There are few marks. If they do not suffice, neighbours are joined, and
// some entries count as older than they are, never as younger.
//
//     AgedQueue<state::Slot> queue;
//     queue.push(slot, now);
//     queue.oldest();                           // since when; Instant::max(): it is empty
//     const Instant since = queue.pop();        // of the entry that was at the front
#pragma once

#include "sync/time.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>

namespace encsync::sync {

// The marks alone.
class Ages {
  public:
    static constexpr std::size_t kMarks = 32;

    void push(Instant since) {
        if (size_ == 0 || at(size_ - 1).since != since) {
            if (size_ == kMarks)
                join();
            at(size_++) = {since, 0};
        }
        at(size_ - 1).entries++;
    }
    Instant pop() {
        Mark& front = at(0);
        const Instant since = front.since;
        if (--front.entries == 0) {
            first_ = (first_ + 1) % kMarks;
            size_--;
        }
        return since;
    }
    // The entry that was queued last has waited since then, if that is longer.
    void backdate(Instant since) {
        if (size_ != 0)
            at(size_ - 1).since = std::min(at(size_ - 1).since, since);
    }
    Instant oldest() const {
        Instant oldest = Instant::max();
        for (std::size_t n = 0; n < size_; n++)
            oldest = std::min(oldest, at(n).since);
        return oldest;
    }
    // So many are left, any of them.
    void keep(std::size_t entries) {
        const Instant since = oldest();
        size_ = 0;
        if (entries != 0)
            at(size_++) = {since, entries};
    }

  private:
    struct Mark {
        Instant since;
        std::size_t entries = 0;
    };
    Mark& at(std::size_t n) { return marks_[(first_ + n) % kMarks]; }
    const Mark& at(std::size_t n) const { return marks_[(first_ + n) % kMarks]; }
    void join() {
        for (std::size_t n = 0; n < kMarks / 2; n++) {
            const Mark a = at(2 * n), b = at(2 * n + 1);
            at(n) = {std::min(a.since, b.since), a.entries + b.entries};
        }
        size_ = kMarks / 2;
    }

    std::array<Mark, kMarks> marks_{}; // a ring
    std::size_t first_ = 0, size_ = 0;
};

template<class T>
class AgedQueue {
  public:
    bool empty() const { return entries_.empty(); }
    std::size_t size() const { return entries_.size(); }
    const T& front() const { return entries_.front(); }
    auto begin() const { return entries_.begin(); }
    auto end() const { return entries_.end(); }
    Instant oldest() const { return ages_.oldest(); }

    void push(const T& entry, Instant since) {
        entries_.push_back(entry);
        ages_.push(since);
    }
    Instant pop() {
        entries_.pop_front();
        return ages_.pop();
    }
    // One of the entries has waited since then, if that is longer.
    void backdate(Instant since) { ages_.backdate(since); }
    template<class Predicate>
    void erase_if(Predicate predicate) {
        std::erase_if(entries_, predicate);
        ages_.keep(entries_.size());
    }

  private:
    std::deque<T> entries_;
    Ages ages_;
};

} // namespace encsync::sync
