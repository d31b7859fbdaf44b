// SPDX-License-Identifier: ISC
// Unlock: opens a sealed store when its key is first needed. Made once for a process and shared by
// its stores, as Argon2id is slow on purpose.
//
//     auto unlock = std::make_shared<Unlock>(unattended(setup.keypassphrase));
//     auto store = Store::open(setup.keydir, unlock);
//
// It keeps the store key, not the passphrase.
#pragma once

#include "keys/seal.hpp"

#include <functional>

namespace encsync::keys {

class Unlock {
  public:
    // Asked for the passphrase when it is needed. None: there is none to be had.
    using Source = std::function<Result<std::optional<Passphrase>>()>;
    explicit Unlock(Source source) : source_(std::move(source)) {}

    // Valid until the next call.
    Result<const StoreKey*> key(const Seal& seal);
    void keep(StoreKey key) { key_ = std::move(key); }

  private:
    Source source_;
    std::optional<StoreKey> key_;
};

// The systemd credential that holds the passphrase: systemd.exec(5), LoadCredentialEncrypted=.
inline constexpr const char* kPassphraseCredential = "encsync.passphrase";

// From that file or, if no file is named, from the credential; none if there is neither.
Result<std::optional<Passphrase>> unattended_passphrase(const std::string& file);
inline Unlock::Source unattended(std::string file) {
    return [file = std::move(file)] { return unattended_passphrase(file); };
}

} // namespace encsync::keys
