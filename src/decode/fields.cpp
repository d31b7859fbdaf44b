// SPDX-License-Identifier: ISC
#include "decode/fields.hpp"

#include <algorithm>

namespace encsync::decode {

namespace {

const Message* find_in(std::span<const Message> table, std::uint8_t number) {
    const auto found = std::ranges::find(table, number, &Message::number);
    return found == table.end() ? nullptr : &*found;
}

} // namespace

// In several dialects: the newest that uses the message, which may be an error in others.
Found find(std::uint8_t version, std::uint8_t number) {
    Found found{};
    for (const pfsync::Dialect each : pfsync::dialects_of(version)) {
        const pfsync::DialectTraits& dialect = pfsync::traits(each);
        const Message* message = find_in(dialect.messages, number);
        if (message == nullptr && dialect.extensible())
            message = find_in(extension_messages(), number);
        if (found.message == nullptr || (message != nullptr && !message->unused))
            found = {&dialect, message};
    }
    return found;
}

} // namespace encsync::decode
