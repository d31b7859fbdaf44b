// SPDX-License-Identifier: ISC
// Whose a flow is. The rules, which every node follows alike:
//
// 1. The node whose table sees a flow move owns it (events.cpp), unless its owner is there and
//    not to hear of it. Each change of hands begins a new term; full states carry it, short
//    updates change no hands.
// 2. Of two nodes that call a flow their own, the later term is right; in the same term, the
//    smaller creatorid. An owner's word about its own flow holds in any term, and so does any
//    node's against an owner that is gone. A removal counts if its speaker owns the flow by this.
// 3. Where exactly one node is active, the flows of standby and vanished nodes are its own:
//    traffic goes there, and established flows raise no event that would say so. All nodes draw
//    that conclusion for themselves, so that a takeover needs no message for each flow.
// 4. A node that we take for the owner and that calls the flow a copy is not: we own it then,
//    unless it says that a third node does.
// 5. What a vanished node owned stays its own until somebody takes it, runs out unless traffic
//    keeps it, and is ours if the node comes back without its table.
// 6. Copies that no owner has named when all peers are in step have ended, and are removed. If a
//    peer has come without its table, they are ours.
// 7. A new life of a tuple begins in a later term than a former one that had changed hands.
#include "sync/engine.hpp"

#include "sync/marks.hpp"
#include "sync/merge.hpp"

#include <algorithm>

