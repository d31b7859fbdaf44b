// SPDX-License-Identifier: ISC
// What the table reports of flows: events, and dumps. A change in the table makes the flow our own
// and is announced to the peers. What a dump does not name has ended, if a second look finds it
// missing still: a dump may miss an entry (while the kernel's hash table grows, for one), and the
// end of a flow of ours is its end everywhere.
#pragma once

#include "sync/address_loss.hpp"
#include "sync/liberal.hpp"
#include "sync/missing.hpp"
#include "sync/orphans.hpp"

namespace encsync::sync {

class LocalFlows {
  public:
    // Of a flow in an event: set by a packet just now, some time ago, or by us.
    enum class Timer : std::uint8_t { full, partly_used, ours };

    LocalFlows(Context& context, const Peers& peers, Outbound& outbound, Suppression& suppression,
               Lifecycle& lifecycle, Copies& copies, MissingCopies& missing, LiberalTcp& liberal,
               Ownership& ownership, AddressLoss& address_loss, Orphans& orphans)
        : ctx_(context), peers_(peers), outbound_(outbound), suppression_(suppression),
          lifecycle_(lifecycle), copies_(copies), missing_(missing), liberal_(liberal),
          ownership_(ownership), address_loss_(address_loss), orphans_(orphans) {}

    // A flow that the table has, new or changed. `fresh`: it was not known here.
    struct Change {
        state::Slot slot; // kNoSlot: it is not taken
        bool fresh;
    };
    Change changed(const state::Flow& flow, Timer timer);
    void withdrawn(const state::Flow& flow);
    void destroyed(const state::Flow& flow);

    void dump_begin();
    // The flow, where it is our own by now; kNoSlot otherwise.
    state::Slot dump_entry(const state::Flow& flow, bool untouched);
    void dump_end();
    // Looks once more at what the last dump did not name. True: there is more.
    bool look_at_unnamed();

    // Takes labels, lifetime and the like of a flow that has just been added.
    void learn(state::Slot slot, const state::Flow& flow, Timer timer);

  private:
    bool learn_extras(state::Slot slot, const state::Flow& flow, Timer timer);
    void end(state::Slot slot);

    Context& ctx_;
    const Peers& peers_;
    Outbound& outbound_;
    Suppression& suppression_;
    Lifecycle& lifecycle_;
    Copies& copies_;
    MissingCopies& missing_;
    LiberalTcp& liberal_;
    Ownership& ownership_;
    AddressLoss& address_loss_;
    Orphans& orphans_;
    TimerQueue unnamed_; // own flows that the last dump did not name
};

} // namespace encsync::sync
