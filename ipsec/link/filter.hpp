// SPDX-License-Identifier: ISC
// A socket filter (socket(7), SO_ATTACH_FILTER) that leaves strangers to the kernel: what no peer
// can have sent is dropped before it is queued, so a flood of it wakes nobody and takes no place
// in the receive buffer.
//
//     const auto program = filter_program(peers, ipv6, nat, false);
//     setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, ...);   // replaces the one before, at once
//
// It passes a datagram from one of `sources` that is long enough to be what it looks like: on
// natport a marker (four zero bytes) and an IKE header, an ESP packet, or a keepalive of one byte
// (RFC 3948 section 2); on ikeport an IKE header. The source can be forged, so what passes is
// still checked.
//
// With `callers`, the header of what begins a negotiation on ikeport (no SPI of ours yet) passes
// from anywhere, so that the log can name a peer whose address is not the configured one. Whoever
// receives one is to set the filter without, for a while.
#pragma once

#include "ipsec/link/socket.hpp"

#include <linux/filter.h>
#include <span>
#include <vector>

namespace encsync::link {

inline constexpr std::size_t kMarkerSize = 4;     // RFC 3948 section 2.2: zeros before IKE
inline constexpr std::size_t kIkeHeaderSize = 28; // RFC 7296 section 3.1
inline constexpr std::uint8_t kNatKeepalive = 0xff;

// `sources`: those of the socket's own family count. None: nothing passes.
std::vector<sock_filter> filter_program(std::span<const Address> sources, bool ipv6, bool nat,
                                        bool callers = false);

} // namespace encsync::link
