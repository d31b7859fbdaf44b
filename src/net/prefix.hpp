// SPDX-License-Identifier: ISC
// A range of addresses.
//
//     const auto lan = net::parse_prefix("10.0.0.0/8");
//     if (lan && lan->contains(address)) ...
#pragma once

#include "net/address.hpp"

#include <algorithm>

namespace encsync::net {

struct Prefix {
    Address network;
    std::uint8_t length = 32; // bits; at most the family's width

    // Bits of the network beyond the length are ignored.
    bool contains(const Address& address) const {
        if (address.family != network.family)
            return false;
        const auto whole = network.bytes.begin() + length / 8;
        if (!std::equal(network.bytes.begin(), whole, address.bytes.begin()))
            return false;
        const int rest = length % 8;
        return rest == 0 || ((*whole ^ address.bytes[length / 8U]) >> (8 - rest)) == 0;
    }
    // With all bits beyond the length cleared.
    Prefix masked() const;

    bool operator==(const Prefix&) const = default;
};

// "10.0.0.0/8", or a single address, a prefix of full length. Bits beyond the length are kept.
std::optional<Prefix> parse_prefix(std::string_view text);
std::string to_string(const Prefix& prefix);

} // namespace encsync::net
