// SPDX-License-Identifier: ISC
// The hash table of the index, private to this folder: maps a 32-bit keyed hash to a slot, 8 bytes
// an entry. The caller knows what is in a slot; find() calls back to compare.
//
//     table.insert(hash, slot);
//     Slot s = table.find(hash, [&](Slot c) { return key_of(c) == key; });
//     table.erase(hash, slot);
//
// Linear probing, Robin Hood order (Celis, 1986), deletion by shifting back: no tombstones. The
// hash is stored, so that growing and shifting need not read the slots' contents. A bucket is hash
// * capacity / 2^32: the capacity can be any number, entries lie in the order of their hashes, and
// growing reads and writes both arrays from front to back.
//
// Growing is spread over the inserts and erases that follow it, a few entries each; meanwhile
// find() looks into both arrays.
#pragma once

#include "state/index.hpp"

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

namespace encsync::state {

class HashTable {
  public:
    // The slot with this hash for which same(slot) holds, or kNoSlot.
    template<class Same>
    Slot find(std::uint32_t hash, Same&& same) const {
        const Slot slot = current_.find(hash, same);
        if (slot != kNoSlot || old_.capacity == 0 || moved(old_.home(hash)))
            return slot;
        return old_.find(hash, same);
    }

    // Prefetches the memory that find() and insert() will read.
    void prefetch(std::uint32_t hash) const {
        if (current_.capacity != 0)
            __builtin_prefetch(&current_.entries[current_.home(hash)]);
        if (old_.capacity != 0)
            __builtin_prefetch(&old_.entries[old_.home(hash)]);
    }

    // The slot must not be in the table yet.
    void insert(std::uint32_t hash, Slot slot) {
        if (size() + 1 > limit(current_.capacity))
            grow();
        current_.insert({hash, slot + 1});
        move_some(kMovesPerStep);
    }

    // The slot must be in the table, under this hash.
    void erase(std::uint32_t hash, Slot slot) {
        if (!current_.erase(hash, slot) && old_.capacity != 0)
            old_.erase(hash, slot);
        move_some(kMovesPerStep);
    }

    std::size_t size() const { return std::size_t{current_.count} + old_.count; }
    std::size_t memory_bytes() const {
        return (std::size_t{current_.capacity} + old_.capacity) * sizeof(Entry);
    }

    // For tests: whether the tables are consistent.
    bool consistent() const {
        return current_.consistent() && old_.consistent() &&
               (old_.capacity != 0 || old_.count == 0);
    }
    bool growing() const { return old_.capacity != 0; }

  private:
    static constexpr std::uint32_t kMovesPerStep = 16;

    struct Entry {
        std::uint32_t hash;
        std::uint32_t name; // slot + 1; 0 = empty
    };

    struct Array {
        struct Free {
            void operator()(Entry* p) const { std::free(p); }
        };
        std::unique_ptr<Entry[], Free> entries;
        std::uint32_t capacity = 0, count = 0;

        Array() = default;
        explicit Array(std::uint32_t n) : capacity(n) {
            // calloc, because for a large array it maps new pages and touches none of them.
            entries.reset(static_cast<Entry*>(std::calloc(n, sizeof(Entry))));
            if (!entries)
                throw std::bad_alloc();
        }
        Array(Array&& other) noexcept
            : entries(std::move(other.entries)), capacity(std::exchange(other.capacity, 0)),
              count(std::exchange(other.count, 0)) {}
        Array& operator=(Array&& other) noexcept {
            entries = std::move(other.entries);
            capacity = std::exchange(other.capacity, 0);
            count = std::exchange(other.count, 0);
            return *this;
        }

        std::uint32_t home(std::uint32_t hash) const {
            return static_cast<std::uint32_t>((std::uint64_t{hash} * capacity) >> 32);
        }
        std::uint32_t after(std::uint32_t pos) const { return pos + 1 == capacity ? 0 : pos + 1; }
        // The distance of the entry at pos from its home bucket.
        std::uint32_t distance(std::uint32_t pos) const {
            const std::uint32_t h = home(entries[pos].hash);
            return pos >= h ? pos - h : pos + (capacity - h);
        }
        // Whether no run of entries crosses the border before pos.
        bool border(std::uint32_t pos) const {
            return entries[pos].name == 0 || distance(pos) == 0;
        }

