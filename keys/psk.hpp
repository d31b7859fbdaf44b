// SPDX-License-Identifier: ISC
// Preshared keys of IKE (RFC 7296, section 2.15), which authenticate peers that support nothing
// better: what is allowed in one, and the file `psk.NAME` of a key store.
//
//     SecretBytes key = make_preshared();
//     SecretText text = write_psk({"minnie", now, std::move(key)});
//
//     encsync ike preshared key 1
//     peer: minnie
//     created: 2026-01-31T12:00:00Z
//     key: (16 to 1024 bytes, base64)
//     checksum: ...
//
// No name or hash of it is ever shown: somebody may have chosen it, and could be asked to guess.
// The parser accepts only the exact output of its writer.
#pragma once

#include "keys/format.hpp"

namespace encsync::keys {

inline constexpr std::size_t kMinPreshared = 16, kMaxPreshared = 1024; // bytes
inline constexpr std::size_t kMaxPsks = 128;                           // peers that have one

// Refused: one that is too short or too long, and a NUL byte.
Result<void> check_preshared(Bytes key);
// 256 random bits, as 64 hexadecimal digits: so it can also be written into strongSwan's
// configuration, where a base64 text might begin like one of its prefixes.
SecretBytes make_preshared();

// "there is none with ...", and what to do.
std::string no_psk(const std::string& peer);

struct Psk {
    std::string peer; // the IKE id with which it authenticates
    UnixTime created = 0;
    SecretBytes key;
};
SecretText write_psk(const Psk& psk);
Result<Psk> read_psk(std::string_view text);

} // namespace encsync::keys
