// SPDX-License-Identifier: ISC
#include "sync/deferral.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Slot;

namespace {

constexpr Duration kHold = 20ms;      // as pf does
constexpr std::size_t kMaxHeld = 128; // likewise
constexpr Duration kBeginsWithin = 3s;
constexpr std::size_t kMaxUnconfirmed = 100'000; // a guard against a table without events

} // namespace

bool Deferral::defer(const state::Flow& flow, std::uint32_t token) {
    // One that is known is waited for already, or has been announced by another.
    if (ctx_.index.find(flow.key) != kNoSlot)
        return false;
    std::uint16_t waiting_for = 0;
    for (const Peer& peer : peers_.all())
        if (peer.in_step && peer.reachable())
            set(waiting_for, peer.id);
    if (waiting_for == 0)
        return false;
    if (deferred_.size() >= kMaxHeld || unconfirmed_.size() >= kMaxUnconfirmed) {
        ctx_.counters.defer_over_limit++;
        return false;
    }
    const Slot slot = ownership_.add(flow, kHere);
    if (slot == kNoSlot)
        return false;
    flows_.learn(slot, flow, LocalFlows::Timer::full);
    ctx_.flows.local(slot).is.unconfirmed = true;
    expectations_.master_known(slot);
    outbound_.announce(slot, false);
    unconfirmed_.add(ctx_.now + kBeginsWithin, ctx_.index, slot);
    const Record& record = ctx_.record(slot);
    waiting_for = static_cast<std::uint16_t>(waiting_for & ~record.suppressed);
    if (waiting_for == 0)
        return false;
    deferred_.push_back({ctx_.now + kHold, record.id, token, waiting_for});
    ctx_.counters.deferred++;
    return true;
}

bool Deferral::waits_for(PeerId peer, Slot slot) const {
    const Record& record = ctx_.record(slot);
    return record.is.unconfirmed && std::ranges::any_of(deferred_, [&](const Deferred& d) {
               return d.id == record.id && has(d.waiting_for, peer);
           });
}

void Deferral::acknowledged(PeerId peer, state::StateId id) {
    const auto at = std::ranges::find(deferred_, id, &Deferred::id);
    if (at == deferred_.end())
        return; // released in the meantime
    clear(at->waiting_for, peer);
    if (at->waiting_for != 0)
        return;
    ctx_.counters.defer_acknowledged++;
    release(at->token);
    deferred_.erase(at);
}

void Deferral::advance() {
    for (; !deferred_.empty() && deferred_.front().due <= ctx_.now; deferred_.pop_front()) {
        ctx_.counters.defer_timed_out++;
        release(deferred_.front().token);
    }
    while (const auto slot = unconfirmed_.take(ctx_.now, ctx_.index)) {
        if (!ctx_.record(*slot).is.unconfirmed)
            continue;
        ctx_.counters.defer_unconfirmed++;
        outbound_.retract(*slot);
        lifecycle_.erase(*slot);
    }
}

Instant Deferral::deadline() const {
    return std::min(unconfirmed_.next(),
                    deferred_.empty() ? Instant::max() : deferred_.front().due);
}

void Deferral::release(std::uint32_t token) {
    if (ctx_.options.release)
        ctx_.options.release(token);
}

} // namespace encsync::sync
