// SPDX-License-Identifier: ISC
// The preshared keys of a store. Each operation writes one file.
#include "keys/lines.hpp"
#include "keys/store.hpp"
#include "keys/store_names.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keys {

namespace {

Ppk copy(const Ppk& from) {
    Ppk to;
    to.epoch = from.epoch;
    to.created = from.created;
    to.origin = from.origin;
    std::ranges::copy(from.secret.bytes(), to.secret.bytes().begin());
    return to;
}

Error none(const std::string& peer) {
    return Error{fmt::format("there is no preshared key with '{}'", peer)};
}

} // namespace

PeerFiles Store::ppk_files() const {
    return {directory_, secrets_, kPpkPrefix};
}

Result<PpkRing> Store::ppks(const std::string& peer) const {
    auto ring = ppk_files().read(peer, read_ppks);
    if (!ring)
        return ring.error();
    if (*ring)
        return std::move(**ring);
    PpkRing none;
    none.peer = peer;
    return none;
}

Result<std::vector<PpkRing>> Store::ppks() const {
    return ppk_files().read_all(read_ppks);
}

Result<void> Store::check_trusted(const std::string& peer) const {
    auto all = trusted();
    if (!all)
        return all.error();
    if (std::ranges::find(*all, peer, &TrustedKey::name) == all->end())
        return Error{fmt::format("no key of '{}' is trusted", peer)};
    return {};
}

Result<void> Store::put_ppks(const PpkRing& before, const PpkRing& ring, UnixTime now) const {
    std::vector<Event> events;
    const auto add = [&](KeyEvent event, const PpkRing& of, const PpkRing& other) {
        for (const Ppk& ppk : of.keys)
            if (other.find(id_of(ppk)) == nullptr)
                events.push_back({event, of.peer, to_text(id_of(ppk))});
    };
    add(KeyEvent::ppk, ring, before);
    add(KeyEvent::ppk_gone, before, ring);
    const auto change = [&] { return ppk_files().write(ring.peer, write_ppks(ring)); };
    return events.empty() ? change() : log_and(now, events, change);
}

Result<void> Store::mix_ppk(const std::string& peer, const std::optional<PpkId>& base,
                            const PpkMix& mix, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    if (auto ok = check_trusted(peer); !ok)
        return ok;
    auto own = own_keys();
    if (!own)
        return own.error();
    for (const PpkMix::Share& share : mix.shares)
        if (share.name != peer && share.name != own->front().name)
            return Error{fmt::format("'{}' has no part in a key with '{}'", share.name, peer)};
    auto before = ppks(peer);
    if (!before)
        return before.error();
    const Ppk* from = base ? before->find(*base) : nullptr;
    if (base && from == nullptr)
        return Error{fmt::format("{} of {} is not there", to_text(*base), peer)};
    Ppk next = next_ppk(from, mix, now);
    if (before->find(id_of(next)) != nullptr)
        return {};
    if (from == nullptr)
        from = before->offered();
    if (from != nullptr && next.epoch <= from->epoch)
        return Error{fmt::format("the epoch {} of a key with {} is not later than {}", next.epoch,
                                 peer, from->epoch)};
    PpkRing ring;
    ring.peer = peer;
    ring.confirmed = before->confirmed;
    for (const Ppk& each : before->keys)
        if (&each == from && (base || each.origin != PpkOrigin::hand))
            ring.keys.push_back(copy(each));
        else if (each.origin == PpkOrigin::hand && (&each != before->offered() || !base))
            return Error{fmt::format("a key that was carried for {} waits to be taken there: "
                                     "encsync keys ppk import",
                                     peer)};
    ring.keys.push_back(std::move(next));
    return put_ppks(*before, ring, now);
}

