// SPDX-License-Identifier: ISC
// What is said to peers: packed while there is much, sent at once when there is little.
#include "sync/engine.hpp"

#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"
#include "sync/marks.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using pfsync::Kind;
using state::kNoSlot;
using state::Record;
using state::Slot;
namespace ext = pfsync::extension;

namespace {

constexpr Instant kHelloInterval = 1s, kFirstHellos = 250ms;
// A pf peer cannot say that it has had enough: its bulk update goes as a FreeBSD would send it,
// one packet a tick.
constexpr unsigned kPlainBulkBurst = 1; // packets
constexpr Instant kPlainBulkPause = 1ms;
constexpr unsigned kMaxPacketsPerFlush = 512; // then others get their turn

} // namespace

void Engine::start_bulk(PeerId peer) {
    Session& s = *sessions_[peer];
    s.sending_bulk = true;
    s.bulk_walked = false;
    s.bulk_sent = 0;
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
        if (index_.used(item.slot)) {
            const Record& record = index_.record(item.slot);
            // Given to a node that cannot have it: ours again.
            if (record.owner == peer && record.is.given && !claim(item.slot))
                return;
            clear(flows_.marks(item.slot).known, peer);
        }
        [[fallthrough]];
    case Item::Kind::update:
        if (index_.used(item.slot))
            enqueue(s, peer, item.slot, item.kind == Item::Kind::full);
        break;
    case Item::Kind::bulk:
        if (s.sending_bulk && !s.bulk_start_now) // otherwise it comes again anyway
            s.bulk_again.push_back(item.slot);
        break;
    case Item::Kind::removal:
        s.removals.push_back({item.id, item.term});
        // The same name lives again: the removal must not take the new life with it.
        if (const Slot slot = index_.find(item.id); slot != kNoSlot) {
            clear(flows_.marks(slot).known, peer);
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
    case Item::Kind::expectation: // all of them, and the flow first
        if (index_.used(item.slot))
            enqueue(s, peer, item.slot, true);
        break;
    case Item::Kind::question:
        if (s.checks.asked.contains(item.slot))
            s.checks.questions.push_back(item.slot);
        break;
    case Item::Kind::sums:
    case Item::Kind::list:
        s.checks.wanted.insert(item.slot);
        break;
    case Item::Kind::absent:
        answer_absent(peer, item.id);
        break;
    }
}

bool Engine::flush() {
    bool more = look_at_unnamed();
    // An INS_ACK says that the table has it: who waits for it lets a packet go.
    if (std::ranges::any_of(sessions_, [](const auto& s) { return !s->insert_acks.empty(); }))
        table_.flush();
    for (PeerId peer = 0; peer < peer_count(); peer++)
        more = transmit(peer) || more;
    link_.flush();
    table_.flush();
    note_missing();
    return more;
}

bool Engine::due(const Session& s) const {
    return s.hello_now || s.ack_due <= now_ || (s.may_talk() && s.anything_to_say(now_));
}

