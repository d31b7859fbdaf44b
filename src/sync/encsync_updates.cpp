// SPDX-License-Identifier: ISC
// An encsync node's updates of a flow: of one that is new here, of one that is known, of one that
// is known under another name.
#include "sync/encsync_peer.hpp"

#include "sync/merge.hpp"

namespace encsync::sync {

using state::kNoSlot;
using state::Slot;

namespace {

constexpr std::uint8_t kStatus = state::kSeenReply | state::kAssured;

void add_flags(state::Progress& ours, std::uint8_t proto, std::uint8_t received) {
    ours.flags = static_cast<std::uint8_t>(ours.flags | received |
                                           progress_flags(proto, ours.src_state, ours.dst_state));
}

} // namespace

// ---- full states ---------------------------------------------------------------------------

void EncsyncPeer::receive_full(pfsync::Dialect layout, Bytes message) {
    pfsync::FullState full;
    if (!peer_.verdict.read(layout, message, full))
        return;
    if ((full.flow.flags & state::kNoSync) != 0) // no node of ours sends one
        return peer_.verdict.refuse(Reason::no_sync);
    p_.outbound.answered(peer_, full.flow.id);
    const Slot slot = p_.pf_flows.find(full.flow.id);
    if (slot != kNoSlot && ctx_.index.key(slot) != full.flow.key)
        peer_.verdict.refuse(Reason::id_clash);
    else if (slot != kNoSlot)
        apply(slot, Update(full));
    else if (const Slot same = ctx_.index.find(full.flow.key); same != kNoSlot)
        receive_other_name(same, full);
    else
        receive_new(full);
    begin_expectations(full);
    const Slot by_now = p_.pf_flows.find(full.flow.id);
    if (full.wants_ack && by_now != kNoSlot && ctx_.index.key(by_now) == full.flow.key)
        p_.outbound.acknowledge_insert(peer_, full.flow.id);
}

void EncsyncPeer::receive_new(const pfsync::FullState& full) {
    // A copy of another node's flow. It is new only to a node that joins without a table of its
    // own; otherwise it has ended here, and the peer does not know yet.
    if (!full.live) {
        if (p_.lifecycle.ended_lately(full.flow.key)) {
            if (!full.elsewhere)
                p_.outbound.remove(peer_, full.flow.id, full.term);
            return;
        }
        if (ctx_.options.table_kept || ctx_.ever_in_step)
            return;
        if (const auto why = p_.copies.refuses(peer_.id, full.flow))
            return p_.copies.count_refused(peer_.id, *why);
    }
    const Slot slot = p_.ownership.add_from(peer_, full.flow, full.live ? peer_.id : kUnclaimed);
    if (slot == kNoSlot)
        return;
    FlowStore::Change change(ctx_.flows, slot);
    change.progress().term = full.term;
    set(ctx_.flows.local(slot).known, peer_.id);
    p_.copies.put(slot);
    if (full.live && p_.ownership.falls_to_us(peer_, slot))
        p_.ownership.claim(slot);
}

// One flow under two names: two lives of it, or born on two nodes. The name that its owner gives
// it holds, and with the id what the owner sent of it.
void EncsyncPeer::receive_other_name(Slot slot, const pfsync::FullState& full) {
    FlowStore::Change change(ctx_.flows, slot);
    const Record& record = ctx_.record(slot);
    const std::uint8_t owner = record.owner;
    if (!full.live) {
        if (owner == peer_.id)
            p_.ownership.claim(slot);
        else if (!p_.peers.owner_alive(owner))
            change.rename(full.flow.id);
        return;
    }
    if (!p_.ownership.claim_holds(peer_, record, full.term)) {
        if (owner == kHere)
            p_.outbound.send_full(peer_, slot);
        return;
    }
    if (p_.ownership.keeps(peer_, slot)) {
        change.progress().term = full.term;
        p_.ownership.claim(slot);
        return;
    }
    change.rename(full.flow.id);
    if (ctx_.index.reply(slot) != full.flow.reply)
        change.set_reply(full.flow.reply);
    state::Progress& progress = change.progress();
    progress.src_state = full.flow.src_state;
    progress.dst_state = full.flow.dst_state;
    progress.flags = full.flow.flags;
    progress.term = full.term;
    if (full.has_tail) {
        progress.mark = full.flow.mark;
        change.set_extras(full.flow.extras);
    }
    ctx_.flows.local(slot).known = bit(peer_.id);
    p_.ownership.set_owner(slot, peer_.id);
    p_.copies.put(slot);
    if (p_.ownership.falls_to_us(peer_, slot))
        p_.ownership.claim(slot);
}

void EncsyncPeer::receive_update(pfsync::Dialect layout, Bytes message) {
    pfsync::CompressedUpdate update;
    if (!peer_.verdict.read(layout, message, update))
        return;
    const Slot slot = p_.pf_flows.find(update.id);
    if (slot == kNoSlot) {
        peer_.counters.requests++;
        return p_.outbound.request(peer_, update.id);
    }
    const std::uint8_t proto = ctx_.index.key(slot).proto;
    apply(slot, Update(pfsync::flow_state(layout, proto, update.src.state()),
                       pfsync::flow_state(layout, proto, update.dst.state())));
}

// ---- known flows ---------------------------------------------------------------------------

void EncsyncPeer::apply(Slot slot, const Update& update) {
    const Record& record = ctx_.record(slot);
    const state::Flow before = ctx_.flow(slot);
    const std::uint8_t owner = record.owner;
    set(ctx_.flows.local(slot).known, peer_.id);
    bool there = true;
    {
        const FlowStore::Change change(ctx_.flows, slot); // one for all that follows
        there = !update.live   ? apply_short(slot, update)
                : *update.live ? apply_from_owner(slot, update)
                               : apply_from_non_owner(slot, update);
    }
    if (!there)
        return;
    const state::Flow after = ctx_.flow(slot);
    const bool rules = before.mark != after.mark || before.reply != after.reply ||
                       before.flags != after.flags ||
                       before.extras.reply_zone != after.extras.reply_zone;
    const bool changed = rules || before.src_state != after.src_state ||
                         before.dst_state != after.dst_state || before.extras != after.extras;
    if (rules)
        p_.copies.rules_changed(slot);
    if (changed || (owner == kHere && record.owner != kHere))
        p_.copies.put(slot);
    if (changed && owner == kHere && record.owner == kHere)
        p_.outbound.announce(slot, before.flags != after.flags);
}

// UPD_C, which only an owner sends.
bool EncsyncPeer::apply_short(Slot slot, const Update& update) {
    const Record& record = ctx_.record(slot);
    if (record.owner == peer_.id) {
        LocalState& local = ctx_.flows.local(slot);
        local.is.handed_over = false;
        local.epoch = peer_.bulk.epoch;
        replace(slot, update);
    } else if (record.owner == kHere) {
        p_.outbound.send_full(peer_, slot); // it does not know yet
    } else {
        p_.outbound.request(peer_, record.id); // in full, with the term
    }
    return true;
}

bool EncsyncPeer::apply_from_owner(Slot slot, const Update& update) {
    const Record& record = ctx_.record(slot);
    const std::uint8_t owner = record.owner;
    if (!p_.ownership.claim_holds(peer_, record, update.term)) {
        if (owner == kHere) {
            if (update.term == record.term)
                merge_progress(slot, update);
            p_.outbound.send_full(peer_, slot);
        }
        return true;
    }
    FlowStore::Change change(ctx_.flows, slot);
    LocalState& local = ctx_.flows.local(slot);
    change.progress().term = update.term;
    if (p_.ownership.keeps(peer_, slot)) {
        merge_progress(slot, update);
        return p_.ownership.claim(slot);
    }
    local.is.handed_over = false;
    if (owner == kHere) {
        // Packets passed here, too, and perhaps some that the peer has not seen.
        const state::Flow ours = ctx_.flow(slot);
        if (merge(change.progress(), update.src_state, update.dst_state).any_stale())
            p_.outbound.enqueue(peer_, slot, true);
        Update merged = update;
        merged.src_state = record.src_state;
        merged.dst_state = record.dst_state;
        merged.flags = static_cast<std::uint8_t>(update.flags | (ours.flags & kStatus));
        replace(slot, merged);
    } else {
        replace(slot, update);
    }
    local.epoch = peer_.bulk.epoch;
    return p_.ownership.accept_claim(peer_, slot);
}

bool EncsyncPeer::apply_from_non_owner(Slot slot, const Update& update) {
    const Record& record = ctx_.record(slot);
    const std::uint8_t owner = record.owner;
    if (owner == peer_.id) {
        merge_progress(slot, update);
        if (!update.elsewhere)
            return p_.ownership.claim(slot);
        p_.ownership.set_owner(slot, kUnclaimed); // until the third node sends it
        p_.ownership.settle_unclaimed_later();
        return true;
    }
    const bool in_time = owner == kHere ? update.term == record.term : !p_.peers.owner_alive(owner);
    if (in_time && merge_progress(slot, update))
        p_.outbound.enqueue(peer_, slot, true);
    return true;
}

// The owner's update, as it is.
void EncsyncPeer::replace(Slot slot, const Update& update) {
    FlowStore::Change change(ctx_.flows, slot);
    state::Progress& ours = change.progress();
    ours.src_state = update.src_state;
    ours.dst_state = update.dst_state;
    if (update.live) // a full state
        ours.flags = static_cast<std::uint8_t>((ours.flags & ~kStatus) | update.flags);
    add_flags(ours, ctx_.index.key(slot).proto, 0);
    if (update.mark)
        ours.mark = *update.mark;
    if (update.reply != nullptr && ctx_.index.reply(slot) != *update.reply)
        change.set_reply(*update.reply);
    if (update.extras != nullptr)
        change.set_extras(*update.extras);
}

// What others have seen of a flow: whichever is further. True: something of ours is.
bool EncsyncPeer::merge_progress(Slot slot, const Update& update) {
    FlowStore::Change change(ctx_.flows, slot);
    const Merge merged = merge(change.progress(), update.src_state, update.dst_state);
    add_flags(change.progress(), ctx_.index.key(slot).proto, update.flags);
    peer_.counters.stale += merged.any_stale();
    return merged.any_stale();
}

} // namespace encsync::sync
