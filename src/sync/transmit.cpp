// What is said to peers: packed while there is much, sent at once when there is little.
#include "sync/engine.hpp"

#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"
#include "sync/marks.hpp"

namespace encsync::sync {

using namespace std::chrono_literals;
using pfsync::openbsd::Action;
using state::kNoSlot;
using state::Record;
using state::Slot;
namespace ext = pfsync::extension;
namespace wire = pfsync::openbsd;

namespace {

constexpr Instant kHelloInterval = 1s;
// A pf peer cannot say that it has had enough: its bulk update goes in small bursts.
constexpr unsigned kPlainBulkBurst = 16; // packets
constexpr Instant kPlainBulkPause = 20ms;
constexpr unsigned kMaxPacketsPerFlush = 512; // then others get their turn

} // namespace

void Engine::start_bulk(PeerId peer) {
    Session& s = *sessions_[peer];
    s.sending_bulk = true;
    s.bulk_walked = false;
    s.bulk_cursor = kNoSlot;
    s.bulk_again.clear();
    s.bulk_start_now = true;
    s.bulk_pause = now_;
}

// The link has lost what was said: it is said again, in the form it has by now.
void Engine::say_again(PeerId peer, const Item& item) {
    Session& s = *sessions_[peer];
    switch (item.kind) {
    case Item::Kind::full:
        if (index_.used(item.slot))
            clear(index_.record(item.slot).sync.known, peer);
        [[fallthrough]];
    case Item::Kind::update:
        if (index_.used(item.slot))
            enqueue(s, peer, item.slot, item.kind == Item::Kind::full);
        break;
    case Item::Kind::bulk:
        if (s.sending_bulk)
            s.bulk_again.push_back(item.slot);
        break;
    case Item::Kind::removal:
        s.removals.push_back(item.id);
        // The same name lives again: the removal must not take the new life with it.
        if (const Slot slot = index_.find(item.id); slot != kNoSlot) {
            clear(index_.record(slot).sync.known, peer);
            enqueue(s, peer, slot, true);
        }
        break;
    case Item::Kind::request:
        s.requests.push_back(item.id);
        break;
    case Item::Kind::insert_ack:
        s.insert_acks.push_back(item.id);
        break;
    case Item::Kind::bulk_request:
        s.bulk_request_now = s.bulk_requested && !s.bulk_arriving;
        break;
    case Item::Kind::bulk_start:
        // What followed it was not counted as part of the update: all of it again.
        if (s.sending_bulk)
            start_bulk(peer);
        break;
    case Item::Kind::bulk_end:
        s.bulk_end_now = true;
        break;
    }
}

bool Engine::flush() {
    bool more = false;
    for (PeerId peer = 0; peer < sessions_.size(); peer++)
        more = transmit(peer) || more;
    link_.flush();
    table_.flush();
    return more;
}

bool Engine::due(const Session& s) const {
    if (s.hello_now || s.ack_due <= now_)
        return true;
    if (s.extended)
        return s.outstanding.room() && s.anything_to_say(now_);
    return s.plain() && s.anything_to_say(now_);
}

bool Engine::transmit(PeerId peer) {
    Session& s = *sessions_[peer];
    if (!s.link_up)
        return false;
    unsigned bulk_packets = 0;
    for (unsigned n = 0; n < kMaxPacketsPerFlush && due(s); n++) {
        const MutableBytes room = link_.acquire(peer);
        if (room.empty())
            return false;
        const std::size_t size = build(s, peer, room);
        link_.commit(peer, size);
        if (size == 0)
            return false;
        s.counters.tx_packets++;
        if (s.plain() && s.sending_bulk && ++bulk_packets == kPlainBulkBurst) {
            s.bulk_pause = now_ + kPlainBulkPause;
            return false;
        }
    }
    return due(s);
}

std::size_t Engine::build(Session& s, PeerId peer, MutableBytes room) {
    pfsync::Builder packet(room);
    const bool talk = (s.extended && s.outstanding.room()) || s.plain();
    const bool numbered = talk && !s.plain() && s.anything_to_say(now_);
    // SEQ, HELLO and ACK together fit in any room that a link may lend (link::kMinRoom).
    if (numbered) {
        std::uint8_t* m = packet.add(ext::kSeq, ext::seq::size);
        store_be(m + ext::seq::number, s.outstanding.open(now_));
        store_be(m + ext::seq::session, s.local);
    }
    if (s.hello_now) {
        std::uint8_t* m = packet.add(ext::kHello, ext::hello::size);
        store_be(m + ext::hello::session, s.local);
        store_be(m + ext::hello::heard, s.remote);
        store_be(m + ext::hello::creatorid, options_.creatorid);
        store_be(m + ext::hello::version, std::uint16_t{1});
        m[ext::hello::role] = static_cast<std::uint8_t>(options_.role);
        m[ext::hello::flags] = static_cast<std::uint8_t>(
            (ready() ? ext::hello::kReady : 0) | (s.in_step ? ext::hello::kInStep : 0) |
            (s.extended && s.drained() ? ext::hello::kDrained : 0));
        store_be(m + ext::hello::states, std::uint64_t{index_.size()});
        store_be(m + ext::hello::live, std::uint64_t{live_});
        s.hello_now = false;
        s.hello_due = now_ + kHelloInterval;
    }
    if (s.ack_due <= now_) {
        s.ack_due = Instant::max();
        if (s.extended && s.inbox.highest() != 0) {
            std::uint8_t* m = packet.add(ext::kAck, s.inbox.ack_size());
            s.inbox.write_ack(m, s.remote);
        }
    }
    if (talk)
        say(s, peer, packet);
    return packet.empty() ? 0 : packet.finish();
}

void Engine::say(Session& s, PeerId peer, pfsync::Builder& packet) {
    const auto note = [&s](const Item& item) {
        s.counters.tx_messages++;
        if (s.extended)
            s.outstanding.note(item);
    };
    if (s.bulk_request_now) {
        std::uint8_t* m = packet.add(Action::upd_req, wire::kIdSize);
        if (m == nullptr)
            return;
        pfsync::write_id(m, {});
        note({Item::Kind::bulk_request, kNoSlot, {}});
        s.bulk_request_now = false;
    }
    if (s.bulk_start_now) {
        std::uint8_t* m = packet.add(Action::bus, wire::kBusSize);
        if (m == nullptr)
            return;
        pfsync::write_bus(m, options_.creatorid, 0, false);
        note({Item::Kind::bulk_start, kNoSlot, {}});
        s.bulk_start_now = false;
    }
    const auto say_ids = [&](std::deque<state::StateId>& ids, Action action, Item::Kind kind) {
        for (; !ids.empty(); ids.pop_front()) {
            std::uint8_t* m = packet.add(action, wire::kIdSize);
            if (m == nullptr)
                return false;
            pfsync::write_id(m, ids.front());
            note({kind, kNoSlot, ids.front()});
        }
        return true;
    };
    // Removals before inserts: a name that lives again must end before it begins.
    if (!say_ids(s.insert_acks, Action::ins_ack, Item::Kind::insert_ack) ||
        !say_ids(s.removals, Action::del_c, Item::Kind::removal) ||
        !say_ids(s.requests, Action::upd_req, Item::Kind::request))
        return;

    const auto say_state = [&](Slot slot, Action action, Item::Kind kind) {
        const std::size_t size = wire::kStateSize + (s.extended ? ext::tail::size : 0);
        std::uint8_t* m = packet.add(action, size);
        if (m == nullptr)
            return false;
        Record& record = index_.record(slot);
        pfsync::write_state(m, index_.flow(slot, now_s_),
                            {.tail = s.extended, .live = record.sync.owner == kHere});
        set(record.sync.known, peer);
        note({kind, slot, {}});
        return true;
    };
    for (; !s.queue.empty(); s.queue.pop_front()) {
        const Slot slot = s.queue.front();
        if (!index_.used(slot))
            continue;
        state::SyncMarks& sync = index_.record(slot).sync;
        if (!has(sync.queued, peer))
            continue; // erased since, and the slot belongs to another flow
        // While a bulk update is on its way the peer may not have this one yet.
        if (has(sync.known, peer) && !has(sync.full, peer) && !s.sending_bulk) {
            std::uint8_t* m = packet.add(Action::upd_c, wire::kUpdCSize);
            if (m == nullptr)
                return;
            pfsync::write_upd_c(m, index_.flow(slot, now_s_));
            note({Item::Kind::update, slot, {}});
        } else if (!say_state(slot, has(sync.known, peer) ? Action::upd : Action::ins,
                              Item::Kind::full)) {
            return;
        }
        clear(sync.queued, peer);
        clear(sync.full, peer);
    }
    const auto say_bulk = [&] {
        for (; !s.bulk_again.empty(); s.bulk_again.pop_front())
            if (index_.used(s.bulk_again.front()) &&
                !say_state(s.bulk_again.front(), Action::upd, Item::Kind::bulk))
                return false;
        while (!s.bulk_walked && s.bulk_pause <= now_) {
            const Slot slot = index_.next(s.bulk_cursor);
            if (slot == kNoSlot) {
                s.bulk_walked = true;
            } else {
                if ((index_.record(slot).flags & state::kNoSync) == 0 &&
                    !say_state(slot, Action::upd, Item::Kind::bulk))
                    return false;
                s.bulk_cursor = slot;
            }
        }
        return true;
    };
    if (s.sending_bulk && !s.bulk_start_now && !say_bulk())
        return;
    if (s.bulk_can_end()) {
        s.sending_bulk = false;
        s.bulk_end_now = true;
        s.counters.bulks_sent++;
    }
    if (s.bulk_end_now) {
        std::uint8_t* m = packet.add(Action::bus, wire::kBusSize);
        if (m == nullptr)
            return;
        pfsync::write_bus(m, options_.creatorid, 0, true);
        note({Item::Kind::bulk_end, kNoSlot, {}});
        s.bulk_end_now = false;
    }
}

} // namespace encsync::sync
