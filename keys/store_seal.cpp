// SPDX-License-Identifier: ISC
// Sealing a store, and back. See keys/secret_files.hpp for what is written in which order.
#include "keys/store.hpp"

#include <fmt/format.h>

namespace encsync::keys {

Result<void> Store::seal(const Passphrase& passphrase, KdfCost cost, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto own = own_keys();
    if (!own)
        return own.error();
    auto state = sealing();
    if (!state)
        return state.error();
    if (*state == Sealing::sealed)
        return Error{fmt::format("{}: is sealed already; --change changes the passphrase",
                                 directory_.path())};
    // To finish with another passphrase than it was begun with is refused before it is logged.
    if (auto ok = secrets_.check_passphrase(directory_, passphrase); !ok)
        return ok;
    return log_and(now, KeyEvent::seal, *own,
                   [&] { return secrets_.seal(directory_, passphrase, cost); });
}

Result<void> Store::unseal(UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto state = sealing();
    if (!state)
        return state.error();
    if (*state == Sealing::plain)
        return Error{fmt::format("{}: is not sealed", directory_.path())};
    // Likewise with a wrong passphrase.
    if (auto opened = identities(); !opened)
        return opened.error();
    if (auto opened = node_secret(); !opened)
        return opened.error();
    auto own = own_keys();
    if (!own)
        return own.error();
    return log_and(now, KeyEvent::unseal, *own, [&] { return secrets_.unseal(directory_); });
}

Result<void> Store::change_passphrase(const Passphrase& fresh, KdfCost cost) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto state = sealing();
    if (!state)
        return state.error();
    if (*state == Sealing::partly)
        return Error{fmt::format("{}: sealing or unsealing was interrupted; finish it first",
                                 directory_.path())};
    return secrets_.change_passphrase(directory_, fresh, cost);
}

} // namespace encsync::keys
