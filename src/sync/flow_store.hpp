// SPDX-License-Identifier: ISC
// All flows that a node knows, and what is summed and counted of them. Owns the index, what each
// flow expects, the digests and the counts by owner, and is the only one that changes a record:
//
//     const auto [slot, fresh] = flows.insert(flow, expires, created);   // live here
//     {
//         FlowStore::Change change(flows, slot);      // out of the sums; its end puts it back
//         change.progress().term = 7;
//     }
//     flows.set_owner(slot, peer);
//     flows.local(slot).epoch = 3;                // in no sum and no count: costs nothing
//
// Whatever is called in which order, sums and counts are those of what the index holds, the counts
// at any time, the sums when no Change is open. Decides nothing and calls no other part.
#pragma once

#include "sync/digest.hpp"
#include "sync/expectations.hpp"
#include "sync/record.hpp"
#include "util/peer_id.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace encsync::sync {

class FlowStore {
  public:
    explicit FlowStore(const state::Seed& seed) : index_(seed) {}
    FlowStore(const FlowStore&) = delete;
    FlowStore& operator=(const FlowStore&) = delete;

    // ---- what is there ---------------------------------------------------------------------
    const FlowIndex& index() const { return index_; }
    const ExpectationBook& expectations() const { return book_; }
    // Flows that are live here, and of those the ones that are not sent to the peer.
    std::size_t live() const { return totals_.live; }
    std::size_t suppressed(PeerId peer) const { return totals_.suppressed[peer]; }
    // Copies of this owner's flows; of those, the ones that the table does not hold, and those that
    // are not taken.
    std::size_t copies(std::uint8_t owner) const { return totals_.copies[owner]; }
    std::size_t missing(std::uint8_t owner, Missing why) const {
        return totals_.missing[owner][static_cast<std::size_t>(why)];
    }
    std::size_t refused(std::uint8_t owner) const { return totals_.refused[owner]; }
    // Sums over the same, once begin_digests() was called.
    const Digest& live_digest() const { return totals_.live_digest; }
    const Digest& suppressed_digest(PeerId peer) const { return totals_.suppressed_digest[peer]; }
    const Digest& copies_digest(PeerId peer) const { return totals_.copies_digest[peer]; }
    // For tests: all of that is what the index holds.
    bool holds() const;

    // ---- what changes ----------------------------------------------------------------------
    // There is a peer to compare sums with.
    void begin_digests();
    // As Index::insert(): live here, in this term.
    std::pair<state::Slot, bool> insert(const state::Flow& flow, std::uint32_t expires,
                                        std::uint32_t created, std::uint8_t term = 0);
    // With what it expects.
    void erase(state::Slot slot);
    // Whatever else two nodes must agree on is changed in one of these. They may be nested, of the
    // same flow or not; the flow may be erased meanwhile.
    class Change;
    void set_owner(state::Slot slot, std::uint8_t owner);
    void set_suppressed(state::Slot slot, std::uint16_t peers);
    void set_missing(state::Slot slot, Missing why);
    void set_refused(state::Slot slot, std::optional<table::Ignored> why);
    void set_expires(state::Slot slot, std::uint32_t second) {
        index_.record(slot).expires = second;
    }
    LocalState& local(state::Slot slot) { return index_.record(slot); }

  private:
    struct Totals {
        std::size_t live = 0;
        std::array<std::size_t, kMaxPeers> suppressed{};
        std::array<std::size_t, 256> copies{}, refused{};                    // by owner
        std::array<std::array<std::size_t, kMissingReasons>, 256> missing{}; // likewise, by reason
        Digest live_digest;
        std::array<Digest, kMaxPeers> suppressed_digest, copies_digest;

        void count(const Record& record, int by);
        void sum(const Record& record, std::uint64_t check, bool in);
        bool operator==(const Totals&) const = default;
    };
    void sum(state::Slot slot, bool in);
    template<class Apply>
    void recount(state::Slot slot, const Apply& apply);
    bool is_changing(state::Slot slot) const;

    FlowIndex index_;
    ExpectationBook book_;
    Totals totals_;
    bool digesting_ = false;
    Change* innermost_ = nullptr;
};

class FlowStore::Change {
  public:
    Change(FlowStore& store, state::Slot slot);
    ~Change();
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

    state::Progress& progress() { return store_.index_.record(slot_); }
    // As those of Index and ExpectationBook.
    bool rename(state::StateId id) { return store_.index_.rename(slot_, id); }
    void set_reply(const state::Tuple& reply) { store_.index_.set_reply(slot_, reply); }
    bool set_extras(const state::Extras& extras) { return store_.index_.set_extras(slot_, extras); }
    ExpectationBook::Added expect(const state::Expectation& expectation, std::uint32_t expires) {
        return store_.book_.add(slot_, expectation, expires);
    }
    bool unexpect(const state::Expectation& expectation) {
        return store_.book_.remove(slot_, expectation);
    }
    void use(const state::Expectation& expectation) { store_.book_.use(slot_, expectation); }
    void drop_used_expectations() { store_.book_.drop_used(slot_); }
    void forget_used_expectations() { store_.book_.forget_uses(slot_); }
    bool unexpect_all() { return store_.book_.forget(slot_); }
    void expire_expectations(std::uint32_t now) { store_.book_.expire(slot_, now); }
    std::vector<state::Expectation> begin_expectations(std::uint8_t count) {
        return store_.book_.begin(slot_, count);
    }
    std::vector<state::Expectation> listed_expectation(std::uint8_t index, std::uint8_t count,
                                                       const state::Expectation& expectation) {
        return store_.book_.listed(slot_, index, count, expectation);
    }

  private:
    friend class FlowStore;
    FlowStore& store_;
    state::Slot slot_; // kNoSlot: erased
    Change* outer_;
    bool nested_; // in one of the same flow
};

} // namespace encsync::sync
