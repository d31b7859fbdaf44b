// SPDX-License-Identifier: ISC
// Preshared keys of IKE (RFC 7296, section 2.15), which authenticate peers that support nothing
// better: what is allowed in one, and the file `psk.NAME` of a key store.
//
//     PskPair psks{"minnie"};
//     psks.keys.push_back({now, make_preshared()});
//     SecretText text = write_psks(psks);
//
//     encsync ike preshared key 1
//     peer: minnie
//     created: 2026-01-31T12:00:00Z
//     key: (16 to 1024 bytes, base64)
//     created: 2026-03-01T12:00:00Z        these two only while the key is being replaced: the next
//     key: ...
//     checksum: ...
//
// No name or hash of it is ever shown: somebody may have chosen it, and could be asked to guess.
// The parser accepts only the exact output of its writer.
#pragma once

#include "keys/format.hpp"

#include <array>
#include <vector>

namespace encsync::keys {

inline constexpr std::size_t kMinPreshared = 16, kMaxPreshared = 1024; // bytes
inline constexpr std::size_t kMaxPsks = 128;                           // peers that have one
inline constexpr std::size_t kPsksPerPeer = 2;

// Refused: one that is too short or too long, and a NUL byte.
Result<void> check_preshared(Bytes key);
// 256 random bits, as 64 hexadecimal digits: so it can also be written into strongSwan's
// configuration, where a base64 text might begin like one of its prefixes.
SecretBytes make_preshared();

// "there is none with ...", and what to do.
std::string no_psk(const std::string& peer);

struct Psk {
    UnixTime created = 0;
    SecretBytes key;
};
bool same(const Psk& psk, Bytes key);

// Those with one peer: one, and a second one until the peer has shown that it has that.
struct PskPair {
    std::string peer;      // the IKE id with which it authenticates
    std::vector<Psk> keys; // one or two, the older one first
};
SecretText write_psks(const PskPair& psks);
Result<PskPair> read_psks(std::string_view text);

// Tells it from others in memory: the SHA-256.
using PskId = std::array<std::uint8_t, 32>;
PskId id_of(const Psk& psk);

} // namespace encsync::keys
