// SPDX-License-Identifier: ISC
#include "sync/outbound.hpp"

#include "pfsync/extension.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using pfsync::Kind;
using state::Slot;
namespace ext = pfsync::extension;

namespace {

// Removals kept for a peer that is out of reach. Beyond, a bulk update is cheaper.
constexpr std::size_t kMaxRemovals = 500'000;
constexpr std::size_t kMaxRequests = 4096, kMaxInsertAcks = 4096;
constexpr Duration kHold = 20ms, kSettle = 5ms;
constexpr std::size_t kPacketful = 16; // UPD_C in 1,400 bytes

} // namespace

// ---- queueing ------------------------------------------------------------------------------

void Outbound::enqueue(Peer& peer, Slot slot, bool full, Instant since) {
    if (has(ctx_.record(slot).suppressed, peer.id))
        return;
    LocalState& local = ctx_.flows.local(slot);
    Outbox& box = peer.outbox;
    if (full)
        set(local.full, peer.id);
    if (has(local.queued, peer.id) && !has(local.waiting, peer.id))
        return box.queue_.backdate(since);
    peer.counters.collapsed += has(local.waiting, peer.id);
    clear(local.waiting, peer.id);
    set(local.queued, peer.id);
    box.queue_.push(slot, since);
    // Flows that have gone leave their slots behind; while a peer is unreachable nothing else
    // would sweep them up.
    if (box.queue_.size() > 2 * ctx_.index.size() + 1024) {
        box.queue_.erase_if([&](Slot old) {
            if (!ctx_.index.used(old) || !has(ctx_.record(old).queued, peer.id))
                return true;
            clear(ctx_.flows.local(old).queued, peer.id);
            return false;
        });
        for (const Slot kept : box.queue_)
            set(ctx_.flows.local(kept).queued, peer.id);
    }
}

void Outbound::announce(Slot slot, bool full) {
    for (Peer& peer : peers_.all())
        if (peer.protocol->is_sent_changes())
            enqueue(peer, slot, full);
}

void Outbound::announce_change(Slot slot) {
    LocalState& local = ctx_.flows.local(slot);
    const std::uint16_t suppressed = ctx_.record(slot).suppressed;
    if (local.waiting == 0)
        local.changes = 0;
    if (local.changes < UINT8_MAX)
        local.changes++;
    for (Peer& peer : peers_.all()) {
        if (!peer.protocol->is_sent_changes())
            continue;
        // While a bulk update is on its way the peer may not have this one yet.
        const bool may_wait = has(local.known, peer.id) && !peer.bulk.sending &&
                              !has(suppressed, peer.id) && local.changes < peer.options.maxupd;
        if (!may_wait) {
            enqueue(peer, slot, false);
        } else if (has(local.queued, peer.id)) {
            peer.counters.collapsed++;
        } else {
            set(local.queued, peer.id);
            set(local.waiting, peer.id);
            peer.outbox.waiting_.push_back({ctx_.now, slot});
        }
    }
}

void Outbound::send_full(Peer& peer, Slot slot) {
    clear(ctx_.flows.local(slot).known, peer.id);
    enqueue(peer, slot, true);
}

void Outbound::retract(Slot slot) {
    for (Peer& peer : peers_.all())
        if (has(ctx_.record(slot).known, peer.id))
            retract(peer, slot);
}

void Outbound::retract(Peer& peer, Slot slot) {
    if (!peer.protocol->is_sent_changes())
        return;
    const Record& record = ctx_.record(slot);
    if ((record.flags & state::kNoSync) != 0) // sent by a pf peer, and never repeated
        return;
    Outbox& box = peer.outbox;
    if (box.removals_.size() >= kMaxRemovals) {
        if (peer.protocol->reliable()) {
            box.overflowed_ = true;
            return;
        }
        box.removals_.pop(); // its own timer must do
    }
    box.removals_.push({record.id, record.term}, ctx_.now);
    if (const state::StateId second = ctx_.pf_states.second_name(slot);
        second.creatorid != 0 && !peer.protocol->reliable())
        box.removals_.push({second, record.term}, ctx_.now);
}

void Outbound::withdraw(Peer& peer, Slot slot) {
    LocalState& local = ctx_.flows.local(slot);
    if (has(local.known, peer.id))
        retract(peer, slot);
    clear(local.known, peer.id);
    clear(local.queued, peer.id);
    clear(local.full, peer.id);
    clear(local.waiting, peer.id);
}

void Outbound::remove(Peer& peer, state::StateId id, std::uint8_t term, Instant since) {
    peer.outbox.removals_.push({id, term}, since);
}

void Outbound::request(Peer& peer, state::StateId id) {
    Outbox& box = peer.outbox;
    if (box.requests_.size() < kMaxRequests && box.asked_.ask(id, ctx_.now))
        box.requests_.push_back(id);
}

void Outbound::request_again(Peer& peer, state::StateId id) {
    peer.outbox.requests_.push_back(id);
}

