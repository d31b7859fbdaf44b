// SPDX-License-Identifier: ISC
// An IP address of either family, and one with a port.
//
//     const auto address = net::parse_address("2001:db8::1");   // none: not an address
//     if (address && !address->is_loopback()) ... to_string(*address)
//
// Bytes are in network order, ports in host order. There are two other types: state::Address has no
// family, because a flow in the index stores one family for four addresses; Asio's addresses
// (net/asio.hpp) are for sockets.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace encsync::net {

enum class Family : std::uint8_t { inet = 4, inet6 = 6 };

constexpr std::size_t address_size(Family family) { // bytes
    return family == Family::inet ? 4 : 16;
}
constexpr unsigned address_width(Family family) { // bits
    return family == Family::inet ? 32 : 128;
}

// As AF_INET and AF_INET6, and back; none: another family.
std::uint8_t system_family(Family family);
std::optional<Family> family_of_system(int family);

// IPv4 in the first four bytes, the rest zero.
using AddressBytes = std::array<std::uint8_t, 16>;

struct Address {
    AddressBytes bytes{};
    Family family = Family::inet;

    // From a packet: reads as many bytes as the family has.
    static Address read(const std::uint8_t* at, Family family);

    constexpr bool is_v6() const { return family == Family::inet6; }
    bool is_unspecified() const { return bytes == AddressBytes{}; }
    bool is_loopback() const;   // 127.0.0.0/8, ::1
    bool is_multicast() const;  // 224.0.0.0/4, ff00::/8
    bool is_link_local() const; // fe80::/10; not those of IPv4
    bool is_v4_mapped() const;  // ::ffff:0:0/96

    auto operator<=>(const Address&) const = default;
};

// Parsed as by inet_pton(3), without a scope. Names are not resolved.
std::optional<Address> parse_address(std::string_view text);
std::string to_string(const Address& address);

inline constexpr Address kIpv4Broadcast{{255, 255, 255, 255}, Family::inet};

struct Endpoint {
    Address address;
    std::uint16_t port = 0;
    bool operator==(const Endpoint&) const = default;
};

} // namespace encsync::net
