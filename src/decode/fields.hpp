// SPDX-License-Identifier: ISC
// What every message of every dialect holds, as tables: name, offset and kind of each field. The
// decoder walks them and knows no message by itself.
//
//     const Message* m = find(6, 13);      // version, action number
//     for (const Field& field : m->fields) ...
//
// Names and offsets are those of if_pfsync.h and pfvar.h: version 6 from OpenBSD r1.65 and r1.543,
// version 5 from FreeBSD 13 (1301), 14 (1400) and 15 (1500).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace encsync::decode {

inline constexpr std::uint8_t kOpenbsd = 6, kFreebsd = 5; // the version byte

enum class Kind : std::uint8_t {
    u8, // numbers are big-endian
    u16,
    u32,
    u64,
    i32,
    u8_pair, // lists of two, one behind the other
    u64_pair,
    i32_pair,
    hex32, // as hexadecimal digits
    hex64,
    creatorid, // hex32; 0 is refused
    ifname,    // 16 bytes that must have a NUL in them
    tag,       // 64 bytes, likewise
    name,      // 16 bytes: state::Name
    function,  // 24 bytes: state::FunctionName
    bytes16,   // as hexadecimal digits
    peer,      // 32 bytes
    key40,     // OpenBSD's pf_state_key; `aux`: the family if it has none of its own
    key36,     // FreeBSD's; `aux`: the family
    address,   // `aux`: the family
    family,
    route_family, // 0 if there is no route
    direction,
    timeout,    // index; `aux`: the first that is refused
    bus_status, // start or end
    sockaddr,   // BSD's sockaddr_in or sockaddr_in6, 28 bytes
    role,       // of an encsync node
    rest,       // all that follows, as hexadecimal digits
    // Of an encsync node (pfsync/extension.hpp), `aux` bytes: the message's rest, or followed by
    // more.
    extension_tail,
};

// Bytes that a field of this kind has at least.
constexpr std::size_t width(Kind kind) {
    switch (kind) {
    case Kind::u8:
    case Kind::family:
    case Kind::route_family:
    case Kind::direction:
    case Kind::timeout:
    case Kind::bus_status:
    case Kind::role:
        return 1;
    case Kind::u16:
    case Kind::u8_pair:
        return 2;
    case Kind::u32:
    case Kind::i32:
    case Kind::hex32:
    case Kind::creatorid:
        return 4;
    case Kind::u64:
    case Kind::hex64:
    case Kind::i32_pair:
        return 8;
    case Kind::u64_pair:
    case Kind::ifname:
    case Kind::address:
    case Kind::name:
    case Kind::bytes16:
        return 16;
    case Kind::function:
        return 24;
    case Kind::sockaddr:
        return 28;
    case Kind::peer:
        return 32;
    case Kind::key36:
        return 36;
    case Kind::key40:
        return 40;
    case Kind::tag:
        return 64;
    case Kind::rest:
    case Kind::extension_tail: // looked for before it is read
        break;
    }
    return 0;
}

struct Field {
    std::string_view name;
    std::uint16_t offset; // within the message
    Kind kind;
    std::uint16_t aux = 0;
};

// In the order in which a row of a table is read.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
struct Message {
    std::uint8_t number;
    std::string_view action;
    std::uint16_t size = 0; // least length; 0: nothing is in it that could be read
    std::span<const Field> fields = {};
    // Version 6: passed over by its length, whatever that is. Version 5: ends the reading.
    bool unused = false;
};

// Null if that version has no such action.
const Message* find(std::uint8_t version, std::uint8_t number);
// The fields of an extension_tail of so many bytes.
std::span<const Field> extension_tail_fields(std::size_t size);
// The number that means IPv6 in this version (IPv4 is 2 in both).
std::uint8_t family_inet6(std::uint8_t version);

} // namespace encsync::decode
