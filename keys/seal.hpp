// SPDX-License-Identifier: ISC
// The files of a sealed store: writing, parsing and opening them.
//
// One random key, the store key, encrypts each secret file. The file `seal` has that key, encrypted
// with one that Argon2id makes of the passphrase. So a new passphrase changes that file alone.
//
//     encsync seal 1
//     store: (16 bytes, base64: which store key)
//     kdf: ...  salt: ...  nonce: ...       (three lines, see keys/passphrase.hpp)
//     key: (the store key, encrypted: 48 bytes, base64)
//     checksum: ...
//
//     encsync sealed file 1
//     file: identity
//     store: (with which store key)
//     name: mickey                          (of an identity only, as are the next two)
//     created: 2026-01-31T12:00:00Z
//     public: (32 bytes, base64)
//     nonce: (24 bytes, base64)
//     sealed: (the plain file, encrypted, base64)
//     checksum: ...
//
// XChaCha20-Poly1305 also authenticates all lines above the encrypted one: the file's name, for
// example, so that one cannot be put in another's place. The checksum, as in the plain files, tells
// damage from a wrong passphrase. Every parser accepts only the exact output of its writer.
#pragma once

#include "keys/format.hpp"
#include "keys/passphrase.hpp"

#include <optional>

namespace encsync::keys {

inline constexpr std::size_t kMaxSealedText = 8192; // bytes, of either file

using StoreKey = BoxKey;
using StoreId = std::array<std::uint8_t, 16>;
StoreId id_of(const StoreKey& key);

struct Seal {
    StoreId store{};
    Derivation derivation;
    std::array<std::uint8_t, 32 + kTag> key{}; // encrypted
    bool operator==(const Seal&) const = default;
};
Result<Seal> make_seal(const StoreKey& key, const Passphrase& passphrase, KdfCost cost);
Result<StoreKey> open_seal(const Seal& seal, const Passphrase& passphrase);
std::string write_seal(const Seal& seal);
Result<Seal> read_seal(std::string_view text);

struct SealedFile {
    std::string file; // its name
    StoreId store{};
    std::optional<PublicKey> identity; // what an identity shows without being opened
    Nonce nonce{};
    std::vector<std::uint8_t> sealed;
};
bool is_sealed(std::string_view text); // of any version
SealedFile seal_file(const StoreKey& key, std::string name, std::optional<PublicKey> identity,
                     const SecretText& content);
// The plain file.
Result<SecretText> open_file(const SealedFile& file, const StoreKey& key);
std::string write_sealed(const SealedFile& file);
Result<SealedFile> read_sealed(std::string_view text);

} // namespace encsync::keys
