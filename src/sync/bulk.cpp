// SPDX-License-Identifier: ISC
#include "sync/bulk.hpp"

namespace encsync::sync {

using pfsync::Kind;
using state::kNoSlot;
using state::Slot;

// ---- from the peer -------------------------------------------------------------------------

void BulkUpdates::request(Peer& peer) {
    BulkState& bulk = peer.bulk;
    bulk.requested = bulk.request_now = true;
    bulk.arriving = false;
    bulk.tries = 0;
    bulk.asked = ctx_.now;
    bulk.retry = ctx_.now + peer.protocol->bulk_retry();
}

void BulkUpdates::arrives(Peer& peer) {
    peer.bulk.arriving = true;
    peer.bulk.received = 0;
}

void BulkUpdates::arrived(Peer& peer) {
    peer.bulk.arriving = peer.bulk.requested = false;
    peer.counters.bulks_received++;
    if (!peer.in_step) {
        peer.in_step = ctx_.ever_in_step = true;
        peer.in_step_since = ctx_.now;
        peer.hello_now = peer.hello_now || peer.extended;
    }
    lifecycle_.forget_ended();
    ownership_.settle_unclaimed();
}

bool BulkUpdates::write_request(Peer& peer, pfsync::Builder& packet) {
    if (!peer.bulk.request_now)
        return true;
    std::uint8_t* m = packet.add(Kind::request);
    if (m == nullptr)
        return false;
    pfsync::write_id(m, {});
    peer.protocol->sent({.kind = Item::Kind::bulk_request});
    peer.bulk.request_now = false;
    return true;
}

// ---- to the peer ---------------------------------------------------------------------------

void BulkUpdates::start(Peer& peer) {
    BulkState& bulk = peer.bulk;
    bulk.sending = bulk.start_now = true;
    bulk.walked = false;
    bulk.sent = 0;
    bulk.cursor = kNoSlot;
    bulk.again.clear();
    bulk.pause = ctx_.now;
}

bool BulkUpdates::write_status(Peer& peer, pfsync::Builder& packet, std::uint32_t endtime,
                               bool end) {
    std::uint8_t* m = packet.add(Kind::bulk);
    if (m == nullptr)
        return false;
    pfsync::write_bus(m, ctx_.options.creatorid, endtime, end);
    peer.protocol->sent({.kind = end ? Item::Kind::bulk_end : Item::Kind::bulk_start});
    return true;
}

bool BulkUpdates::write_start(Peer& peer, pfsync::Builder& packet, std::uint32_t endtime) {
    if (peer.bulk.start_now && !write_status(peer, packet, endtime, false))
        return false;
    peer.bulk.start_now = false;
    return true;
}

bool BulkUpdates::write_states(Peer& peer, pfsync::Builder& packet) {
    BulkState& bulk = peer.bulk;
    if (!bulk.sending)
        return true;
    for (; !bulk.again.empty(); bulk.again.pop_front()) {
        const Slot slot = bulk.again.front();
        if (ctx_.index.used(slot) && !has(ctx_.record(slot).suppressed, peer.id) &&
            !peer.protocol->write_state(packet, slot, Item::Kind::bulk))
            return false;
    }
    if (bulk.walked || bulk.pause > ctx_.now)
        return true;
    for (const Slot slot : ctx_.index.slots(bulk.cursor)) {
        const Record& record = ctx_.record(slot);
        if (!has(record.suppressed, peer.id) && !record.is.ended) {
            if (!peer.protocol->write_state(packet, slot, Item::Kind::bulk))
                return false;
            bulk.sent++;
        }
        bulk.cursor = slot;
    }
    bulk.walked = true;
    return true;
}

bool BulkUpdates::write_end(Peer& peer, pfsync::Builder& packet, std::uint32_t endtime,
                            bool all_arrived) {
    BulkState& bulk = peer.bulk;
    if (may_end(peer, all_arrived)) {
        bulk.sending = false;
        bulk.end_now = true;
        peer.counters.bulks_sent++;
    }
    if (bulk.end_now && !write_status(peer, packet, endtime, true))
        return false;
    bulk.end_now = false;
    return true;
}

} // namespace encsync::sync
