// SPDX-License-Identifier: ISC
// Copies that the table does not hold, though their owner lives: why, how many, and what brings
// them back.
//
// - vanished: deleted here by somebody, pushed out of a full table, or found missing by a dump.
//   On a standby each is put back as soon as its owner is heard of again. Elsewhere its traffic may
//   have ended here while its owner is about to be found dead, and then that is news: it waits for
//   longer than that takes. Not over and over again: in a full table each one that is put back may
//   push out another.
// - no_room, refused: asked again by the refresh round, once a minute.
// - clash: another entry has the same reply tuple in the same zone, because two nodes gave the same
//   NAT port to different flows. One of the two goes, by rules that all nodes follow alike:
//
//   1. What lives at a node within reach goes before what does not: copies that nobody owns,
//      entries of which nobody knows.
//   2. Of two flows of one owner one has ended: the owner is asked which.
//   3. Where exactly one node is active, its flow goes before another node's.
//   4. The flow in a later term; in the same term, that of the owner with the smaller creatorid.
//
//   The owner of the flow that loses ends it; others take it out of their table and wait for that
//   word. While roles settle, nodes may differ about rule 3, and so nothing is decided.
#include "sync/engine.hpp"

#include "sync/marks.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Record;
using state::Slot;

namespace {

// Seconds before the refresh round asks again: longer than a dead peer is taken for alive, and long
// enough for a full table to have room.
constexpr std::uint32_t kVanishedPause = 6, kRefusedPause = 60;
constexpr Instant kClashPause = 2s;
constexpr std::size_t kMaxClashing = 10'000; // the others wait for the refresh round
constexpr std::size_t kAtATime = 20'000;
// Of one owner's copies so many are put back at once in this time.
constexpr Instant kPutBackTime = 60s;
constexpr std::size_t kPutBackTimes = 2, kPutBackMore = 1000;
// What is normal while flows come and go.
constexpr std::size_t kFewMissing = 10, kShareMissing = 100;
constexpr Instant kMissingTime = 3s;

} // namespace

const char* to_string(Missing missing) {
    static constexpr const char* kNames[kMissingReasons] = {"", "vanished", "no_room", "clash",
                                                            "refused"};
    return kNames[static_cast<std::size_t>(missing)];
}

// ---- the count -----------------------------------------------------------------------------

std::size_t Engine::missing_of(PeerId peer) const {
    std::size_t all = 0;
    for (std::size_t why = 1; why < kMissingReasons; why++)
        all += flows_.missing(peer, static_cast<Missing>(why));
    return all;
}

// To be called when the table has said what it refuses.
void Engine::note_missing() {
    for (PeerId peer = 0; peer < peer_count(); peer++) {
        Instant& since = vanished_[peer].missing_since;
        since = missing_of(peer) == 0 ? Instant::max() : std::min(since, now_);
    }
}

// More of the peer's flows are missing, or for longer, than is normal.
bool Engine::lacks(PeerId peer) const {
    const std::size_t missing = missing_of(peer);
    return missing_of(peer, Missing::no_room) != 0 ||
           missing > std::max(kFewMissing, flows_.copies(peer) / kShareMissing) ||
           (missing != 0 && now_ > vanished_[peer].missing_since &&
            now_ - vanished_[peer].missing_since > kMissingTime);
}

void Engine::mark_absent(Slot slot, Missing why) {
    state::Marks& marks = flows_.marks(slot);
    marks.is.absent = true;
    marks.expires = now_s_ + (why == Missing::vanished ? kVanishedPause : kRefusedPause);
    flows_.set_missing(slot, why);
    const std::uint8_t owner = index_.record(slot).owner;
    if (why == Missing::vanished && owner < sessions_.size())
        vanished_[owner].copies.add(now_, index_, slot);
    else if (why == Missing::clash && clashing_.size() < kMaxClashing)
        clashing_.add(now_ + kClashPause, index_, slot);
}

// ---- put back ------------------------------------------------------------------------------

bool Engine::may_put_back(PeerId peer) const {
    return sessions_[peer]->reachable() &&
           vanished_[peer].copies.next() < sessions_[peer]->last_heard;
}

