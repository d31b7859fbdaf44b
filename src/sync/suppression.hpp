// SPDX-License-Identifier: ISC
// Which flows a peer is not told of. One that pf calls no-sync: no peer. One that is not taken from
// its owner: no peer. One that fits a rule of a conn's `nosync`: that peer. One whose conntrack
// zone cannot be said to the peer, which would make another flow of it: that peer. One that has not
// lived for `delay` yet: no peer, until then; and none at all if its connection is closed by then.
//
// Record::suppressed holds the answer, so that whoever is about to say something only has to look.
// update() alone changes it, and tells the peers what follows: who may hear of the flow from now on
// is told, who may no longer loses the copy.
#pragma once

#include "sync/outbound.hpp"
#include "sync/timer_queue.hpp"

namespace encsync::sync {

class Suppression {
  public:
    Suppression(Context& context, Peers& peers, Outbound& outbound)
        : ctx_(context), peers_(peers), outbound_(outbound) {}

    void peers_changed();          // their rules, that is
    void update(state::Slot slot); // to be called when what rules look at has changed
    // To be called when the peer shows itself to speak another protocol than before.
    void zones_changed(Peer& peer);

    // ---- delay -----------------------------------------------------------------------------
    void delay(state::Slot slot); // a new flow
    // Tells of the flows whose time has come.
    void advance(Instant until);
    Instant deadline() const { return delayed_.next(); }

  private:
    std::uint16_t peers_not_to_hear(state::Slot slot) const;
    std::uint16_t peers_without_zone_of(state::Slot slot) const;

    Context& ctx_;
    Peers& peers_;
    Outbound& outbound_;
    bool any_nosync_ = false; // of a peer
    TimerQueue delayed_;      // all wait equally long, and so in the order of their birth
};

// The connection is closed, as far as its two ends are concerned.
bool is_closed(const Context& context, state::Slot slot);

} // namespace encsync::sync
