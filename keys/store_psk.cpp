// SPDX-License-Identifier: ISC
// The preshared keys of IKE in a store. Each operation writes one file.
#include "keys/lines.hpp"
#include "keys/store.hpp"
#include "keys/store_names.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keys {

PeerFiles Store::psk_files() const {
    return {directory_, secrets_, kPskPrefix};
}

Result<std::optional<PskPair>> Store::psks(const std::string& peer) const {
    return psk_files().read(peer, read_psks);
}

Result<std::vector<PskPair>> Store::psks() const {
    return psk_files().read_all(read_psks);
}

Result<bool> Store::has_psk(const std::string& peer) const {
    return psk_files().has(peer);
}

Result<std::size_t> Store::put_psk(const std::string& peer, Bytes key, bool replace, UnixTime now) {
    if (auto ok = check_preshared(key); !ok)
        return ok.error();
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto before = psks(peer);
    if (!before)
        return before.error();
    auto count = psk_files().count();
    if (!count)
        return count.error();
    if (!*before && *count >= kMaxPsks)
        return Error{fmt::format("there are preshared keys with {} peers already, which is the "
                                 "limit",
                                 *count)};
    PskPair after{peer, {}};
    if (*before)
        after = std::move(**before);
    std::vector<Psk>& keys = after.keys;
    const bool alone = replace || keys.empty();
    const auto there = std::ranges::find_if(keys, [&](const Psk& psk) { return same(psk, key); });
    if (there != keys.end() && !(alone && keys.size() == 2))
        return keys.size();
    Psk fresh{now, SecretBytes(key.size())};
    std::ranges::copy(key, fresh.key.bytes().begin());
    if (there != keys.end())
        fresh.created = there->created;
    keys.erase(keys.begin() + (alone ? 0 : 1), keys.end());
    keys.push_back(std::move(fresh));
    auto written = log_and(now, {{alone ? KeyEvent::psk : KeyEvent::psk_next, peer, kPskPrint}},
                           [&] { return psk_files().write(peer, write_psks(after)); });
    return written ? Result(keys.size()) : written.error();
}

Result<void> Store::retire_psk(const std::string& peer, const PskId* shown, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto psks = this->psks(peer);
    if (!psks)
        return psks.error();
    if (!*psks)
        return Error{no_psk(peer)};
    std::vector<Psk>& keys = (*psks)->keys;
    if (keys.size() != 2)
        return Error{fmt::format("there is only one preshared key with {}", peer)};
    if (shown != nullptr && id_of(keys.back()) != *shown)
        return Error{fmt::format("{} has shown another preshared key than the next one", peer)};
    keys.erase(keys.begin());
    return log_and(now, {{KeyEvent::psk, peer, kPskPrint}},
                   [&] { return psk_files().write(peer, write_psks(**psks)); });
}

Result<void> Store::forget_psk(const std::string& peer, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto there = has_psk(peer);
    if (!there)
        return there.error();
    if (!*there)
        return Error{no_psk(peer)};
    return log_and(now, {{KeyEvent::psk_gone, peer, kPskPrint}},
                   [&] { return psk_files().erase(peer); });
}

} // namespace encsync::keys
