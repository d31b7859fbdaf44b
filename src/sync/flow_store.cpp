// SPDX-License-Identifier: ISC
#include "sync/flow_store.hpp"

#include "sync/record.hpp"

namespace encsync::sync {

using state::kNoSlot;
using state::Slot;

namespace {

bool is_summed(const Record& record) { // or it has no owner
    return record.owner == kHere || record.owner < kMaxPeers;
}

} // namespace

// ---- totals --------------------------------------------------------------------------------

void FlowStore::Totals::count(const Record& record, int by) {
    const auto n = static_cast<std::size_t>(by);
    if (record.owner != kHere) {
        copies[record.owner] += n;
        missing[record.owner][static_cast<std::size_t>(record.missing)] += n;
        if (record.refused())
            refused[record.owner] += n;
        return;
    }
    live += n;
    if (record.suppressed != 0)
        for (PeerId peer = 0; peer < kMaxPeers; peer++)
            if (has(record.suppressed, peer))
                suppressed[peer] += n;
}

void FlowStore::Totals::sum(const Record& record, std::uint64_t check, bool in) {
    const Digest::Node leaf = leaf_of(record.id);
    const auto enter = [&](Digest& digest) {
        if (in)
            digest.add(leaf, check);
        else
            digest.subtract(leaf, check);
    };
    if (record.owner != kHere)
        return enter(copies_digest[record.owner]);
    enter(live_digest);
    if (record.suppressed != 0)
        for (PeerId peer = 0; peer < kMaxPeers; peer++)
            if (has(record.suppressed, peer))
                enter(suppressed_digest[peer]);
}

bool FlowStore::holds() const {
    Totals fresh;
    for (const Slot slot : index_.slots()) {
        const Record& record = index_.record(slot);
        fresh.count(record, 1);
        if (digesting_ && is_summed(record))
            fresh.sum(record, check_of(index_, book_, slot), true);
    }
    return fresh == totals_;
}

// ---- edits ---------------------------------------------------------------------------------

// Adds a flow to the sums that it belongs to, or takes it out.
void FlowStore::sum(Slot slot, bool in) {
    if (const Record& record = index_.record(slot); digesting_ && is_summed(record))
        totals_.sum(record, check_of(index_, book_, slot), in);
}

void FlowStore::begin_digests() {
    if (digesting_)
        return;
    digesting_ = true;
    for (const Slot slot : index_.slots())
        if (!is_changing(slot))
            sum(slot, true);
}

FlowStore::Change::Change(FlowStore& store, Slot slot)
    : store_(store), slot_(slot), outer_(store.innermost_), nested_(store.is_changing(slot)) {
    if (!nested_)
        store_.sum(slot, false);
    store_.innermost_ = this;
}

FlowStore::Change::~Change() {
    store_.innermost_ = outer_;
    if (!nested_ && slot_ != kNoSlot)
        store_.sum(slot_, true);
}

bool FlowStore::is_changing(Slot slot) const {
    for (const Change* change = innermost_; change != nullptr; change = change->outer_)
        if (change->slot_ == slot)
            return true;
    return false;
}

// ---- changes -------------------------------------------------------------------------------

template<class Apply>
void FlowStore::recount(Slot slot, const Apply& apply) {
    Record& record = index_.record(slot);
    totals_.count(record, -1);
    apply(record);
    totals_.count(record, 1);
}

std::pair<Slot, bool> FlowStore::insert(const state::Flow& flow, std::uint32_t expires,
                                        std::uint32_t created, std::uint8_t term) {
    const auto [slot, fresh] = index_.insert(flow, expires, created);
    if (fresh) {
        index_.record(slot).term = term;
        totals_.count(index_.record(slot), 1);
        sum(slot, true);
    }
    return {slot, fresh};
}

void FlowStore::erase(Slot slot) {
    if (!is_changing(slot))
        sum(slot, false);
    for (Change* change = innermost_; change != nullptr; change = change->outer_)
        if (change->slot_ == slot)
            change->slot_ = kNoSlot;
    totals_.count(index_.record(slot), -1);
    book_.forget(slot);
    index_.erase(slot);
}

void FlowStore::set_owner(Slot slot, std::uint8_t owner) {
    const Change change(*this, slot);
    recount(slot, [owner](Record& record) { record.owner = owner; });
}

void FlowStore::set_suppressed(Slot slot, std::uint16_t peers) {
    const Change change(*this, slot);
    recount(slot, [peers](Record& record) { record.suppressed = peers; });
}

void FlowStore::set_missing(Slot slot, Missing why) {
    if (index_.record(slot).missing != why)
        recount(slot, [why](Record& record) { record.missing = why; });
}

void FlowStore::set_refused(Slot slot, std::optional<table::Ignored> why) {
    recount(slot, [why](Record& record) { record.set_refused(why); });
}

} // namespace encsync::sync
