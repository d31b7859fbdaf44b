// SPDX-License-Identifier: ISC
// The index of all flows a node knows: compact, found by original tuple or by state id.
//
//     state::Index index(seed);
//     auto [slot, fresh] = index.insert(flow);
//     index.record(slot).mark = 7;                   // other parts get the index as const
//     for (const Slot slot : index.slots()) ...
//
// Index keeps records of the type Record; IndexOf<R> those of a type derived from it, with what the
// user of the index remembers of each flow.
//
// Memory: a Record plus 28 bytes (IPv4) or 76 (IPv6) of tuples and about 20 bytes of hash tables
// per flow, the first two in chunks that never move, so growing never copies the records. Both hash
// tables are keyed with the secret seed, so an attacker who chooses tuples or ids cannot choose
// buckets. They grow step by step (a few buckets an insert), never all at once, so that no insert
// takes long. Extras take memory only for flows that have any. No memory is returned to the system
// before the index is destroyed. Erased slots are reused, newest first.
#pragma once

#include "state/flow.hpp"

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace encsync::state {

using Seed = std::array<std::uint8_t, 16>;
using Slot = std::uint32_t;
inline constexpr Slot kNoSlot = UINT32_MAX;
// A chunk holds the flows of this many consecutive slots.
inline constexpr std::uint32_t kChunkBits = 10;
inline constexpr std::uint32_t kChunkSize = 1U << kChunkBits;

// The progress of a flow, and other changing fields on which all nodes must agree.
struct Progress {
    std::uint32_t mark = 0;
    std::uint8_t src_state = 0, dst_state = 0;
    std::uint8_t flags = 0;
    std::uint8_t term = 0; // how often its owner has changed
};

// A flow, but for its tuples and extras. The times are seconds of the user's clock.
struct Record : Progress {
    StateId id;                // changed by rename() only
    std::uint32_t created = 0; // may be "negative" (wraps)
    std::uint32_t expires = 0;
};
static_assert(sizeof(Record) == 32);

class Index {
  public:
    explicit Index(const Seed& seed) : Index(seed, kLayout<Record>) {}
    ~Index();
    Index(Index&&) noexcept;
    Index& operator=(Index&&) noexcept;

    Slot find(const Key& key) const;
    Slot find(StateId id) const;

    // Adds flow (its key, reply, id, mark, states and flags; expires and created are given in the
    // engine's clock). False, with the conflicting slot, if its key or its id exists already; then
    // nothing changes.
    std::pair<Slot, bool> insert(const Flow& flow, std::uint32_t expires, std::uint32_t created);
    void erase(Slot slot);

    // Gives the flow another id. False if that id belongs to another flow.
    bool rename(Slot slot, StateId id);
    // Replaces the reply tuple (NAT that was learned late).
    void set_reply(Slot slot, const Tuple& reply);
    // Replaces labels, helper and lifetime. False if they were the same before.
    bool set_extras(Slot slot, const Extras& extras);

    Record& record(Slot slot) { return *record_at(slot); }
    const Record& record(Slot slot) const { return *record_at(slot); }
    Key key(Slot slot) const;
    std::uint16_t zone(Slot slot) const; // of its key
    Tuple reply(Slot slot) const;
    const Extras& extras(Slot slot) const;
    // The zones other than 0 of the flows' original directions, in ascending order.
    std::vector<std::uint16_t> zones() const;
    // The flows that have extras, in no order.
    std::vector<Slot> with_extras() const;
    // The whole flow at the engine's second `now`: timeout and age are computed from it.
    Flow flow(Slot slot, std::uint32_t now) const;
    // Key and reply in 64 bits, the same on every node; not keyed (mix.hpp).
    struct Fingerprint {
        std::uint64_t hash;
        std::uint8_t proto;
    };
    Fingerprint fingerprint(Slot slot) const;
    // False for a slot that was erased or never used.
    bool used(Slot slot) const;

    // Visits every flow once, in slot order, even if flows are erased or inserted meanwhile,
    // including the current one. A walk may stop and continue after any slot.
    class Slots;
    Slots slots(Slot after = kNoSlot) const;
    // A slice of a walk: visits up to this many flows after the cursor, and moves it. True: it
    // reached the end, and the next slice starts over.
    template<class Visit>
    bool slice(Slot& cursor, std::size_t most, const Visit& visit) const;
    // The step of both: the next flow in slot order; kNoSlot: before the first, after the last.
    Slot next(Slot slot) const;

    std::size_t size() const;
    std::size_t memory_bytes() const; // all memory that the index has allocated

  protected:
    // Of the records' type, which begins with a Record.
    struct Layout {
        std::size_t size;
        Record* (*make)(void* at);
    };
    template<class R>
    static constexpr Layout kLayout{sizeof(R), [](void* at) -> Record* { return new (at) R{}; }};
    Index(const Seed& seed, Layout layout);
    // The record of a slot, where each has this size.
    std::byte* at(Slot slot, std::size_t size) const {
        assert(used(slot));
        return &chunks_[slot >> kChunkBits][(slot & (kChunkSize - 1)) * size];
    }

  private:
    Record* record_at(Slot slot) const {
        return std::launder(reinterpret_cast<Record*>(at(slot, record_size_)));
    }

    std::vector<std::byte*> chunks_; // the records of each chunk, owned by impl_
    std::size_t record_size_;
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

template<class R>
class IndexOf : public Index {
    static_assert(std::is_base_of_v<Record, R> && std::is_trivially_destructible_v<R> &&
                  alignof(R) <= alignof(std::max_align_t));

  public:
    explicit IndexOf(const Seed& seed) : Index(seed, kLayout<R>) {}
    R& record(Slot slot) { return *std::launder(reinterpret_cast<R*>(at(slot, sizeof(R)))); }
    const R& record(Slot slot) const {
        return *std::launder(reinterpret_cast<const R*>(at(slot, sizeof(R))));
    }
};

class Index::Slots {
  public:
    class Iterator {
      public:
        using value_type = Slot;
        using difference_type = std::ptrdiff_t;

        Iterator(const Index& index, Slot slot) : index_(&index), slot_(slot) {}
        Slot operator*() const { return slot_; }
        Iterator& operator++() {
            slot_ = index_->next(slot_);
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const { return slot_ == kNoSlot; }

      private:
        const Index* index_;
        Slot slot_;
    };

    Slots(const Index& index, Slot after) : index_(index), after_(after) {}
    Iterator begin() const { return {index_, index_.next(after_)}; }
    std::default_sentinel_t end() const { return {}; }

  private:
    const Index& index_;
    Slot after_;
};

inline Index::Slots Index::slots(Slot after) const {
    return {*this, after};
}

template<class Visit>
bool Index::slice(Slot& cursor, std::size_t most, const Visit& visit) const {
    for (; most > 0; most--) {
        cursor = next(cursor);
        if (cursor == kNoSlot)
            return true;
        visit(cursor);
    }
    return false;
}

// The id of a flow that began here: a keyed hash of its key (SipHash-2-4), so that a flow has the
// same id after a restart and an attacker cannot make two ids collide.
std::uint64_t state_id(const Key& key, const Seed& node_secret);

} // namespace encsync::state
