// SPDX-License-Identifier: ISC
// FreeBSD 15. The wire and the stack side each have their own family and protocol (af-to).
#include "pfsync/dialects/freebsd.hpp"

namespace encsync::pfsync {

namespace {

using namespace freebsd;

constexpr std::size_t kStateSize = 360, kTagnameSize = 64;

namespace own {
inline constexpr std::size_t tagname = 232, rt_ifname = 296, orig_ifname = 312, rtableid = 328,
                             state_flags = 332, qid = 334, pqid = 336, dnpipe = 338, dnrpipe = 340,
                             max_mss = 342, wire_af = 344, stack_af = 345, rt_af = 346,
                             wire_proto = 347, stack_proto = 348, log = 349, timeout = 350,
                             direction = 351, rt = 352, min_ttl = 353, set_tos = 354,
                             set_prio = 355, spare = 357;
}
static_assert(own::spare + 3 == kStateSize);
static_assert(own::rt_ifname == own::tagname + kTagnameSize);
static_assert(own::rtableid == own::orig_ifname + kIfnameSize);

constexpr Field kFields[] = {
    {"id", full::id, FieldKind::hex64},
    {"creatorid", full::creatorid, FieldKind::creatorid},
    {"ifname", full::ifname, FieldKind::ifname},
    {"orig_ifname", own::orig_ifname, FieldKind::ifname},
    {"af", own::wire_af, FieldKind::family},
    {"proto", own::wire_proto, FieldKind::u8},
    {"wire_af", own::wire_af, FieldKind::family},
    {"stack_af", own::stack_af, FieldKind::family},
    {"wire_proto", own::wire_proto, FieldKind::u8},
    {"stack_proto", own::stack_proto, FieldKind::u8},
    {"direction", own::direction, FieldKind::direction},
    {"wire", full::wire, FieldKind::key36, own::wire_af},
    {"stack", full::stack, FieldKind::key36, own::stack_af},
    {"src", full::src, FieldKind::peer},
    {"dst", full::dst, FieldKind::peer},
    {"creation", full::creation, FieldKind::u32},
    {"expire", full::expire, FieldKind::u32},
    {"timeout", own::timeout, FieldKind::timeout, kTimeoutMax},
    {"state_flags", own::state_flags, FieldKind::u16},
    {"packets", full::packets0, FieldKind::u64_pair},
    {"bytes", full::bytes0, FieldKind::u64_pair},
    {"rt", own::rt, FieldKind::u8},
    {"rt_af", own::rt_af, FieldKind::route_family},
    {"rt_addr", full::rt_addr, FieldKind::address, own::rt_af},
    {"rt_ifname", own::rt_ifname, FieldKind::ifname},
    {"rule", full::rule, FieldKind::u32},
    {"anchor", full::anchor, FieldKind::u32},
    {"nat_rule", full::nat_rule, FieldKind::u32},
    {"rtableid", own::rtableid, FieldKind::i32},
    {"max_mss", own::max_mss, FieldKind::u16},
    {"log", own::log, FieldKind::u8},
    {"tagname", own::tagname, FieldKind::tag},
    {"qid", own::qid, FieldKind::u16},
    {"pqid", own::pqid, FieldKind::u16},
    {"dnpipe", own::dnpipe, FieldKind::u16},
    {"dnrpipe", own::dnrpipe, FieldKind::u16},
    {"min_ttl", own::min_ttl, FieldKind::u8},
    {"set_tos", own::set_tos, FieldKind::u8},
    {"set_prio", own::set_prio, FieldKind::u8_pair},
};

constexpr auto kMessages = with_small(std::array{
    Message{15, "INS_1500", Kind::insert, kStateSize, kFields},
    Message{16, "UPD_1500", Kind::update, kStateSize, kFields},
    Message{6, "DEL", Kind::error, 0, {}, true}, // of FreeBSD 13 only
});
static_assert(fits(kMessages));

} // namespace

inline constexpr Layout kFreebsd1500Layout = [] {
    Layout l = kFront;
    l.size = kStateSize;
    l.wire_af = own::wire_af;
    l.stack_af = own::stack_af;
    l.wire_proto = own::wire_proto;
    l.stack_proto = own::stack_proto;
    l.direction = own::direction;
    l.timeout = own::timeout;
    l.state_flags = own::state_flags;
    l.rtableids[0] = own::rtableid;
    l.names[1] = {own::tagname, kTagnameSize};
    l.names[2] = {own::rt_ifname, kIfnameSize};
    l.names[3] = {own::orig_ifname, kIfnameSize};
    l.orig_ifname = own::orig_ifname;
    l.icmp = Layout::Icmp::id_and_type;
    l.log = own::log;
    l.max_mss = own::max_mss;
    l.min_ttl = own::min_ttl;
    l.set_tos = own::set_tos;
    l.set_prio = own::set_prio;
    l.rt = own::rt;
    l.rt_af = own::rt_af;
    l.rt_ifname = {own::rt_ifname, kIfnameSize};
    l.tagname = {own::tagname, kTagnameSize};
    l.qid = own::qid;
    l.pqid = own::pqid;
    l.dnpipe = own::dnpipe;
    l.dnrpipe = own::dnrpipe;
    return l;
}();

extern constexpr DialectTraits kFreebsd1500 = [] {
    DialectTraits t = traits_with<kFreebsd1500Layout>(kMessages);
    t.name = "freebsd-1500";
    t.releases = "FreeBSD 15";
    return t;
}();

} // namespace encsync::pfsync
