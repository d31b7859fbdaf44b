// SPDX-License-Identifier: ISC
// Keys that were stolen, in a store.
#include "keys/store.hpp"
#include "keys/store_names.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keys {

// The caller holds the lock, and has checked them.
Result<std::size_t> Store::add_revoked(const std::vector<Revocation>& fresh, UnixTime now) const {
    auto never = revoked();
    if (!never)
        return never.error();
    if (never->size() + fresh.size() > kMaxRevoked)
        return Error{fmt::format("{} keys are revoked already, which is the limit", never->size())};
    auto all = trusted();
    if (!all)
        return all.error();
    std::vector<PublicKey> gone;
    for (const Revocation& r : fresh)
        if (std::erase_if(*all, [&](const TrustedKey& key) { return key.key == r.key; }) != 0)
            gone.push_back(r);
    never->insert(never->end(), fresh.begin(), fresh.end());
    std::set<std::string> peers; // that have no other key
    for (const PublicKey& key : gone)
        if (std::ranges::find(*all, key.name, &TrustedKey::name) == all->end())
            peers.insert(key.name);
    auto events = gone_events(KeyEvent::revoke, gone, peers);
    if (!events)
        return events.error();
    const auto change = [&]() -> Result<void> {
        if (auto ok = directory_.write(kRevoked, as_bytes(write_revocations(*never))); !ok)
            return ok;
        for (const std::string& peer : peers)
            if (auto ok = erase_files_of(peer); !ok)
                return ok;
        return gone.empty() ? Result<void>() : save_trusted(*all);
    };
    if (auto ok = log_and(now, *events, change); !ok)
        return ok.error();
    return events->size();
}

Result<std::size_t> Store::revoke(const std::string& name, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto own = own_keys();
    if (!own)
        return own.error();
    auto all = trusted();
    if (!all)
        return all.error();
    std::vector<Revocation> fresh;
    for (const TrustedKey& key : *all)
        if (key.name == name)
            fresh.push_back({key, now, own->front().name});
    if (fresh.empty())
        return drop(name, now); // a preshared key, if anything
    return add_revoked(fresh, now);
}

Result<bool> Store::revoke(const Revocation& revocation, UnixTime now) {
    for (const std::string& name : {revocation.name, revocation.by})
        if (auto ok = check_name(name); !ok)
            return ok.error();
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto own = own_keys();
    if (!own)
        return own.error();
    if (std::ranges::any_of(*own,
                            [&](const PublicKey& mine) { return mine.key == revocation.key; }))
        return Error{fmt::format("this node's own key {} was revoked on {}",
                                 fingerprint(revocation.key), revocation.by)};
    auto never = revoked();
    if (!never)
        return never.error();
    if (is_revoked(*never, revocation.key))
        return false;
    if (auto ok = add_revoked({revocation}, now); !ok)
        return ok.error();
    return true;
}

} // namespace encsync::keys
