// SPDX-License-Identifier: ISC
#include "decode/hex.hpp"

namespace encsync::decode {
namespace {

int digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

} // namespace

Hex parse_hex(std::string_view line) {
    Hex out;
    const auto fail = [&](std::string_view error, std::size_t column) {
        out.bytes.clear();
        out.error = error;
        out.column = column;
        return out;
    };
    for (std::size_t i = 0; i < line.size(); i++) {
        if (line[i] == ' ' || line[i] == '\t' || line[i] == '\r' || line[i] == ':')
            continue;
        if (digit(line[i]) < 0)
            return fail("bad_hex", i);
        if (i + 1 == line.size() || digit(line[i + 1]) < 0)
            return fail("bad_hex", i + 1);
        if (out.bytes.size() == kMaxPacket)
            return fail("too_long", i);
        out.bytes.push_back(static_cast<std::uint8_t>(digit(line[i]) * 16 + digit(line[i + 1])));
        i++;
    }
    return out;
}

} // namespace encsync::decode