Result<void> Store::offer_ppk(const std::string& peer, const PpkId& id) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto ring = ppks(peer);
    if (!ring)
        return ring.error();
    const Ppk* found = ring->find(id);
    if (found == nullptr)
        return Error{fmt::format("{} of {} is not there", to_text(id), peer)};
    const auto index = static_cast<std::size_t>(found - ring->keys.data());
    if (index == ring->offer)
        return {};
    ring->offer = index;
    return put_ppks(*ring, *ring, 0);
}

Result<void> Store::settle_ppk(const std::string& peer, UnixTime now) {
    return keep_offered(peer, true, now);
}

Result<void> Store::drop_unoffered_ppk(const std::string& peer, UnixTime now) {
    return keep_offered(peer, false, now);
}

Result<void> Store::keep_offered(const std::string& peer, bool confirm, UnixTime now) const {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto before = ppks(peer);
    if (!before)
        return before.error();
    PpkRing ring;
    ring.peer = peer;
    ring.confirmed = before->confirmed || confirm;
    if (before->keys.empty() || (before->keys.size() == 1 && ring.confirmed == before->confirmed))
        return {};
    ring.keys.push_back(copy(*before->offered()));
    return put_ppks(*before, ring, now);
}

Result<std::size_t> Store::forget_ppk(const std::string& peer, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto ring = ppks(peer);
    if (!ring)
        return ring.error();
    if (ring->keys.empty())
        return none(peer);
    std::vector<Event> events;
    for (const Ppk& ppk : ring->keys)
        events.push_back({KeyEvent::ppk_gone, peer, to_text(id_of(ppk))});
    if (auto ok = log_and(now, events, [&] { return ppk_files().erase(peer); }); !ok)
        return ok.error();
    return events.size();
}

// ---- those that somebody carries -----------------------------------------------------------

Result<void> Store::add_carried(const std::string& peer, Ppk ppk, UnixTime now) const {
    auto before = ppks(peer);
    if (!before)
        return before.error();
    if (before->find(id_of(ppk)) != nullptr)
        return {};
    if (before->keys.size() == kPpksPerPeer)
        return Error{fmt::format("there are two preshared keys with {0} already, and a change is "
                                 "under way; 'encsync keys ppk forget {0}' on both nodes drops "
                                 "them",
                                 peer)};
    PpkRing ring;
    ring.peer = peer;
    ring.confirmed = before->confirmed;
    for (const Ppk& each : before->keys) {
        if (each.epoch >= ppk.epoch)
            return Error{fmt::format("its epoch {} is not later than {}, which is that of the one "
                                     "with {} that is here: make another one",
                                     ppk.epoch, each.epoch, peer)};
        ring.keys.push_back(copy(each));
    }
    ring.keys.push_back(std::move(ppk));
    return put_ppks(*before, ring, now);
}

Result<SecretText> Store::make_carried(const std::string& peer, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    if (auto ok = check_trusted(peer); !ok)
        return ok.error();
    auto own = own_keys();
    if (!own)
        return own.error();
    auto before = ppks(peer);
    if (!before)
        return before.error();
    CarriedPpk carried{{own->front().name, peer},
                       make_ppk(before->keys.empty() ? 1 : before->keys.back().epoch + 1, now)};
    std::ranges::sort(carried.names);
    if (auto ok = add_carried(peer, copy(carried.ppk), now); !ok)
        return ok.error();
    return write_carried(carried);
}

Result<std::string> Store::take_carried(std::string_view text, UnixTime now) {
    auto carried = read_carried(text);
    if (!carried)
        return carried.error();
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto own = own_keys();
    if (!own)
        return own.error();
    const auto mine = std::ranges::find(carried->names, own->front().name);
    if (mine == carried->names.end())
        return Error{fmt::format("it is for {} and {}, and this node is {}", carried->names[0],
                                 carried->names[1], own->front().name)};
    const std::string peer = carried->names[mine == carried->names.begin() ? 1 : 0];
    if (auto ok = check_trusted(peer); !ok)
        return ok.error();
    if (auto ok = add_carried(peer, std::move(carried->ppk), now); !ok)
        return ok.error();
    return peer;
}

} // namespace encsync::keys
