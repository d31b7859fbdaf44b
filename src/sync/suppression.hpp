// SPDX-License-Identifier: ISC
// Which flows are not sent to which peers. To no peer: flows that pf marks no-sync, and flows that
// are refused from their owner. Not to one peer: flows that match the `nosync` rules of its conn,
// and flows whose conntrack zone its protocol cannot carry, so that it would see another flow. To
// no peer yet: flows younger than `delay`; if the connection closes before that, they are never
// sent.
//
// Record::suppressed holds the result, so that a sender only reads a mask. Only update() changes
// it, and it sends what follows from the change: the flow to a peer that may have it now, a removal
// to a peer that may no longer have it.
#pragma once

#include "sync/outbound.hpp"
#include "sync/time.hpp"
#include "sync/timer_queue.hpp"

namespace encsync::sync {

class Suppression {
  public:
    Suppression(Context& context, Peers& peers, Outbound& outbound)
        : ctx_(context), peers_(peers), outbound_(outbound) {}

    void peers_changed();          // their rules, that is
    void update(state::Slot slot); // to be called when what rules look at has changed
    // To be called when the peer turns out to use another protocol than before.
    void zones_changed(Peer& peer);

    // ---- delay -----------------------------------------------------------------------------
    void delay(state::Slot slot); // a new flow
    // Sends the flows whose delay is over.
    void advance(Instant until);
    Instant deadline() const { return delayed_.next(); }

  private:
    std::uint16_t peers_not_sent_to(state::Slot slot) const;
    std::uint16_t peers_without_zone_of(state::Slot slot) const;

    Context& ctx_;
    Peers& peers_;
    Outbound& outbound_;
    bool any_nosync_ = false; // of a peer
    TimerQueue delayed_;      // all wait equally long, and so in the order of their creation
};

} // namespace encsync::sync
