// SPDX-License-Identifier: ISC
// The inner IP header of packets in the tunnel, and how much fits after it. In transport mode there
// is none on the wire, but the receiver is still given one.
#pragma once

#include "ipsec/esp/sa.hpp"
#include "sync/link.hpp"
#include "util/bytes.hpp"

#include <cstddef>
#include <cstdint>

namespace encsync::link {

// Below it kMinRoom bytes would not fit (see sync/link.hpp).
inline constexpr std::size_t kMinMtu = 640;
// The MTU that every path must carry: for IPv6 by RFC 8200 section 5, for IPv4 what encsync needs.
constexpr std::uint16_t path_floor(bool outer_ipv6) {
    return outer_ipv6 ? 1280 : kMinMtu;
}

constexpr std::size_t ip_header_size(bool ipv6) {
    return ipv6 ? 40 : 20;
}

// The largest UDP payload that leaves unfragmented over a path of this MTU.
constexpr std::size_t max_datagram(std::size_t mtu, bool outer_ipv6) {
    const std::size_t headers = ip_header_size(outer_ipv6) + 8;
    return mtu > headers ? mtu - headers : 0;
}
// The largest pfsync packet (without inner IP header) that fits into that; 0 if none.
constexpr std::size_t max_payload(std::size_t mtu, bool outer_ipv6, bool inner_ipv6,
                                  bool transport = false) {
    const std::size_t inner = esp::max_inner_size(max_datagram(mtu, outer_ipv6));
    const std::size_t header = transport ? 0 : ip_header_size(inner_ipv6);
    return inner > header ? inner - header : 0;
}

static_assert(max_payload(kMinMtu, true, true) >= sync::kMinRoom);

// Writes the header of a packet with `payload_size` bytes behind it, as pfsync sends it
// (pfsync(4)): protocol 240, TTL 255, low delay; DF (and so no id, RFC 6864).
void write_inner_header(std::uint8_t* at, const net::Address& src, const net::Address& dst,
                        std::size_t payload_size);

// Without the traffic flow confidentiality padding that may follow an inner packet in tunnel mode
// (RFC 4303 section 2.7). A packet whose length field is invalid is returned unchanged: the policy
// refuses it with a reason.
Bytes without_padding(Bytes inner);

} // namespace encsync::link
