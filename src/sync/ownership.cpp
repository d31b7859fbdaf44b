// SPDX-License-Identifier: ISC
#include "sync/ownership.hpp"

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Slot;

namespace {

// Within this time an owner announces a flow that others do not claim.
constexpr Duration kNaming = 5s;
// Nodes learn of a new role, or of a node that is gone, one after the other.
constexpr Duration kRolesSettle = 3s;

} // namespace

// ---- new flows -----------------------------------------------------------------------------

Slot Ownership::add(const state::Flow& flow, std::uint8_t owner) {
    const Slot slot = begin(flow, owner);
    if (slot == kNoSlot)
        return kNoSlot;
    copies_.mark_present(slot);
    begin_owner(slot, owner);
    return slot;
}

Slot Ownership::add_from(Peer& peer, const state::Flow& flow, std::uint8_t owner) {
    if (!accept_insert(peer)) {
        peer.over_limit = ctx_.now;
        peer.over_limit_by = peer.verdict.last();
        return kNoSlot;
    }
    const Slot slot = begin(flow, owner);
    if (slot == kNoSlot)
        return kNoSlot;
    LocalState& local = ctx_.flows.local(slot);
    local.origin = origin_of(peer.id);
    local.is.absent = true; // until Copies::put()
    begin_owner(slot, owner);
    return slot;
}

bool Ownership::has_place(const Peer& peer) const {
    return ctx_.index.size() < ctx_.options.max_states &&
           peer.verdict.has_place(ctx_.flows.copies(peer.id));
}

bool Ownership::accept_insert(Peer& peer) {
    if (ctx_.index.size() >= ctx_.options.max_states) {
        peer.verdict.refuse(Reason::table_limit);
        return false;
    }
    return peer.verdict.insert(ctx_.flows.copies(peer.id), ctx_.now);
}

Slot Ownership::begin(const state::Flow& flow, std::uint8_t owner) {
    const std::uint32_t left = flow.timeout_known ? flow.timeout : copies_.lifetime(flow);
    const Slot slot = lifecycle_.begin(flow, left, owner == kHere);
    if (slot != kNoSlot)
        ctx_.flows.local(slot).liberal = is_liberal(flow);
    return slot;
}

void Ownership::begin_owner(Slot slot, std::uint8_t owner) {
    if (owner != kHere)
        set_owner(slot, owner);
    else
        copies_.rules_changed(slot);
}

// ---- one flow ------------------------------------------------------------------------------

void Ownership::set_owner(Slot slot, std::uint8_t owner) {
    FlowStore::Change change(ctx_.flows, slot); // one for all that follows
    const Record& record = ctx_.record(slot);
    LocalState& local = ctx_.flows.local(slot);
    const bool copy = record.owner != kHere;
    if (owner == kHere)
        change.drop_used_expectations();
    if (record.owner == kUnclaimed && peers_.is_peer(owner) && local.origin == 0)
        local.origin = origin_of(owner); // an earlier run of this node has got it from there
    ctx_.flows.set_owner(slot, owner);
    local.is = {
        .absent = record.is.absent, .ended = record.is.ended, .dump_mark = record.is.dump_mark};
    // Its former owner has sent it to the others, if it was to be sent; from now on we do.
    if (owner == kHere)
        local.known = (record.flags & state::kNoSync) != 0 ? std::uint16_t{0} : peers_.mask();
    else if (peers_.is_peer(owner))
        local.epoch = peers_[owner].bulk.epoch;
    copies_.judge(slot, copy);
    suppression_.update(slot);
}

bool Ownership::take(Slot slot) {
    if (ctx_.record(slot).refused() && !ctx_.record(slot).is.handed_over) {
        lifecycle_.erase(slot);
        return false;
    }
    FlowStore::Change change(ctx_.flows, slot);
    const Record& record = ctx_.record(slot);
    const std::uint8_t former = record.owner;
    const bool ended = record.is.ended;
    change.progress().term = next_term(record.term);
    set_owner(slot, kHere);
    if (ended) {
        outbound_.retract(slot);
        lifecycle_.erase(slot);
        return false;
    }
    ctx_.flows.local(slot).is.copy_timer = true;
    ctx_.counters.adopted++;
    // An unreachable peer is sent it when it is back; the others conclude it for themselves.
    if (peers_.is_peer(former) && !peers_.owner_alive(former) && peers_[former].extended)
        outbound_.enqueue(peers_[former], slot, true);
    return true;
}

bool Ownership::claim(Slot slot) {
    if (!take(slot))
        return false;
    outbound_.announce(slot, true);
    return true;
}

void Ownership::give(Slot slot, PeerId taker) {
    FlowStore::Change change(ctx_.flows, slot);
    const Record& record = ctx_.record(slot);
    LocalState& local = ctx_.flows.local(slot);
    const bool ours = record.owner == kHere;
    change.progress().term = next_term(record.term);
    set_owner(slot, taker);
    if (ours)
        local.is.handed_over = true;
    ctx_.flows.set_expires(slot, ctx_.seconds); // so that it is re-armed as the copy it is now
}

