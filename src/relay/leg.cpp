// SPDX-License-Identifier: ISC
#include "relay/leg.hpp"

#include "pfsync/build.hpp"

#include <algorithm>
#include <chrono>

namespace encsync::relay {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kItemHeader = 4;
namespace reference {
constexpr std::size_t size = 16, id = 0 /* u64 */, creatorid = 8 /* u32 */, slot = 12 /* u32 */;
}

} // namespace

Leg::Leg(PeerId peer, Side side, pfsync::Dialect dialect, const InterfaceMap& names)
    : peer_(peer), side_(side), dialect_(dialect), names_in_(dialect, dialect, names) {
    for (const pfsync::Dialect each : pfsync::kAllDialects)
        from_.emplace_back(each, dialect, names.reversed());
}

Bytes Leg::with_shared_names(const pfsync::Section& section, Bytes message) {
    const auto out = names_in_.translate(section, message, losses);
    return out ? out->message : message;
}

std::optional<Translator::Out> Leg::translate(pfsync::Dialect from, const pfsync::Section& section,
                                              Bytes message, std::uint8_t proto) {
    return from_[static_cast<std::size_t>(from)].translate(section, message, losses, proto);
}

std::optional<Translator::Out> Leg::update_of(StateStore& store, Slot slot) {
    const pfsync::Dialect layout = store.layout(slot);
    return from_[static_cast<std::size_t>(layout)].translate(
        {pfsync::Kind::update, layout}, *pfsync::action_of(layout, pfsync::Kind::update),
        store.message(slot), losses);
}

// ---- what waits ----------------------------------------------------------------------------

bool Leg::append(Item item, std::uint8_t action, Bytes body) {
    if (waiting() + kItemHeader + body.size() > kMaxWaiting)
        return false;
    const std::array<std::uint8_t, kItemHeader> header{static_cast<std::uint8_t>(item), action,
                                                       static_cast<std::uint8_t>(body.size() >> 8),
                                                       static_cast<std::uint8_t>(body.size())};
    queue_.insert(queue_.end(), header.begin(), header.end());
    queue_.insert(queue_.end(), body.begin(), body.end());
    return true;
}

bool Leg::push(std::uint8_t action, Bytes message) {
    return append(Item::message, action, message);
}

bool Leg::push_own(std::uint8_t action, Bytes message) {
    return append(Item::own, action, message);
}

bool Leg::push_reference(Slot slot, state::StateId id) {
    std::array<std::uint8_t, reference::size> body;
    store_be(&body[reference::id], id.id);
    store_be(&body[reference::creatorid], id.creatorid);
    store_be(&body[reference::slot], slot);
    return append(Item::reference, 0, body);
}

namespace {

// The state that a reference means, if it is still there.
Slot referred(const StateStore& store, const std::uint8_t* body) {
    const auto slot = load_be<std::uint32_t>(body + reference::slot);
    const state::StateId id{load_be<std::uint64_t>(body + reference::id),
                            load_be<std::uint32_t>(body + reference::creatorid)};
    return store.used(slot) && store.id(slot) == id ? slot : kNoSlot;
}

} // namespace

void Leg::clear(StateStore& store) {
    while (sent_ < queue_.size()) {
        const std::uint8_t* item = &queue_[sent_];
        if (Item{item[0]} == Item::reference)
            if (const Slot slot = referred(store, item + kItemHeader); slot != kNoSlot)
                store.set_waits(slot, peer_, false);
        sent_ += kItemHeader + load_be<std::uint16_t>(item + 2);
    }
    queue_.clear();
    sent_ = 0;
}

// ---- sending -------------------------------------------------------------------------------

void Leg::advance(sync::Instant now) {
    const auto gained = static_cast<std::uint64_t>(
        std::clamp<sync::Duration>(now - budget_at_, 0s, 1s) * kCableRate / 1s);
    if (gained == 0)
        return;
    budget_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(budget_ + gained, kCableBurst));
    budget_at_ = now;
}

void Leg::send(sync::Link& link, StateStore& store) {
    while (sent_ < queue_.size() && !paced() && send_packet(link, store)) {
    }
    // Moving the rest costs at most what has been sent.
    if (sent_ * 2 >= queue_.size()) {
        queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(sent_));
        sent_ = 0;
    }
}

// One packet of what waits. False: the link has no room.
bool Leg::send_packet(sync::Link& link, StateStore& store) {
    const MutableBytes room = link.acquire(peer_);
    if (room.empty())
        return false;
    const auto dialect_of = [&](Item item) {
        return item == Item::own ? pfsync::kOwnDialect : dialect_;
    };
    const pfsync::Dialect dialect = dialect_of(Item{queue_[sent_]});
    pfsync::Builder packet(room, dialect);
    std::uint32_t messages = 0;
    while (sent_ < queue_.size() && messages < budget()) {
        const std::uint8_t* item = &queue_[sent_];
        const Item what{item[0]};
        if (version_of(dialect_of(what)) != version_of(dialect))
            break;
        std::uint8_t action = item[1];
        Bytes body{item + kItemHeader, load_be<std::uint16_t>(item + 2)};
        const std::size_t size = kItemHeader + body.size();
        Slot slot = kNoSlot;
        if (what == Item::reference) {
            slot = referred(store, body.data());
            if (slot == kNoSlot) {
                sent_ += size;
                continue;
            }
            const auto out = update_of(store, slot);
            if (!out) {
                store.set_waits(slot, peer_, false);
                sent_ += size;
                continue;
            }
            action = out->action;
            body = out->message;
        }
        std::uint8_t* m = packet.add(action, body.size());
        if (m == nullptr && !packet.empty())
            break;
        if (slot != kNoSlot) {
            store.set_waits(slot, peer_, false);
            if (side_ == Side::cable)
                store.set_told(slot);
        }
        sent_ += size;
        if (m == nullptr) {
            counters.too_large++;
            continue;
        }
        std::ranges::copy(body, m);
        messages++;
        counters.relayed += what != Item::own ? 1 : 0;
    }
    if (side_ == Side::cable)
        budget_ -= messages;
    link.commit(peer_, packet.empty() ? 0 : packet.finish());
    return true;
}

} // namespace encsync::relay
