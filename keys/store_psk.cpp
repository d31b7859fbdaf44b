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

Result<std::optional<Psk>> Store::psk(const std::string& peer) const {
    return psk_files().read(peer, read_psk);
}

Result<std::vector<Psk>> Store::psks() const {
    return psk_files().read_all(read_psk);
}

Result<bool> Store::has_psk(const std::string& peer) const {
    return psk_files().has(peer);
}

Result<void> Store::put_psk(const std::string& peer, Bytes key, UnixTime now) {
    if (auto ok = check_preshared(key); !ok)
        return ok;
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto before = psk(peer);
    if (!before)
        return before.error();
    if (*before && (*before)->key.bytes().size() == key.size() &&
        sodium_memcmp((*before)->key.bytes().data(), key.data(), key.size()) == 0)
        return {};
    auto count = psk_files().count();
    if (!count)
        return count.error();
    if (!*before && *count >= kMaxPsks)
        return Error{fmt::format("there are preshared keys with {} peers already, which is the "
                                 "limit",
                                 *count)};
    Psk fresh{peer, now, SecretBytes(key.size())};
    std::ranges::copy(key, fresh.key.bytes().begin());
    return log_and(now, {{KeyEvent::psk, peer, kPskPrint}},
                   [&] { return psk_files().write(peer, write_psk(fresh)); });
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
