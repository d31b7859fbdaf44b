// SPDX-License-Identifier: ISC
// The conversation: what is sent, and what is received. pf_updates.cpp has what an update of a flow
// means.
#include "sync/pf_peer.hpp"

#include "pfsync/extension.hpp"
#include "sync/sections.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using pfsync::Kind;
using pfsync::Section;
using state::kNoSlot;
using state::Slot;
namespace ext = pfsync::extension;

namespace {

constexpr std::uint32_t kMaxExpire = 1'000'000; // seconds; more is taken for a mistake
constexpr unsigned kBulkTries = 12;             // requests for all states, as pf repeats its own
// After BUS start, and after each state since: then the end counts as lost. So the wait grows with
// the table, whatever the peer's pace.
constexpr Duration kBulkQuiet = 4s;
constexpr Duration kAskAgain = 60s; // a peer that has never answered, when it sends something
constexpr Duration kBulkRest = 1s;  // between two that a peer may ask for
// A pf peer cannot slow its sender down: its bulk update goes as a FreeBSD would send it,
// one packet a tick.
constexpr Duration kBulkPause = 1ms;

bool reach_each_other(const Peer& a, const Peer& b) {
    return version_of(a.dialect) == version_of(b.dialect);
}

} // namespace

// ---- the session ---------------------------------------------------------------------------

void PfPeer::begin() {
    p_.pf_keepalive.begin();
    p_.bulk.request(peer_);
}

// A pf peer does not show whether it is still the same.
void PfPeer::on_link_down() {
    p_.sessions.begin(peer_);
    peer_.remote = 0;
}

void PfPeer::on_received() {
    BulkState& bulk = peer_.bulk;
    if (bulk.gave_up && !bulk.requested && ctx_.now - gave_up_at_ >= kAskAgain)
        begin();
}

// Established flows raise no event that would show that traffic comes here now.
void PfPeer::on_promoted() {
    for (const Slot slot : ctx_.index.slots())
        if (ctx_.record(slot).owner == peer_.id)
            p_.ownership.take(slot);
}

void PfPeer::advance() {
    p_.pf_keepalive.begin();
    if ((peer_.bulk.requested || peer_.bulk.arriving) && ctx_.now >= peer_.bulk.retry)
        retry_bulk();
}

Instant PfPeer::deadline() const {
    const BulkState& bulk = peer_.bulk;
    Instant next = bulk.requested || bulk.arriving ? bulk.retry : Instant::max();
    if (bulk.sending && !bulk.walked && bulk.pause > ctx_.now)
        next = std::min(next, bulk.pause);
    return next;
}

// ---- sending -------------------------------------------------------------------------------

bool PfPeer::due() const {
    const BulkState& bulk = peer_.bulk;
    return peer_.hello_now || !peer_.outbox.empty() || bulk.anything_to_send(ctx_.now) ||
           p_.bulk.may_end(peer_, true);
}

std::size_t PfPeer::build(MutableBytes room) {
    pfsync::Builder packet(room, peer_.dialect);
    if (peer_.hello_now)
        p_.sessions.write_hello(peer_, packet);
    const std::uint32_t endtime = bulk_endtime();
    // Removals go before inserts, live updates before the bulk update. Ends when the packet is
    // full.
    static_cast<void>(
        p_.bulk.write_request(peer_, packet) && p_.bulk.write_start(peer_, packet, endtime) &&
        p_.outbound.write_insert_acks(peer_, packet) &&
        p_.outbound.write_removals(peer_, packet, false) &&
        p_.outbound.write_requests(peer_, packet) && p_.outbound.write_queue(peer_, packet) &&
        p_.outbound.write_waiting(peer_, packet, false) && p_.bulk.write_states(peer_, packet) &&
        p_.bulk.write_end(peer_, packet, endtime, true));
    return packet.empty() ? 0 : packet.finish();
}

bool PfPeer::pauses() {
    if (!peer_.bulk.sending)
        return false;
    peer_.bulk.pause = ctx_.now + kBulkPause;
    return true;
}

