// SPDX-License-Identifier: ISC
// The tables behind fields.hpp, one file a dialect.
#pragma once

#include "decode/fields.hpp"

namespace encsync::decode {

// Whether all fields of all messages, but for tails, lie within the least length of their message.
// Each table asserts it, so that the decoder need not ask.
constexpr bool fits(std::span<const Message> messages) {
    for (const Message& m : messages)
        for (const Field& f : m.fields)
            if (f.kind != Kind::extension_tail && f.offset + width(f.kind) > m.size)
                return false;
    return true;
}

std::span<const Message> openbsd_messages();
std::span<const Message> freebsd_messages();

} // namespace encsync::decode
