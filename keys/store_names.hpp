// SPDX-License-Identifier: ISC
// The files of a key store; what each is for is in keys/store.hpp.
#pragma once

#include <array>

namespace encsync::keys {

inline constexpr const char* kIdentity = "identity";
inline constexpr const char* kNextIdentity = "identity.next";
inline constexpr const char* kNodeSecret = "node.secret";
inline constexpr const char* kSuccessions = "successions";
inline constexpr const char* kTrusted = "trusted";
inline constexpr const char* kRevoked = "revoked";
inline constexpr const char* kLog = "log";
inline constexpr const char* kSeal = "seal";

// Which a sealed store encrypts.
inline constexpr std::array kSecretFiles = {kIdentity, kNextIdentity, kNodeSecret};

} // namespace encsync::keys