bool PfPeer::write_state(pfsync::Builder& packet, Slot slot, Item::Kind kind) {
    const bool begins = kind == Item::Kind::full && !has(ctx_.record(slot).known, peer_.id);
    std::uint8_t* m = packet.add(begins ? Kind::insert : Kind::update);
    if (m == nullptr)
        return false;
    pfsync::StateOptions options;
    options.wants_ack = p_.deferral.waits_for(peer_.id, slot);
    Windows kept;
    if (windows(slot, kept)) {
        options.src = kept.src;
        options.dst = kept.dst;
    }
    const state::Flow flow = as_pf_has_it(slot);
    const PfStates::Lease* lease = ctx_.pf_states.lease(slot);
    options.outgoing =
        flow.id.creatorid != ctx_.options.creatorid && lease != nullptr && lease->outgoing;
    pfsync::write_state(peer_.dialect, m, flow, options);
    if (flow.id.creatorid == ctx_.options.creatorid) // when its packets pass there, it has two
        p_.pf_flows.note_way_out(slot, flow, false);
    ctx_.pf_states.sent(slot, ctx_.seconds);
    set(ctx_.flows.local(slot).known, peer_.id);
    sent({.kind = kind, .slot = slot});
    return true;
}

bool PfPeer::write_update(pfsync::Builder& packet, Slot slot) {
    std::uint8_t* m = packet.add(Kind::update_c);
    if (m == nullptr)
        return false;
    const state::Flow flow = ctx_.flow(slot);
    if (Windows kept; windows(slot, kept))
        pfsync::write_upd_c(peer_.dialect, m, flow, kept.src, kept.dst);
    else
        pfsync::write_upd_c(peer_.dialect, m, flow);
    ctx_.pf_states.sent(slot, ctx_.seconds);
    sent({.kind = Item::Kind::update, .slot = slot});
    return true;
}

state::Flow PfPeer::as_pf_has_it(Slot slot) const {
    const Record& record = ctx_.record(slot);
    state::Flow flow = ctx_.flow(slot);
    const PfStates::Lease* lease = ctx_.pf_states.lease(slot);
    const std::uint32_t whole = pfsync::default_timeout(
        static_cast<std::uint8_t>(pfsync::timeout_index(peer_.dialect, flow)));
    if (record.owner == kHere) {
        // conntrack's timeouts are not pf's: its own hold, from now on. Packets without an event
        // have started its timer anew.
        flow.timeout = whole;
    } else if (lease != nullptr) {
        const auto left =
            static_cast<std::int32_t>(lease->until - PfKeepalive::kGrace - ctx_.seconds);
        flow.timeout = static_cast<std::uint32_t>(std::max(left, 1));
    } else {
        flow.timeout = std::min(flow.timeout, whole);
    }
    // Traffic that passed here has moved the windows on, unseen.
    if (record.owner == kHere && flow.key.proto == IPPROTO_TCP)
        flow.flags |= state::kSloppy;
    return flow;
}

bool PfPeer::windows(Slot slot, Windows& out) const {
    const Windows* kept = ctx_.pf_states.windows(slot);
    if (kept != nullptr)
        out = traits(peer_.dialect).copies_stale_dst ? ctx_.pf_states.with_latest_dst(slot, *kept)
                                                     : *kept;
    return kept != nullptr;
}

// ---- hearing -------------------------------------------------------------------------------

void PfPeer::receive(const Section* section, pfsync::Parser& rest) {
    // A node of ours that takes this one for a former self of it.
    if (section != nullptr && peer_.options.extended && is_number(*section)) {
        peer_.verdict.refuse(Reason::foreign_session);
        peer_.hello_now = true;
        return;
    }
    for (; section != nullptr; section = rest.next()) {
        const bool extension = extension_size(*section) != 0;
        if (!extension || section->action > ext::kAck)
            p_.sessions.received(peer_);
        for_each_message(peer_, *section, [&](Bytes m) {
            if (extension)
                receive_extension(section->action, m);
            else
                receive_message(*section, m);
        });
        if (!peer_.is_pf()) // it has sent HELLO after all
            return peer_.protocol->receive(rest.next(), rest);
    }
}

void PfPeer::receive_extension(std::uint8_t action, Bytes m) {
    if (action == ext::kHello)
        p_.sessions.receive_hello(peer_, m);
    else if (action != ext::kSeq)
        peer_.verdict.refuse(action == ext::kAck ? Reason::foreign_session
                                                 : Reason::unknown_action);
}

