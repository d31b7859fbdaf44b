// SPDX-License-Identifier: ISC
// IP protocols by their numbers (IANA), and what stands where TCP has its ports.
#pragma once

#include <cstdint>
#include <netinet/in.h>
#include <optional>
#include <string>
#include <string_view>

namespace encsync::net {

// Of which <netinet/in.h> does not know.
inline constexpr std::uint8_t kVrrp = 112, kPfsync = 240;

constexpr bool is_icmp(std::uint8_t proto) {
    return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

// "Has it ports?" has three answers, by who asks.
//
// A person, who names a port: the transport protocols that have one.
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

// conntrack, whose tuples have GRE's two keys there.
constexpr bool has_ports_or_keys(std::uint8_t proto) {
    return has_ports(proto) || proto == IPPROTO_GRE;
}

// pf, whose state keys also have the id and the type of ICMP there.
constexpr bool has_identifiers(std::uint8_t proto) {
    return has_ports_or_keys(proto) || is_icmp(proto);
}

struct PortRange {
    std::uint16_t first = 0, last = 0; // host order; both belong to it
    constexpr bool contains(std::uint16_t port) const { return port >= first && port <= last; }
    bool operator==(const PortRange&) const = default;
};

// "tcp", "udp", "icmp", "icmp6", "sctp", "gre"; empty: no such word.
std::string_view protocol_word(std::uint8_t proto);
std::optional<std::uint8_t> protocol_of(std::string_view word);
// The word, or the number.
std::string protocol_name(std::uint8_t proto);

} // namespace encsync::net
