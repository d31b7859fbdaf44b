// SPDX-License-Identifier: ISC
#include "sync/ownership.hpp"

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Record;
using state::Slot;

namespace {

// In that time an owner tells of a flow that others disown.
constexpr Duration kNaming = 5s;
// Nodes hear of a new role, or of a node that is gone, one after the other.
constexpr Duration kRolesSettle = 3s;

} // namespace

// ---- new flows -----------------------------------------------------------------------------

Slot Ownership::add(const state::Flow& flow, std::uint8_t owner) {
    const std::uint32_t left = flow.timeout_known ? flow.timeout : copies_.lifetime(flow);
    const Slot slot = lifecycle_.begin(flow, left, owner == kHere);
    if (slot == kNoSlot)
        return kNoSlot;
    copies_.mark_present(slot);
    ctx_.flows.local(slot).liberal = is_liberal(flow);
    if (owner != kHere)
        set_owner(slot, owner);
    else
        copies_.rules_changed(slot);
    return slot;
}

Slot Ownership::add_from(Peer& peer, const state::Flow& flow, std::uint8_t owner) {
    if (ctx_.index.size() < ctx_.options.max_states)
        return add(flow, owner);
    ctx_.refuse(Refused::table_limit);
    peer.over_limit = ctx_.now;
    return kNoSlot;
}

// ---- one flow ------------------------------------------------------------------------------

void Ownership::set_owner(Slot slot, std::uint8_t owner) {
    const FlowStore::Change change(ctx_.flows, slot); // one for all that follows
    const Record& record = ctx_.record(slot);
    state::LocalState& local = ctx_.flows.local(slot);
    const bool copy = record.owner != kHere;
    ctx_.flows.set_owner(slot, owner);
    local.is = {
        .absent = record.is.absent, .ended = record.is.ended, .dump_mark = record.is.dump_mark};
    // Its former owner has told the others, if it was one to tell of; from now on we do.
    if (owner == kHere)
        local.known = (record.flags & state::kNoSync) != 0 ? std::uint16_t{0} : peers_.mask();
    else if (peers_.is_peer(owner))
        local.epoch = peers_[owner].bulk.epoch;
    copies_.judge(slot, copy);
    suppression_.update(slot);
}

bool Ownership::take(Slot slot) {
    if (ctx_.record(slot).refused != 0 && !ctx_.record(slot).is.handed_over) {
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
    // One that is out of reach hears of it when it is back; the others draw their own conclusions.
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
    state::LocalState& local = ctx_.flows.local(slot);
    const bool ours = record.owner == kHere;
    change.progress().term = next_term(record.term);
    set_owner(slot, taker);
    if (ours)
        local.is.handed_over = true;
    local.expires = ctx_.seconds; // so that it is re-armed as the copy it is now
}

bool Ownership::given_by_peer(const Peer& peer, Slot slot) {
    if (ctx_.record(slot).owner != peer.id)
        set_owner(slot, peer.id);
    return !falls_to_us(peer, slot) || claim(slot);
}

bool Ownership::claim_holds(const Peer& peer, const Record& record, std::uint8_t term) const {
    const std::uint8_t owner = record.owner;
    if (owner == peer.id || !peers_.owner_alive(owner) || !peer.protocol->tells_terms())
        return true;
    const int later = compare_terms(term, record.term);
    return later != 0 ? later > 0 : peer.creatorid < peers_.creatorid(owner);
}

bool Ownership::may_remove(Peer& peer, Slot slot, std::uint8_t term) {
    const Record& record = ctx_.record(slot);
    const std::uint8_t owner = record.owner;
    if (owner == kHere && ctx_.options.role != Role::standby &&
        compare_terms(term, record.term) <= 0) {
        // Its timer ran out there, but traffic passes here: it is told again.
        ctx_.refuse(Refused::not_owner);
        outbound_.send_full(peer, slot);
        return false;
    }
    if (owner != kHere && owner != peer.id && peers_.owner_alive(owner)) {
        ctx_.refuse(Refused::not_owner); // its owner will say so itself
        return false;
    }
    return true;
}

bool Ownership::falls_to_us(const Peer& peer, Slot slot) const {
    return peers_.sole_active() == kHere && peers_.gives_way(peer.id) &&
           ctx_.record(slot).refused == 0;
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
            if (record.refused != 0)
                continue;
            hurry = hurry || record.is.absent; // its traffic comes here
            take(slot);
        } else if (record.owner == kHere ? has(record.known, taker) : record.owner != kUnclaimed) {
            give(slot, taker); // it cannot have taken over what it was never told of
            hurry = true;      // its timer is a natural one, and no traffic re-arms it any more
        }
    }
    if (hurry)
        copies_.hurry();
}

void Ownership::take_lost(const Peer& peer) {
    for (const Slot slot : ctx_.index.slots())
        if (ctx_.record(slot).owner == peer.id && claim(slot))
            clear(ctx_.flows.local(slot).known, peer.id);
}

// But where a peer came without its table it cannot tell what has ended: then they are ours, and
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
        return; // it may be about to tell what has ended in its present life
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
        peer.lost = false; // what becomes nobody's from now on it has never had
}

void Ownership::settle_unclaimed_later() {
    unclaimed_due_ = ctx_.now + kNaming;
}

void Ownership::advance() {
    if (ctx_.now >= unclaimed_due_)
        settle_unclaimed(true);
}

} // namespace encsync::sync
