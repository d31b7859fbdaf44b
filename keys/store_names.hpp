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
// And `ppk.NAME` for each peer with which there are preshared keys.
inline constexpr std::string_view kPpkPrefix = "ppk.";

// Which a sealed store encrypts, and those for peers.
inline constexpr std::array kSecretFiles = {kIdentity, kNextIdentity, kNodeSecret};

} // namespace encsync::keys
