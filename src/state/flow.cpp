// SPDX-License-Identifier: ISC
#include "state/flow.hpp"

#include <arpa/inet.h>
#include <array>
#include <fmt/format.h>
#include <netinet/in.h>

namespace encsync::state {

namespace {

// Request and answer of the ICMP queries that conntrack follows (RFC 792, RFC 950).
constexpr std::array<std::array<std::uint8_t, 2>, 4> kIcmpPairs{
    {{8, 0}, {13, 14}, {15, 16}, {17, 18}}};
// Echo (RFC 4443) and node information (RFC 4620).
constexpr std::array<std::array<std::uint8_t, 2>, 2> kIcmp6Pairs{{{128, 129}, {139, 140}}};

template<std::size_t N>
std::uint8_t other_type(const std::array<std::array<std::uint8_t, 2>, N>& pairs,
                        std::uint8_t type) {
    for (const auto& pair : pairs) {
        if (type == pair[0])
            return pair[1];
        if (type == pair[1])
            return pair[0];
    }
    return type; // a message that has no answer is its own
}

// The pair as the other side of the NAT carries it, in the original direction.
Tuple translated(const Flow& flow) {
    return inverse({flow.reply, flow.key.zone, flow.key.proto, flow.key.family});
}

void append_end(std::string& out, const Key& key, const Address& address, std::uint16_t port) {
    if (key.family == Family::inet6 && port != 0)
        fmt::format_to(std::back_inserter(out), "[{}]:{}", to_string(address, key.family), port);
    else if (port != 0)
        fmt::format_to(std::back_inserter(out), "{}:{}", to_string(address, key.family), port);
    else
        out += to_string(address, key.family);
}

void append_pair(std::string& out, const Key& key, const Tuple& tuple) {
    if (key.proto == IPPROTO_ICMP || key.proto == IPPROTO_ICMPV6) {
        fmt::format_to(std::back_inserter(out), "{} -> {} id {} type {}",
                       to_string(tuple.src, key.family), to_string(tuple.dst, key.family),
                       tuple.sport, tuple.dport >> 8);
        if ((tuple.dport & 0xff) != 0)
            fmt::format_to(std::back_inserter(out), " code {}", tuple.dport & 0xff);
        return;
    }
    append_end(out, key, tuple.src, tuple.sport);
    out += " -> ";
    append_end(out, key, tuple.dst, tuple.dport);
}

} // namespace

Tuple inverse(const Key& key) {
    Tuple out{key.orig.dst, key.orig.src, key.orig.dport, key.orig.sport};
    if (key.proto == IPPROTO_ICMP || key.proto == IPPROTO_ICMPV6) {
        const auto type = static_cast<std::uint8_t>(key.orig.dport >> 8);
        const std::uint8_t answer = key.proto == IPPROTO_ICMP ? other_type(kIcmpPairs, type)
                                                              : other_type(kIcmp6Pairs, type);
        out.sport = key.orig.sport; // the id is the same both ways
        out.dport = static_cast<std::uint16_t>((answer << 8) | (key.orig.dport & 0xff));
    }
    return out;
}

std::uint16_t zone_id(std::uint16_t original, const Extras& extras) {
    return original != 0 ? original : extras.reply_zone.value_or(0);
}

std::uint16_t zone_id(const Flow& flow) {
    return zone_id(flow.key.zone, flow.extras);
}

bool has_snat(const Flow& flow) {
    const Tuple there = translated(flow);
    return there.src != flow.key.orig.src || there.sport != flow.key.orig.sport;
}

bool has_dnat(const Flow& flow) {
    const Tuple there = translated(flow);
    return there.dst != flow.key.orig.dst || there.dport != flow.key.orig.dport;
}

std::string to_string(const Flow& flow) {
    std::string out = protocol_name(flow.key.proto);
    out += ' ';
    append_pair(out, flow.key, flow.key.orig);
    const Tuple there = translated(flow);
    if (there != flow.key.orig) {
        out += " (";
        append_pair(out, flow.key, there);
        out += ')';
    }
    return out;
}

std::string to_string(const Address& address, Family family) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    // Cannot fail: the family is one of the two, and the buffer fits both.
    inet_ntop(family == Family::inet ? AF_INET : AF_INET6, address.bytes.data(), text.data(),
              text.size());
    return text.data();
}

std::string protocol_name(std::uint8_t proto) {
    switch (proto) {
    case IPPROTO_TCP:
        return "tcp";
    case IPPROTO_UDP:
        return "udp";
    case IPPROTO_ICMP:
        return "icmp";
    case IPPROTO_ICMPV6:
        return "icmp6";
    case IPPROTO_SCTP:
        return "sctp";
    case IPPROTO_GRE:
        return "gre";
    default:
        return fmt::format("{}", proto);
    }
}

} // namespace encsync::state
