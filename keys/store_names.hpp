// SPDX-License-Identifier: ISC
// The files of a key store; what each is for is in keys/store.hpp.
#pragma once

#include <array>
#include <string_view>

namespace encsync::keys {

inline constexpr const char* kIdentity = "identity";
inline constexpr const char* kNextIdentity = "identity.next";
inline constexpr const char* kNodeSecret = "node.secret";
inline constexpr const char* kSuccessions = "successions";
inline constexpr const char* kTrusted = "trusted";
inline constexpr const char* kRevoked = "revoked";
inline constexpr const char* kLog = "log";
inline constexpr const char* kSeal = "seal";
// And, with the name of a peer behind them, a file for each that has such keys, which are secret,
// or certificates, which are not.
inline constexpr std::string_view kPpkPrefix = "ppk.", kPskPrefix = "psk.", kX509Prefix = "x509.";
inline constexpr std::array kSecretPrefixes = {kPpkPrefix, kPskPrefix};

// Which a sealed store encrypts, besides those of peers.
inline constexpr std::array kSecretFiles = {kIdentity, kNextIdentity, kNodeSecret};

} // namespace encsync::keys
