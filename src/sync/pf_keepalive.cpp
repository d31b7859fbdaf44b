// SPDX-License-Identifier: ISC
#include "sync/pf_keepalive.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Slot;

namespace {

constexpr std::uint32_t kRound = 5;     // seconds
constexpr std::uint32_t kLongest = 300; // seconds: pf's timeouts may have been shortened
constexpr std::int32_t kRepeat = 12;    // seconds in which a change is sent in each round
constexpr Duration kTick = 100ms;
constexpr std::size_t kTicks = kRound * 10, kLeastSlice = 64;

// How many rounds go by between two announcements of a flow that stays as it is: pf's copy
// survives one lost packet.
std::uint32_t rounds_between(const Peer& peer, const state::Flow& flow) {
    const auto index = static_cast<std::uint8_t>(pfsync::timeout_index(peer.dialect, flow));
    const std::uint32_t third = std::min(pfsync::default_timeout(index) / 3, kLongest);
    return std::max<std::uint32_t>(third / kRound, 1);
}

} // namespace

void PfKeepalive::advance() {
    if (ctx_.now < due_)
        return;
    if (std::ranges::none_of(peers_.all(), [](const Peer& p) { return p.link_up && p.is_pf(); })) {
        due_ = Instant::max();
        return;
    }
    if (cursor_ == kNoSlot && ctx_.seconds / kRound == round_) {
        due_ = Instant(std::chrono::seconds((round_ + 1) * kRound));
        return;
    }
    if (cursor_ == kNoSlot)
        round_ = ctx_.seconds / kRound;
    due_ = ctx_.now + kTick;
    ctx_.index.slice(cursor_, std::max(kLeastSlice, ctx_.index.size() / kTicks + 1),
                     [this](Slot slot) { turn(slot); });
}

void PfKeepalive::turn(Slot slot) {
    const std::uint8_t owner = ctx_.record(slot).owner;
    const Peer* pf_owner =
        peers_.is_peer(owner) && peers_[owner].is_pf() ? &peers_[owner] : nullptr;
    if (owner != kHere && (pf_owner == nullptr || !pf_owner->reachable()))
        return; // an encsync node sends its own
    if (pf_owner != nullptr) {
        const PfStates::Lease* lease = ctx_.pf_states.lease(slot);
        if (lease != nullptr && static_cast<std::int32_t>(ctx_.seconds - lease->until) >= 0) {
            lifecycle_.erase_from_table(slot);
            ctx_.counters.leases_over++;
            return;
        }
    }
    const state::Flow flow = ctx_.flow(slot);
    const bool lately = pf_owner == nullptr && copies_.since_moved(slot) <= kRepeat;
    for (Peer& peer : peers_.all()) {
        const bool gets_it_from_us = pf_owner != nullptr ? pf_flows_.cannot_receive(peer, *pf_owner)
                                                         : peer.is_pf() && peer.link_up;
        if (gets_it_from_us && (lately || (round_ + slot) % rounds_between(peer, flow) == 0))
            outbound_.enqueue(peer, slot, false);
    }
}

} // namespace encsync::sync
