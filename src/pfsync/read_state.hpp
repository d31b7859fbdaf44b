// SPDX-License-Identifier: ISC
// Private to this folder: reads a full state by its layout.
#pragma once

#include "net/protocol.hpp"
#include "pfsync/extension.hpp"
#include "pfsync/parse.hpp"
#include "pfsync/progress.hpp"

#include <cstring>

namespace encsync::pfsync {

namespace detail {

using namespace common;
using state::Family;
using state::Flow;
using state::Tuple;

inline constexpr std::uint8_t kIcmpEcho = 8, kIcmp6Echo = 128; // RFC 792, RFC 4443

// One of the two keys of a state; `source` is the index (0 or 1) of the source in it.
template<const Layout& L>
Fault read_key(const std::uint8_t* k, unsigned source, Family family, std::uint8_t proto,
               Tuple& out) {
    const std::uint8_t* addr[2] = {k + L.addr0, k + L.addr1};
    // pf exports the whole union, so the bytes after an IPv4 address are arbitrary.
    const std::size_t n = net::address_size(family);
    out = {};
    std::memcpy(out.src.bytes.data(), addr[source], n);
    std::memcpy(out.dst.bytes.data(), addr[source ^ 1], n);
    if (!net::has_identifiers(proto))
        return Fault::none;
    const std::uint16_t port[2] = {load_be<std::uint16_t>(k + L.port0),
                                   load_be<std::uint16_t>(k + L.port1)};
    out.sport = port[source];
    out.dport = port[source ^ 1];
    if (net::is_icmp(proto)) {
        std::uint16_t type = out.dport; // the code is not on the wire
        if constexpr (L.icmp == Layout::Icmp::id_twice)
            if (out.sport == out.dport)
                type = proto == IPPROTO_ICMP ? kIcmpEcho : kIcmp6Echo;
        if (type > 255)
            return Fault::bad_icmp_type;
        out.dport = static_cast<std::uint16_t>(type << 8);
    }
    return Fault::none;
}

// The conntrack status, as far as it follows from pf's two states.
inline std::uint8_t status_of(const Flow& flow, const Layout& layout) {
    using namespace state::tcp;
    const std::uint8_t proto = flow.key.proto;
    const bool phases = proto == IPPROTO_TCP || renumbers(layout, proto);
    std::uint8_t flags = 0;
    if (phases) {
        const auto open = [](std::uint8_t s) { return s >= kEstablished && s <= kTimeWait; };
        if (flow.dst_state >= kSynSent && flow.dst_state <= kTimeWait)
            flags |= state::kSeenReply;
        if (open(flow.src_state) && open(flow.dst_state))
            flags |= state::kAssured;
    } else {
        if (flow.dst_state >= state::datagram::kSingle)
            flags |= state::kSeenReply;
        if (flow.dst_state == state::datagram::kMultiple)
            flags |= state::kAssured;
    }
    return flags;
}

inline std::uint32_t read_tag(const std::uint8_t* p) {
    return p[peer::scrub_valid] == kScrubValid ? load_be<std::uint32_t>(p + peer::scrub_ts_mod) : 0;
}

inline void read_tail(const std::uint8_t* t, FullState& out) {
    using namespace extension;
    constexpr std::uint8_t kStatus = state::kSeenReply | state::kAssured | state::kSloppy;
    out.flow.mark = load_be<std::uint32_t>(t + tail::mark);
    out.flow.timeout = load_be<std::uint32_t>(t + tail::timeout);
    out.flow.key.zone = load_be<std::uint16_t>(t + tail::zone);
    out.live = (t[tail::flags] & tail::kLive) != 0;
    out.term = t[tail::flags] >> tail::kTermShift;
    out.elsewhere = (t[tail::status] & tail::kElsewhere) != 0;
    out.flow.flags =
        static_cast<std::uint8_t>((out.flow.flags & ~kStatus) | (t[tail::status] & kStatus));
}

inline Fault read_more(const std::uint8_t* t, FullState& out) {
    using namespace extension;
    state::Extras& extras = out.flow.extras;
    std::memcpy(extras.labels.data(), t + more::labels, extras.labels.size());
    const auto helper = state::Name::read(t + more::helper);
    if (!helper)
        return Fault::bad_name;
    extras.helper = *helper;
    extras.lifetime = load_be<std::uint32_t>(t + more::lifetime);
    out.expectations = t[more::expectations];
    if ((t[more::flags] & more::kReplyZone) != 0) {
        extras.reply_zone = load_be<std::uint16_t>(t + more::reply_zone);
        if ((*extras.reply_zone == 0) == (out.flow.key.zone == 0))
            return Fault::bad_zone;
    }
    const std::uint8_t* at = t + more::seq_adjust;
    for (state::SeqAdjust& adjust : extras.seq_adjust) {
        adjust.position = load_be<std::uint32_t>(at + more::adjust::position);
        adjust.before = load_be<std::uint32_t>(at + more::adjust::before);
        adjust.after = load_be<std::uint32_t>(at + more::adjust::after);
        at += more::adjust::size;
    }
    return Fault::none;
}

// One validator for all messages with peer blocks and a timeout, so that the same rules hold for
// each.
inline Fault check_progress(std::uint8_t src_state, std::uint8_t dst_state, std::uint8_t timeout,
                            std::uint8_t timeout_max) {
    if (src_state > kMaxPeerState || dst_state > kMaxPeerState)
        return Fault::bad_peer_state;
    if (timeout >= timeout_max)
        return Fault::bad_timeout;
    return Fault::none;
}

// The family of both keys. In version 6 the state has the same, and old senders leave the keys' 0;
// FreeBSD 15 has one for each side, which differ under af-to.
template<const Layout& L>
Fault read_family(const std::uint8_t* m, Family& out) {
    const std::uint8_t af = m[L.wire_af];
    if constexpr (L.key_af != 0) {
        const std::uint8_t wire = m[L.wire + L.key_af], stack = m[L.stack + L.key_af];
        if (wire != stack || (wire != 0 && wire != af))
            return Fault::bad_family;
    }
    if (m[L.stack_af] != af)
        return Fault::bad_family;
    if (af == kAfInet)
        out = Family::inet;
    else if (af == L.af_inet6)
        out = Family::inet6;
    else
        return Fault::bad_family;
    return Fault::none;
}

template<const Layout& L>
Fault read_state(Bytes message, FullState& out) {
    if (message.size() < L.size)
        return Fault::short_message;
    const std::uint8_t* m = message.data();

    const auto creatorid = load_be<std::uint32_t>(m + L.creatorid);
    if (creatorid == 0)
        return Fault::bad_creatorid;
    for (const Layout::Name& name : L.names)
        if (name.size != 0 && std::memchr(m + name.at, 0, name.size) == nullptr)
            return Fault::bad_ifname;
    const std::uint8_t direction = m[L.direction];
    if (direction != kDirectionIn && direction != kDirectionOut)
        return Fault::bad_direction;
    Family family{};
    if (const Fault fault = read_family<L>(m, family); fault != Fault::none)
        return fault;
    const std::uint8_t proto = m[L.wire_proto];
    if (m[L.stack_proto] != proto)
        return Fault::bad_protocol;
    out.src.bytes = message.subspan(L.src, peer::size);
    out.dst.bytes = message.subspan(L.dst, peer::size);
    if (const Fault fault =
            check_progress(out.src.state(), out.dst.state(), m[L.timeout], L.timeout_max);
        fault != Fault::none)
        return fault;

    // Incoming, the initiator's packet is first on the wire, and translated for the stack;
    // outgoing, it is the reverse, and the source is the second address.
    const bool in = direction == kDirectionIn;
    const unsigned source = in ? 0 : 1;
    Flow& flow = out.flow;
    Tuple translated;
    flow.key = {{}, 0, proto, family};
    if (const Fault fault =
            read_key<L>(m + (in ? L.wire : L.stack), source, family, proto, flow.key.orig);
        fault != Fault::none)
        return fault;
    if (const Fault fault =
            read_key<L>(m + (in ? L.stack : L.wire), source, family, proto, translated);
        fault != Fault::none)
        return fault;

    flow.reply = state::inverse({translated, 0, proto, family});
    flow.id = {load_be<std::uint64_t>(m + L.id), creatorid};
    flow.mark = 0;
    flow.timeout = load_be<std::uint32_t>(m + L.expire);
    flow.age = load_be<std::uint32_t>(m + L.creation);
    flow.src_state = flow_state(L, proto, out.src.state());
    flow.dst_state = flow_state(L, proto, out.dst.state());
    flow.flags = status_of(flow, L);
    const std::uint16_t state_flags =
        L.wide_flags ? load_be<std::uint16_t>(m + L.state_flags) : m[L.state_flags];
    if ((state_flags & kFlagSloppy) != 0)
        flow.flags |= state::kSloppy;
    if ((state_flags & kFlagNoSync) != 0)
        flow.flags |= state::kNoSync;
    out.wants_ack = (state_flags & kFlagAck) != 0;
    out.ifname = reinterpret_cast<const char*>(m + L.ifname); // the NUL was checked above
    out.timeout = m[L.timeout];
    out.outgoing = !in;

    out.has_tail = false;
    out.live = true;
    out.term = 0;
    out.elsewhere = false;
    out.expectations = 0;
    flow.extras = {};
    if constexpr (L.tail)
        if (message.size() >= L.size + extension::tail::size) {
            out.has_tail = true;
            read_tail(m + L.size, out);
            if (proto == IPPROTO_SCTP)
                flow.extras.verification_tags = {read_tag(m + L.src), read_tag(m + L.dst)};
            constexpr std::size_t more = L.size + extension::tail::size;
            if (message.size() >= more + extension::more::size)
                return read_more(m + more, out);
        }
    return Fault::none;
}

} // namespace detail
} // namespace encsync::pfsync
