// SPDX-License-Identifier: ISC
// A fast mix of 64-bit words, the same on every machine. Not keyed, so no protection if an attacker
// chooses the input.
//
//     h = fold(word ^ kMix[0], other ^ kMix[1]);
#pragma once

#include <array>
#include <cstdint>

namespace encsync::state {

// Odd, with half of the bits set: the fractional parts of square roots of primes.
inline constexpr std::array<std::uint64_t, 4> kMix{0x6a09e667f3bcc909, 0xbb67ae8584caa73b,
                                                   0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1};

// XOR of both halves of the product: every bit of either word counts.
inline std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = Wide{a} * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

} // namespace encsync::state