void PfPeer::receive_message(const Section& section, Bytes m) {
    BulkState& bulk = peer_.bulk;
    switch (section.kind) {
    case Kind::insert:
    case Kind::update: // an unknown one is an insert (pfsync(4))
        receive_full(section, m);
        bulk.received += bulk.arriving ? 1 : 0;
        if (section.kind == Kind::update && bulk.arriving)
            bulk.retry = ctx_.now + kBulkQuiet;
        return;
    case Kind::update_c:
        return receive_update(section.layout, m);
    case Kind::request:
        if (state::StateId id; peer_.verdict.read_request(m, id, ctx_.now))
            receive_request(id);
        return;
    case Kind::remove_c:
        if (state::StateId id; peer_.verdict.read_removal(m, id))
            receive_removal(id);
        return;
    case Kind::remove: {
        if (pfsync::FullState full; peer_.verdict.read(section.layout, m, full))
            receive_removal(full.flow.id);
        return;
    }
    case Kind::clear:
        return receive_clear(m);
    case Kind::bulk:
        return receive_bulk_status(m);
    case Kind::insert_ack:
        return p_.deferral.acknowledged(peer_.id, pfsync::read_id(m));
    default: // TDB: nothing here waits for it
        return;
    }
}

void PfPeer::receive_request(state::StateId id) {
    if (id == state::StateId{}) {
        if (peer_.bulk.sending || peer_.bulk.start_now) // pf asks until the end arrives
            return;
        if (ctx_.now < bulk_not_before_)
            return peer_.verdict.refuse(Reason::too_often);
        bulk_not_before_ = ctx_.now + kBulkRest;
        peer_.bulk.began = ctx_.now;
        p_.bulk.start(peer_);
        peer_.bulk.start_now = ctx_.index.size() != 0 || traits(peer_.dialect).bulk.empty_start;
        return;
    }
    const Slot slot = ctx_.index.find(id);
    if (slot == kNoSlot)
        return peer_.verdict.refuse(Reason::unknown_state);
    if (has(ctx_.record(slot).suppressed, peer_.id))
        return peer_.verdict.refuse(Reason::no_sync);
    set(ctx_.flows.local(slot).known, peer_.id); // the answer to a request is UPD
    p_.outbound.enqueue(peer_, slot, true);
}

void PfPeer::receive_removal(state::StateId id) {
    if (p_.pf_flows.drop_name(peer_, id))
        return;
    const Slot slot = ctx_.index.find(id);
    if (slot == kNoSlot)
        return;
    // pf knows no terms. 0 would be later than one above 64 (compare_terms).
    if (!p_.ownership.may_remove(peer_, slot, ctx_.record(slot).term)) {
        // Those that hear the sender have removed theirs, too.
        for (Peer& other : p_.peers.all())
            if (ctx_.record(slot).owner == kHere && other.id != peer_.id && other.is_pf() &&
                reach_each_other(other, peer_))
                p_.outbound.send_full(other, slot);
        return;
    }
    if (ctx_.record(slot).owner == kHere)
        p_.outbound.retract(slot); // the others know it from us
    else
        p_.pf_flows.pass_removal_on(peer_, slot);
    p_.lifecycle.remember_ended(ctx_.index.key(slot));
    p_.lifecycle.erase_from_table(slot);
}

void PfPeer::receive_clear(Bytes message) {
    pfsync::Clear what;
    if (!peer_.verdict.read(message, what, ctx_.now))
        return;
    for (const Slot slot : ctx_.index.slots()) {
        const Record& record = ctx_.record(slot);
        const std::uint8_t owner = record.owner;
        // What is live here it gets again, as one state.
        if (owner == kHere && what.ifname.empty() &&
            ctx_.pf_states.second_name(slot).creatorid == what.creatorid)
            ctx_.pf_states.take_name(slot);
        // Another pf that receives from the sender has removed its states, too, without a message.
        const bool theirs =
            owner == peer_.id || (p_.peers.is_peer(owner) && p_.peers[owner].is_pf() &&
                                  reach_each_other(p_.peers[owner], peer_));
        if (!theirs || record.id.creatorid != what.creatorid)
            continue;
        const std::string_view bound = ctx_.pf_states.interface(slot);
        const bool wanted =
            what.ifname.empty() || (bound.empty() ? what.ifname == "all" : what.ifname == bound);
        if (!wanted)
            continue;
        p_.pf_flows.pass_removal_on(peer_, slot);
        p_.lifecycle.erase_from_table(slot);
    }
}

