// SPDX-License-Identifier: ISC
// pfsync version 6 as implemented by OpenBSD: only numbers, sizes and offsets. Source: OpenBSD
// sys/net/if_pfsync.h r1.65 and pfvar.h r1.543. All fields big-endian.
#pragma once

#include "pfsync/common.hpp"

namespace encsync::pfsync::openbsd {

using namespace common;

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

inline constexpr std::size_t kStateSize = 264, kTdbSize = 52;

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
namespace tdb { // 52 bytes
using tdb_front::sockaddr, tdb_front::spi;
inline constexpr std::size_t rpl = 32, bytes = 40, sproto = 48, updates = 49, rdomain = 50;
} // namespace tdb

inline constexpr std::uint8_t kAfInet6 = 24;
inline constexpr std::uint8_t kTimeoutMax = 20;

static_assert(full::set_prio + 2 == kStateSize && tdb::rdomain + 2 == kTdbSize);
static_assert(full::stack == full::wire + key::size && full::src == full::stack + key::size);
static_assert(full::dst == full::src + peer::size);

} // namespace encsync::pfsync::openbsd
