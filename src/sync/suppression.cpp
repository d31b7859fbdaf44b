// SPDX-License-Identifier: ISC
#include "sync/suppression.hpp"

#include "sync/merge.hpp"

#include <algorithm>
#include <utility>

namespace encsync::sync {

using state::Slot;

void Suppression::peers_changed() {
    any_nosync_ =
        std::ranges::any_of(peers_.all(), [](const Peer& p) { return !p.options.nosync.empty(); });
    for (const Slot slot : ctx_.index.slots())
        update(slot);
}

std::uint16_t Suppression::peers_not_sent_to(Slot slot) const {
    const Record& record = ctx_.record(slot);
    if ((record.flags & state::kNoSync) != 0 || record.is.delayed || record.refused())
        return peers_.mask();
    std::uint16_t out = peers_without_zone_of(slot);
    if (!any_nosync_)
        return out;
    const state::Flow flow = ctx_.flow(slot);
    for (const Peer& peer : peers_.all())
        if (peer.options.nosync.matches(flow))
            set(out, peer.id);
    return out;
}

std::uint16_t Suppression::peers_without_zone_of(Slot slot) const {
    std::uint16_t out = 0;
    const bool zone = ctx_.index.zone(slot) != 0;
    const bool one_way = ctx_.index.extras(slot).reply_zone.has_value();
    if (zone || one_way)
        for (const Peer& peer : peers_.all())
            if (peer.zones < (one_way ? Zones::each_direction : Zones::both_directions))
                set(out, peer.id);
    return out;
}

void Suppression::zones_changed(Peer& peer) {
    const Zones now = peer.protocol->zones();
    if (std::exchange(peer.zones, now) == now)
        return;
    for (const Slot slot : ctx_.index.slots())
        if (ctx_.index.zone(slot) != 0 || ctx_.index.extras(slot).reply_zone)
            update(slot);
}

void Suppression::update(Slot slot) {
    const Record& record = ctx_.record(slot);
    const std::uint16_t before = record.suppressed, after = peers_not_sent_to(slot);
    if (before != after)
        ctx_.flows.set_suppressed(slot, after);
    // Only its owner announces a copy and withdraws it.
    if (record.owner != kHere || (before == 0 && after == 0))
        return;
    const std::uint16_t zoneless = before != after ? peers_without_zone_of(slot) : std::uint16_t{0};
    for (Peer& peer : peers_.all()) {
        peer.counters.zone_suppressed += has(zoneless, peer.id);
        if (has(after, peer.id))
            outbound_.withdraw(peer, slot);
        else if (has(before, peer.id) && peer.protocol->is_sent_changes())
            outbound_.enqueue(peer, slot, true);
    }
}

void Suppression::delay(Slot slot) {
    if (ctx_.options.delay == Duration::zero())
        return;
    ctx_.flows.local(slot).is.delayed = true;
    delayed_.add(ctx_.now + ctx_.options.delay, ctx_.index, slot);
    update(slot);
}

void Suppression::advance(Instant until) {
    while (const auto slot = delayed_.take(until, ctx_.index)) {
        LocalState& local = ctx_.flows.local(*slot);
        if (!local.is.delayed || is_closed(ctx_.index.key(*slot).proto, ctx_.record(*slot)))
            continue;
        local.is.delayed = false;
        update(*slot);
    }
}

} // namespace encsync::sync
