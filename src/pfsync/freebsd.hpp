// SPDX-License-Identifier: ISC
// pfsync version 5 as FreeBSD 13, 14 and 15 speak it (and with them pfSense and OPNsense):
// numbers, sizes and offsets, and nothing else. Source: FreeBSD sys/net/if_pfsync.h, pfvar.h and
// sys/netpfil/pf/if_pfsync.c. All fields big-endian; full states are not a multiple of 4 long.
//
// A full state comes in three sizes, each with action numbers of its own. What a FreeBSD sends is
// chosen with ifconfig's `version`; it reads all that its release knows. The header says 5 in
// all of them. There is no message length: an unknown action ends the packet.
#pragma once

#include "pfsync/common.hpp"

namespace encsync::pfsync::freebsd {

using namespace common;

inline constexpr std::uint8_t kVersion = 5;

enum class Action : std::uint8_t {
    clr = 0,
    ins_1301 = 1,
    ins_ack = 2,
    upd_1301 = 3,
    upd_c = 4,
    upd_req = 5,
    del = 6, // a state of 1301; since 14 an error
    del_c = 7,
    ins_f = 8, // 8 and 9 were never made: an error
    del_f = 9,
    bus = 10,
    tdb = 11,
    eof = 12, // no body; ends the packet
    ins_1400 = 13,
    upd_1400 = 14,
    ins_1500 = 15,
    upd_1500 = 16,
};

inline constexpr std::size_t kState1301Size = 242, kState1400Size = 277, kState1500Size = 360,
                             kTdbSize = 48;

namespace key { // 36 bytes: no rdomain and no family
inline constexpr std::size_t size = 36, addr0 = 0, addr1 = 16, port0 = 32, port1 = 34;
}
namespace full { // the first 232 bytes of all three
inline constexpr std::size_t id = 0, ifname = 8, wire = 24, stack = 60, src = 96, dst = 128,
                             rt_addr = 160, rule = 176, anchor = 180, nat_rule = 184,
                             creation = 188, expire = 192, packets0 = 196, packets1 = 204,
                             bytes0 = 212, bytes1 = 220, creatorid = 228, size = 232;
}
namespace full1301 { // the rest, 242 bytes in all
inline constexpr std::size_t af = 232, proto = 233, direction = 234, log = 237,
                             state_flags = 238, // one byte
    timeout = 239, sync_flags = 240, updates = 241;
}
namespace full1400 { // 277
inline constexpr std::size_t af = 232, proto = 233, direction = 234, state_flags = 235, log = 237,
                             timeout = 239, sync_flags = 240, updates = 241, qid = 242, pqid = 244,
                             dnpipe = 246, dnrpipe = 248, rtableid = 250, min_ttl = 254,
                             set_tos = 255, max_mss = 256, set_prio = 258, rt = 260,
                             rt_ifname = 261;
}
namespace full1500 { // 360
inline constexpr std::size_t tagname = 232, rt_ifname = 296, orig_ifname = 312, rtableid = 328,
                             state_flags = 332, qid = 334, pqid = 336, dnpipe = 338, dnrpipe = 340,
                             max_mss = 342, wire_af = 344, stack_af = 345, rt_af = 346,
                             wire_proto = 347, stack_proto = 348, log = 349, timeout = 350,
                             direction = 351, rt = 352, min_ttl = 353, set_tos = 354,
                             set_prio = 355, spare = 357;
}
inline constexpr std::size_t kTagnameSize = 64;

namespace tdb {                                               // 48 bytes
inline constexpr std::size_t spi = 0, sockaddr = 4, rpl = 32, // four bytes
    bytes = 36, sproto = 44, updates = 45;
}

inline constexpr std::uint8_t kAfInet6 = 28;
inline constexpr std::uint8_t kTimeoutMax1301 = 20, kTimeoutMax = 25; // 20 to 24 are SCTP's

// What pf keeps of an SCTP association's side (netinet/sctp.h). The states of its end are above
// kMaxPeerState: FreeBSD refuses its own messages that carry one.
namespace sctp {
inline constexpr std::uint8_t kClosed = 0x00, kCookieWait = 0x02, kCookieEchoed = 0x04,
                              kEstablished = 0x08;
}

static_assert(full::stack == full::wire + key::size && full::src == full::stack + key::size);
static_assert(full::dst == full::src + peer::size && full::creatorid + 4 == full::size);
static_assert(full1301::updates + 1 == kState1301Size);
static_assert(full1400::rt_ifname + kIfnameSize == kState1400Size);
static_assert(full1500::spare + 3 == kState1500Size);
static_assert(full1500::rt_ifname == full1500::tagname + kTagnameSize);
static_assert(full1500::rtableid == full1500::orig_ifname + kIfnameSize);
static_assert(tdb::updates + 3 == kTdbSize);

} // namespace encsync::pfsync::freebsd
