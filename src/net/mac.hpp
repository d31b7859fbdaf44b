// SPDX-License-Identifier: ISC
// A MAC address of Ethernet.
//
//     const auto mac = net::parse_mac("52:54:00:12:34:56");   // none: not an address
//     if (mac && !mac->is_group()) ... to_string(*mac)
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace encsync::net {

struct Mac {
    std::array<std::uint8_t, 6> bytes{};

    constexpr bool is_zero() const { return *this == Mac{}; }
    // Multicast or broadcast: never the source of a frame.
    constexpr bool is_group() const { return (bytes[0] & 1U) != 0; }

    auto operator<=>(const Mac&) const = default;
};

// Six pairs of hexadecimal digits, in either case, with colons between them.
std::optional<Mac> parse_mac(std::string_view text);
std::string to_string(const Mac& mac); // in lower case

// Whether frames of an interface have MAC addresses of Ethernet; none: there is no such interface.
// Those of lo, TUN, WireGuard and PPP have none.
std::optional<bool> has_mac(const std::string& interface);

} // namespace encsync::net
