// SPDX-License-Identifier: ISC
// Of which flows a peer is not to hear. One that pf calls no-sync: no peer. One that fits a rule
// of a conn's `nosync`: that peer. One whose conntrack zone the peer's wire cannot say, for it
// would make another flow of it: that peer. One that has not lived for `delay` yet: no peer, until
// then; and none at all if its connection is closed by then, however long the table remembers it.
//
// Record::withheld says it of each flow, so that whoever is about to say something only has to
// look. It changes in withhold() alone, which tells the peers what follows from it: who may hear of
// the flow from now on is told, who may no longer loses the copy.
#include "sync/engine.hpp"

#include "sync/marks.hpp"

#include <algorithm>
#include <netinet/in.h>
#include <utility>

namespace encsync::sync {

using state::Record;
using state::Slot;

std::uint16_t Engine::kept_from(Slot slot) const {
    const Record& record = index_.record(slot);
    if ((record.flags & state::kNoSync) != 0 || record.is.young || record.refused != 0)
        return all_peers();
    std::uint16_t peers = deaf_to_zone_of(slot);
    if (!any_nosync_)
        return peers;
    const state::Flow flow = index_.flow(slot, now_s_);
    for (PeerId peer = 0; peer < peer_count(); peer++)
        if (sessions_[peer]->options.nosync.matches(flow))
            set(peers, peer);
    return peers;
}

std::uint16_t Engine::deaf_to_zone_of(Slot slot) const {
    std::uint16_t peers = 0;
    const bool zone = index_.zone(slot) != 0;
    const bool one_way = index_.extras(slot).reply_zone.has_value();
    if (zone || one_way)
        for (PeerId peer = 0; peer < peer_count(); peer++)
            if (sessions_[peer]->zones < (one_way ? Zones::each_direction : Zones::both_directions))
                set(peers, peer);
    return peers;
}

// To be called when the peer shows itself to speak another wire than before.
void Engine::review_zones(PeerId peer) {
    Session& s = *sessions_[peer];
    if (std::exchange(s.zones, s.zones_of_wire()) == s.zones_of_wire())
        return;
    for (const Slot slot : index_.slots())
        if (index_.zone(slot) != 0 || index_.extras(slot).reply_zone)
            review(slot);
}

void Engine::review(Slot slot) {
    judge(slot, index_.record(slot).owner != kHere);
    withhold(slot);
}

void Engine::withhold(Slot slot) {
    const Record& record = index_.record(slot);
    state::Marks& marks = flows_.marks(slot);
    const std::uint16_t before = record.withheld, after = kept_from(slot);
    if (before != after)
        flows_.set_withheld(slot, after);
    // A copy is its owner's to tell of and to withdraw.
    if (record.owner != kHere || (before == 0 && after == 0))
        return;
    const std::uint16_t deaf = before != after ? deaf_to_zone_of(slot) : std::uint16_t{0};
    for (PeerId peer = 0; peer < peer_count(); peer++) {
        sessions_[peer]->counters.zone_withheld += has(deaf, peer);
        if (has(after, peer)) {
            if (has(marks.known, peer))
                retract_from(peer, slot);
            clear(marks.known, peer);
            clear(marks.queued, peer);
            clear(marks.full, peer);
            clear(marks.waiting, peer);
        } else if (has(before, peer) && sessions_[peer]->listens()) {
            enqueue(*sessions_[peer], peer, slot, true);
        }
    }
}

// ---- delay ---------------------------------------------------------------------------------

// All wait equally long, so they come of age in the order in which they were born.
void Engine::keep_back(Slot slot) {
    if (options_.delay == Instant::zero())
        return;
    flows_.marks(slot).is.young = true;
    young_.add(now_ + options_.delay, index_, slot);
    review(slot);
}

bool Engine::is_over(Slot slot) const {
    const std::uint8_t proto = index_.key(slot).proto;
    const Record& record = index_.record(slot);
    return (proto == IPPROTO_TCP || proto == IPPROTO_SCTP || proto == IPPROTO_DCCP) &&
           std::min(record.src_state, record.dst_state) >= state::tcp::kFinWait2 &&
           std::max(record.src_state, record.dst_state) <= state::tcp::kTimeWait;
}

void Engine::come_of_age(Instant until) {
    while (const auto slot = young_.take(until, index_)) {
        state::Marks& marks = flows_.marks(*slot);
        if (!marks.is.young || is_over(*slot))
            continue;
        marks.is.young = false;
        review(*slot);
    }
}

} // namespace encsync::sync
