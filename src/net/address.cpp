// SPDX-License-Identifier: ISC
#include "net/address.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>

namespace encsync::net {

namespace {

constexpr AddressBytes kLoopback6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

} // namespace

std::uint8_t system_family(Family family) {
    return family == Family::inet ? AF_INET : AF_INET6;
}

std::optional<Family> family_of_system(int family) {
    if (family == AF_INET)
        return Family::inet;
    return family == AF_INET6 ? std::optional(Family::inet6) : std::nullopt;
}

Address Address::read(const std::uint8_t* at, Family family) {
    Address out{{}, family};
    std::memcpy(out.bytes.data(), at, address_size(family));
    return out;
}

bool Address::is_loopback() const {
    return is_v6() ? bytes == kLoopback6 : bytes[0] == 127;
}

bool Address::is_multicast() const {
    return is_v6() ? bytes[0] == 0xff : (bytes[0] & 0xf0) == 0xe0;
}

bool Address::is_link_local() const {
    return is_v6() && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

bool Address::is_v4_mapped() const {
    return is_v6() && bytes[10] == 0xff && bytes[11] == 0xff &&
           std::all_of(bytes.begin(), bytes.begin() + 10, [](auto byte) { return byte == 0; });
}

std::optional<Address> parse_address(std::string_view text) {
    if (text.find('\0') != text.npos)
        return std::nullopt;
    Address out{{}, text.find(':') == text.npos ? Family::inet : Family::inet6};
    if (::inet_pton(system_family(out.family), std::string(text).c_str(), out.bytes.data()) != 1)
        return std::nullopt;
    return out;
}

std::string to_string(const Address& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    // Cannot fail: the family is one of the two, and the buffer fits both.
    ::inet_ntop(system_family(address.family), address.bytes.data(), text.data(), text.size());
    return text.data();
}

} // namespace encsync::net
