// SPDX-License-Identifier: ISC
#include "state/flow.hpp"

#include "net/protocol.hpp"

#include <array>
#include <fmt/format.h>

namespace encsync::state {

namespace {

// Request and answer of the ICMP queries that conntrack tracks (RFC 792, RFC 950).
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

// The tuple on the other side of the NAT, in the original direction.
Tuple translated(const Flow& flow) {
    return inverse({flow.reply, flow.key.zone, flow.key.proto, flow.key.family});
}

void append_end(std::string& out, const Key& key, const Address& address, std::uint16_t port) {
    const std::string host = to_string(with_family(address, key.family));
    if (key.family == Family::inet6 && port != 0)
        fmt::format_to(std::back_inserter(out), "[{}]:{}", host, port);
    else if (port != 0)
        fmt::format_to(std::back_inserter(out), "{}:{}", host, port);
    else
        out += host;
}

void append_pair(std::string& out, const Key& key, const Tuple& tuple) {
    if (net::is_icmp(key.proto)) {
        fmt::format_to(std::back_inserter(out), "{} -> {} id {} type {}",
                       to_string(with_family(tuple.src, key.family)),
                       to_string(with_family(tuple.dst, key.family)), tuple.sport,
                       tuple.dport >> 8);
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
    if (net::is_icmp(key.proto)) {
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
    std::string out = net::protocol_name(flow.key.proto);
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

} // namespace encsync::state