void Outbound::acknowledge_insert(Peer& peer, state::StateId id) {
    if (peer.outbox.insert_acks_.size() < kMaxInsertAcks)
        peer.outbox.insert_acks_.push_back(id);
}

void Outbound::reset(Peer& peer) {
    for (const Slot slot : ctx_.index.slots()) {
        LocalState& local = ctx_.flows.local(slot);
        clear(local.known, peer.id);
        clear(local.queued, peer.id);
        clear(local.full, peer.id);
        clear(local.waiting, peer.id);
    }
    peer.outbox = {};
}

// ---- time ----------------------------------------------------------------------------------

bool Outbound::waits(const Peer& peer, Slot slot) const {
    return ctx_.index.used(slot) && has(ctx_.record(slot).waiting, peer.id);
}

Instant Outbound::deadline(const Peer& peer) const {
    const auto& waiting = peer.outbox.waiting_;
    if (waiting.empty())
        return Instant::max();
    const Instant first = waiting.front().since + kHold;
    if (waiting.size() < kPacketful)
        return first;
    return std::min(first, waiting[kPacketful - 1].since + kSettle);
}

void Outbound::advance(Peer& peer) {
    Outbox& box = peer.outbox;
    while (deadline(peer) <= ctx_.now)
        for (std::size_t n = std::min(kPacketful, box.waiting_.size()); n > 0; n--) {
            const auto [since, slot] = box.waiting_.front();
            box.waiting_.pop_front();
            if (!waits(peer, slot))
                continue;
            clear(ctx_.flows.local(slot).waiting, peer.id);
            box.queue_.push(slot, since);
        }
}

bool Outbound::may_ride_along(const Peer& peer, bool all) const {
    const auto& waiting = peer.outbox.waiting_;
    return !waiting.empty() && (all || waiting.front().since + kSettle <= ctx_.now);
}

// ---- sending -------------------------------------------------------------------------------

bool Outbound::write_ids(Peer& peer, pfsync::Builder& packet, std::deque<state::StateId>& ids,
                         Kind message, Item::Kind kind) {
    for (; !ids.empty(); ids.pop_front()) {
        std::uint8_t* m = packet.add(message);
        if (m == nullptr)
            return false;
        pfsync::write_id(m, ids.front());
        peer.protocol->sent({.kind = kind, .id = ids.front()});
    }
    return true;
}

bool Outbound::write_insert_acks(Peer& peer, pfsync::Builder& packet) {
    return write_ids(peer, packet, peer.outbox.insert_acks_, Kind::insert_ack,
                     Item::Kind::insert_ack);
}

bool Outbound::write_requests(Peer& peer, pfsync::Builder& packet) {
    return write_ids(peer, packet, peer.outbox.requests_, Kind::request, Item::Kind::request);
}

bool Outbound::write_removals(Peer& peer, pfsync::Builder& packet, bool terms) {
    auto& removals = peer.outbox.removals_;
    while (!removals.empty()) {
        const Outbox::Removal removal = removals.front();
        const bool tail = terms && removal.term != 0;
        std::uint8_t* m = packet.add(Kind::remove_c, tail ? ext::removal::size : 0);
        if (m == nullptr)
            return false;
        pfsync::write_id(m, removal.id);
        if (tail)
            m[pfsync::common::kIdSize + ext::removal::term] = removal.term;
        peer.protocol->sent({.kind = Item::Kind::removal, .term = removal.term, .id = removal.id});
        peer.protocol->carries(removals.pop());
    }
    return true;
}

bool Outbound::write_change(Peer& peer, pfsync::Builder& packet, Slot slot) {
    const Record& record = ctx_.record(slot);
    // While a bulk update is on its way the peer may not have this one yet.
    const bool whole =
        !has(record.known, peer.id) || has(record.full, peer.id) || peer.bulk.sending;
    if (whole ? !peer.protocol->write_state(packet, slot, Item::Kind::full)
              : !peer.protocol->write_update(packet, slot))
        return false;
    LocalState& local = ctx_.flows.local(slot);
    clear(local.queued, peer.id);
    clear(local.full, peer.id);
    clear(local.waiting, peer.id);
    return true;
}

bool Outbound::write_queue(Peer& peer, pfsync::Builder& packet) {
    auto& queue = peer.outbox.queue_;
    while (!queue.empty()) {
        const Slot slot = queue.front();
        // If not: erased since, and the slot may belong to another flow.
        const bool queued = ctx_.index.used(slot) && has(ctx_.record(slot).queued, peer.id);
        if (queued && !write_change(peer, packet, slot))
            return false;
        const Instant since = queue.pop();
        if (queued)
            peer.protocol->carries(since);
    }
    return true;
}

bool Outbound::write_waiting(Peer& peer, pfsync::Builder& packet, bool all) {
    auto& waiting = peer.outbox.waiting_;
    for (; may_ride_along(peer, all); waiting.pop_front()) {
        const auto [since, slot] = waiting.front();
        if (!waits(peer, slot))
            continue;
        if (!write_change(peer, packet, slot))
            return false;
        peer.protocol->carries(since);
    }
    return true;
}

} // namespace encsync::sync