bool Ownership::accept_claim(const Peer& peer, Slot slot) {
    if (ctx_.record(slot).owner != peer.id)
        set_owner(slot, peer.id);
    return !falls_to_us(peer, slot) || claim(slot);
}

bool Ownership::claim_holds(const Peer& peer, const Record& record, std::uint8_t term) const {
    const std::uint8_t owner = record.owner;
    if (owner == peer.id || !peers_.owner_alive(owner) || !peer.protocol->has_terms())
        return true;
    const int later = compare_terms(term, record.term);
    return later != 0 ? later > 0 : peer.creatorid < peers_.creatorid(owner);
}

bool Ownership::may_remove(Peer& peer, Slot slot, std::uint8_t term) {
    const Record& record = ctx_.record(slot);
    const std::uint8_t owner = record.owner;
    if (owner == kHere && ctx_.options.role != Role::standby &&
        (compare_terms(term, record.term) <= 0 || keeps(peer, slot))) {
        // Its timer ran out there, but traffic passes here: it is sent again.
        peer.verdict.refuse(Reason::not_owner);
        outbound_.send_full(peer, slot);
        return false;
    }
    if (owner != kHere && owner != peer.id && peers_.owner_alive(owner)) {
        peer.verdict.refuse(Reason::not_owner); // its owner would send it itself
        return false;
    }
    return true;
}

bool Ownership::keeps(const Peer& peer, Slot slot) const {
    const Record& record = ctx_.record(slot);
    return record.owner == kHere && !record.is.absent && falls_to_us(peer, slot);
}

bool Ownership::falls_to_us(const Peer& peer, Slot slot) const {
    return peers_.sole_active() == kHere && peers_.gives_way(peer.id) &&
           !ctx_.record(slot).refused();
}

// ---- all flows -----------------------------------------------------------------------------

bool Ownership::settled() const {
    return ctx_.now - reconciled_ >= kRolesSettle;
}

void Ownership::reconcile() {
    reconciled_ = ctx_.now;
    const std::uint8_t taker = peers_.sole_active();
    if (taker == kUnclaimed)
        return;
    bool hurry = false;
    for (const Slot slot : ctx_.index.slots()) {
        const Record& record = ctx_.record(slot);
        if (record.owner == taker || !peers_.gives_way(record.owner))
            continue;
        if (taker == kHere) {
            if (record.refused())
                continue;
            hurry = hurry || record.is.absent; // its traffic comes here
            take(slot);
        } else if (record.owner == kHere ? has(record.known, taker) : record.owner != kUnclaimed) {
            give(slot, taker); // it cannot have taken over what it was never sent
            hurry = true;      // its timer is a natural one, and no traffic re-arms it any more
        }
    }
    if (hurry)
        copies_.hurry();
}

std::size_t Ownership::remove_brought_by(PeerId peer) {
    std::size_t removed = 0;
    for (const Slot slot : ctx_.index.slots()) {
        const Record& record = ctx_.record(slot);
        if (record.origin != origin_of(peer))
            continue;
        if (record.owner == kHere)
            outbound_.retract(slot);
        lifecycle_.erase_from_table(slot);
        removed++;
    }
    return removed;
}

void Ownership::take_lost(const Peer& peer) {
    for (const Slot slot : ctx_.index.slots())
        if (ctx_.record(slot).owner == peer.id && claim(slot))
            clear(ctx_.flows.local(slot).known, peer.id);
}

// But a peer that came without its table cannot know what has ended: then they are ours, and
// live as long as their traffic keeps them.
void Ownership::settle_unclaimed(bool waited) {
    unclaimed_due_ = Instant::max();
    const bool any = ctx_.flows.copies(kUnclaimed) != 0;
    if (!peers_.any() || (!any && !ctx_.table_known))
        return;
    if (any)
        settle_unclaimed_later();
    bool lost = false;
    for (const Peer& peer : peers_.all()) {
        // Until it is; what a pf firewall did not name may have been lost on the way.
        if (peer.present && (!peer.reachable() || !peer.in_step || !peer.protocol->reliable()))
            return;
        lost = lost || peer.lost;
    }
    if (any && lost && !waited)
        return; // it may be about to send what has ended in its present life
    if (any)
        for (const Slot slot : ctx_.index.slots()) {
            if (ctx_.record(slot).owner != kUnclaimed)
                continue;
            if (lost) {
                claim(slot);
                continue;
            }
            lifecycle_.erase_from_table(slot);
            ctx_.counters.dropped_unclaimed++;
        }
    unclaimed_due_ = Instant::max();
    for (Peer& peer : peers_.all())
        peer.lost = false; // it never had what loses its owner from now on
}

void Ownership::settle_unclaimed_later() {
    unclaimed_due_ = ctx_.now + kNaming;
}

void Ownership::advance() {
    if (ctx_.now >= unclaimed_due_)
        settle_unclaimed(true);
}

} // namespace encsync::sync
