// SPDX-License-Identifier: ISC
// A pf firewall's updates of a flow: of one that is new here, of one that is known, of one that is
// known under another name.
#include "sync/pf_peer.hpp"

#include "pfsync/progress.hpp"

#include <algorithm>
#include <netinet/in.h>

namespace encsync::sync {

using pfsync::Dialect;
using pfsync::Kind;
using pfsync::Section;
using state::kNoSlot;
using state::Slot;

namespace {

constexpr std::uint32_t kEcho = 2; // seconds in which a peer may answer to what was out of date

} // namespace

// ---- full states ---------------------------------------------------------------------------

void PfPeer::receive_full(const Section& section, Bytes message) {
    const Dialect layout = section.layout;
    message = message.first(state_size(layout)); // what a pf peer may append is not our tail
    pfsync::FullState full;
    if (!peer_.verdict.read(layout, message, full))
        return;
    p_.outbound.answered(peer_, full.flow.id);
    learn_timeout(full);
    PfUpdate update(full);
    // A bulk update names copies and own states alike; other updates are of what passes through it.
    if (peer_.bulk.arriving)
        update.live.reset();
    update.layout = layout;
    update.answer = section.kind == Kind::update;
    update.src = full.src;
    update.dst = full.dst;
    update.timeout = full.timeout;
    update.second_name = p_.pf_flows.is_second_name(full.flow.id);
    Slot slot = p_.pf_flows.find(full.flow.id);
    if (slot == kNoSlot) {
        slot = p_.pf_flows.add_second_name(peer_, full);
        update.second_name = slot != kNoSlot;
    }
    // To be made known; it is taken all the same, as the connection goes on while pf has it.
    if (slot == kNoSlot && (full.src.seqdiff() != 0 || full.dst.seqdiff() != 0))
        peer_.counters.modulated++;
    if (slot != kNoSlot && !p_.pf_flows.is_of(slot, full.flow.key))
        peer_.verdict.refuse(Reason::id_clash);
    else if (slot != kNoSlot)
        apply(slot, update);
    else if (const Slot same = ctx_.index.find(full.flow.key); same != kNoSlot)
        receive_other_name(same, full, peer_.bulk.arriving || update.answer);
    else
        receive_new(full);
    const Slot by_now = p_.pf_flows.find(full.flow.id);
    if (full.wants_ack && by_now != kNoSlot && p_.pf_flows.is_of(by_now, full.flow.key))
        p_.outbound.acknowledge_insert(peer_, full.flow.id);
}

void PfPeer::receive_new(const pfsync::FullState& full) {
    const auto way_out = p_.pf_flows.take_way_out(peer_, full, p_.lifecycle);
    state::Flow flow = full.flow;
    if (way_out)
        flow.reply = way_out->reply;
    const Slot slot = p_.ownership.add_from(peer_, flow, peer_.id);
    if (slot == kNoSlot)
        return;
    set(ctx_.flows.local(slot).known, peer_.id);
    keep_windows(slot, full);
    p_.pf_flows.note_way_out(slot, full.flow, full.outgoing);
    if (way_out)
        ctx_.pf_states.add_name(slot, way_out->id);
    // A node with the role active owns what a pf peer still holds from before.
    if (peer_.bulk.arriving && ctx_.options.role == Role::active && !ctx_.record(slot).refused())
        p_.ownership.take(slot);
    p_.copies.put(slot);
    p_.pf_flows.pass_on(peer_, slot);
    if (p_.ownership.falls_to_us(peer_, slot))
        p_.ownership.claim(slot);
}

// Another life of the flow, or born on two nodes.
void PfPeer::receive_other_name(Slot slot, const pfsync::FullState& full, bool answer) {
    // A node with the role active, whose table has the flow, keeps it: otherwise a peer could
    // replace it by a state of its own and delete that.
    if (const Record& record = ctx_.record(slot);
        record.owner == kHere && !record.is.absent && ctx_.options.role == Role::active) {
        peer_.verdict.refuse(Reason::not_owner);
        return p_.outbound.send_full(peer_, slot);
    }
    FlowStore::Change change(ctx_.flows, slot);
    p_.pf_flows.pass_removal_on(peer_, slot);
    // It has our state beside its own if that is bound to an interface.
    if (const Record& record = ctx_.record(slot);
        record.id.creatorid == ctx_.options.creatorid && has(record.known, peer_.id))
        p_.outbound.remove(peer_, record.id, record.term);
    change.rename(full.flow.id);
    ctx_.flows.local(slot).known = bit(peer_.id);
    // An answer says nothing of where packets pass. What is live here stays so, under the name that
    // pf has for it, perhaps from before this node's restart.
    if (const Record& record = ctx_.record(slot); answer && record.owner == kHere &&
                                                  !record.is.absent &&
                                                  ctx_.options.role != Role::standby) {
        const state::StateId second = ctx_.pf_states.take_name(slot);
        keep_windows(slot, full);
        if (second.creatorid != 0)
            ctx_.pf_states.add_name(slot, second);
        p_.pf_flows.note_way_out(slot, full.flow, full.outgoing);
        return p_.outbound.announce(slot, true);
    }
    if (ctx_.index.reply(slot) != full.flow.reply)
        change.set_reply(full.flow.reply);
    state::Progress& progress = change.progress();
    progress.src_state = full.flow.src_state;
    progress.dst_state = full.flow.dst_state;
    progress.flags = full.flow.flags;
    progress.term = 0; // pf knows none
    p_.ownership.set_owner(slot, peer_.id);
    keep_windows(slot, full);
    p_.pf_flows.note_way_out(slot, full.flow, full.outgoing);
    p_.copies.put(slot);
    p_.pf_flows.pass_on(peer_, slot);
    if (p_.ownership.falls_to_us(peer_, slot))
        p_.ownership.claim(slot);
}

void PfPeer::receive_update(Dialect layout, Bytes message) {
    pfsync::CompressedUpdate wire;
    if (!peer_.verdict.read(layout, message, wire))
        return;
    const Slot slot = p_.pf_flows.find(wire.id);
    if (slot == kNoSlot) {
        peer_.counters.requests++;
        return p_.outbound.request(peer_, wire.id);
    }
    const std::uint8_t proto = ctx_.index.key(slot).proto;
    PfUpdate update(pfsync::flow_state(layout, proto, wire.src.state()),
                    pfsync::flow_state(layout, proto, wire.dst.state()));
    update.live = true; // it is of what passes through it
    update.layout = layout;
    update.src = wire.src;
    update.dst = wire.dst;
    update.timeout = wire.timeout;
    update.second_name = p_.pf_flows.is_second_name(wire.id);
    apply(slot, update);
}

// ---- known flows ---------------------------------------------------------------------------

// Merges an update of the peer into a known flow, and settles who owns it.
void PfPeer::apply(Slot slot, PfUpdate update) {
    FlowStore::Change change(ctx_.flows, slot);
    const Record& record = ctx_.record(slot);
    set(ctx_.flows.local(slot).known, peer_.id);
    const bool ours = record.owner == kHere;
    const state::Flow before = ctx_.flow(slot);

    const Merge merged = merge(slot, update);
    state::Progress& progress = change.progress();
    progress.flags = static_cast<std::uint8_t>(
        record.flags | update.flags |
        progress_flags(before.key.proto, record.src_state, record.dst_state));
    if (merged.any_stale())
        peer_.counters.stale++;
    const bool further =
        before.src_state != record.src_state || before.dst_state != record.dst_state;
    if (record.owner == kUnclaimed) // its table has it, too
        update.live = true;
    else if (!claims(slot, update, further, merged))
        update.live.reset();
    if (!settle_owner(slot, update))
        return;
    if (record.owner == peer_.id) {
        ctx_.flows.local(slot).epoch = peer_.bulk.epoch;
        // Of the two states that pf may have of a flow, one knows of the NAT, or each of a part.
        const state::Key* out = ctx_.pf_states.key_out(slot);
        const auto without_nat = [&](const state::Tuple& reply) {
            return reply == inverse(ctx_.index.key(slot)) ||
                   (out != nullptr && reply == inverse(*out));
        };
        if (update.reply != nullptr && ctx_.index.reply(slot) != *update.reply &&
            !(ctx_.pf_states.has_two_names(slot) && without_nat(*update.reply)))
            change.set_reply(*update.reply);
    }
    const state::Flow after = ctx_.flow(slot);
    const bool rules = before.reply != after.reply || before.flags != after.flags;
    const bool changed =
        rules || before.src_state != after.src_state || before.dst_state != after.dst_state;
    if (rules)
        p_.copies.rules_changed(slot);
    if (changed || (ours && record.owner != kHere))
        p_.copies.put(slot);
    else if (ours)
        p_.liberal.relax(slot); // its packets may pass there, too
    if (changed || merged.windows_moved)
        p_.pf_flows.pass_on(peer_, slot);
    if (merged.any_stale() && !update.second_name)
        p_.outbound.enqueue(peer_, slot, false);
}

// pfsync(4)'s rule as both systems have it: each side on its own, and what is behind changes
// nothing.
Merge PfPeer::merge(Slot slot, const PfUpdate& update) {
    FlowStore::Change change(ctx_.flows, slot);
    state::Progress& ours = change.progress();
    const std::uint8_t proto = ctx_.index.key(slot).proto;
    Merge merged;
    if (proto == IPPROTO_TCP) {
        merged = merge_tcp(slot, update, ours);
    } else {
        // Some protocols have fewer stages there: what is the same in its numbers is no news.
        const auto one = [&](std::uint8_t& side, std::uint8_t theirs, std::uint8_t on_wire) {
            const std::uint8_t as_sent = pfsync::wire_state(update.layout, proto, side);
            if (as_sent < on_wire)
                side = theirs;
            return as_sent > on_wire;
        };
        merged.src_stale = one(ours.src_state, update.src_state, update.src.state());
        merged.dst_stale = one(ours.dst_state, update.dst_state, update.dst.state());
    }
    if (!merged.both_stale())
        ctx_.pf_states.extend(slot, ctx_.seconds + timeout(update.timeout) + PfKeepalive::kGrace);
    return merged;
}

Merge PfPeer::merge_tcp(Slot slot, const PfUpdate& update, state::Progress& ours) {
    PfStates& states = ctx_.pf_states;
    const Windows theirs(update.src, update.dst);
    const Windows* kept = states.windows(slot);
    const bool known = theirs.known() && !update.second_name &&
                       ctx_.record(slot).id.creatorid != ctx_.options.creatorid;
    Side ours_src{ours.src_state, {}}, ours_dst{ours.dst_state, {}};
    Side src{update.src_state, {}}, dst{update.dst_state, {}};
    if (known && kept != nullptr) {
        ours_src.seqlo = Windows::seqlo(kept->src);
        ours_dst.seqlo = Windows::seqlo(kept->dst);
        src.seqlo = Windows::seqlo(theirs.src);
        dst.seqlo = Windows::seqlo(theirs.dst);
    }
    Merge merged;
    merged.src_stale = src_stale(ours_src, src);
    merged.dst_stale = dst_stale(update.layout, ours_dst, dst);
    if (known) {
        merged.windows_moved = states.keep(slot, theirs, !merged.src_stale, !merged.dst_stale);
        if (traits(update.layout).copies_stale_dst)
            states.received_dst(slot, theirs.dst);
    }
    if (!merged.src_stale)
        ours.src_state = update.src_state;
    if (!merged.dst_stale)
        ours.dst_state = update.dst_state;
    return merged;
}

// pf sends an update when packets pass, and as an answer to an update that was out of date. If the
// flow moved here a moment ago, or was sent to pf just now, an update that brings the flow no
// further is such an answer, and changes no owner. A full state answers a request, perhaps of
// another firewall that has no state of the flow: it says even less of where packets pass.
bool PfPeer::claims(Slot slot, const PfUpdate& update, bool further, const Merge& merged) const {
    const std::uint8_t owner = ctx_.record(slot).owner;
    if (update.answer && owner != kHere)
        return !p_.peers.owner_alive(owner) || owner == peer_.id;
    if (owner != kHere || further)
        return true;
    if (update.answer)
        return false;
    // Older than what has passed here. If packets pass there now, the next one is not.
    if (merged.any_stale() || ctx_.pf_states.sent_since(slot, ctx_.seconds - kEcho))
        return false;
    if (merged.windows_moved)
        return true;
    if (ctx_.options.role == Role::active) // the administrator has set that traffic passes here
        return false;
    return p_.copies.since_moved(slot) > static_cast<std::int32_t>(kEcho);
}

// False: it has no owner, and is erased.
bool PfPeer::settle_owner(Slot slot, const PfUpdate& update) {
    const bool already = ctx_.record(slot).owner == peer_.id;
    if (already)
        ctx_.flows.local(slot).is.handed_over = false;
    if (!update.live)
        return true;
    if (!already) { // pf knows no terms: one begins whenever a flow becomes its own
        FlowStore::Change change(ctx_.flows, slot);
        change.progress().term = next_term(change.progress().term);
    }
    return p_.ownership.accept_claim(peer_, slot);
}

} // namespace encsync::sync
