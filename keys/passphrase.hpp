// SPDX-License-Identifier: ISC
// A passphrase, and what it encrypts: Argon2id (RFC 9106) makes a key of it, and XChaCha20-Poly1305
// encrypts with that.
//
//     const Derivation derivation = Derivation::random(kKdfCost);
//     auto key = derive(passphrase, derivation);          // takes a while, on purpose
//     auto box = encrypt(*key, derivation.nonce, header, secret);
//
// In files a Derivation is three lines, which belong to the header that is authenticated:
//     kdf: argon2id 3 134217728       (passes; bytes of memory)
//     salt: (16 bytes, base64)
//     nonce: (24 bytes, base64)
// What such a file may cost is bounded, so that one that was changed cannot use up the memory.
#pragma once

#include "keys/lines.hpp"
#include "keys/secret.hpp"
#include "util/result.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace encsync::keys {

inline constexpr std::size_t kMaxPassphrase = 1024;  // bytes
inline constexpr std::size_t kMinNewPassphrase = 12; // of one that is about to encrypt

class Passphrase {
  public:
    Passphrase() = default;
    explicit Passphrase(Bytes text); // the first kMaxPassphrase bytes

    Bytes bytes() const { return buffer_.bytes().first(size_); }
    bool operator==(const Passphrase& other) const;

    MutableBytes room() { return buffer_.bytes(); } // to be filled by a reader
    void set_size(std::size_t size) { size_ = size; }

  private:
    Secret<kMaxPassphrase + 3> buffer_; // and a line end, and a byte that shows what is too long
    std::size_t size_ = 0;
};

// Whether it is long enough to encrypt with.
Result<void> check_new(const Passphrase& passphrase);

struct KdfCost {
    std::uint64_t passes = 0, memory = 0; // bytes
    bool operator==(const KdfCost&) const = default;
};
// RFC 9106, section 4, asks for 64 MiB at least with three passes.
inline constexpr KdfCost kKdfCost{3, std::uint64_t{128} << 20};
inline constexpr KdfCost kMinKdfCost{crypto_pwhash_OPSLIMIT_MIN, crypto_pwhash_MEMLIMIT_MIN};
inline constexpr KdfCost kMaxKdfCost{16, std::uint64_t{512} << 20};

using Nonce = std::array<std::uint8_t, crypto_aead_xchacha20poly1305_ietf_NPUBBYTES>;
using BoxKey = Secret<crypto_aead_xchacha20poly1305_ietf_KEYBYTES>;
inline constexpr std::size_t kTag = crypto_aead_xchacha20poly1305_ietf_ABYTES;

Nonce random_nonce();

struct Derivation {
    KdfCost cost;
    std::array<std::uint8_t, crypto_pwhash_SALTBYTES> salt{};
    Nonce nonce{};
    bool operator==(const Derivation&) const = default;

    static Derivation random(KdfCost cost);
};
std::string write_derivation(const Derivation& derivation);
Result<Derivation> read_derivation(Lines& lines);

// Fails if there is not enough memory.
Result<BoxKey> derive(const Passphrase& passphrase, const Derivation& derivation);

// kTag bytes longer than the content. The header is authenticated, too.
std::vector<std::uint8_t> encrypt(const BoxKey& key, const Nonce& nonce, std::string_view header,
                                  Bytes content);
// `into` has kTag bytes less than the box. False: another key, or the header or the box was
// changed.
bool decrypt(const BoxKey& key, const Nonce& nonce, std::string_view header, Bytes box,
             MutableBytes into);

} // namespace encsync::keys
