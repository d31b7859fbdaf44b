// SPDX-License-Identifier: ISC
// Tables of the messages of a dialect: number, name and size of each message; name, offset and kind
// of each field. The parser uses the numbers, the decoder all of it.
//
// Names and offsets are those of if_pfsync.h and pfvar.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace encsync::pfsync {

enum class Kind : std::uint8_t {
    unknown,    // version 6: skipped by its length; version 5: the rest cannot be read
    error,      // version 5: known, but must not be sent; the rest is not read
    clear,      // CLR
    insert,     // INS
    insert_ack, // INS_ACK
    update,     // UPD; of an unknown state, an insert
    update_c,   // UPD_C
    request,    // UPD_REQ
    remove,     // DEL
    remove_c,   // DEL_C
    bulk,       // BUS
    tdb,        // TDB
    eof,        // EOF: version 5 only
};
inline constexpr int kKinds = 13;
std::string_view to_string(Kind kind); // "ins", "upd_c", ... as pfsync(4) names them

enum class FieldKind : std::uint8_t {
    u8, // numbers are big-endian
    u16,
    u32,
    u64,
    i32,
    u8_pair, // two lists in sequence
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

// Minimum size in bytes of a field of this kind.
constexpr std::size_t width(FieldKind kind) {
    switch (kind) {
    case FieldKind::u8:
    case FieldKind::family:
    case FieldKind::route_family:
    case FieldKind::direction:
    case FieldKind::timeout:
    case FieldKind::bus_status:
    case FieldKind::role:
        return 1;
    case FieldKind::u16:
    case FieldKind::u8_pair:
        return 2;
    case FieldKind::u32:
    case FieldKind::i32:
    case FieldKind::hex32:
    case FieldKind::creatorid:
        return 4;
    case FieldKind::u64:
    case FieldKind::hex64:
    case FieldKind::i32_pair:
        return 8;
    case FieldKind::u64_pair:
    case FieldKind::ifname:
    case FieldKind::address:
    case FieldKind::name:
    case FieldKind::bytes16:
        return 16;
    case FieldKind::function:
        return 24;
    case FieldKind::sockaddr:
        return 28;
    case FieldKind::peer:
        return 32;
    case FieldKind::key36:
        return 36;
    case FieldKind::key40:
        return 40;
    case FieldKind::tag:
        return 64;
    case FieldKind::rest:
    case FieldKind::extension_tail: // looked for before it is read
        break;
    }
    return 0;
}

struct Field {
    std::string_view name;
    std::uint16_t offset; // within the message
    FieldKind kind;
    std::uint16_t aux = 0;
};

// In the order of the tables' rows.
struct Message {
    std::uint8_t number; // the action
    std::string_view action;
    Kind kind = Kind::unknown;
    std::uint16_t size = 0; // minimum length; 0: it has no readable content
    std::span<const Field> fields = {};
    // Version 6: skipped by its length, whatever that is. Version 5: parsing stops.
    bool unused = false;
};

// Whether all fields of all messages, except tails, are within the minimum length of their message.
// Each table asserts it, so the decoder need not check.
constexpr bool fits(std::span<const Message> messages) {
    for (const Message& m : messages)
        for (const Field& f : m.fields)
            if (f.kind != FieldKind::extension_tail && f.offset + width(f.kind) > m.size)
                return false;
    return true;
}

} // namespace encsync::pfsync
