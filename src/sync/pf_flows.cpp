// SPDX-License-Identifier: ISC
#include "sync/pf_flows.hpp"

namespace encsync::sync {

using state::kNoSlot;
using state::Slot;

// ---- passing on ----------------------------------------------------------------------------

bool PfFlows::cannot_receive(const Peer& peer, const Peer& from) const {
    return peer.id != from.id && peer.is_pf() && peer.link_up &&
           version_of(peer.dialect) != version_of(from.dialect);
}

void PfFlows::pass_on(const Peer& from, Slot slot) {
    if (!from.is_pf() || ctx_.record(slot).owner != from.id)
        return;
    for (Peer& peer : peers_.all())
        if (cannot_receive(peer, from))
            outbound_.enqueue(peer, slot, false);
}

void PfFlows::pass_removal_on(const Peer& from, Slot slot) {
    if (!from.is_pf())
        return;
    const Record& record = ctx_.record(slot);
    for (Peer& peer : peers_.all())
        if (cannot_receive(peer, from) && has(record.known, peer.id) &&
            !has(record.suppressed, peer.id))
            outbound_.retract(peer, slot);
}

// ---- names ---------------------------------------------------------------------------------

Slot PfFlows::find(state::StateId id) const {
    const Slot slot = ctx_.index.find(id);
    return slot != kNoSlot ? slot : ctx_.pf_states.find(id);
}

bool PfFlows::is_outgoing(Slot slot) const {
    const state::Flow flow = ctx_.flow(slot);
    if (flow.id.creatorid == ctx_.options.creatorid) // as pfsync::write_state() has sent it
        return has_snat(flow) && !has_dnat(flow);
    const PfStates::Lease* lease = ctx_.pf_states.lease(slot);
    return lease != nullptr && lease->outgoing;
}

bool PfFlows::add_second_name(const Peer& from, Slot slot, const pfsync::FullState& full) {
    if (!has(ctx_.record(slot).known, from.id) || is_outgoing(slot) == full.outgoing)
        return false;
    ctx_.pf_states.add_name(slot, full.flow.id);
    return true;
}

bool PfFlows::drop_name(const Peer& from, state::StateId id) {
    if (const Slot slot = ctx_.pf_states.find(id); slot != kNoSlot) {
        if (from.is_pf())
            ctx_.pf_states.take_name(slot);
        return true;
    }
    const Slot slot = ctx_.index.find(id);
    if (slot == kNoSlot || ctx_.record(slot).owner != from.id)
        return false;
    const state::StateId other = ctx_.pf_states.take_name(slot);
    if (other.creatorid == 0)
        return false;
    pass_removal_on(from, slot);
    FlowStore::Change change(ctx_.flows, slot);
    ctx_.flows.local(slot).known = bit(from.id);
    change.rename(other);
    ctx_.pf_states.set_outgoing(slot, !is_outgoing(slot));
    pass_on(from, slot);
    return true;
}

} // namespace encsync::sync
