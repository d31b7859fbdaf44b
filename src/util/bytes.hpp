// SPDX-License-Identifier: ISC
// Big-endian loads and stores at any alignment, for packets.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>

namespace encsync {

using Bytes = std::span<const std::uint8_t>;
using MutableBytes = std::span<std::uint8_t>;

template<std::unsigned_integral T>
constexpr T to_big_endian(T value) {
    if constexpr (std::endian::native == std::endian::big || sizeof(T) == 1)
        return value;
    else if constexpr (sizeof(T) == 2)
        return __builtin_bswap16(value);
    else if constexpr (sizeof(T) == 4)
        return __builtin_bswap32(value);
    else
        return __builtin_bswap64(value);
}

// Reads sizeof(T) bytes at p; the caller has checked the length.
template<std::unsigned_integral T>
T load_be(const std::uint8_t* p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return to_big_endian(value);
}

template<std::unsigned_integral T>
void store_be(std::uint8_t* p, T value) {
    value = to_big_endian(value);
    std::memcpy(p, &value, sizeof value);
}

} // namespace encsync
