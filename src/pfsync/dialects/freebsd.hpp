// SPDX-License-Identifier: ISC
// Private to this folder: pfsync version 5 as in all dialects of FreeBSD (and so pfSense and
// OPNsense). Source: FreeBSD sys/net/if_pfsync.h, pfvar.h and sys/netpfil/pf/if_pfsync.c. All
// fields big-endian; full states are not a multiple of 4 long.
//
// There are several sizes of full states, each with its own action numbers. ifconfig's `version`
// selects what a FreeBSD sends; it reads all that its release knows. The header version is 5 in all
// of them. There is no message length: an unknown action ends the packet.
#pragma once

#include "pfsync/common.hpp"
#include "pfsync/dialect.hpp"
#include "pfsync/read_state.hpp"
#include "pfsync/write_state.hpp"

#include <algorithm>

namespace encsync::pfsync::freebsd {

using namespace common;

inline constexpr std::uint8_t kVersion = 5;
inline constexpr std::size_t kTdbSize = 48;

namespace key { // 36 bytes: no rdomain and no family
inline constexpr std::size_t size = 36, addr0 = 0, addr1 = 16, port0 = 32, port1 = 34;
}
namespace full { // the first 232 bytes of every state
inline constexpr std::size_t id = 0, ifname = 8, wire = 24, stack = 60, src = 96, dst = 128,
                             rt_addr = 160, rule = 176, anchor = 180, nat_rule = 184,
                             creation = 188, expire = 192, packets0 = 196, packets1 = 204,
                             bytes0 = 212, bytes1 = 220, creatorid = 228, size = 232;
}
namespace tdb { // 48 bytes
using tdb_front::sockaddr, tdb_front::spi;
inline constexpr std::size_t rpl = 32, // four bytes
    bytes = 36, sproto = 44, updates = 45;
} // namespace tdb

inline constexpr std::uint8_t kAfInet6 = 28;
inline constexpr std::uint8_t kTimeoutMax = 25; // 20 to 24 are SCTP's: since 14

static_assert(full::stack == full::wire + key::size && full::src == full::stack + key::size);
static_assert(full::dst == full::src + peer::size && full::creatorid + 4 == full::size);
static_assert(tdb::updates + 3 == kTdbSize);

inline constexpr Field kUpdC[] = {
    {"id", upd_c::id, FieldKind::hex64},
    {"creatorid", upd_c::creatorid, FieldKind::creatorid},
    {"src", upd_c::src, FieldKind::peer},
    {"dst", upd_c::dst, FieldKind::peer},
    {"expire", upd_c::expire, FieldKind::u32},
    {"timeout", upd_c::timeout, FieldKind::timeout, kTimeoutMax},
};

inline constexpr Field kId[] = {
    {"id", id_only::id, FieldKind::hex64},
    {"creatorid", id_only::creatorid, FieldKind::hex32},
};

inline constexpr Field kClr[] = {
    {"ifname", clr::ifname, FieldKind::ifname},
    {"creatorid", clr::creatorid, FieldKind::creatorid},
};

inline constexpr Field kBus[] = {
    {"creatorid", bus::creatorid, FieldKind::hex32},
    {"endtime", bus::endtime, FieldKind::u32},
    {"status", bus::status, FieldKind::bus_status},
};

inline constexpr Field kTdb[] = {
    {"spi", tdb::spi, FieldKind::hex32},    {"sockaddr", tdb::sockaddr, FieldKind::sockaddr},
    {"rpl", tdb::rpl, FieldKind::u32},      {"bytes", tdb::bytes, FieldKind::u64},
    {"sproto", tdb::sproto, FieldKind::u8}, {"updates", tdb::updates, FieldKind::u8},
};

// Messages without a full state.
inline constexpr std::array kSmallMessages{
    Message{0, "CLR", Kind::clear, kClrSize, kClr},
    Message{2, "INS_ACK", Kind::insert_ack, kIdSize, kId},
    Message{4, "UPD_C", Kind::update_c, kUpdCSize, kUpdC},
    Message{5, "UPD_REQ", Kind::request, kIdSize, kId},
    Message{7, "DEL_C", Kind::remove_c, kIdSize, kId},
    Message{8, "INS_F", Kind::error, 0, {}, true},
    Message{9, "DEL_F", Kind::error, 0, {}, true},
    Message{10, "BUS", Kind::bulk, kBusSize, kBus},
    Message{11, "TDB", Kind::tdb, kTdbSize, kTdb},
    Message{12, "EOF", Kind::eof},
};

template<std::size_t N>
constexpr auto with_small(const std::array<Message, N>& full) {
    std::array<Message, N + kSmallMessages.size()> all{};
    std::ranges::copy(kSmallMessages, std::ranges::copy(full, all.begin()).out);
    return all;
}

// What the layouts have in common, as in FreeBSD since 14.
inline constexpr Layout kFront{
    .id = full::id,
    .ifname = full::ifname,
    .wire = full::wire,
    .stack = full::stack,
    .src = full::src,
    .dst = full::dst,
    .rule = full::rule,
    .anchor = full::anchor,
    .nat_rule = full::nat_rule,
    .creation = full::creation,
    .expire = full::expire,
    .creatorid = full::creatorid,
    .addr0 = key::addr0,
    .addr1 = key::addr1,
    .port0 = key::port0,
    .port1 = key::port1,
    .wide_flags = true,
    .rtableid_count = 1,
    .names = {{{full::ifname, kIfnameSize}}},
    .icmp = Layout::Icmp::id_twice,
    .af_inet6 = kAfInet6,
    .timeout_max = kTimeoutMax,
    .sctp = Numbering::association,
    .dccp = Numbering::seen,
    .rt_addr = full::rt_addr,
    .counters = full::packets0,
};

// A dialect adds its name and the releases that use it.
template<const Layout& L>
constexpr DialectTraits traits_with(std::span<const Message> messages) {
    return {
        .name = {},
        .system = "FreeBSD",
        .releases = {},
        .version = kVersion,
        .message_lengths = false,
        .ipv6 = true,
        .messages = messages,
        .actions = Actions(messages),
        .state = L,
        .tdb = {.size = kTdbSize,
                .rpl = tdb::rpl,
                .wide_rpl = false,
                .bytes = tdb::bytes,
                .sproto = tdb::sproto,
                .rdomain = 0},
        .dst_stale = DstStale::since_syn_sent,
        .copies_stale_dst = true,
        .bulk = {.retry = std::chrono::seconds(5),
                 .endtime = true,
                 .empty_start = true,
                 .restarts = true},
        .read_state = detail::read_state<L>,
        .write_state = detail::write_state<L>,
    };
}

} // namespace encsync::pfsync::freebsd
