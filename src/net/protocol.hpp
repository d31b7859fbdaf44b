// SPDX-License-Identifier: ISC
// IP protocol numbers (IANA), and which protocols have ports or similar fields.
#pragma once

#include <cstdint>
#include <netinet/in.h>
#include <optional>
#include <string>
#include <string_view>

namespace encsync::net {

// Missing in <netinet/in.h>.
inline constexpr std::uint8_t kVrrp = 112, kPfsync = 240;

constexpr bool is_icmp(std::uint8_t proto) {
    return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

// Whether a protocol has ports depends on the context; there are three answers.
//
// For users: the transport protocols with ports.
constexpr bool has_ports(std::uint8_t proto) {
    switch (proto) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
    case IPPROTO_DCCP:
        return true;
    default:
        return false;
    }
}

// For conntrack: its tuples have GRE's two keys in place of ports.
constexpr bool has_ports_or_keys(std::uint8_t proto) {
    return has_ports(proto) || proto == IPPROTO_GRE;
}

// For pf: its state keys also have the id and the type of ICMP there.
constexpr bool has_identifiers(std::uint8_t proto) {
    return has_ports_or_keys(proto) || is_icmp(proto);
}

struct PortRange {
    std::uint16_t first = 0, last = 0; // host order; inclusive
    constexpr bool contains(std::uint16_t port) const { return port >= first && port <= last; }
    bool operator==(const PortRange&) const = default;
};

// "tcp", "udp", "icmp", "icmp6", "sctp", "gre"; empty: unknown.
std::string_view protocol_word(std::uint8_t proto);
std::optional<std::uint8_t> protocol_of(std::string_view word);
// The name, or the number.
std::string protocol_name(std::uint8_t proto);

} // namespace encsync::net
