// SPDX-License-Identifier: ISC
#include "sync/clashes.hpp"

namespace encsync::sync {

using state::kNoSlot;
using state::Slot;

void Clashes::refused(const state::Key& key, table::Refusal refusal) {
    ctx_.counters.table_refused[static_cast<std::size_t>(refusal)]++;
    const Slot slot = ctx_.index.find(key);
    if (slot == kNoSlot)
        return;
    const Record& record = ctx_.record(slot);
    if (record.owner != kHere) {
        missing_.on_refused(slot, refusal);
    } else if (record.is.absent) { // taken over, and nowhere to put it
        outbound_.retract(slot);
        lifecycle_.erase(slot);
    }
}

// Of two flows of different owners within reach: whether the first goes before the second.
bool Clashes::outranks(Slot slot, Slot other) const {
    const Record &a = ctx_.record(slot), &b = ctx_.record(other);
    if (const bool terms = peers_.has_terms(a.owner); terms != peers_.has_terms(b.owner))
        return terms;
    const std::uint8_t sole = peers_.sole_active();
    if ((a.owner == sole) != (b.owner == sole))
        return a.owner == sole;
    if (const int later = compare_terms(a.term, b.term); later != 0)
        return later > 0;
    return peers_.creatorid(a.owner) < peers_.creatorid(b.owner);
}

// An own flow ends, because its NAT port is another flow's.
void Clashes::end(Slot slot, const state::Flow& other) {
    const state::Flow flow = ctx_.flow(slot);
    ctx_.counters.clashes++;
    if (ctx_.options.on_clash)
        ctx_.options.on_clash(flow, other);
    outbound_.retract(slot);
    if (ctx_.dumping)
        lifecycle_.remember_ended(flow.key);
    lifecycle_.erase(slot);
}

void Clashes::settle(Slot slot, const state::Flow& holder) {
    const Slot held = ctx_.index.find(holder.key);
    if (!peers_.owner_alive(ctx_.record(slot).owner))
        return refused(ctx_.index.key(slot), table::Refusal::clash);
    if (held == kNoSlot || !peers_.owner_alive(ctx_.record(held).owner)) {
        ctx_.table.remove(holder);
        if (held != kNoSlot)
            lifecycle_.erase(held);
        return copies_.put(slot);
    }
    settle_living(slot, held);
}

// Of the two, the second is in the table.
void Clashes::settle_living(Slot slot, Slot held) {
    const Record &record = ctx_.record(slot), &other = ctx_.record(held);
    const std::uint8_t owner = record.owner;
    const auto leave_out = [&] { refused(ctx_.index.key(slot), table::Refusal::clash); };
    if (owner == other.owner && owner != kHere) {
        if (peers_[owner].protocol->reliable()) {
            outbound_.request(peers_[owner], record.id);
            outbound_.request(peers_[owner], other.id);
        }
        return leave_out();
    }
    if (owner != other.owner && !ownership_.settled()) {
        if (owner == kHere) { // the round of Copies tries again
            LocalState& local = ctx_.flows.local(slot);
            local.is.copy_timer = local.is.absent = true;
        } else {
            leave_out();
        }
        return;
    }
    const state::Flow flow = ctx_.flow(slot), held_flow = ctx_.flow(held);
    if (owner != other.owner && outranks(slot, held)) {
        if (other.owner == kHere)
            end(held, flow);
        else
            missing_.mark(held, Missing::clash);
        ctx_.table.remove(held_flow);
        return copies_.put(slot);
    }
    if (owner != kHere)
        leave_out();
    else // taken over, and nowhere to put it
        end(slot, held_flow);
}

} // namespace encsync::sync