        template<class Same>
        Slot find(std::uint32_t hash, Same& same) const {
            if (capacity == 0)
                return kNoSlot;
            std::uint32_t pos = home(hash);
            for (std::uint32_t d = 0;; d++, pos = after(pos)) {
                const Entry& e = entries[pos];
                if (e.name == 0 || distance(pos) < d)
                    return kNoSlot;
                if (e.hash == hash && same(e.name - 1))
                    return e.name - 1;
            }
        }

        void insert(Entry e) {
            std::uint32_t pos = home(e.hash);
            for (std::uint32_t d = 0; entries[pos].name != 0; d++, pos = after(pos)) {
                const std::uint32_t theirs = distance(pos);
                if (theirs < d) {
                    std::swap(e, entries[pos]);
                    d = theirs;
                }
            }
            entries[pos] = e;
            count++;
        }

        bool erase(std::uint32_t hash, Slot slot) {
            std::uint32_t pos = home(hash);
            for (std::uint32_t d = 0; entries[pos].name != slot + 1; d++, pos = after(pos))
                if (entries[pos].name == 0 || distance(pos) < d)
                    return false;
            for (std::uint32_t behind = after(pos); !border(behind); behind = after(behind)) {
                entries[pos] = entries[behind];
                pos = behind;
            }
            entries[pos] = {};
            count--;
            return true;
        }

        bool consistent() const {
            std::uint32_t n = 0;
            for (std::uint32_t pos = 0; pos < capacity; pos++) {
                n += entries[pos].name != 0 ? 1 : 0;
                // Robin Hood order: the distance grows by at most one from an entry to the next.
                const std::uint32_t next = after(pos);
                if (!border(next) && (entries[pos].name == 0 || distance(next) > distance(pos) + 1))
                    return false;
            }
            return n == count;
        }
    };

    static std::size_t limit(std::uint32_t capacity) {
        return std::size_t{capacity} - capacity / 8;
    }
    static std::uint32_t next_capacity(std::uint32_t capacity) {
        if (capacity == 0)
            return 16;
        return capacity < 4096 ? capacity * 2 : capacity + capacity / 4;
    }

    // Whether everything with this home bucket (in the old array) has been moved already.
    bool moved(std::uint32_t home) const {
        const std::uint32_t offset =
            home >= first_ ? home - first_ : home + (old_.capacity - first_);
        return offset < done_;
    }

    void grow() {
        // At 16 moves a step the last growth has long ended when the next one begins.
        while (old_.capacity != 0)
            move_some(old_.capacity);
        Array bigger(next_capacity(current_.capacity));
        old_ = std::move(current_);
        current_ = std::move(bigger);
        first_ = done_ = 0;
        if (old_.count == 0)
            old_ = Array();
        else
            while (!old_.border(first_))
                first_++;
    }

    // Moves at least n entries, and on to the next border, so that a run is moved as a whole.
    void move_some(std::uint32_t n) {
        if (old_.capacity == 0)
            return;
        std::uint32_t pos = first_ + done_;
        if (pos >= old_.capacity)
            pos -= old_.capacity;
        for (std::uint32_t i = 0; done_ < old_.capacity; i++, done_++, pos = old_.after(pos)) {
            if (i >= n && old_.border(pos))
                return;
            if (old_.entries[pos].name != 0) {
                current_.insert(old_.entries[pos]);
                old_.entries[pos] = {};
                old_.count--;
            }
        }
        old_ = Array();
    }

    Array current_;
    Array old_;                          // while growing: what has not been moved yet
    std::uint32_t first_ = 0, done_ = 0; // moving began there, and has come so far
};

} // namespace encsync::state
