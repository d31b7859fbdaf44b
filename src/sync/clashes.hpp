// SPDX-License-Identifier: ISC
// Two flows that no table can hold at once: they have the same reply tuple in the same zone,
// because two nodes gave the same NAT port to different flows. One of the two is removed, by rules
// that are the same on all nodes:
//
// 1. A flow that is live at a reachable node wins over one that is not: a copy without an owner, or
//    an entry of a flow that is in no index.
// 2. Of two flows of one owner, one has ended: the owner is asked which.
// 3. An encsync node's flow wins over a pf firewall's, which does not know this rule. Then, where
//    exactly one node is active, its flow wins over another node's.
// 4. The flow in a later term; in the same term, that of the owner with the smaller creatorid.
//
// The owner of the flow that loses ends it; the others take it out of their tables and wait for its
// update. While roles settle, nodes may differ about rule 3, and so nothing is decided.
#pragma once

#include "sync/local_flows.hpp"

namespace encsync::sync {

class Clashes {
  public:
    Clashes(Context& context, Peers& peers, Outbound& outbound, Lifecycle& lifecycle,
            Copies& copies, MissingCopies& missing, Ownership& ownership)
        : ctx_(context), peers_(peers), outbound_(outbound), lifecycle_(lifecycle), copies_(copies),
          missing_(missing), ownership_(ownership) {}

    // The table could not do what was asked of this key, and reported what it knows of the holder.
    void settle(state::Slot slot, const state::Flow& holder);
    // It could not, for another reason or because of a holder that it does not report.
    void refused(const state::Key& key, table::Refusal refusal);

  private:
    void settle_living(state::Slot slot, state::Slot held);
    bool outranks(state::Slot slot, state::Slot other) const;
    void end(state::Slot slot, const state::Flow& other);

    Context& ctx_;
    Peers& peers_;
    Outbound& outbound_;
    Lifecycle& lifecycle_;
    Copies& copies_;
    MissingCopies& missing_;
    Ownership& ownership_;
};

} // namespace encsync::sync
