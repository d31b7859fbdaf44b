// SPDX-License-Identifier: ISC
// A packet as hexadecimal digits in a line: blanks and colons between bytes are allowed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace encsync::decode {

inline constexpr std::size_t kMaxPacket = 65535; // bytes; IP has no more

struct Hex {
    std::vector<std::uint8_t> bytes;
    std::string_view error; // "bad_hex" or "too_long", at this column, counted from 0
    std::size_t column = 0;
};

Hex parse_hex(std::string_view line);

} // namespace encsync::decode
