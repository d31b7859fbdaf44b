// SPDX-License-Identifier: ISC
// Version 6 as implemented by OpenBSD, and by encsync.
#include "pfsync/dialects/openbsd.hpp"

#include "pfsync/dialect.hpp"
#include "pfsync/extension.hpp"
#include "pfsync/read_state.hpp"
#include "pfsync/write_state.hpp"

namespace encsync::pfsync {

namespace {

using namespace openbsd;

constexpr Field kFull[] = {
    {"id", full::id, FieldKind::hex64},
    {"creatorid", full::creatorid, FieldKind::creatorid},
    {"ifname", full::ifname, FieldKind::ifname},
    {"af", full::af, FieldKind::family},
    {"proto", full::proto, FieldKind::u8},
    {"direction", full::direction, FieldKind::direction},
    {"wire", full::wire, FieldKind::key40, full::af},
    {"stack", full::stack, FieldKind::key40, full::af},
    {"src", full::src, FieldKind::peer},
    {"dst", full::dst, FieldKind::peer},
    {"creation", full::creation, FieldKind::u32},
    {"expire", full::expire, FieldKind::u32},
    {"timeout", full::timeout, FieldKind::timeout, kTimeoutMax},
    {"state_flags", full::state_flags, FieldKind::u16},
    {"packets", full::packets0, FieldKind::u64_pair},
    {"bytes", full::bytes0, FieldKind::u64_pair},
    {"rt", full::rt, FieldKind::u8},
    {"rt_addr", full::rt_addr, FieldKind::address, full::af},
    {"rule", full::rule, FieldKind::u32},
    {"anchor", full::anchor, FieldKind::u32},
    {"nat_rule", full::nat_rule, FieldKind::u32},
    {"rtableid", full::rtableid0, FieldKind::i32_pair},
    {"max_mss", full::max_mss, FieldKind::u16},
    {"log", full::log, FieldKind::u8},
    {"sync_flags", full::sync_flags, FieldKind::u8},
    {"updates", full::updates, FieldKind::u8},
    {"min_ttl", full::min_ttl, FieldKind::u8},
    {"set_tos", full::set_tos, FieldKind::u8},
    {"set_prio", full::set_prio, FieldKind::u8_pair},
    {"tail", kStateSize, FieldKind::extension_tail, extension::tail::size},
    {"more", kStateSize + extension::tail::size, FieldKind::extension_tail, extension::more::size},
};

constexpr Field kUpdC[] = {
    {"id", upd_c::id, FieldKind::hex64},
    {"creatorid", upd_c::creatorid, FieldKind::creatorid},
    {"src", upd_c::src, FieldKind::peer},
    {"dst", upd_c::dst, FieldKind::peer},
    {"expire", upd_c::expire, FieldKind::u32},
    {"timeout", upd_c::timeout, FieldKind::timeout, kTimeoutMax},
    {"state_flags", upd_c::state_flags, FieldKind::u8},
};

constexpr Field kId[] = {
    {"id", id_only::id, FieldKind::hex64},
    {"creatorid", id_only::creatorid, FieldKind::hex32},
};

constexpr Field kDelC[] = {
    {"id", id_only::id, FieldKind::hex64},
    {"creatorid", id_only::creatorid, FieldKind::hex32},
    {"tail", kIdSize, FieldKind::extension_tail, extension::removal::size},
};

constexpr Field kClr[] = {
    {"ifname", clr::ifname, FieldKind::ifname},
    {"creatorid", clr::creatorid, FieldKind::creatorid},
};

constexpr Field kBus[] = {
    {"creatorid", bus::creatorid, FieldKind::hex32},
    {"endtime", bus::endtime, FieldKind::u32},
    {"status", bus::status, FieldKind::bus_status},
};

constexpr Field kTdb[] = {
    {"spi", tdb::spi, FieldKind::hex32},       {"sockaddr", tdb::sockaddr, FieldKind::sockaddr},
    {"rpl", tdb::rpl, FieldKind::u64},         {"bytes", tdb::bytes, FieldKind::u64},
    {"sproto", tdb::sproto, FieldKind::u8},    {"updates", tdb::updates, FieldKind::u8},
    {"rdomain", tdb::rdomain, FieldKind::u16},
};

// The format of 2010, 48 bytes, has a 32-bit replay counter.
constexpr Field kOldTdb[] = {{"spi", 0, FieldKind::hex32},   {"sockaddr", 4, FieldKind::sockaddr},
                             {"rpl", 32, FieldKind::u32},    {"bytes", 36, FieldKind::u64},
                             {"sproto", 44, FieldKind::u8},  {"updates", 45, FieldKind::u8},
                             {"rdomain", 46, FieldKind::u16}};

constexpr Message kMessages[] = {
    {0, "CLR", Kind::clear, kClrSize, kClr},        {1, "OINS", Kind::unknown, 0, {}, true},
    {2, "INS_ACK", Kind::insert_ack, kIdSize, kId}, {3, "OUPD", Kind::unknown, 0, {}, true},
    {4, "UPD_C", Kind::update_c, kUpdCSize, kUpdC}, {5, "UPD_REQ", Kind::request, kIdSize, kId},
    {6, "DEL", Kind::remove, kStateSize, kFull},    {7, "DEL_C", Kind::remove_c, kIdSize, kDelC},
    {8, "INS_F", Kind::unknown, 0, {}, true},       {9, "DEL_F", Kind::unknown, 0, {}, true},
    {10, "BUS", Kind::bulk, kBusSize, kBus},        {11, "OTDB", Kind::unknown, 48, kOldTdb, true},
    {12, "EOF", Kind::unknown, 0, {}, true},        {13, "INS", Kind::insert, kStateSize, kFull},
    {14, "UPD", Kind::update, kStateSize, kFull},   {15, "TDB", Kind::tdb, kTdbSize, kTdb},
};
static_assert(fits(kMessages));

} // namespace

inline constexpr Layout kOpenbsdLayout{
    .size = kStateSize,
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
    .key_af = key::af,
    .wire_af = full::af,
    .stack_af = full::af,
    .wire_proto = full::proto,
    .stack_proto = full::proto,
    .direction = full::direction,
    .timeout = full::timeout,
    .state_flags = full::state_flags,
    .wide_flags = true,
    .rtableids = {full::rtableid0, full::rtableid1},
    .rtableid_count = 2,
    .names = {{{full::ifname, kIfnameSize}}},
    .icmp = Layout::Icmp::id_and_type,
    .af_inet6 = kAfInet6,
    .timeout_max = kTimeoutMax,
    .sctp = Numbering::phases,
    .dccp = Numbering::phases,
    .tail = true,
    .rt_addr = full::rt_addr,
    .counters = full::packets0,
    .log = full::log,
    .sync_flags = full::sync_flags,
    .max_mss = full::max_mss,
    .min_ttl = full::min_ttl,
    .set_tos = full::set_tos,
    .set_prio = full::set_prio,
    .rt = full::rt,
    .key_rdomain = key::rdomain,
};

extern constexpr DialectTraits kOpenbsd{
    .name = "openbsd",
    .system = "OpenBSD",
    .releases = "OpenBSD",
    .version = kVersion,
    .message_lengths = true,
    .ipv6 = false,
    .messages = kMessages,
    .actions = Actions(kMessages),
    .state = kOpenbsdLayout,
    .tdb = {.size = kTdbSize,
            .rpl = tdb::rpl,
            .wide_rpl = true,
            .bytes = tdb::bytes,
            .sproto = tdb::sproto,
            .rdomain = tdb::rdomain},
    .dst_stale = DstStale::equal_states,
    .copies_stale_dst = false,
    .bulk = {.retry = std::chrono::seconds(2),
             .endtime = false,
             // Itself it sends the end alone, which its own requests ignore (if_pfsync.c,
             // pfsync_bulk_req_evt()): it would ask 12 times and stay demoted meanwhile.
             .empty_start = true,
             .restarts = false},
    .read_state = detail::read_state<kOpenbsdLayout>,
    .write_state = detail::write_state<kOpenbsdLayout>,
};

} // namespace encsync::pfsync
