// SPDX-License-Identifier: ISC
// The first packet of a new flow waits until the peers have the flow (defer of pfsync(4)), so that
// an answer that comes back through one of them finds it there.
//
// The flow is announced before the table has it: the packet that waits is the one with which it
// will begin. If it never does, because a rule drops the packet later, the flow is withdrawn.
#include "sync/engine.hpp"

#include "sync/marks.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Slot;

namespace {

constexpr Instant kHold = 20ms;       // as pf does
constexpr std::size_t kMaxHeld = 128; // likewise
constexpr Instant kBeginsWithin = 3s;
constexpr std::size_t kMaxUnconfirmed = 100'000; // a guard against a table that tells nothing

} // namespace

bool Engine::defer(const state::Flow& flow, std::uint32_t token) {
    // One that is known is waited for already, or has been announced by another.
    if (index_.find(flow.key) != kNoSlot)
        return false;
    std::uint16_t waiting_for = 0;
    for (PeerId peer = 0; peer < peer_count(); peer++)
        if (sessions_[peer]->in_step && sessions_[peer]->reachable())
            set(waiting_for, peer);
    if (waiting_for == 0)
        return false;
    if (deferred_.size() >= kMaxHeld || unconfirmed_.size() >= kMaxUnconfirmed) {
        counters_.defer_over_limit++;
        return false;
    }
    const Slot slot = adopt_new(flow, kHere);
    if (slot == kNoSlot)
        return false;
    learn_extras(slot, flow, Timer::full);
    const state::Record& record = index_.record(slot);
    flows_.marks(slot).is.unconfirmed = true;
    meet_expectations(slot);
    announce(slot, false);
    unconfirmed_.add(now_ + kBeginsWithin, index_, slot);
    waiting_for = static_cast<std::uint16_t>(waiting_for & ~record.withheld);
    if (waiting_for == 0)
        return false;
    deferred_.push_back({now_ + kHold, record.id, token, waiting_for});
    counters_.deferred++;
    return true;
}

bool Engine::awaits(PeerId peer, Slot slot) const {
    const state::Record& record = index_.record(slot);
    return record.is.unconfirmed && std::ranges::any_of(deferred_, [&](const Deferred& d) {
               return d.id == record.id && has(d.waiting_for, peer);
           });
}

void Engine::receive_insert_ack(PeerId peer, state::StateId id) {
    const auto at = std::ranges::find(deferred_, id, &Deferred::id);
    if (at == deferred_.end())
        return; // released in the meantime
    clear(at->waiting_for, peer);
    if (at->waiting_for != 0)
        return;
    counters_.defer_acknowledged++;
    release(at->token);
    deferred_.erase(at);
}

void Engine::advance_deferred() {
    for (; !deferred_.empty() && deferred_.front().due <= now_; deferred_.pop_front()) {
        counters_.defer_timed_out++;
        release(deferred_.front().token);
    }
    while (const auto slot = unconfirmed_.take(now_, index_)) {
        if (!index_.record(*slot).is.unconfirmed)
            continue;
        counters_.defer_unconfirmed++;
        retract(*slot);
        forget(*slot);
    }
}

void Engine::release(std::uint32_t token) {
    if (options_.release)
        options_.release(token);
}

} // namespace encsync::sync
