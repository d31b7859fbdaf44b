// SPDX-License-Identifier: ISC
// Flows that this node's table has forgotten because their address left.
//
// When an address or its interface goes away, the kernel forgets every flow that was masqueraded
// with it, and reports each removal like any other. In an orderly failover the flows do not end:
// the address moves to another node, and the flows with it. So such a flow stays ours for 5 s, and
// then it depends on the address:
//
// - The flow has an owner elsewhere, because roles have changed: nothing is left to do here. The
//   new copy is made in the table by its turn (copies.hpp).
// - The address is back: the flow is put back into the table.
// - Another node is active, and this one was not made standby: the flow becomes that node's.
// - This node is standby and no node is active yet: it waits on, as long as the flow lives.
// - Neither: the address is gone for good, and the flow with it. A removal is sent.
//
// A connection that was closed already ends at once, like any other flow.
#pragma once

#include "sync/ownership.hpp"
#include "sync/time.hpp"

namespace encsync::sync {

class AddressLoss {
  public:
    AddressLoss(Context& context, const Peers& peers, Outbound& outbound, Lifecycle& lifecycle,
                Copies& copies, Ownership& ownership)
        : ctx_(context), peers_(peers), outbound_(outbound), lifecycle_(lifecycle), copies_(copies),
          ownership_(ownership) {}

    // Of a flow that is live here and has gone from the table. False: it has ended.
    bool keep(state::Slot slot);
    void advance();
    Instant deadline() const { return waiting_.next(); }

  private:
    void settle(state::Slot slot);

    Context& ctx_;
    const Peers& peers_;
    Outbound& outbound_;
    Lifecycle& lifecycle_;
    Copies& copies_;
    Ownership& ownership_;
    TimerQueue waiting_;
};

} // namespace encsync::sync