// ---- bulk updates --------------------------------------------------------------------------

void PfPeer::receive_bulk_status(Bytes message) {
    pfsync::BulkStatus status;
    if (!peer_.verdict.sound(pfsync::read(message, status)))
        return;
    BulkState& bulk = peer_.bulk;
    if (!status.end) {
        p_.bulk.arrives(peer_);
        bulk.retry = ctx_.now + kBulkQuiet;
        return;
    }
    // The end of an answer to another node's request, or to one that we made before this one. The
    // clocks are read in whole seconds.
    if (!bulk.requested) {
        bulk.arriving = false;
        return;
    }
    const Duration took = std::chrono::seconds(status.endtime);
    if (traits(peer_.dialect).bulk.endtime && took > ctx_.now - bulk.asked + 1s)
        return peer_.verdict.refuse(Reason::foreign_bulk);
    bulk.gave_up = false;
    p_.bulk.arrived(peer_);
}

void PfPeer::retry_bulk() {
    BulkState& bulk = peer_.bulk;
    bulk.arriving = false;
    if (!bulk.requested)
        return;
    if (++bulk.tries < kBulkTries) {
        bulk.request_now = true;
        bulk.retry = ctx_.now + bulk_retry();
        return;
    }
    // pf then assumes that it has all. We do not, but stop waiting for it.
    bulk.requested = bulk.request_now = false;
    bulk.gave_up = ctx_.served_alone = true;
    gave_up_at_ = ctx_.now;
    p_.lifecycle.forget_ended();
}

std::uint32_t PfPeer::bulk_endtime() const {
    if (!traits(peer_.dialect).bulk.endtime)
        return 0;
    return static_cast<std::uint32_t>((ctx_.now - peer_.bulk.began) / 1s);
}

// ---- timeouts ------------------------------------------------------------------------------

// Seconds that the peer gives a state of this timeout index.
std::uint32_t PfPeer::timeout(std::uint8_t index) const {
    return index < longest_.size() ? std::max(pfsync::default_timeout(index), longest_[index]) : 0;
}

// pf's administrator may have made timeouts longer: the remaining time of a state shows it.
void PfPeer::learn_timeout(const pfsync::FullState& full) {
    if (full.timeout >= longest_.size())
        return;
    std::uint32_t& longest = longest_[full.timeout];
    longest = std::max(longest, std::min(full.flow.timeout, kMaxExpire));
}

// It was unreachable, and may have sent updates meanwhile: its flows get their whole time again.
void PfPeer::renew_leases() {
    for (const Slot slot : ctx_.index.slots()) {
        if (ctx_.record(slot).owner != peer_.id)
            continue;
        const auto index = pfsync::timeout_index(peer_.dialect, ctx_.flow(slot));
        ctx_.pf_states.extend(slot, ctx_.seconds + timeout(static_cast<std::uint8_t>(index)) +
                                        PfKeepalive::kGrace);
    }
}

// From where a state's timer runs when it begins here, or starts over.
void PfPeer::keep_windows(Slot slot, const pfsync::FullState& full) {
    PfStates& states = ctx_.pf_states;
    states.erase(slot);
    const Windows theirs(full.src, full.dst);
    if (full.flow.key.proto == IPPROTO_TCP && theirs.known() &&
        full.flow.id.creatorid != ctx_.options.creatorid)
        states.keep(slot, theirs, true, true);
    const std::uint32_t left = std::min(full.flow.timeout, kMaxExpire); // 0: unknown, or due
    states.extend(slot,
                  ctx_.seconds + (left != 0 ? left : timeout(full.timeout)) + PfKeepalive::kGrace);
    states.bind(slot, full.ifname);
    states.set_outgoing(slot, full.outgoing);
}

} // namespace encsync::sync
