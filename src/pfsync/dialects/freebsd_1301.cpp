// SPDX-License-Identifier: ISC
// FreeBSD 9 to 13; later releases read it, and send it if configured to.
#include "pfsync/dialects/freebsd.hpp"

namespace encsync::pfsync {

namespace {

using namespace freebsd;

constexpr std::size_t kStateSize = 242;
constexpr std::uint8_t kTimeoutMaxBefore14 = 20;

namespace own {
inline constexpr std::size_t af = 232, proto = 233, direction = 234, log = 237,
                             state_flags = 238, // one byte
    timeout = 239, sync_flags = 240, updates = 241;
}
static_assert(own::updates + 1 == kStateSize);

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
    {"timeout", own::timeout, FieldKind::timeout, kTimeoutMaxBefore14},
    {"state_flags", own::state_flags, FieldKind::u8},
    {"packets", full::packets0, FieldKind::u64_pair},
    {"bytes", full::bytes0, FieldKind::u64_pair},
    {"rt_addr", full::rt_addr, FieldKind::address, own::af},
    {"rule", full::rule, FieldKind::u32},
    {"anchor", full::anchor, FieldKind::u32},
    {"nat_rule", full::nat_rule, FieldKind::u32},
    {"log", own::log, FieldKind::u8},
    {"sync_flags", own::sync_flags, FieldKind::u8},
    {"updates", own::updates, FieldKind::u8},
};

constexpr auto kMessages = with_small(std::array{
    Message{1, "INS_1301", Kind::insert, kStateSize, kFields},
    Message{3, "UPD_1301", Kind::update, kStateSize, kFields},
    Message{6, "DEL", Kind::remove, kStateSize, kFields},
});
static_assert(fits(kMessages));

} // namespace

inline constexpr Layout kFreebsd1301Layout = [] {
    Layout l = kFront;
    l.size = kStateSize;
    l.wire_af = l.stack_af = own::af;
    l.wire_proto = l.stack_proto = own::proto;
    l.direction = own::direction;
    l.timeout = own::timeout;
    l.state_flags = own::state_flags;
    l.wide_flags = false;
    l.rtableid_count = 0;
    l.timeout_max = kTimeoutMaxBefore14;
    l.sctp = Numbering::seen;
    l.log = own::log;
    l.sync_flags = own::sync_flags;
    return l;
}();

extern constexpr DialectTraits kFreebsd1301 = [] {
    DialectTraits t = traits_with<kFreebsd1301Layout>(kMessages);
    t.name = "freebsd-1301";
    t.releases = "FreeBSD before 14";
    t.ipv6 = false;
    return t;
}();

} // namespace encsync::pfsync
