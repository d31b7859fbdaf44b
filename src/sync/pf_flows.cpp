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

bool PfFlows::is_of(Slot slot, const state::Key& key) const {
    const state::Key* out = ctx_.pf_states.key_out(slot);
    return ctx_.index.key(slot) == key || (out != nullptr && *out == key);
}

bool PfFlows::is_other_state(const Peer& from, Slot slot, const pfsync::FullState& full) const {
    return slot != kNoSlot && has(ctx_.record(slot).known, from.id) &&
           is_outgoing(slot) != full.outgoing;
}

Slot PfFlows::add_second_name(const Peer& from, const pfsync::FullState& full) {
    for (const Slot slot :
         {ctx_.index.find(full.flow.key), ctx_.pf_states.find_key_out(full.flow.key)})
        if (is_other_state(from, slot, full)) {
            ctx_.pf_states.add_name(slot, full.flow.id);
            return slot;
        }
    return kNoSlot;
}

namespace {

// Of the state of the packet that goes out, if this is that of one that came in, to be redirected.
std::optional<state::Key> key_out(const state::Flow& flow, bool outgoing) {
    if (outgoing || !has_dnat(flow))
        return std::nullopt;
    state::Key key = flow.key; // what has the source translated, too, is on its way out
    const state::Tuple redirected =
        inverse(state::Key{flow.reply, key.zone, key.proto, key.family});
    key.orig.dst = redirected.dst;
    key.orig.dport = redirected.dport;
    return key;
}

} // namespace

std::optional<PfFlows::WayOut>
PfFlows::take_way_out(const Peer& from, const pfsync::FullState& full, Lifecycle& lifecycle) {
    const auto key = key_out(full.flow, full.outgoing);
    const Slot slot = key ? ctx_.index.find(*key) : kNoSlot;
    if (!is_other_state(from, slot, full) || ctx_.record(slot).owner != from.id ||
        ctx_.pf_states.has_two_names(slot))
        return std::nullopt;
    const WayOut out{ctx_.record(slot).id, ctx_.index.reply(slot)};
    pass_removal_on(from, slot);
    lifecycle.erase_from_table(slot);
    return out;
}

void PfFlows::note_way_out(Slot slot, const state::Flow& flow, bool outgoing) {
    if (const auto key = key_out(flow, outgoing))
        ctx_.pf_states.set_key_out(slot, *key);
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
