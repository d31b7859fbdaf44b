// SPDX-License-Identifier: ISC
// The conversation: what is sent, and what is received. encsync_updates.cpp has what an update of a
// flow means.
#include "sync/encsync_peer.hpp"

#include "pfsync/expectation.hpp"
#include "pfsync/extension.hpp"
#include "sync/sections.hpp"

#include <algorithm>
#include <utility>

namespace encsync::sync {

using namespace std::chrono_literals;
using pfsync::Fault;
using pfsync::Kind;
using pfsync::Section;
using state::kNoSlot;
using state::Slot;
namespace ext = pfsync::extension;

namespace {

constexpr Duration kBulkRetry = 5s;
constexpr Duration kBulkRest = 1s; // between two that a peer may ask for in a session
constexpr Duration kAckDelay = 20ms;
constexpr std::uint32_t kAckEvery = 64; // packets

} // namespace

// ---- the session ---------------------------------------------------------------------------

Duration EncsyncPeer::bulk_retry() const {
    return kBulkRetry;
}

void EncsyncPeer::reset() {
    outstanding_.forget();
    inbox_ = {};
    ack_due_ = Instant::max();
    expecting_ = kNoSlot;
    bulk_not_before_ = {};
    bulk_waits_ = false;
}

void EncsyncPeer::resume() {
    outstanding_.resume([this](const Item& item, Instant since) { send_again(item, since); });
}

void EncsyncPeer::advance() {
    if (!peer_.silent && ctx_.now >= outstanding_.deadline())
        outstanding_.expire([this](const Item& item, Instant since) { send_again(item, since); });
    if (bulk_waits_ && ctx_.now >= bulk_not_before_)
        start_bulk();
    if (peer_.bulk.requested && !peer_.bulk.arriving && ctx_.now >= peer_.bulk.retry) {
        peer_.bulk.request_now = true;
        peer_.bulk.retry = ctx_.now + kBulkRetry;
    }
}

Instant EncsyncPeer::deadline() const {
    Instant next = ack_due_;
    if (may_talk())
        next = std::min(next, p_.anti_entropy.deadline(peer_));
    if (peer_.extended && !peer_.silent)
        next = std::min(next, outstanding_.deadline());
    if (bulk_waits_)
        next = std::min(next, bulk_not_before_);
    if (peer_.bulk.requested && !peer_.bulk.arriving)
        next = std::min(next, peer_.bulk.retry);
    return next;
}

// ---- sending -------------------------------------------------------------------------------

bool EncsyncPeer::anything_to_send() const {
    return expecting_ != kNoSlot || !peer_.outbox.empty() ||
           peer_.bulk.anything_to_send(ctx_.now) ||
           p_.bulk.may_end(peer_, outstanding_.bulk_items() == 0) ||
           p_.anti_entropy.anything_to_send(peer_);
}

bool EncsyncPeer::due() const {
    return peer_.hello_now || ack_due_ <= ctx_.now || (may_talk() && anything_to_send());
}

std::size_t EncsyncPeer::build(MutableBytes room) {
    pfsync::Builder packet(room, peer_.dialect);
    const bool talk = may_talk();
    // SEQ, HELLO and ACK together fit in any room that a link may lend (kMinRoom).
    if (talk && (anything_to_send() ||
                 p_.outbound.may_ride_along(peer_, p_.anti_entropy.root_due(peer_)))) {
        std::uint8_t* m = packet.add(ext::kSeq, ext::seq::size);
        store_be(m + ext::seq::number, outstanding_.open(ctx_.now));
        store_be(m + ext::seq::session, peer_.local);
    }
    if (peer_.hello_now)
        p_.sessions.write_hello(peer_, packet);
    if (ack_due_ <= ctx_.now)
        append_ack(packet);
    if (talk)
        write_all(packet);
    return packet.empty() ? 0 : packet.finish();
}

void EncsyncPeer::append_ack(pfsync::Builder& packet) {
    ack_due_ = Instant::max();
    if (!peer_.extended || inbox_.highest() == 0)
        return;
    std::uint8_t* m = packet.add(ext::kAck, inbox_.ack_size());
    inbox_.write_ack(m, peer_.remote);
}

// False: the packet is full (here and below). Removals go before inserts: a name that lives again
// must end before it begins. Live updates go before the bulk update.
bool EncsyncPeer::write_all(pfsync::Builder& packet) {
    return write_expectations(packet) && p_.bulk.write_request(peer_, packet) &&
           p_.bulk.write_start(peer_, packet, 0) && p_.outbound.write_insert_acks(peer_, packet) &&
           p_.outbound.write_removals(peer_, packet, true) &&
           p_.outbound.write_requests(peer_, packet) && p_.outbound.write_queue(peer_, packet) &&
           write_expectations(packet) &&
           p_.outbound.write_waiting(peer_, packet, p_.anti_entropy.root_due(peer_)) &&
           p_.bulk.write_states(peer_, packet) &&
           p_.bulk.write_end(peer_, packet, 0, outstanding_.bulk_items() == 0) &&
           p_.anti_entropy.write(peer_, outstanding_, packet);
}

void EncsyncPeer::sent(const Item& item) {
    peer_.counters.tx_messages++;
    if (peer_.extended)
        outstanding_.note(item);
}

void EncsyncPeer::carries(Instant since) {
    if (peer_.extended)
        outstanding_.carries(since);
}

std::optional<Instant> EncsyncPeer::oldest_unacknowledged() const {
    if (!peer_.extended)
        return std::nullopt;
    return std::min(outstanding_.oldest_change(), peer_.outbox.oldest());
}

bool EncsyncPeer::write_state(pfsync::Builder& packet, Slot slot, Item::Kind kind) {
    const Record& record = ctx_.record(slot);
    const bool begins = kind == Item::Kind::full && !has(record.known, peer_.id);
    if (!write_expectations(packet)) // of the flow before
        return false;
    const std::uint8_t expectations = expectations_of(slot);
    state::Extras extras = ctx_.index.extras(slot);
    extras.verification_tags = {}; // which stand in the peer blocks
    const bool more = expectations != 0 || !extras.empty();
    std::uint8_t* m = packet.add(begins ? Kind::insert : Kind::update,
                                 ext::tail::size + (more ? ext::more::size : 0));
    if (m == nullptr)
        return false;
    pfsync::write_state(peer_.dialect, m, ctx_.flow(slot),
                        {.tail = true,
                         .live = record.owner == kHere,
                         .term = record.term,
                         .elsewhere = record.owner != kHere && record.owner != peer_.id &&
                                      p_.peers.owner_alive(record.owner),
                         .more = more,
                         .expectations = expectations,
                         .wants_ack = p_.deferral.waits_for(peer_.id, slot)});
    set(ctx_.flows.local(slot).known, peer_.id);
    sent({.kind = kind, .slot = slot});
    expecting_ = expectations != 0 ? slot : kNoSlot;
    expectations_sent_ = 0;
    return true;
}

bool EncsyncPeer::write_update(pfsync::Builder& packet, Slot slot) {
    if (ctx_.record(slot).owner != kHere) // short updates are an owner's
        return write_state(packet, slot, Item::Kind::update);
    std::uint8_t* m = packet.add(Kind::update_c);
    if (m == nullptr)
        return false;
    pfsync::write_upd_c(peer_.dialect, m, ctx_.flow(slot));
    sent({.kind = Item::Kind::update, .slot = slot});
    return true;
}

// How many follow the full state of this flow.
std::uint8_t EncsyncPeer::expectations_of(Slot slot) const {
    return ctx_.record(slot).owner == kHere
               ? static_cast<std::uint8_t>(ctx_.flows.expectations().of(slot).size())
               : std::uint8_t{0};
}

bool EncsyncPeer::write_expectations(pfsync::Builder& packet) {
    while (expecting_ != kNoSlot) {
        if (!ctx_.index.used(expecting_) || expectations_sent_ >= expectations_of(expecting_)) {
            expecting_ = kNoSlot;
            return true;
        }
        const auto& all = ctx_.flows.expectations().of(expecting_);
        std::uint8_t* m = packet.add(ext::kExpect, ext::expect::size);
        if (m == nullptr)
            return false;
        const ExpectationBook::Entry& entry = all[expectations_sent_];
        state::Expectation left = entry.expectation;
        const auto seconds = static_cast<std::int32_t>(entry.expires - ctx_.seconds);
        left.timeout = seconds > 0 ? static_cast<std::uint32_t>(seconds) : 1;
        pfsync::write_expect(m, ctx_.record(expecting_).id, expectations_sent_,
                             static_cast<std::uint8_t>(all.size()), left);
        sent({.kind = Item::Kind::expectation, .slot = expecting_});
        expectations_sent_++;
    }
    return true;
}

// The link has lost items: they are sent again, with their present state.
void EncsyncPeer::send_again(const Item& item, Instant since) {
    switch (item.kind) {
    case Item::Kind::full:
        if (ctx_.index.used(item.slot)) {
            const Record& record = ctx_.record(item.slot);
            // Given to a node that cannot have it: ours again.
            if (record.owner == peer_.id && record.is.handed_over && !p_.ownership.claim(item.slot))
                return;
            clear(ctx_.flows.local(item.slot).known, peer_.id);
        }
        [[fallthrough]];
    case Item::Kind::update:
        if (ctx_.index.used(item.slot))
            p_.outbound.enqueue(peer_, item.slot, item.kind == Item::Kind::full, since);
        break;
    case Item::Kind::bulk:
        if (peer_.bulk.sending && !peer_.bulk.start_now) // otherwise it comes again anyway
            peer_.bulk.again.push_back(item.slot);
        break;
    case Item::Kind::removal:
        p_.outbound.remove(peer_, item.id, item.term, since);
        // The same name lives again: the removal must not take the new life with it.
        if (const Slot slot = ctx_.index.find(item.id); slot != kNoSlot)
            p_.outbound.send_full(peer_, slot);
        break;
    case Item::Kind::request:
        p_.outbound.request_again(peer_, item.id);
        break;
    case Item::Kind::insert_ack:
        p_.outbound.acknowledge_insert(peer_, item.id);
        break;
    case Item::Kind::bulk_request:
        peer_.bulk.request_now = peer_.bulk.requested && !peer_.bulk.arriving;
        break;
    case Item::Kind::bulk_start:
        // What followed it was not counted as part of the update: all of it again.
        if (peer_.bulk.sending)
            p_.bulk.start(peer_);
        break;
    case Item::Kind::bulk_end:
        peer_.bulk.end_now = true;
        break;
    case Item::Kind::expectation: // all of them, and the flow first
        if (ctx_.index.used(item.slot))
            p_.outbound.enqueue(peer_, item.slot, true);
        break;
    case Item::Kind::question:
        p_.anti_entropy.ask_again(peer_, item.slot);
        break;
    case Item::Kind::sums:
    case Item::Kind::list:
        p_.anti_entropy.answer_again(peer_, item.slot);
        break;
    case Item::Kind::absent:
        p_.anti_entropy.answer_absent(peer_, item.id);
        break;
    }
}

// ---- hearing -------------------------------------------------------------------------------

void EncsyncPeer::receive(const Section* section, pfsync::Parser& rest) {
    const bool numbered = section != nullptr && is_number(*section);
    if (numbered) {
        if (!receive_number(section))
            return;
        section = rest.next();
    }
    for (; section != nullptr; section = rest.next()) {
        const std::size_t extension = extension_size(*section);
        const bool meets = extension != 0 && section->action <= ext::kAck;
        if (!meets && !numbered && peer_.remote != 0) {
            // It has forgotten us: a node that knows us numbers its packets.
            peer_.verdict.refuse(Reason::foreign_session);
            peer_.hello_now = true;
            return;
        }
        if (!meets && !numbered && extension == 0) { // and so it is a pf firewall
            p_.sessions.take_for_pf(peer_);
            return peer_.protocol->receive(section, rest);
        }
        for_each_message(peer_, *section, [&](Bytes m) {
            if (extension != 0)
                receive_extension(section->action, m);
            else
                receive_message(*section, m);
        });
    }
}

// False: not to be read on.
bool EncsyncPeer::receive_number(const Section* section) {
    const Bytes m = section->message(0);
    if (peer_.remote == 0 || load_be<std::uint64_t>(&m[ext::seq::session]) != peer_.remote) {
        peer_.verdict.refuse(Reason::foreign_session);
        peer_.hello_now = true;
        return false;
    }
    p_.sessions.received(peer_);
    // Late packets are acknowledged too: so the sender learns that they count as lost.
    ack_due_ = std::min(ack_due_, ctx_.now + kAckDelay);
    if (!inbox_.take(load_be<std::uint64_t>(&m[ext::seq::number]))) {
        peer_.counters.late_packets++;
        return false;
    }
    if (inbox_.unacknowledged() >= kAckEvery)
        ack_due_ = ctx_.now;
    return true;
}

void EncsyncPeer::receive_extension(std::uint8_t action, Bytes m) {
    if (action > ext::kAck && !peer_.extended)
        return peer_.verdict.refuse(Reason::unknown_action);
    switch (action) {
    case ext::kHello:
        return p_.sessions.receive_hello(peer_, m);
    case ext::kAck:
        return receive_ack(m);
    case ext::kExpect:
        return receive_expect(m);
    case ext::kRoot:
        if (p_.anti_entropy.receive_root(peer_, inbox_, m))
            p_.bulk.request(peer_);
        return;
    case ext::kAsk:
        return p_.anti_entropy.receive_ask(peer_, m);
    case ext::kSums:
        return p_.anti_entropy.receive_sums(peer_, m);
    case ext::kList:
        return p_.anti_entropy.receive_list(peer_, m);
    case ext::kAbsent:
        return p_.anti_entropy.receive_absent(peer_, inbox_, m);
    default: // SEQ was read before
        return;
    }
}

void EncsyncPeer::receive_message(const Section& section, Bytes m) {
    switch (section.kind) {
    case Kind::insert:
    case Kind::update: // an unknown one is an insert (pfsync(4))
        receive_full(section.layout, m);
        peer_.bulk.received += peer_.bulk.arriving ? 1 : 0;
        return;
    case Kind::update_c:
        return receive_update(section.layout, m);
    case Kind::request:
        if (state::StateId id; peer_.verdict.read_request(m, id, ctx_.now))
            receive_request(id);
        return;
    case Kind::remove_c: {
        const bool has_term = m.size() >= pfsync::common::kIdSize + ext::removal::size;
        const std::uint8_t term = has_term ? m[pfsync::common::kIdSize + ext::removal::term] : 0;
        if (state::StateId id; peer_.verdict.read_removal(m, id))
            receive_removal(id, term & ext::tail::kTermMask);
        return;
    }
    case Kind::remove: {
        if (pfsync::FullState full; peer_.verdict.read(section.layout, m, full))
            receive_removal(full.flow.id, full.term);
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

void EncsyncPeer::receive_ack(Bytes m) {
    if (load_be<std::uint64_t>(&m[ext::ack::session]) != peer_.local || !peer_.extended)
        return peer_.verdict.refuse(Reason::foreign_session);
    p_.sessions.received(peer_);
    const Bytes bitmap =
        m.subspan(ext::ack::bitmap, std::min(m.size() - ext::ack::bitmap, ext::ack::max_bitmap));
    if (!outstanding_.acknowledge(
            load_be<std::uint64_t>(&m[ext::ack::highest]), bitmap, ctx_.now,
            [this](const Item& item, Instant since) { send_again(item, since); }))
        peer_.verdict.refuse(Reason::bad_ack);
    peer_.counters.lost_packets = outstanding_.lost_packets();
}

// What the peer owns and did not name in its whole bulk update, it no longer has.
void EncsyncPeer::receive_bulk_status(Bytes message) {
    pfsync::BulkStatus status;
    if (!peer_.verdict.sound(pfsync::read(message, status)))
        return;
    if (!status.end) {
        p_.bulk.arrives(peer_);
        peer_.bulk.epoch++;
        return;
    }
    if (!peer_.bulk.arriving)
        return;
    if (peer_.extended && ctx_.flows.copies(peer_.id) != 0)
        for (const Slot slot : ctx_.index.slots()) {
            const Record& record = ctx_.record(slot);
            if (record.owner != peer_.id || record.epoch == peer_.bulk.epoch)
                continue;
            p_.lifecycle.erase_from_table(slot);
            peer_.counters.swept++;
        }
    p_.bulk.arrived(peer_);
}

void EncsyncPeer::receive_request(state::StateId id) {
    if (id == state::StateId{}) {
        if (peer_.bulk.sending) // a second request while one is answered changes nothing
            return;
        if (ctx_.now >= bulk_not_before_)
            return start_bulk();
        // It costs this node more than it costs the peer.
        if (std::exchange(bulk_waits_, true))
            peer_.verdict.refuse(Reason::too_often);
        return;
    }
    const Slot slot = ctx_.index.find(id);
    if (slot != kNoSlot && !has(ctx_.record(slot).suppressed, peer_.id))
        return p_.outbound.enqueue(peer_, slot, true);
    peer_.verdict.refuse(slot == kNoSlot ? Reason::unknown_state : Reason::no_sync);
    p_.anti_entropy.answer_absent(peer_, id);
}

void EncsyncPeer::start_bulk() {
    bulk_waits_ = false;
    bulk_not_before_ = ctx_.now + kBulkRest;
    p_.bulk.start(peer_);
}

void EncsyncPeer::receive_removal(state::StateId id, std::uint8_t term) {
    if (p_.pf_flows.drop_name(peer_, id))
        return;
    const Slot slot = ctx_.index.find(id);
    if (slot == kNoSlot || !p_.ownership.may_remove(peer_, slot, term))
        return;
    if (ctx_.record(slot).owner == kHere)
        p_.outbound.retract(slot); // the others know it from us
    p_.lifecycle.remember_ended(ctx_.index.key(slot));
    p_.lifecycle.erase_from_table(slot);
}

void EncsyncPeer::receive_clear(Bytes message) {
    pfsync::Clear what;
    if (!peer_.verdict.read(message, what, ctx_.now))
        return;
    // Our states float: they belong to no single interface.
    if (!what.ifname.empty() && what.ifname != "all")
        return;
    for (const Slot slot : ctx_.index.slots()) {
        const Record& record = ctx_.record(slot);
        if (record.owner == peer_.id && record.id.creatorid == what.creatorid)
            p_.lifecycle.erase_from_table(slot);
    }
}

// ---- expectations --------------------------------------------------------------------------

// Behind each full state of its owner.
void EncsyncPeer::begin_expectations(const pfsync::FullState& full) {
    const Slot slot = full.has_tail ? ctx_.index.find(full.flow.id) : kNoSlot;
    if (slot == kNoSlot || ctx_.record(slot).owner != peer_.id)
        return;
    FlowStore::Change change(ctx_.flows, slot);
    p_.copies.remove_expectations(slot, change.begin_expectations(full.expectations));
}

void EncsyncPeer::receive_expect(Bytes message) {
    pfsync::ExpectMessage received;
    if (!peer_.verdict.sound(pfsync::read(message, received)))
        return;
    const Slot slot = ctx_.index.find(received.master);
    if (slot == kNoSlot)
        return peer_.verdict.refuse(Reason::unknown_state);
    const Record& record = ctx_.record(slot);
    const state::Expectation expectation = of_master(ctx_.index, received.expectation, slot);
    if (received.family != expectation.master.family)
        return peer_.verdict.refuse(Fault::bad_family);
    if (record.owner != peer_.id)
        return peer_.verdict.refuse(Reason::not_owner);
    FlowStore::Change change(ctx_.flows, slot);
    switch (change.expect(expectation, ctx_.seconds + expectation.timeout)) {
    case ExpectationBook::Added::full:
        peer_.verdict.refuse(Reason::expectation_limit);
        break;
    case ExpectationBook::Added::fresh:
        if (!record.is.absent)
            ctx_.table.expect(expectation, ctx_.index.extras(slot).helper);
        break;
    case ExpectationBook::Added::same:
        break;
    }
    p_.copies.remove_expectations(
        slot, change.listed_expectation(received.index, received.count, expectation));
}

} // namespace encsync::sync
