// SPDX-License-Identifier: ISC
// A range of addresses.
//
//     Prefix lan{address, Family::inet, 24};
//     if (lan.contains(flow.key.orig.src, flow.key.family)) ...
#pragma once

#include "state/flow.hpp"

#include <algorithm>

namespace encsync::state {

struct Prefix {
    Address address; // no bit is set beyond the length
    Family family = Family::inet;
    std::uint8_t length = 32; // bits

    bool contains(const Address& other, Family of) const {
        if (of != family)
            return false;
        const std::size_t whole = length / 8;
        if (!std::equal(address.bytes.begin(), address.bytes.begin() + whole, other.bytes.begin()))
            return false;
        const int rest = length % 8;
        return rest == 0 || ((address.bytes[whole] ^ other.bytes[whole]) >> (8 - rest)) == 0;
    }
    bool operator==(const Prefix&) const = default;
};

} // namespace encsync::state
