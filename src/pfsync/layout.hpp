// SPDX-License-Identifier: ISC
// Private to the room: what reading and writing a full state need to know of each layout. One
// template does all of them, and these numbers are constants in it.
#pragma once

#include "pfsync/wire.hpp"

namespace encsync::pfsync {

struct Layout {
    struct Name { // NUL-terminated within its bytes; size 0: none
        std::size_t at = 0, size = 0;
    };
    // FreeBSD's before 15 put an ICMP id into both ports and know no types.
    enum class Icmp : std::uint8_t { id_and_type, id_twice };

    Dialect dialect;
    std::size_t size;
    // the front: as far as `creatorid` in the same order everywhere
    std::size_t id, ifname, wire, stack, src, dst, rule, anchor, nat_rule, creation, expire,
        creatorid;
    // in a key; the same everywhere, but for the family
    std::size_t addr0, addr1, port0, port1;
    std::size_t key_af; // 0: none in keys
    // Where wire and stack side have one of each; the same offset twice where they share it.
    std::size_t wire_af, stack_af, wire_proto, stack_proto;
    std::size_t direction, timeout, state_flags;
    bool wide_flags; // two bytes, or one
    std::size_t rtableids[2];
    std::size_t rtableid_count;
    Name names[4];           // ifname among them
    std::size_t orig_ifname; // 0: none
    Icmp icmp;
    std::uint8_t af_inet6, timeout_max;
};

inline constexpr Layout kOpenbsdLayout{
    .dialect = Dialect::openbsd,
    .size = openbsd::kStateSize,
    .id = openbsd::full::id,
    .ifname = openbsd::full::ifname,
    .wire = openbsd::full::wire,
    .stack = openbsd::full::stack,
    .src = openbsd::full::src,
    .dst = openbsd::full::dst,
    .rule = openbsd::full::rule,
    .anchor = openbsd::full::anchor,
    .nat_rule = openbsd::full::nat_rule,
    .creation = openbsd::full::creation,
    .expire = openbsd::full::expire,
    .creatorid = openbsd::full::creatorid,
    .addr0 = openbsd::key::addr0,
    .addr1 = openbsd::key::addr1,
    .port0 = openbsd::key::port0,
    .port1 = openbsd::key::port1,
    .key_af = openbsd::key::af,
    .wire_af = openbsd::full::af,
    .stack_af = openbsd::full::af,
    .wire_proto = openbsd::full::proto,
    .stack_proto = openbsd::full::proto,
    .direction = openbsd::full::direction,
    .timeout = openbsd::full::timeout,
    .state_flags = openbsd::full::state_flags,
    .wide_flags = true,
    .rtableids = {openbsd::full::rtableid0, openbsd::full::rtableid1},
    .rtableid_count = 2,
    .names = {{openbsd::full::ifname, common::kIfnameSize}},
    .orig_ifname = 0,
    .icmp = Layout::Icmp::id_and_type,
    .af_inet6 = openbsd::kAfInet6,
    .timeout_max = openbsd::kTimeoutMax,
};

inline constexpr Layout kFreebsd1301Layout{
    .dialect = Dialect::freebsd1301,
    .size = freebsd::kState1301Size,
    .id = freebsd::full::id,
    .ifname = freebsd::full::ifname,
    .wire = freebsd::full::wire,
    .stack = freebsd::full::stack,
    .src = freebsd::full::src,
    .dst = freebsd::full::dst,
    .rule = freebsd::full::rule,
    .anchor = freebsd::full::anchor,
    .nat_rule = freebsd::full::nat_rule,
    .creation = freebsd::full::creation,
    .expire = freebsd::full::expire,
    .creatorid = freebsd::full::creatorid,
    .addr0 = freebsd::key::addr0,
    .addr1 = freebsd::key::addr1,
    .port0 = freebsd::key::port0,
    .port1 = freebsd::key::port1,
    .key_af = 0,
    .wire_af = freebsd::full1301::af,
    .stack_af = freebsd::full1301::af,
    .wire_proto = freebsd::full1301::proto,
    .stack_proto = freebsd::full1301::proto,
    .direction = freebsd::full1301::direction,
    .timeout = freebsd::full1301::timeout,
    .state_flags = freebsd::full1301::state_flags,
    .wide_flags = false,
    .rtableids = {},
    .rtableid_count = 0,
    .names = {{freebsd::full::ifname, common::kIfnameSize}},
    .orig_ifname = 0,
    .icmp = Layout::Icmp::id_twice,
    .af_inet6 = freebsd::kAfInet6,
    .timeout_max = freebsd::kTimeoutMax1301,
};

inline constexpr Layout kFreebsd1400Layout = [] {
    Layout l = kFreebsd1301Layout;
    l.dialect = Dialect::freebsd1400;
    l.size = freebsd::kState1400Size;
    l.wire_af = l.stack_af = freebsd::full1400::af;
    l.wire_proto = l.stack_proto = freebsd::full1400::proto;
    l.direction = freebsd::full1400::direction;
    l.timeout = freebsd::full1400::timeout;
    l.state_flags = freebsd::full1400::state_flags;
    l.wide_flags = true;
    l.rtableids[0] = freebsd::full1400::rtableid;
    l.rtableid_count = 1;
    l.names[1] = {freebsd::full1400::rt_ifname, common::kIfnameSize};
    l.timeout_max = freebsd::kTimeoutMax;
    return l;
}();

inline constexpr Layout kFreebsd1500Layout = [] {
    Layout l = kFreebsd1301Layout;
    l.dialect = Dialect::freebsd1500;
    l.size = freebsd::kState1500Size;
    l.wire_af = freebsd::full1500::wire_af;
    l.stack_af = freebsd::full1500::stack_af;
    l.wire_proto = freebsd::full1500::wire_proto;
    l.stack_proto = freebsd::full1500::stack_proto;
    l.direction = freebsd::full1500::direction;
    l.timeout = freebsd::full1500::timeout;
    l.state_flags = freebsd::full1500::state_flags;
    l.wide_flags = true;
    l.rtableids[0] = freebsd::full1500::rtableid;
    l.rtableid_count = 1;
    l.names[1] = {freebsd::full1500::tagname, freebsd::kTagnameSize};
    l.names[2] = {freebsd::full1500::rt_ifname, common::kIfnameSize};
    l.names[3] = {freebsd::full1500::orig_ifname, common::kIfnameSize};
    l.orig_ifname = freebsd::full1500::orig_ifname;
    l.icmp = Layout::Icmp::id_and_type;
    l.timeout_max = freebsd::kTimeoutMax;
    return l;
}();

// PFTM_MAX of the releases that speak a dialect.
constexpr std::uint8_t timeout_max(Dialect d) {
    switch (d) {
    case Dialect::openbsd:
        break;
    case Dialect::freebsd1301:
        return kFreebsd1301Layout.timeout_max;
    case Dialect::freebsd1400:
        return kFreebsd1400Layout.timeout_max;
    case Dialect::freebsd1500:
        return kFreebsd1500Layout.timeout_max;
    }
    return kOpenbsdLayout.timeout_max;
}

} // namespace encsync::pfsync
