// SPDX-License-Identifier: ISC
// A socket filter (socket(7), SO_ATTACH_FILTER) with which the kernel drops datagrams that no peer
// can have sent before they are queued. So a flood of them does not wake the process or fill the
// receive buffer.
//
//     const auto program = filter_program(peers, {.ipv6 = false, .nat = true});
//     setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, ...);   // replaces the one before, at once
//
// It passes a datagram from one of `sources` that is long enough for its type: on natport a marker
// (four zero bytes) and an IKE header, an ESP packet, or a keepalive of one byte (RFC 3948 section
// 2); on ikeport an IKE header. The source can be forged, so datagrams that pass are still checked.
//
// With `strict`, while there is a flood of datagrams in the name of a peer, IKE must also be of a
// version and an exchange that there is, and ESP of an SA of ours. That is only for sockets without
// GRO: a filter sees the first header of a series, so a forged datagram that GRO has put in front
// of a peer's would take that away.
//
// With `callers`, the header of an initial IKE request on ikeport (no SPI of ours yet) passes from
// any address, so that the log can name a peer whose address is not the configured one. After
// receiving one, set the filter without `callers` for a while.
#pragma once

#include "ipsec/link/socket.hpp"

#include <linux/filter.h>
#include <span>
#include <vector>

namespace encsync::link {

inline constexpr std::size_t kMarkerSize = 4;     // RFC 3948 section 2.2: zeros before IKE
inline constexpr std::size_t kIkeHeaderSize = 28; // RFC 7296 section 3.1
inline constexpr std::uint8_t kNatKeepalive = 0xff;

struct FilterOptions {
    bool ipv6 = false;
    bool nat = false; // the socket of natport
    bool callers = false, strict = false;
    std::span<const std::uint32_t> spis{}; // of our inbound SAs; strict only
};

// Of `sources`, only those of the socket's family matter. If there are none, nothing passes.
std::vector<sock_filter> filter_program(std::span<const Address> sources,
                                        const FilterOptions& options);

} // namespace encsync::link
