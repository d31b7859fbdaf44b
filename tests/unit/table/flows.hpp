// SPDX-License-Identifier: ISC
// Flows for tests.
#pragma once

#include "net/prefix.hpp"
#include "net/protocol.hpp"
#include "state/flow.hpp"

#include <string>
#include <vector>

namespace encsync::table::test {

inline net::Address ip(const std::string& text) {
    return net::parse_address(text).value();
}
inline state::Address address(const std::string& text) {
    return {ip(text).bytes};
}
// "10.0.0.0/8", or a single address.
inline net::Prefix prefix(const std::string& text) {
    return net::parse_prefix(text).value();
}

inline state::Flow flow(std::uint8_t proto, const std::string& src, std::uint16_t sport,
                        const std::string& dst, std::uint16_t dport) {
    state::Flow out;
    out.key.proto = proto;
    out.key.family = ip(src).family;
    out.key.orig = {address(src), address(dst), sport, dport};
    out.reply = state::inverse(out.key);
    return out;
}

// TCP, established, with packets in both directions.
inline state::Flow tcp(std::uint16_t sport, const std::string& src = "10.1.0.2",
                       const std::string& dst = "192.0.2.80", std::uint16_t dport = 443) {
    state::Flow out = flow(IPPROTO_TCP, src, sport, dst, dport);
    out.src_state = out.dst_state = state::tcp::kEstablished;
    out.flags = state::kSeenReply | state::kAssured;
    return out;
}

inline state::Flow udp(std::uint16_t sport, const std::string& src = "10.1.0.2",
                       const std::string& dst = "192.0.2.53", std::uint16_t dport = 53) {
    state::Flow out = flow(IPPROTO_UDP, src, sport, dst, dport);
    out.src_state = out.dst_state = state::datagram::kMultiple;
    out.flags = state::kSeenReply | state::kAssured;
    return out;
}

// An echo request with its answer.
inline state::Flow ping(std::uint16_t id, const std::string& src = "10.1.0.2",
                        const std::string& dst = "192.0.2.80") {
    const bool v6 = ip(src).is_v6();
    state::Flow out = flow(v6 ? std::uint8_t{58} : std::uint8_t{1}, src, id, dst,
                           static_cast<std::uint16_t>((v6 ? 128 : 8) << 8));
    out.flags = state::kSeenReply;
    return out;
}

// Source NAT to that address and port (id of a ping).
inline state::Flow snat(state::Flow f, const std::string& to, std::uint16_t port) {
    f.reply.dst = address(to);
    const bool icmp = net::is_icmp(f.key.proto);
    (icmp ? f.reply.sport : f.reply.dport) = port;
    return f;
}

inline state::Flow dnat(state::Flow f, const std::string& to, std::uint16_t port) {
    f.reply.src = address(to);
    if (!net::is_icmp(f.key.proto))
        f.reply.sport = port;
    return f;
}

} // namespace encsync::table::test