namespace encsync::sync {

using state::kNoSlot;
using state::Record;
using state::Slot;

namespace {

constexpr std::uint64_t kLifeMask = 0xfffff;
// In that time an owner tells of a flow that others disown.
constexpr Instant kNaming = std::chrono::seconds(5);
// A peer that has not heard of an end yet hears of it in that time.
constexpr Instant kFormerLife = std::chrono::seconds(10);
constexpr std::size_t kMaxFormerLives = 100'000;

} // namespace

bool Engine::owner_alive(std::uint8_t owner) const {
    return owner == kHere || (owner < sessions_.size() && sessions_[owner]->reachable());
}

// ---- the book ------------------------------------------------------------------------------

void Engine::set_owner(Slot slot, std::uint8_t owner) {
    const FlowStore::Edit edit(flows_, slot); // one for all that follows
    const Record& record = index_.record(slot);
    state::Marks& marks = flows_.marks(slot);
    const bool copy = record.owner != kHere;
    flows_.set_owner(slot, owner);
    marks.is = {
        .absent = record.is.absent, .ended = record.is.ended, .dump_mark = record.is.dump_mark};
    // Its former owner has told the others, if it was one to tell of; from now on we do.
    if (owner == kHere)
        marks.known = (record.flags & state::kNoSync) != 0 ? std::uint16_t{0} : all_peers();
    else if (owner < sessions_.size())
        marks.epoch = sessions_[owner]->epoch;
    judge(slot, copy);
    withhold(slot);
}

Slot Engine::adopt_new(const state::Flow& flow, std::uint8_t owner) {
    state::Flow named = flow;
    if (named.id.creatorid == 0) {
        // The hash says which flow, the low bits which life of it: a tuple that is used again at
        // once must not be taken for what it was, whatever was lost on the way.
        const std::uint64_t hash = state::state_id(flow.key, options_.id_secret) & ~kLifeMask;
        named.id.creatorid = options_.creatorid;
        do
            named.id.id = hash | (++births_ & kLifeMask);
        while (index_.find(named.id) != kNoSlot);
    }
    const std::uint32_t left = flow.timeout_known ? flow.timeout : own_lifetime(flow);
    std::uint8_t term = 0;
    if (owner == kHere)
        if (const auto former = former_lives_.find(flow.key); former != former_lives_.end())
            term = next_term(former->second.term);
    const auto [slot, fresh] = flows_.insert(named, now_s_ + left, now_s_ - flow.age, term);
    if (!fresh)
        return kNoSlot;
    gone_lately_.erase(flow.key);
    mark_present(slot);
    flows_.marks(slot).liberal = is_liberal(flow);
    if (owner != kHere)
        set_owner(slot, owner);
    else
        review(slot);
    return slot;
}

void Engine::forget(Slot slot) {
    remember_term(slot);
    pf_states_.erase(slot);
    flows_.erase(slot);
}

// Out of the table as well, if we have put it there.
void Engine::discard(Slot slot) {
    if (dumping_)
        remember_gone(index_.key(slot));
    if (index_.record(slot).refused == 0)
        table_.remove(index_.flow(slot, now_s_));
    forget(slot);
}

// A tuple may be used again at once. A node that still takes its former life for its own must not
// hold that against the new one.
void Engine::remember_term(Slot slot) {
    const Record& record = index_.record(slot);
    if (record.owner != kHere || record.term == 0)
        return; // the same node's word about its own flow
    if (former_ends_.size() >= kMaxFormerLives)
        forget_former(Instant::max());
    const state::Key key = index_.key(slot);
    former_lives_[key] = {now_ + kFormerLife, record.term};
    former_ends_.emplace_back(now_ + kFormerLife, key);
}

void Engine::forget_former(Instant until) {
    for (; !former_ends_.empty() && former_ends_.front().first <= until; former_ends_.pop_front())
        if (const auto life = former_lives_.find(former_ends_.front().second);
            life != former_lives_.end() && life->second.due <= until) // none that ended later
            former_lives_.erase(life);
}

// ---- changing hands ------------------------------------------------------------------------

// A copy becomes our own. False: it had ended here already, which now is news; or it is one that is
// not taken from its owner, which knows better than to call it ours.
bool Engine::take(Slot slot) {
    if (index_.record(slot).refused != 0 && !index_.record(slot).is.given) {
        forget(slot);
        return false;
    }
    FlowStore::Edit edit(flows_, slot);
    const Record& record = index_.record(slot);
    const std::uint8_t former = record.owner;
    const bool ended = record.is.ended;
    edit.progress().term = next_term(record.term);
    set_owner(slot, kHere);
    if (ended) {
        retract(slot);
        forget(slot);
        return false;
    }
    flows_.marks(slot).is.lent = true;
    counters_.adopted++;
    // One that is out of reach hears of it when it is back; the others draw their own conclusions.
    if (former < sessions_.size() && !owner_alive(former) && sessions_[former]->extended)
        enqueue(*sessions_[former], former, slot, true);
    return true;
}

// Likewise, for a reason that others cannot know.
bool Engine::claim(Slot slot) {
    if (!take(slot))
        return false;
    announce(slot, true);
    return true;
}

// Our own, or a vanished node's, becomes the copy of the node that takes over.
void Engine::give(Slot slot, PeerId taker) {
    FlowStore::Edit edit(flows_, slot);
    const Record& record = index_.record(slot);
    state::Marks& marks = flows_.marks(slot);
    const bool ours = record.owner == kHere;
    edit.progress().term = next_term(record.term);
    set_owner(slot, taker);
    if (ours)
        marks.is.given = true;
    marks.expires = now_s_; // so that it is re-armed as the copy it is now
}

// Does the peer's claim to own a flow hold against what we know?
bool Engine::claim_holds(PeerId peer, const Record& record, std::uint8_t term) const {
    const std::uint8_t owner = record.owner;
    if (owner == peer || !owner_alive(owner) || sessions_[peer]->plain())
        return true;
    const int later = compare_terms(term, record.term);
    if (later != 0)
        return later > 0;
    return sessions_[peer]->creatorid <
           (owner == kHere ? options_.creatorid : sessions_[owner]->creatorid);
}

// Settles whose a flow is by what the peer says. False: it is nobody's, and forgotten.
bool Engine::settle(PeerId peer, Slot slot, const Said& said) {
    const Record& record = index_.record(slot);
    state::Marks& marks = flows_.marks(slot);
    const std::uint8_t owner = record.owner;
    if (owner == peer)
        marks.is.given = false;
    if (!said.live)
        return true;
    if (!*said.live)
        return owner != peer || claim(slot);
    if (!claim_holds(peer, record, said.term)) {
        if (owner == kHere)
            tell(peer, slot);
        return true;
    }
    // A pf peer knows no terms: it begins one whenever a flow becomes its own.
    FlowStore::Edit edit(flows_, slot);
    if (!sessions_[peer]->plain())
        edit.progress().term = said.term;
    else if (owner != peer)
        edit.progress().term = next_term(record.term);
    if (owner != peer)
        set_owner(slot, peer);
    return !falls_to_us(peer, slot) || claim(slot);
}

// ---- roles ---------------------------------------------------------------------------------

// The active node within reach, we ourselves included; kUnclaimed if there is none or several.
std::uint8_t Engine::sole_active() const {
    std::uint8_t sole = options_.role == Role::active ? kHere : kUnclaimed;
    for (PeerId peer = 0; peer < peer_count(); peer++)
        if (sessions_[peer]->reachable() && sessions_[peer]->role == Role::active) {
            if (sole != kUnclaimed)
                return kUnclaimed;
            sole = peer;
        }
    return sole;
}

// To the one active node.
bool Engine::gives_way(std::uint8_t owner) const {
    if (owner == kHere)
        return options_.role == Role::standby;
    return !owner_alive(owner) || sessions_[owner]->role == Role::standby;
}

// By the roles, what this peer has just called its own.
bool Engine::falls_to_us(PeerId peer, Slot slot) const {
    return sole_active() == kHere && gives_way(peer) && index_.record(slot).refused == 0;
}

void Engine::reconcile_roles() {
    reconciled_ = now_;
    const std::uint8_t taker = sole_active();
    if (taker == kUnclaimed)
        return;
    bool hurry = false;
    for (const Slot slot : index_.slots()) {
        const Record& record = index_.record(slot);
        if (record.owner == taker || !gives_way(record.owner))
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
    if (hurry) {
        refresh_hurry_ = true;
        refresh_cursor_ = kNoSlot;
        refresh_due_ = now_;
    }
}

// The peer is back without the table it had, and will name nothing of what was in it.
void Engine::take_lost(PeerId peer) {
    for (const Slot slot : index_.slots()) {
        if (index_.record(slot).owner == peer && claim(slot))
            clear(flows_.marks(slot).known, peer);
    }
}

// ---- copies of nobody ----------------------------------------------------------------------

// Copies that nobody has named when all peers are in step have ended. But one that came without its
// table cannot tell what has: then they are ours, and live as long as their traffic wills.
void Engine::settle_unclaimed(bool waited) {
    unclaimed_due_ = Instant::max();
    const bool any = flows_.copies(kUnclaimed) != 0;
    if (!has_peers() || (!any && !table_known_))
        return;
    if (any)
        settle_unclaimed_later();
    bool lost = false;
    for (const auto& s : sessions_) {
        if (s->present && (!s->reachable() || !s->in_step || s->plain()))
            return; // until it is; what a pf firewall did not name may have been lost on the way
        lost = lost || s->lost;
    }
    if (any && lost && !waited)
        return; // it may be about to tell what has ended in its present life
    if (any)
        for (const Slot slot : index_.slots()) {
            if (index_.record(slot).owner != kUnclaimed)
                continue;
            if (lost) {
                claim(slot);
                continue;
            }
            discard(slot);
            counters_.dropped_unclaimed++;
        }
    unclaimed_due_ = Instant::max();
    for (const auto& s : sessions_)
        s->lost = false; // what becomes nobody's from now on it has never had
}

// Somebody may be about to name them.
void Engine::settle_unclaimed_later() {
    unclaimed_due_ = now_ + kNaming;
}

} // namespace encsync::sync
