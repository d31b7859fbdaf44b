// SPDX-License-Identifier: ISC
// Keys that must never be trusted again, because whoever has stolen them could use them: the file
// `revoked` of a key store, and what nodes tell one another of it.
//
//     encsync revoked keys 1
//     revoked: (when) (created) (the key, base64) (by whom) (whose)
//     checksum: (BLAKE2b-256 of the lines above, base64)
//
// There is no signature: a node believes what a trusted peer says of this through the tunnel. A
// peer that lies can revoke others, and thus end syncing with them; it cannot make a key trusted.
#pragma once

#include "keys/format.hpp"

namespace encsync::keys {

inline constexpr std::size_t kMaxRevoked = 256;
inline constexpr std::size_t kMaxRevokedText = 65536; // bytes

struct Revocation : PublicKey { // of this key
    UnixTime when = 0;
    std::string by; // the node on which it was revoked
    bool operator==(const Revocation&) const = default;
};

std::string write_revocations(const std::vector<Revocation>& revocations);
Result<std::vector<Revocation>> read_revocations(std::string_view text);

bool is_revoked(const std::vector<Revocation>& revocations, const RawKey& key);

// The same for all stores that hold revocations of the same keys, in whatever order: BLAKE2b-128.
using RevokedDigest = std::array<std::uint8_t, 16>;
RevokedDigest digest(const std::vector<Revocation>& revocations);

} // namespace encsync::keys
