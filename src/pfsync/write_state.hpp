// SPDX-License-Identifier: ISC
// Private to this folder: writes a full state by its layout.
#pragma once

#include "net/protocol.hpp"
#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"
#include "pfsync/progress.hpp"

#include <cassert>
#include <cstring>

namespace encsync::pfsync {

namespace detail {

using namespace common;
using state::Family;
using state::Flow;
using state::Tuple;

// One of the two keys; `source` is the index (0 or 1) for the source.
template<const Layout& L>
void write_key(std::uint8_t* k, const Tuple& tuple, unsigned source, const state::Key& of) {
    const std::size_t n = net::address_size(of.family);
    std::memcpy(k + (source == 0 ? L.addr0 : L.addr1), tuple.src.bytes.data(), n);
    std::memcpy(k + (source == 0 ? L.addr1 : L.addr0), tuple.dst.bytes.data(), n);
    std::uint16_t dport = tuple.dport;
    if (net::is_icmp(of.proto))
        dport = L.icmp == Layout::Icmp::id_twice ? tuple.sport
                                                 : static_cast<std::uint16_t>(tuple.dport >> 8);
    store_be(k + (source == 0 ? L.port0 : L.port1), tuple.sport);
    store_be(k + (source == 0 ? L.port1 : L.port0), dport);
    if constexpr (L.key_af != 0)
        k[L.key_af] = of.family == Family::inet ? kAfInet : L.af_inet6;
}

inline void write_peer(std::uint8_t* p, const Layout& layout, std::uint8_t proto,
                       std::uint8_t state, Bytes as_received) {
    assert(as_received.empty() || as_received.size() == peer::size);
    if (as_received.size() == peer::size)
        std::memcpy(p, as_received.data(), peer::size);
    p[peer::state] = wire_state(layout, proto, state);
    // A peer that tracks associations refuses a state without this block; it learns a verification
    // tag of 0 from the next packet.
    if (proto == IPPROTO_SCTP && layout.sctp == Numbering::association)
        p[peer::scrub_valid] = kScrubValid;
}

// At the offset where FreeBSD's pf has it. OpenBSD's pf does not track SCTP.
inline void write_tag(std::uint8_t* p, std::uint32_t verification_tag) {
    if (verification_tag == 0)
        return;
    p[peer::scrub_valid] = kScrubValid;
    store_be(p + peer::scrub_ts_mod, verification_tag);
}

inline void write_tail(std::uint8_t* t, const Flow& flow, const StateOptions& options) {
    using namespace extension;
    store_be(t + tail::mark, flow.mark);
    store_be(t + tail::timeout, flow.timeout);
    store_be(t + tail::zone, flow.key.zone);
    t[tail::flags] = static_cast<std::uint8_t>(
        (options.term & tail::kTermMask) << tail::kTermShift | (options.live ? tail::kLive : 0));
    t[tail::status] = static_cast<std::uint8_t>(
        (flow.flags & (state::kSeenReply | state::kAssured | state::kSloppy)) |
        (options.elsewhere ? tail::kElsewhere : 0));
}

inline void write_more(std::uint8_t* t, const state::Extras& extras, std::uint8_t expectations) {
    using namespace extension;
    std::memcpy(t + more::labels, extras.labels.data(), extras.labels.size());
    std::memcpy(t + more::helper, extras.helper.padded().data(), state::Name::kSize);
    store_be(t + more::lifetime, extras.lifetime);
    t[more::expectations] = expectations;
    if (extras.reply_zone) {
        t[more::flags] = more::kReplyZone;
        store_be(t + more::reply_zone, *extras.reply_zone);
    }
    std::uint8_t* at = t + more::seq_adjust;
    for (const state::SeqAdjust& adjust : extras.seq_adjust) {
        store_be(at + more::adjust::position, adjust.position);
        store_be(at + more::adjust::before, adjust.before);
        store_be(at + more::adjust::after, adjust.after);
        at += more::adjust::size;
    }
}

template<const Layout& L>
void write_state(std::uint8_t* m, const Flow& flow, const StateOptions& options) {
    // For pf, a flow with source NAT only was translated when outgoing; one with destination NAT,
    // when incoming.
    const state::Key& k = flow.key;
    const Tuple translated = state::inverse({flow.reply, k.zone, k.proto, k.family});
    const bool out = (has_snat(flow) || options.outgoing) && !has_dnat(flow);
    const unsigned source = out ? 1 : 0;
    write_key<L>(m + (out ? L.stack : L.wire), k.orig, source, k);
    write_key<L>(m + (out ? L.wire : L.stack), translated, source, k);
    m[L.direction] = out ? kDirectionOut : kDirectionIn;
    m[L.wire_af] = m[L.stack_af] = k.family == Family::inet ? kAfInet : L.af_inet6;
    m[L.wire_proto] = m[L.stack_proto] = k.proto;

    store_be(m + L.id, flow.id.id);
    store_be(m + L.creatorid, flow.id.creatorid);
    std::memcpy(m + L.ifname, "all", 4); // not bound to an interface
    if constexpr (L.orig_ifname != 0)
        std::memcpy(m + L.orig_ifname, "all", 4);
    write_peer(m + L.src, L, k.proto, flow.src_state, options.src);
    write_peer(m + L.dst, L, k.proto, flow.dst_state, options.dst);
    store_be(m + L.rule, kNoRule);
    store_be(m + L.anchor, kNoRule);
    store_be(m + L.nat_rule, kNoRule);
    store_be(m + L.creation, flow.age);
    store_be(m + L.expire, flow.timeout);
    for (std::size_t n = 0; n < L.rtableid_count; n++)
        store_be(m + L.rtableids[n], std::uint32_t{0xffffffff}); // -1: none
    m[L.timeout] = static_cast<std::uint8_t>(timeout_index(L, flow));

    // With windows of zero, pf would drop every segment unless the state is sloppy.
    const bool knows_sequence = !options.src.empty() && !options.dst.empty();
    std::uint16_t flags = 0;
    if ((flow.flags & state::kSloppy) != 0 || (k.proto == IPPROTO_TCP && !knows_sequence))
        flags |= kFlagSloppy;
    if (options.wants_ack)
        flags |= kFlagAck;
    if constexpr (L.wide_flags)
        store_be(m + L.state_flags, flags);
    else
        m[L.state_flags] = static_cast<std::uint8_t>(flags);

    assert(!options.tail || L.tail);
    if constexpr (L.tail)
        if (options.tail) {
            write_tail(m + L.size, flow, options);
            write_tag(m + L.src, flow.extras.verification_tags[0]);
            write_tag(m + L.dst, flow.extras.verification_tags[1]);
        }
    if constexpr (L.tail)
        if (options.tail && options.more)
            write_more(m + L.size + extension::tail::size, flow.extras, options.expectations);
}

} // namespace detail
} // namespace encsync::pfsync
