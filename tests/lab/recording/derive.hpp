// SPDX-License-Identifier: ISC
// The keys of IKEv2 (RFC 7296, 2.13 to 2.17; RFC 8784) with PRF_HMAC_SHA2_384 and AES-256-GCM: what
// somebody computes who has one of the secrets that they are made of.
#pragma once

#include "util/bytes.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace encsync::recording {

inline constexpr std::size_t kPrf = 48;
using Digest = std::array<std::uint8_t, kPrf>;

Digest prf(Bytes key, Bytes data);

// SK_d, SK_ei with its salt, SK_er with its salt: the first of what is made of SKEYSEED.
inline constexpr std::size_t kSkEi = kPrf, kSkEr = kSkEi + 36, kIkeKeys = kSkEr + 36;
// Of a CHILD_SA without a key exchange of its own: the initiator's key and salt, the responder's.
inline constexpr std::size_t kChildI = 0, kChildR = 36, kChildKeys = 72;

// prf+
template<std::size_t N>
std::array<std::uint8_t, N> prf_plus(Bytes key, Bytes seed) {
    std::array<std::uint8_t, N> out;
    std::vector<std::uint8_t> data;
    for (std::size_t done = 0, n = 1; done < N; n++) {
        data.insert(data.end(), seed.begin(), seed.end());
        data.push_back(static_cast<std::uint8_t>(n));
        const Digest next = prf(key, data);
        const std::size_t size = N - done < kPrf ? N - done : kPrf;
        for (std::size_t i = 0; i < size; i++)
            out[done + i] = next[i];
        done += size;
        data.assign(next.begin(), next.end());
    }
    return out;
}

} // namespace encsync::recording
