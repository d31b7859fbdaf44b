// pfsync version 6 as OpenBSD speaks it: numbers, sizes and offsets, and nothing else.
// Source: OpenBSD sys/net/if_pfsync.h r1.65 and pfvar.h r1.543. All fields big-endian.
//
// Other dialects get a file like this one of their own (FreeBSD's version 5 gives numbers 13 to
// 16 other meanings, so a packet is always read by its version byte first).
#pragma once

#include <cstddef>
#include <cstdint>

namespace encsync::pfsync {

inline constexpr std::uint8_t kProtocol = 240; // IP protocol number
inline constexpr std::uint8_t kTtl = 255;      // sent with, and demanded

namespace openbsd {

inline constexpr std::uint8_t kVersion = 6;

enum class Action : std::uint8_t {
    clr = 0,
    oins = 1, // 1, 3, 11, 12 are deprecated: skipped by their length
    ins_ack = 2,
    oupd = 3,
    upd_c = 4,
    upd_req = 5,
    del = 6,
    del_c = 7,
    ins_f = 8,
    del_f = 9,
    bus = 10,
    otdb = 11,
    eof = 12,
    ins = 13,
    upd = 14,
    tdb = 15,
};

inline constexpr std::size_t kHeaderSize = 20, kSubheaderSize = 4;
inline constexpr std::size_t kStateSize = 264, kUpdCSize = 84, kIdSize = 12, kClrSize = 20,
                             kBusSize = 12, kTdbSize = 52;

namespace header {
inline constexpr std::size_t version = 0, length = 2, pfcksum = 4;
}
namespace subheader {
inline constexpr std::size_t action = 0, words = 1, count = 2; // words: message length / 4
}
namespace peer { // 32 bytes
inline constexpr std::size_t size = 32, scrub_flags = 0, scrub_ttl = 2, scrub_valid = 3,
                             scrub_ts_mod = 4, seqlo = 8, seqhi = 12, seqdiff = 16, max_win = 20,
                             mss = 22, state = 24, wscale = 25;
}
namespace key { // 40 bytes
inline constexpr std::size_t size = 40, addr0 = 0, addr1 = 16, port0 = 32, port1 = 34, rdomain = 36,
                             af = 38;
}
namespace full { // 264 bytes
inline constexpr std::size_t id = 0, ifname = 8, wire = 24, stack = 64, src = 104, dst = 136,
                             rt_addr = 168, rule = 184, anchor = 188, nat_rule = 192,
                             creation = 196, expire = 200, packets0 = 204, packets1 = 212,
                             bytes0 = 220, bytes1 = 228, creatorid = 236, rtableid0 = 240,
                             rtableid1 = 244, max_mss = 248, af = 250, proto = 251, direction = 252,
                             log = 253, rt = 254, timeout = 255, sync_flags = 256, updates = 257,
                             min_ttl = 258, set_tos = 259, state_flags = 260, set_prio = 262;
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
namespace bsd_sockaddr { // 28 bytes: sockaddr_in or sockaddr_in6 with BSD's length byte in front
inline constexpr std::size_t length = 0, family = 1, addr4 = 4, addr6 = 8, size4 = 16, size6 = 28;
}
namespace tdb { // 52 bytes
inline constexpr std::size_t spi = 0, sockaddr = 4, rpl = 32, bytes = 40, sproto = 48, updates = 49,
                             rdomain = 50;
}
inline constexpr std::size_t kIfnameSize = 16;

inline constexpr std::uint8_t kAfInet = 2, kAfInet6 = 24;
inline constexpr std::uint8_t kDirectionIn = 1, kDirectionOut = 2;
inline constexpr std::uint8_t kBusStart = 1, kBusEnd = 2;
inline constexpr std::uint32_t kNoRule = 0xffffffff;
inline constexpr std::uint16_t kFlagSloppy = 0x0002, kFlagNoSync = 0x0008, kFlagAck = 0x0010;
inline constexpr std::uint8_t kMaxPeerState = 12;

// Timeout indices (PFTM_*).
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
};
inline constexpr std::uint8_t kTimeoutMax = 20;

static_assert(full::set_prio + 2 == kStateSize && upd_c::state_flags + 3 == kUpdCSize);
static_assert(full::stack == full::wire + key::size && full::src == full::stack + key::size);
static_assert(full::dst == full::src + peer::size && tdb::rdomain + 2 == kTdbSize);

} // namespace openbsd
} // namespace encsync::pfsync
