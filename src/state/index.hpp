// SPDX-License-Identifier: ISC
// The index of all flows a node knows: compact, found by original tuple or by state id.
//
//     state::Index index(seed);
//     auto [slot, fresh] = index.insert(flow);
//     index.record(slot).mark = 7;                   // other parts get the index as const
//     for (const Slot slot : index.slots()) ...
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
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace encsync::state {

using Seed = std::array<std::uint8_t, 16>;
using Slot = std::uint32_t;
inline constexpr Slot kNoSlot = UINT32_MAX;

// The progress of a flow, and other changing fields on which all nodes must agree.
struct Progress {
    std::uint32_t mark = 0;
    std::uint8_t src_state = 0, dst_state = 0;
    std::uint8_t flags = 0;
    std::uint8_t term = 0; // how often its owner has changed
};

// The status of a flow at this node.
struct Standing {
    bool absent : 1 = false;       // not in the table: refused, or its timer ran out
    bool ended : 1 = false;        // absent, and perhaps because its traffic ended here
    bool copy_timer : 1 = false;   // live here, but its timer is still a copy's
    bool handed_over : 1 = false;  // given to its owner, who has not spoken of it yet
    bool delayed : 1 = false;      // live here, but for less than `delay`
    bool unconfirmed : 1 = false;  // announced before the table has it
    bool address_lost : 1 = false; // live here, but its table entry left with an address
    bool dump_mark : 1 = false;    // toggles with each dump that names it
};

// What the sync engine remembers beside each flow, for itself (src/sync says what it means). Bit n
// of a mask is peer n.
struct LocalState {
    std::uint32_t expires = 0; // second of the engine's clock
    std::uint16_t known = 0;   // peers that have been told of this flow
    std::uint16_t queued = 0;  // peers for which an update of it is queued
    std::uint16_t full = 0;    // of those, the ones that need the full state
    std::uint16_t waiting = 0; // of those queued, whose update may wait for more changes
    std::uint8_t epoch = 0;    // the bulk update of the owner in which it was last named
    Standing is;
    std::uint8_t changes = 0; // in the update that waits
    bool liberal = false;     // its entry checks no TCP sequence numbers
};

// A flow, but for its tuples and extras.
struct Record : Progress, LocalState {
    StateId id;                   // changed by rename() only
    std::uint32_t created = 0;    // second of the engine's clock; may be "negative" (wraps)
    std::uint16_t suppressed = 0; // peers that are not to hear of it, or not yet
    std::uint8_t owner = 0xff;    // the peer whose flow this copy is; 0xff: live here
    std::uint8_t missing : 4 = 0; // why the table does not hold this copy; 0: it does
    std::uint8_t refused : 4 = 0; // a copy that is kept out of the table: 1 + table::Ignored
};
static_assert(sizeof(Record) == 48);

class Index {
  public:
    explicit Index(const Seed& seed);
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

    Record& record(Slot slot);
    const Record& record(Slot slot) const;
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

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
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
