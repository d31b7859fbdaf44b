// SPDX-License-Identifier: ISC
// Deprecated in OpenSSL 3, whose HMAC takes several times as long for so little data.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "tests/lab/recording/derive.hpp"

#include <algorithm>
#include <openssl/sha.h>

namespace encsync::recording {
namespace {

constexpr std::size_t kBlock = 128; // of SHA-384

Digest hash(const std::array<std::uint8_t, kBlock>& pad, Bytes data) {
    SHA512_CTX state;
    Digest out;
    SHA384_Init(&state);
    SHA384_Update(&state, pad.data(), pad.size());
    SHA384_Update(&state, data.data(), data.size());
    SHA384_Final(out.data(), &state);
    return out;
}

} // namespace

// RFC 2104
Digest prf(Bytes key, Bytes data) {
    std::array<std::uint8_t, kBlock> inner{};
    if (key.size() > kBlock)
        SHA384(key.data(), key.size(), inner.data());
    else
        std::ranges::copy(key, inner.begin());
    auto outer = inner;
    for (std::uint8_t& byte : inner)
        byte ^= 0x36;
    for (std::uint8_t& byte : outer)
        byte ^= 0x5c;
    return hash(outer, hash(inner, data));
}

} // namespace encsync::recording
