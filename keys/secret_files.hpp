// SPDX-License-Identifier: ISC
// The secret files of a store, plain or sealed (keys/seal.hpp). A store is sealed if it has the
// file `seal`: then what is written is sealed. What is read may be either, as sealing and unsealing
// go file by file and may be interrupted; to repeat them finishes them.
//
//     auto text = secrets.read(directory, kIdentity);     // the plain text, or none
//
// Errors name the file. Who writes must hold the directory's lock.
#pragma once

#include "keys/directory.hpp"
#include "keys/unlock.hpp"

#include <memory>

namespace encsync::keys {

enum class Sealing {
    plain,
    partly, // sealing or unsealing was interrupted
    sealed,
};
const char* to_string(Sealing sealing); // "plain"

class SecretFiles {
  public:
    // Without an Unlock, sealed files are not opened.
    explicit SecretFiles(std::shared_ptr<Unlock> unlock) : unlock_(std::move(unlock)) {}

    Result<std::optional<SecretText>> read(const Directory& directory, const char* name) const;
    // The public part of an identity, for which a sealed one need not be opened. Then only the
    // checksum vouches for it.
    Result<std::optional<PublicKey>> read_public(const Directory& directory,
                                                 const char* name) const;
    Result<void> write(const Directory& directory, const char* name, const SecretText& text) const;
    // The identity's next file takes the place of the current one.
    Result<void> advance(const Directory& directory) const;

    Result<Sealing> sealing(const Directory& directory) const;
    // That a store which is sealed, if only partly, is so with this passphrase.
    Result<void> check_passphrase(const Directory& directory, const Passphrase& passphrase) const;
    Result<void> seal(const Directory& directory, const Passphrase& passphrase, KdfCost cost) const;
    Result<void> unseal(const Directory& directory) const;
    // Only wraps the store key anew.
    Result<void> change_passphrase(const Directory& directory, const Passphrase& fresh,
                                   KdfCost cost) const;

  private:
    Result<StoreKey> store_key(const Directory& directory, const Seal& seal) const;

    std::shared_ptr<Unlock> unlock_;
};

} // namespace encsync::keys