void Engine::put_back_vanished(PeerId peer) {
    Vanished& v = vanished_[peer];
    if (now_ - v.put_back_since >= kPutBackTime) {
        v.put_back_since = now_;
        v.put_back = 0;
    }
    for (std::size_t n = 0; n < kAtATime && may_put_back(peer); n++) {
        const auto slot = v.copies.take(sessions_[peer]->last_heard - Instant(1), index_);
        if (!slot)
            break;
        const Record& record = index_.record(*slot);
        if (!is_missing(*slot, Missing::vanished) || record.owner != peer)
            continue;
        // A packet of a dead owner may be on its way still; the refresh round waits for longer.
        if (record.is.ended)
            continue;
        if (v.put_back >= kPutBackTimes * flows_.copies(peer) + kPutBackMore) {
            flows_.marks(*slot).expires = now_s_ + kRefusedPause;
            continue;
        }
        v.put_back++;
        counters_.put_back++;
        put_copy(*slot);
    }
}

void Engine::put_clashing() {
    while (const auto slot = clashing_.take(now_, index_))
        if (is_missing(*slot, Missing::clash) && owner_alive(index_.record(*slot).owner))
            put_copy(*slot);
}

bool Engine::is_missing(Slot slot, Missing why) const {
    return index_.record(slot).missing == static_cast<std::uint8_t>(why);
}

// ---- clashes -------------------------------------------------------------------------------

std::uint32_t Engine::creatorid_of(std::uint8_t owner) const {
    return owner == kHere ? options_.creatorid : sessions_[owner]->creatorid;
}

// Of two flows of different owners within reach: whether the first goes before the second.
bool Engine::outranks(Slot slot, Slot other) const {
    const Record &a = index_.record(slot), &b = index_.record(other);
    const auto plain = [this](std::uint8_t owner) {
        return owner != kHere && sessions_[owner]->plain();
    };
    if (plain(a.owner) != plain(b.owner)) // a pf peer ends nothing of its own for us
        return plain(b.owner);
    const std::uint8_t sole = sole_active();
    if ((a.owner == sole) != (b.owner == sole))
        return a.owner == sole;
    if (const int later = compare_terms(a.term, b.term); later != 0)
        return later > 0;
    return creatorid_of(a.owner) < creatorid_of(b.owner);
}

// An own flow ends, because its NAT port is another flow's.
void Engine::end_clashing(Slot slot, const state::Flow& other) {
    const state::Flow flow = index_.flow(slot, now_s_);
    counters_.clashes++;
    if (options_.on_clash)
        options_.on_clash(flow, other);
    retract(slot);
    if (dumping_)
        remember_gone(flow.key);
    forget(slot);
}

void Engine::on_clash(const state::Key& key, const state::Flow& holder, bool untouched) {
    const Slot slot = index_.find(key);
    if (slot == kNoSlot || key == holder.key)
        return on_refused(key, table::Refusal::clash);
    // As news as an entry of a dump: an event may be on its way, or lost.
    on_dump_entry(holder, untouched);
    const Slot held = index_.find(holder.key);
    const std::uint8_t owner = index_.record(slot).owner;
    if (!owner_alive(owner))
        return on_refused(key, table::Refusal::clash);
    if (held == kNoSlot || !owner_alive(index_.record(held).owner)) {
        table_.remove(holder);
        if (held != kNoSlot)
            forget(held);
        return put_copy(slot);
    }
    settle_clash(slot, held);
}

// Between two flows that live, of which the second is in the table.
void Engine::settle_clash(Slot slot, Slot held) {
    const Record &record = index_.record(slot), &other = index_.record(held);
    const std::uint8_t owner = record.owner;
    if (owner == other.owner && owner != kHere) {
        if (!sessions_[owner]->plain()) {
            request(owner, record.id);
            request(owner, other.id);
        }
        return on_refused(index_.key(slot), table::Refusal::clash);
    }
    if (owner != other.owner && now_ - reconciled_ < kRolesSettle) {
        if (owner != kHere)
            return on_refused(index_.key(slot), table::Refusal::clash);
        state::Marks& marks = flows_.marks(slot);
        marks.is.lent = marks.is.absent = true; // the refresh round tries again
        return;
    }
    const state::Flow flow = index_.flow(slot, now_s_), held_flow = index_.flow(held, now_s_);
    if (owner != other.owner && outranks(slot, held)) {
        if (other.owner == kHere)
            end_clashing(held, flow);
        else
            mark_absent(held, Missing::clash);
        table_.remove(held_flow);
        return put_copy(slot);
    }
    if (owner != kHere)
        on_refused(index_.key(slot), table::Refusal::clash);
    else // taken over, and nowhere to put it
        end_clashing(slot, held_flow);
}

} // namespace encsync::sync