bool Engine::transmit(PeerId peer) {
    Session& s = *sessions_[peer];
    if (!s.link_up)
        return false;
    unsigned bulk_packets = 0;
    for (unsigned n = 0; n < kMaxPacketsPerFlush && due(s); n++) {
        const MutableBytes room = link_.acquire(peer);
        s.blocked = room.empty();
        if (s.blocked)
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
    pfsync::Builder packet(room, s.dialect);
    const bool talk = s.may_talk();
    const bool numbered = talk && s.extended && (s.anything_to_say(now_) || may_ride_along(s));
    // SEQ, HELLO and ACK together fit in any room that a link may lend (link::kMinRoom).
    if (numbered) {
        std::uint8_t* m = packet.add(ext::kSeq, ext::seq::size);
        store_be(m + ext::seq::number, s.outstanding.open(now_));
        store_be(m + ext::seq::session, s.local);
    }
    if (s.hello_now)
        say_hello(s, peer, packet);
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

void Engine::say_hello(Session& s, PeerId peer, pfsync::Builder& packet) {
    const bool lost = !options_.table_kept && !ever_in_step_ && !served_alone_;
    const TcpTracking tracking = tracking_.value_or(TcpTracking{});
    const HelloTail tail{neighbours_for(peer), s.options.trusted};
    std::uint8_t* m = packet.add(ext::kHello, tail.hello_size());
    store_be(m + ext::hello::session, s.local);
    store_be(m + ext::hello::heard, s.remote);
    store_be(m + ext::hello::creatorid, options_.creatorid);
    store_be(m + ext::hello::version, ext::hello::kVersion);
    m[ext::hello::role] = static_cast<std::uint8_t>(options_.role);
    m[ext::hello::flags] = static_cast<std::uint8_t>(
        (ready() ? ext::hello::kReady : 0) | (s.in_step ? ext::hello::kInStep : 0) |
        ext::hello::kReadsReplyZone | (lost ? ext::hello::kLost : 0) |
        (tracking_ ? ext::hello::kTracking : 0) | (tracking.loose ? ext::hello::kLoose : 0) |
        (tracking.liberal ? ext::hello::kLiberal : 0));
    store_be(m + ext::hello::states, std::uint64_t{index_.size()});
    store_be(m + ext::hello::live, std::uint64_t{live_for(peer)});
    store_be(m + ext::hello::checked,
             s.checks.equal < Instant::zero()
                 ? ext::hello::kNever
                 : static_cast<std::uint32_t>((now_ - s.checks.equal) / 1s));
    tail.write(m);
    s.hello_now = false;
    s.hello_due = now_ + (s.extended || s.assumed_plain ? kHelloInterval : kFirstHellos);
}

namespace {

// False: the packet is full. So with all below.
bool say_ids(Session& s, pfsync::Builder& packet, std::deque<state::StateId>& ids, Kind message,
             Item::Kind kind) {
    for (; !ids.empty(); ids.pop_front()) {
        std::uint8_t* m = packet.add(message);
        if (m == nullptr)
            return false;
        pfsync::write_id(m, ids.front());
        note(s, {.kind = kind, .id = ids.front()});
    }
    return true;
}

bool say_removals(Session& s, pfsync::Builder& packet) {
    for (; !s.removals.empty(); s.removals.pop_front()) {
        const Session::Removal& removal = s.removals.front();
        const bool tail = s.extended && removal.term != 0;
        std::uint8_t* m = packet.add(Kind::remove_c, tail ? ext::removal::size : 0);
        if (m == nullptr)
            return false;
        pfsync::write_id(m, removal.id);
        if (tail)
            m[pfsync::common::kIdSize + ext::removal::term] = removal.term;
        note(s, {.kind = Item::Kind::removal, .term = removal.term, .id = removal.id});
    }
    return true;
}

bool say_bulk_status(Session& s, pfsync::Builder& packet, std::uint32_t creatorid,
                     std::uint32_t endtime, bool end) {
    std::uint8_t* m = packet.add(Kind::bulk);
    if (m == nullptr)
        return false;
    pfsync::write_bus(m, creatorid, endtime, end);
    note(s, {.kind = end ? Item::Kind::bulk_end : Item::Kind::bulk_start});
    return true;
}

} // namespace

// Removals go before inserts: a name that lives again must end before it begins. Live updates go
// before the bulk update.
bool Engine::say(Session& s, PeerId peer, pfsync::Builder& packet) {
    if (!say_expectations(s, packet))
        return false;
    if (s.bulk_request_now) {
        std::uint8_t* m = packet.add(Kind::request);
        if (m == nullptr)
            return false;
        pfsync::write_id(m, {});
        note(s, {.kind = Item::Kind::bulk_request});
        s.bulk_request_now = false;
    }
    if (s.bulk_start_now) {
        if (!say_bulk_status(s, packet, options_.creatorid, bulk_endtime(s), false))
            return false;
        s.bulk_start_now = false;
    }
    return say_ids(s, packet, s.insert_acks, Kind::insert_ack, Item::Kind::insert_ack) &&
           say_removals(s, packet) &&
           say_ids(s, packet, s.requests, Kind::request, Item::Kind::request) &&
           say_queue(s, peer, packet) && say_waiting(s, peer, packet) &&
           say_bulk(s, peer, packet) && (!s.extended || say_checks(s, peer, packet));
}

bool Engine::say_state(Session& s, PeerId peer, pfsync::Builder& packet, Slot slot,
                       Item::Kind kind) {
    const Record& record = index_.record(slot);
    const bool begins = kind == Item::Kind::full && !has(record.known, peer);
    if (!say_expectations(s, packet)) // of the flow before
        return false;
    const std::uint8_t expectations = expectations_of(s, slot);
    state::Extras extras = index_.extras(slot);
    extras.verification_tags = {}; // which stand in the peer blocks
    const bool more = s.extended && (expectations != 0 || !extras.empty());
    const std::size_t extra = (s.extended ? ext::tail::size : 0) + (more ? ext::more::size : 0);
    std::uint8_t* m = packet.add(begins ? Kind::insert : Kind::update, extra);
    if (m == nullptr)
        return false;
    if (s.plain())
        write_pf_state(s, peer, m, slot);
    else
        pfsync::write_state(s.dialect, m, index_.flow(slot, now_s_),
                            {.tail = s.extended,
                             .live = record.owner == kHere,
                             .term = record.term,
                             .elsewhere = record.owner != kHere && record.owner != peer &&
                                          owner_alive(record.owner),
                             .more = more,
                             .expectations = expectations,
                             .wants_ack = awaits(peer, slot)});
    set(flows_.marks(slot).known, peer);
    note(s, {.kind = kind, .slot = slot});
    s.expecting = expectations != 0 ? slot : kNoSlot;
    s.expecting_said = 0;
    return true;
}

bool Engine::say_queued(Session& s, PeerId peer, pfsync::Builder& packet, Slot slot) {
    const Record& record = index_.record(slot);
    // While a bulk update is on its way the peer may not have this one yet.
    if (!has(record.known, peer) || has(record.full, peer) || s.sending_bulk) {
        if (!say_state(s, peer, packet, slot, Item::Kind::full))
            return false;
    } else if (s.extended && record.owner != kHere) { // short updates are an owner's
        if (!say_state(s, peer, packet, slot, Item::Kind::update))
            return false;
    } else {
        std::uint8_t* m = packet.add(Kind::update_c);
        if (m == nullptr)
            return false;
        if (s.plain())
            write_pf_update(s, m, slot);
        else
            pfsync::write_upd_c(s.dialect, m, index_.flow(slot, now_s_));
        note(s, {.kind = Item::Kind::update, .slot = slot});
    }
    state::Marks& marks = flows_.marks(slot);
    clear(marks.queued, peer);
    clear(marks.full, peer);
    clear(marks.waiting, peer);
    return true;
}

bool Engine::say_queue(Session& s, PeerId peer, pfsync::Builder& packet) {
    for (; !s.queue.empty(); s.queue.pop_front()) {
        const Slot slot = s.queue.front();
        // If not: erased since, and the slot may belong to another flow.
        const bool queued = index_.used(slot) && has(index_.record(slot).queued, peer);
        if (queued && !say_queued(s, peer, packet, slot))
            return false;
    }
    return say_expectations(s, packet);
}

bool Engine::say_bulk(Session& s, PeerId peer, pfsync::Builder& packet) {
    if (s.sending_bulk) {
        for (; !s.bulk_again.empty(); s.bulk_again.pop_front())
            if (index_.used(s.bulk_again.front()) &&
                !has(index_.record(s.bulk_again.front()).withheld, peer) &&
                !say_state(s, peer, packet, s.bulk_again.front(), Item::Kind::bulk))
                return false;
        if (!s.bulk_walked && s.bulk_pause <= now_) {
            for (const Slot slot : index_.slots(s.bulk_cursor)) {
                const Record& record = index_.record(slot);
                if (!has(record.withheld, peer) && !record.is.ended) {
                    if (!say_state(s, peer, packet, slot, Item::Kind::bulk))
                        return false;
                    s.bulk_sent++;
                }
                s.bulk_cursor = slot;
            }
            s.bulk_walked = true;
        }
    }
    if (s.bulk_can_end()) {
        s.sending_bulk = false;
        s.bulk_end_now = true;
        s.counters.bulks_sent++;
    }
    if (s.bulk_end_now) {
        if (!say_bulk_status(s, packet, options_.creatorid, bulk_endtime(s), true))
            return false;
        s.bulk_end_now = false;
    }
    return true;
}

} // namespace encsync::sync
