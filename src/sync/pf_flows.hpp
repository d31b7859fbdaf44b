// SPDX-License-Identifier: ISC
// The flows of pf firewalls, whichever peer sends them.
//
// Passing on: pf firewalls of different pfsync versions do not understand each other, so an update
// of one is passed on to the other. Those of one version receive each other's packets.
//
// Two names: pf has two states of a flow that it forwards, one each way. Both are one flow here,
// under the id received first (pf_states.hpp), which ends with the second. With destination NAT
// (rdr-to), only the state of the packet that came in has the addresses of before: the flow has
// its key, whichever is received first.
#pragma once

#include "sync/lifecycle.hpp"
#include "sync/outbound.hpp"

#include <optional>

namespace encsync::sync {

class PfFlows {
  public:
    PfFlows(Context& context, Peers& peers, Outbound& outbound)
        : ctx_(context), peers_(peers), outbound_(outbound) {}

    // ---- passing on ------------------------------------------------------------------------
    // A pf peer that does not receive what `from` sends.
    bool cannot_receive(const Peer& peer, const Peer& from) const;
    void pass_on(const Peer& from, state::Slot slot); // after its update of its own flow
    void pass_removal_on(const Peer& from, state::Slot slot);

    // ---- names -----------------------------------------------------------------------------
    state::Slot find(state::StateId id) const; // by either name; kNoSlot: none's
    bool is_second_name(state::StateId id) const {
        return ctx_.index.find(id) == state::kNoSlot && ctx_.pf_states.find(id) != state::kNoSlot;
    }
    bool is_outgoing(state::Slot slot) const;
    // The key is that of one of the two states.
    bool is_of(state::Slot slot, const state::Key& key) const;
    // The flow of which the full state is the other one that pf has, and not another life of it,
    // gets its id as a second name. kNoSlot: there is none.
    state::Slot add_second_name(const Peer& from, const pfsync::FullState& full);
    // The state of the packet that went out, if it was received first: the flow that was made of
    // it is gone, and its id is left for a second name.
    struct WayOut {
        state::StateId id;
        state::Tuple reply; // it knows of the source NAT
    };
    std::optional<WayOut> take_way_out(const Peer& from, const pfsync::FullState& full,
                                       Lifecycle& lifecycle);
    void note_way_out(state::Slot slot, const state::Flow& flow, bool outgoing);
    // One of a flow's two names has ended. True: the flow lives on under the other.
    bool drop_name(const Peer& from, state::StateId id);

  private:
    bool is_other_state(const Peer& from, state::Slot slot, const pfsync::FullState& full) const;

    Context& ctx_;
    Peers& peers_;
    Outbound& outbound_;
};

} // namespace encsync::sync
