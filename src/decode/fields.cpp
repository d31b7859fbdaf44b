// SPDX-License-Identifier: ISC
#include "decode/fields.hpp"

#include "decode/tables.hpp"
#include "pfsync/freebsd.hpp"
#include "pfsync/openbsd.hpp"

#include <algorithm>

namespace encsync::decode {

const Message* find(std::uint8_t version, std::uint8_t number) {
    const auto table = version == kOpenbsd ? openbsd_messages() : freebsd_messages();
    const auto found = std::ranges::find(table, number, &Message::number);
    return found == table.end() ? nullptr : &*found;
}

std::uint8_t family_inet6(std::uint8_t version) {
    return version == kOpenbsd ? pfsync::openbsd::kAfInet6 : pfsync::freebsd::kAfInet6;
}

} // namespace encsync::decode
