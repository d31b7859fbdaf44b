// SPDX-License-Identifier: ISC
// What versions 5 and 6 of pfsync have in common: numbers, sizes and offsets. Source: OpenBSD
// sys/net/if_pfsync.h r1.65, FreeBSD sys/net/if_pfsync.h (13 to 15).
// All fields are big-endian, and nothing is aligned.
#pragma once

#include <cstddef>
#include <cstdint>

namespace encsync::pfsync {

inline constexpr std::uint8_t kTtl = 255; // of sent packets, and required in received ones

namespace common {

inline constexpr std::size_t kHeaderSize = 20, kSubheaderSize = 4;
inline constexpr std::size_t kUpdCSize = 84, kIdSize = 12, kClrSize = 20, kBusSize = 12;

namespace header {
inline constexpr std::size_t version = 0, length = 2, pfcksum = 4;
}
namespace subheader {
inline constexpr std::size_t action = 0, count = 2,
                             words = 1; // version 6: message length / 4; version 5: 0
}
namespace peer { // 32 bytes
inline constexpr std::size_t size = 32, scrub_flags = 0, scrub_ttl = 2, scrub_valid = 3,
                             scrub_ts_mod = 4, seqlo = 8, seqhi = 12, seqdiff = 16, max_win = 20,
                             mss = 22, state = 24, wscale = 25;
}
namespace upd_c { // 84 bytes
inline constexpr std::size_t id = 0, src = 8, dst = 40, creatorid = 72, expire = 76, timeout = 80,
                             state_flags = 81;
}
namespace id_only { // 12 bytes: UPD_REQ, DEL_C, INS_ACK
inline constexpr std::size_t id = 0, creatorid = 8;
}
namespace clr { // 20 bytes
inline constexpr std::size_t ifname = 0, creatorid = 16;
}
namespace bus { // 12 bytes
inline constexpr std::size_t creatorid = 0, endtime = 4, status = 8;
}
namespace tdb_front { // of both formats
inline constexpr std::size_t spi = 0, sockaddr = 4;
}
namespace bsd_sockaddr { // 28 bytes: sockaddr_in or sockaddr_in6 with BSD's length byte in front
inline constexpr std::size_t length = 0, family = 1, addr4 = 4, addr6 = 8, size4 = 16, size6 = 28;
}
inline constexpr std::size_t kIfnameSize = 16;

inline constexpr std::uint8_t kAfInet = 2;
inline constexpr std::uint8_t kDirectionIn = 1, kDirectionOut = 2;
inline constexpr std::uint8_t kBusStart = 1, kBusEnd = 2;
inline constexpr std::uint32_t kNoRule = 0xffffffff;
inline constexpr std::uint16_t kFlagSloppy = 0x0002, kFlagNoSync = 0x0008, kFlagAck = 0x0010;
inline constexpr std::uint8_t kMaxPeerState = 12; // of every protocol: FreeBSD's SCTP, too
inline constexpr std::uint8_t kScrubValid = 1;

// Timeout indices (PFTM_*). Those of SCTP are in FreeBSD since 14.
enum class Timeout : std::uint8_t {
    tcp_first = 0,
    tcp_opening = 1,
    tcp_established = 2,
    tcp_closing = 3,
    tcp_fin_wait = 4,
    tcp_closed = 5,
    udp_first = 6,
    udp_single = 7,
    udp_multiple = 8,
    icmp_first = 9,
    icmp_error = 10,
    other_first = 11,
    other_single = 12,
    other_multiple = 13,
    sctp_first = 20,
    sctp_opening = 21,
    sctp_established = 22,
    sctp_closing = 23,
    sctp_closed = 24,
};

static_assert(upd_c::state_flags + 3 == kUpdCSize && upd_c::dst == upd_c::src + peer::size);
static_assert(peer::wscale + 7 == peer::size && bus::status + 4 == kBusSize);

} // namespace common
} // namespace encsync::pfsync
