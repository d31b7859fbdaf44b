// SPDX-License-Identifier: ISC
// The fields of every message of every dialect: the tables of pfsync/dialects, and those of
// encsync's own messages. The decoder only walks these tables.
//
//     const Found f = find(6, 13);         // version, action number
//     for (const Field& field : f.message->fields) ...
#pragma once

#include "pfsync/dialect.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace encsync::decode {

using pfsync::Field, pfsync::FieldKind, pfsync::Message;

struct Found {
    const pfsync::DialectTraits* dialect; // of which it is
    const Message* message;
};
// Message null if that version, which some dialect has, lacks this action.
Found find(std::uint8_t version, std::uint8_t number);

// The messages between encsync nodes (pfsync/extension.hpp).
std::span<const Message> extension_messages();
// The fields of an extension_tail of so many bytes.
std::span<const Field> extension_tail_fields(std::size_t size);

} // namespace encsync::decode
