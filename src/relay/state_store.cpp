// SPDX-License-Identifier: ISC
#include "relay/state_store.hpp"

#include "pfsync/common.hpp"
#include "pfsync/parse.hpp"
#include "pfsync/progress.hpp"
#include "relay/full_state.hpp"
#include "state/mix.hpp"

#include <algorithm>

namespace encsync::relay {

namespace common = pfsync::common;

namespace {

// A firewall removes its states itself; what it could not say is kept for so much longer.
constexpr std::uint32_t kGrace = 30;
constexpr std::uint32_t kLately = 3;          // seconds; a firewall collects what it says for one
constexpr std::uint32_t kMaxLife = 1'000'000; // seconds; more is taken for a mistake
constexpr std::size_t kExpiryRounds = 16;     // calls of advance() for all states

} // namespace

// ---- names ---------------------------------------------------------------------------------

std::size_t StateStore::IdHash::operator()(const state::StateId& id) const {
    return state::fold(id.id ^ state::kMix[0], id.creatorid ^ state::kMix[1]);
}

std::uint32_t StateStore::hash(state::StateId id) const {
    const std::uint64_t mixed =
        state::fold(id.id ^ load_be<std::uint64_t>(&seed_[0]) ^ state::kMix[0],
                    id.creatorid ^ load_be<std::uint64_t>(&seed_[8]) ^ state::kMix[1]);
    return static_cast<std::uint32_t>(mixed >> 32);
}

Slot StateStore::find(state::StateId id) const {
    return by_id_.find(hash(id), [&](Slot slot) { return entries_[slot].id == id; });
}

Slot StateStore::next(Slot slot) const {
    do
        slot++; // kNoSlot + 1 is 0
    while (slot < entries_.size() && !used(slot));
    return slot < entries_.size() ? slot : kNoSlot;
}

// ---- the digests ---------------------------------------------------------------------------

std::uint64_t StateStore::check(Slot slot) const {
    return full_state::check(entries_[slot].layout, bytes(entries_[slot]));
}

std::uint64_t StateStore::flow_hash(Slot slot) const {
    return full_state::flow_hash(entries_[slot].layout, bytes(entries_[slot]));
}

std::uint8_t StateStore::proto(Slot slot) const {
    return full_state::proto(entries_[slot].layout, bytes(entries_[slot]));
}

void StateStore::count(Slot slot, bool in) {
    const Entry& entry = entries_[slot];
    if (entry.origin == kNoPeer)
        return;
    sync::Digest& digest = digests_[entry.origin];
    if (in)
        digest.add(sync::leaf_of(entry.id), check(slot));
    else
        digest.subtract(sync::leaf_of(entry.id), check(slot));
}

void StateStore::change_origin(Slot slot, PeerId origin) {
    count(slot, false);
    entries_[slot].origin = origin;
    count(slot, true);
}

void StateStore::make_orphan(Slot slot) {
    change_origin(slot, kNoPeer);
}

void StateStore::make_orphans(PeerId origin) {
    for (Slot slot = next(kNoSlot); slot != kNoSlot; slot = next(slot))
        if (entries_[slot].origin == origin)
            make_orphan(slot);
}

// ---- changes -------------------------------------------------------------------------------

Slot StateStore::put(PeerId from, pfsync::Dialect layout, Bytes message, Heard heard) {
    const state::StateId id = full_state::id(layout, message);
    Slot slot = find(id);
    const bool known = slot != kNoSlot;
    if (!known) {
        if (from != kNoPeer && limits_[from] != 0 && digests_[from].count() >= limits_[from])
            return kNoSlot;
        if (free_.empty()) {
            slot = static_cast<Slot>(entries_.size());
            entries_.emplace_back();
        } else {
            slot = free_.back();
            free_.pop_back();
        }
        entries_[slot].id = id;
        by_id_.insert(hash(id), slot);
        removed_.erase(id);
    } else {
        count(slot, false);
    }
    Entry& entry = entries_[slot];
    if (entry.bytes == nullptr || entry.size != message.size())
        entry.bytes = std::make_unique_for_overwrite<std::uint8_t[]>(message.size());
    entry.size = static_cast<std::uint16_t>(message.size());
    entry.layout = layout;
    if (!known || heard == Heard::directly)
        entry.origin = from;
    std::ranges::copy(message, entry.bytes.get());
    entry.written = entry.changed = now_;
    entry.expires = now_ + std::min(full_state::expires_in(layout, message), kMaxLife) + kGrace;
    count(slot, true);
    return slot;
}

// It does not say how long the state has left: as long as pf gives it by default, or longer.
Slot StateStore::update(PeerId from, pfsync::Dialect dialect, Bytes update_c, Heard heard) {
    const state::StateId id{load_be<std::uint64_t>(&update_c[common::upd_c::id]),
                            load_be<std::uint32_t>(&update_c[common::upd_c::creatorid])};
    const Slot slot = find(id);
    if (slot == kNoSlot)
        return kNoSlot;
    count(slot, false);
    Entry& entry = entries_[slot];
    full_state::apply(entry.layout, bytes(entry), dialect, update_c);
    if (heard == Heard::directly)
        entry.origin = from;
    entry.changed = now_;
    const std::uint32_t life = pfsync::default_timeout(update_c[common::upd_c::timeout]);
    entry.expires = std::max(entry.expires, now_ + life + kGrace);
    count(slot, true);
    return slot;
}

bool StateStore::remove(state::StateId id) {
    remember_removed(id);
    const Slot slot = find(id);
    if (slot == kNoSlot)
        return false;
    erase(slot);
    return true;
}

std::size_t StateStore::clear(std::uint32_t creatorid, std::string_view ifname) {
    std::size_t cleared = 0;
    for (Slot slot = next(kNoSlot); slot != kNoSlot; slot = next(slot)) {
        const Entry& entry = entries_[slot];
        if (entry.id.creatorid != creatorid ||
            (!ifname.empty() && full_state::ifname(entry.layout, bytes(entry)) != ifname))
            continue;
        remember_removed(entry.id);
        erase(slot);
        cleared++;
    }
    return cleared;
}

void StateStore::erase(Slot slot) {
    count(slot, false);
    by_id_.erase(hash(entries_[slot].id), slot);
    entries_[slot] = {};
    free_.push_back(slot);
}

void StateStore::remember_removed(state::StateId id) {
    if (removed_.insert_or_assign(id, now_).second || removals_.empty() ||
        removals_.back().second != id)
        removals_.emplace_back(now_, id);
    while (removals_.size() > kMaxRemoved ||
           (!removals_.empty() && now_ - removals_.front().first > kKeepRemoved)) {
        const auto [second, oldest] = removals_.front();
        removals_.pop_front();
        // It may have been removed again since.
        if (const auto at = removed_.find(oldest); at != removed_.end() && at->second == second)
            removed_.erase(at);
    }
}

std::optional<std::uint32_t> StateStore::removed_ago(state::StateId id) const {
    const auto at = removed_.find(id);
    return at == removed_.end() ? std::nullopt : std::optional(now_ - at->second);
}

std::vector<state::StateId> StateStore::removed_since(std::uint32_t second) const {
    std::vector<state::StateId> out;
    for (auto at = removals_.rbegin(); at != removals_.rend() && at->first >= second; ++at)
        if (removed(at->second))
            out.push_back(at->second);
    return out;
}

void StateStore::advance(std::uint32_t now) {
    if (now == now_)
        return;
    now_ = now;
    for (std::size_t n = entries_.size() / kExpiryRounds + 1; n > 0; n--) {
        expiry_cursor_ = next(expiry_cursor_);
        if (expiry_cursor_ == kNoSlot)
            return;
        if (entries_[expiry_cursor_].expires <= now)
            erase(expiry_cursor_);
    }
}

// ---- questions -----------------------------------------------------------------------------

Bytes StateStore::message(Slot slot) {
    const Entry& entry = entries_[slot];
    scratch_.assign(entry.bytes.get(), entry.bytes.get() + entry.size);
    const std::uint32_t until = entry.expires - kGrace;
    full_state::set_times(entry.layout, scratch_, now_ - entry.written,
                          until > now_ ? until - now_ : 1);
    return scratch_;
}

bool StateStore::told_lately(Slot slot) const {
    const std::uint32_t told = entries_[slot].told;
    return told != 0 && now_ - told <= kLately;
}

void StateStore::set_waits(Slot slot, PeerId peer, bool waits) {
    std::uint16_t& mask = entries_[slot].waits;
    const auto bit = static_cast<std::uint16_t>(1U << peer);
    mask = static_cast<std::uint16_t>(waits ? mask | bit : mask & ~bit);
}

std::size_t StateStore::memory_bytes() const {
    std::size_t bytes = entries_.size() * sizeof(Entry) + free_.capacity() * sizeof(Slot) +
                        by_id_.memory_bytes() +
                        removals_.size() * (sizeof removals_[0] + sizeof(state::StateId) + 32);
    constexpr std::size_t kAllocator = 16; // what malloc adds
    for (const Entry& entry : entries_)
        bytes += entry.bytes ? entry.size + kAllocator : 0;
    return bytes;
}

} // namespace encsync::relay
