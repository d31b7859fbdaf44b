// SPDX-License-Identifier: ISC
// The text format of key files: writing, parsing and validation.
//
// A public file, for `encsync keys export` and `trust`: one block for each key, so two while an
// identity is being rotated. The signature is made with the key itself, over the lines above it,
// line ends included. It shows that the block is complete and that its author holds the key.
//
//     encsync public key 1
//     name: mickey
//     created: 2026-01-31T12:00:00Z
//     key: (32 bytes, base64)
//     signature: (64 bytes, base64)
//
// After the keys come the successions, if this identity had others before: each says, signed by the
// older key, that the newer one takes its place. So a peer that trusts any of them can tell a
// rotation from somebody else's file. The signature is over the lines above it of its block.
//
//     encsync key succession 1
//     name: mickey
//     from: (the older key)
//     to: (the newer key)
//     signature: (by the older key)
//
// A secret file ends in a checksum (BLAKE2b-256 over all lines above it) instead, as do the node's
// secret and the list of trusted keys. Every parser accepts only the exact output of its writer: no
// extra blanks, nothing after the end. Errors name the line.
#pragma once

#include "keys/secret.hpp"
#include "util/result.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::keys {

using RawKey = std::array<std::uint8_t, 32>; // an Ed25519 public key (RFC 8032)

inline constexpr std::size_t kMaxName = 63;
inline constexpr std::size_t kMaxPublicText = 4096;   // bytes of a public file
inline constexpr std::size_t kMaxSecretText = 4096;   // bytes of a secret file
inline constexpr std::size_t kMaxTrustedText = 32768; // bytes of the list of trusted keys
inline constexpr std::size_t kMaxTrusted = 128;       // keys
inline constexpr std::size_t kKeysPerName = 2;        // the current and the next one
inline constexpr std::size_t kMaxSuccessions = 8;     // that a node keeps: the last ones

// Seconds since 1970, UTC; 0 to the end of the year 9999.
using UnixTime = std::int64_t;
UnixTime unix_now();

struct PublicKey {
    std::string name; // of the node, and its IKE id
    UnixTime created = 0;
    RawKey key{};
    bool operator==(const PublicKey&) const = default;
};

struct TrustedKey : PublicKey {
    UnixTime since = 0; // when it was trusted here
    bool operator==(const TrustedKey&) const = default;
};

struct Identity : PublicKey {
    SecretSeed seed;
};

struct Succession {
    std::string name;
    RawKey from{}, to{};
    std::array<std::uint8_t, 64> signature{};
    bool operator==(const Succession&) const = default;
};

struct PublicFile {
    std::vector<PublicKey> keys;
    std::vector<Succession> successions;
};

// A text that holds a secret. Appending more than fits is a bug and ends the process.
class SecretText {
  public:
    void append(std::string_view text);
    void append_base64(Bytes data);
    std::string_view view() const;
    Bytes bytes() const { return buffer_.bytes().first(size_); }

    MutableBytes room() { return buffer_.bytes(); } // to be filled by a reader
    void set_size(std::size_t size) { size_ = size; }

  private:
    Secret<kMaxSecretText + 1> buffer_;
    std::size_t size_ = 0;
};

// Letters, digits and "._-", 1 to 63 of them. The error says what is wrong.
Result<void> check_name(std::string_view name);

// "2026-01-31T12:00:00Z"
std::string to_text(UnixTime time);
Result<UnixTime> parse_time(std::string_view text);

// A new key. The caller has checked the name.
Identity make_identity(std::string name, UnixTime created);

// Ed25519. No text may be valid as another kind of text: each kind begins with a line of its own.
std::array<std::uint8_t, 64> sign(const Identity& identity, std::string_view text);
// The signature has 64 bytes.
bool verify(const RawKey& key, std::string_view text, Bytes signature);

std::string write_public(const Identity& identity);
// One block, or two with the same name and different keys.
Result<std::vector<PublicKey>> read_public(std::string_view text);

Succession make_succession(const Identity& from, const RawKey& to);
std::string write_successions(const std::vector<Succession>& successions);
Result<std::vector<Succession>> read_successions(std::string_view text); // of one name
// Keys, and then successions of the same name.
Result<PublicFile> read_public_file(std::string_view text);
// Whether the successions lead from one key to another.
bool succeeds(const std::vector<Succession>& successions, const RawKey& from, const RawKey& to);

SecretText write_secret(const Identity& identity);
Result<Identity> read_secret(std::string_view text);

SecretText write_node_secret(const SecretSeed& secret);
Result<SecretSeed> read_node_secret(std::string_view text);

std::string write_trusted(const std::vector<TrustedKey>& keys);
Result<std::vector<TrustedKey>> read_trusted(std::string_view text);

// The SHA-256 of the raw key.
using KeyHash = std::array<std::uint8_t, 32>;
KeyHash key_hash(const RawKey& key);
// "SHA256:" and its base64, without padding: the form of OpenSSH.
std::string fingerprint(const RawKey& key);
// The first 8 bytes of the SHA-256, with which peers report the keys they trust.
std::uint64_t key_print(const RawKey& key);
// Its first twelve characters after the "SHA256:", to distinguish keys in a table. Too short to
// verify a key by eye.
std::string short_fingerprint(const RawKey& key);

} // namespace encsync::keys
