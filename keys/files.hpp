// SPDX-License-Identifier: ISC
// What proves identities besides Ed25519 keys, for peers that are not encsync: files that a
// configuration names.
//
//     Result<std::string> psk = read_preshared("/etc/encsync/minnie.psk");    // wipe it
//     Result<std::vector<std::uint8_t>> ca = read_certificate("/etc/encsync/ca.pem");
//
// The error names the file and what is wrong with it.
#pragma once

#include "keys/format.hpp"
#include "util/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::keys {

inline constexpr std::size_t kMinPreshared = 16, kMaxPreshared = 1024; // bytes
inline constexpr std::size_t kMaxCertificate = 16384;                  // bytes of DER

// The content without a line end after it. Refused: what others than its owner, who is us, may
// read, a symbolic link, what is too short or too long, a NUL byte.
Result<std::string> read_preshared(const std::string& path);

// The DER of the first certificate in it (RFC 7468), or all of a file that is DER. What is inside
// is not looked at.
Result<std::vector<std::uint8_t>> read_certificate(const std::string& path);

// Whether a certificate is for this key: it holds the key's SubjectPublicKeyInfo.
bool certifies(Bytes certificate, const RawKey& key);

// The SubjectPublicKeyInfo of a key (RFC 8410), as PEM.
std::string to_pem(const RawKey& key);
Result<RawKey> from_pem(std::string_view text);

} // namespace encsync::keys
