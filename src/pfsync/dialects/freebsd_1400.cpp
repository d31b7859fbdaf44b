// SPDX-License-Identifier: ISC
// FreeBSD 14, and 15 if configured to.
#include "pfsync/dialects/freebsd.hpp"

namespace encsync::pfsync {

namespace {

using namespace freebsd;

constexpr std::size_t kStateSize = 277;

namespace own {
inline constexpr std::size_t af = 232, proto = 233, direction = 234, state_flags = 235, log = 237,
                             timeout = 239, sync_flags = 240, updates = 241, qid = 242, pqid = 244,
                             dnpipe = 246, dnrpipe = 248, rtableid = 250, min_ttl = 254,
                             set_tos = 255, max_mss = 256, set_prio = 258, rt = 260,
                             rt_ifname = 261;
}
static_assert(own::rt_ifname + kIfnameSize == kStateSize);

constexpr Field kFields[] = {
    {"id", full::id, FieldKind::hex64},
    {"creatorid", full::creatorid, FieldKind::creatorid},
    {"ifname", full::ifname, FieldKind::ifname},
    {"af", own::af, FieldKind::family},
    {"proto", own::proto, FieldKind::u8},
    {"direction", own::direction, FieldKind::direction},
    {"wire", full::wire, FieldKind::key36, own::af},
    {"stack", full::stack, FieldKind::key36, own::af},
    {"src", full::src, FieldKind::peer},
    {"dst", full::dst, FieldKind::peer},
    {"creation", full::creation, FieldKind::u32},
    {"expire", full::expire, FieldKind::u32},
    {"timeout", own::timeout, FieldKind::timeout, kTimeoutMax},
    {"state_flags", own::state_flags, FieldKind::u16},
    {"packets", full::packets0, FieldKind::u64_pair},
    {"bytes", full::bytes0, FieldKind::u64_pair},
    {"rt", own::rt, FieldKind::u8},
    {"rt_addr", full::rt_addr, FieldKind::address, own::af},
    {"rt_ifname", own::rt_ifname, FieldKind::ifname},
    {"rule", full::rule, FieldKind::u32},
    {"anchor", full::anchor, FieldKind::u32},
    {"nat_rule", full::nat_rule, FieldKind::u32},
    {"rtableid", own::rtableid, FieldKind::i32},
    {"max_mss", own::max_mss, FieldKind::u16},
    {"log", own::log, FieldKind::u8},
    {"sync_flags", own::sync_flags, FieldKind::u8},
    {"updates", own::updates, FieldKind::u8},
    {"qid", own::qid, FieldKind::u16},
    {"pqid", own::pqid, FieldKind::u16},
    {"dnpipe", own::dnpipe, FieldKind::u16},
    {"dnrpipe", own::dnrpipe, FieldKind::u16},
    {"min_ttl", own::min_ttl, FieldKind::u8},
    {"set_tos", own::set_tos, FieldKind::u8},
    {"set_prio", own::set_prio, FieldKind::u8_pair},
};

constexpr auto kMessages = with_small(std::array{
    Message{13, "INS_1400", Kind::insert, kStateSize, kFields},
    Message{14, "UPD_1400", Kind::update, kStateSize, kFields},
    Message{6, "DEL", Kind::error, 0, {}, true}, // of FreeBSD 13 only
});
static_assert(fits(kMessages));

} // namespace

inline constexpr Layout kFreebsd1400Layout = [] {
    Layout l = kFront;
    l.size = kStateSize;
    l.wire_af = l.stack_af = own::af;
    l.wire_proto = l.stack_proto = own::proto;
    l.direction = own::direction;
    l.timeout = own::timeout;
    l.state_flags = own::state_flags;
    l.rtableids[0] = own::rtableid;
    l.names[1] = {own::rt_ifname, kIfnameSize};
    l.log = own::log;
    l.sync_flags = own::sync_flags;
    l.max_mss = own::max_mss;
    l.min_ttl = own::min_ttl;
    l.set_tos = own::set_tos;
    l.set_prio = own::set_prio;
    l.rt = own::rt;
    l.rt_ifname = {own::rt_ifname, kIfnameSize};
    l.qid = own::qid;
    l.pqid = own::pqid;
    l.dnpipe = own::dnpipe;
    l.dnrpipe = own::dnrpipe;
    return l;
}();

extern constexpr DialectTraits kFreebsd1400 = [] {
    DialectTraits t = traits_with<kFreebsd1400Layout>(kMessages);
    t.name = "freebsd-1400";
    t.releases = "FreeBSD 14";
    return t;
}();

} // namespace encsync::pfsync
