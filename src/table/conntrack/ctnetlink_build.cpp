// SPDX-License-Identifier: ISC
#include "table/conntrack/ctnetlink_build.hpp"

#include "net/protocol.hpp"
#include "table/conntrack/ctnetlink_parse.hpp"
#include "table/conntrack/ctnetlink_tuple.hpp"
#include "table/conntrack/netlink.hpp"
#include "table/progress.hpp"

#include <algorithm>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

namespace encsync::table::ctnetlink {

namespace {

using netlink::Writer;
using state::Address;
using state::Family;
using state::Flow;
using state::Tuple;

void put_address(Writer& w, int type, const Address& address, Family family) {
    w.put(type, address.bytes.data(), net::address_size(family));
}

} // namespace

void put_tuple(Writer& w, int type, const Tuple& tuple, const state::Key& key, std::uint16_t zone) {
    const bool v4 = key.family == Family::inet;
    const std::size_t nest = w.begin(type);
    const std::size_t ip = w.begin(CTA_TUPLE_IP);
    put_address(w, v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, tuple.src, key.family);
    put_address(w, v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, tuple.dst, key.family);
    w.end(ip);
    const std::size_t proto = w.begin(CTA_TUPLE_PROTO);
    w.put_be(CTA_PROTO_NUM, key.proto);
    const auto icmp_type = static_cast<std::uint8_t>(tuple.dport >> 8);
    const auto icmp_code = static_cast<std::uint8_t>(tuple.dport & 0xff);
    if (key.proto == IPPROTO_ICMP) {
        w.put_be(CTA_PROTO_ICMP_ID, tuple.sport);
        w.put_be(CTA_PROTO_ICMP_TYPE, icmp_type);
        w.put_be(CTA_PROTO_ICMP_CODE, icmp_code);
    } else if (key.proto == IPPROTO_ICMPV6) {
        w.put_be(CTA_PROTO_ICMPV6_ID, tuple.sport);
        w.put_be(CTA_PROTO_ICMPV6_TYPE, icmp_type);
        w.put_be(CTA_PROTO_ICMPV6_CODE, icmp_code);
    } else if (net::has_ports_or_keys(key.proto)) {
        w.put_be(CTA_PROTO_SRC_PORT, tuple.sport);
        w.put_be(CTA_PROTO_DST_PORT, tuple.dport);
    }
    w.end(proto);
    if (zone != 0)
        w.put_be(CTA_TUPLE_ZONE, zone);
    w.end(nest);
}

namespace {

void put_range(Writer& w, int type, const Address& address, const std::uint16_t* port,
               Family family) {
    const bool v4 = family == Family::inet;
    const std::size_t nest = w.begin(type);
    put_address(w, v4 ? CTA_NAT_V4_MINIP : CTA_NAT_V6_MINIP, address, family);
    put_address(w, v4 ? CTA_NAT_V4_MAXIP : CTA_NAT_V6_MAXIP, address, family);
    if (port != nullptr) {
        const std::size_t proto = w.begin(CTA_NAT_PROTO);
        w.put_be(CTA_PROTONAT_PORT_MIN, *port);
        w.put_be(CTA_PROTONAT_PORT_MAX, *port);
        w.end(proto);
    }
    w.end(nest);
}

// Destination first, both in the message and in the kernel, so that both use the same order.
void put_nat(Writer& w, const Flow& flow) {
    const bool icmp = net::is_icmp(flow.key.proto);
    const bool ports = net::has_ports_or_keys(flow.key.proto);
    // Source NAT of a ping translates its id, which is in the same field in both directions.
    const std::uint16_t* src_port = icmp ? &flow.reply.sport : ports ? &flow.reply.dport : nullptr;
    const std::uint16_t* dst_port = ports ? &flow.reply.sport : nullptr;
    put_range(w, CTA_NAT_DST, flow.reply.src, dst_port, flow.key.family);
    put_range(w, CTA_NAT_SRC, flow.reply.dst, src_port, flow.key.family);
}

void put_status(Writer& w, const Flow& flow) {
    std::uint32_t status = IPS_CONFIRMED;
    const std::uint8_t flags = implied_flags(flow);
    if ((flags & state::kSeenReply) != 0)
        status |= IPS_SEEN_REPLY;
    if ((flags & state::kAssured) != 0)
        status |= IPS_ASSURED;
    w.put_be(CTA_STATUS, status);
}

void put_protoinfo(Writer& w, const Flow& flow, Request request) {
    const Progress progress{flow.src_state, flow.dst_state};
    const bool flags_only = request == Request::rearm || request == Request::relax;
    if (flags_only && flow.key.proto != IPPROTO_TCP)
        return;
    const std::size_t nest = w.begin(CTA_PROTOINFO);
    if (flow.key.proto == IPPROTO_TCP) {
        constexpr std::uint8_t bits = IP_CT_TCP_FLAG_BE_LIBERAL | IP_CT_TCP_FLAG_SACK_PERM;
        const nf_ct_tcp_flags flags{bits, bits};
        const std::size_t tcp = w.begin(CTA_PROTOINFO_TCP);
        if (!flags_only)
            w.put_be(CTA_PROTOINFO_TCP_STATE, tcp_conntrack(progress));
        w.put(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &flags, sizeof flags);
        w.put(CTA_PROTOINFO_TCP_FLAGS_REPLY, &flags, sizeof flags);
        w.end(tcp);
    } else if (flow.key.proto == IPPROTO_SCTP &&
               (request == Request::create ||
                std::ranges::find(flow.extras.verification_tags, 0U) ==
                    flow.extras.verification_tags.end())) {
        // The kernel requires both verification tags with a state. A new entry learns one of 0 from
        // the next heartbeat of that side; in an update it would overwrite what has been learned.
        const std::size_t sctp = w.begin(CTA_PROTOINFO_SCTP);
        w.put_be(CTA_PROTOINFO_SCTP_STATE, sctp_conntrack(progress));
        w.put_be(CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, flow.extras.verification_tags[0]);
        w.put_be(CTA_PROTOINFO_SCTP_VTAG_REPLY, flow.extras.verification_tags[1]);
        w.end(sctp);
    } else if (flow.key.proto == IPPROTO_DCCP) {
        const std::size_t dccp = w.begin(CTA_PROTOINFO_DCCP);
        w.put_be(CTA_PROTOINFO_DCCP_STATE, dccp_conntrack(progress));
        w.put_be(CTA_PROTOINFO_DCCP_ROLE, std::uint8_t{0}); // the original side is the client
        w.end(dccp);
    }
    w.end(nest);
}

// At creation only: the kernel does not change the helper of an existing entry.
void put_help(Writer& w, const state::Name& helper) {
    const std::size_t nest = w.begin(CTA_HELP);
    w.put(CTA_HELP_NAME, helper.padded().data(), helper.text().size() + 1);
    w.end(nest);
}

void put_seq_adjust(Writer& w, int type, const state::SeqAdjust& adjust) {
    if (adjust == state::SeqAdjust{})
        return;
    const std::size_t nest = w.begin(type);
    w.put_be(CTA_SEQADJ_CORRECTION_POS, adjust.position);
    w.put_be(CTA_SEQADJ_OFFSET_BEFORE, adjust.before);
    w.put_be(CTA_SEQADJ_OFFSET_AFTER, adjust.after);
    w.end(nest);
}

void put_labels(Writer& w, state::Labels labels) {
    turn_labels(labels);
    w.put(CTA_LABELS, labels.data(), labels.size());
}

bool gets(Request request) {
    return request == Request::get || request == Request::get_by_reply;
}

std::uint16_t message_type(Request request) {
    const int type = request == Request::remove ? IPCTNL_MSG_CT_DELETE
                     : gets(request)            ? IPCTNL_MSG_CT_GET
                                                : IPCTNL_MSG_CT_NEW;
    return static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | type);
}

} // namespace

std::size_t build(MutableBytes buffer, Request request, const Flow& flow, std::uint32_t timeout,
                  std::uint32_t seq) {
    const int flags = NLM_F_REQUEST | (request == Request::create ? NLM_F_CREATE | NLM_F_EXCL : 0);
    Writer w(buffer, message_type(request), static_cast<std::uint16_t>(flags), seq);
    w.plain(nfgenmsg{net::system_family(flow.key.family), NFNETLINK_V0, 0});
    // The kernel finds an entry by the zone of the direction that is queried, in whichever
    // attribute. It does not accept this zone together with a zone for one direction.
    const bool one_way = request == Request::create && flow.extras.reply_zone;
    const bool by_reply = request == Request::get_by_reply;
    const std::uint16_t zone =
        by_reply ? flow.extras.reply_zone.value_or(flow.key.zone) : flow.key.zone;
    if (by_reply)
        put_tuple(w, CTA_TUPLE_REPLY, flow.reply, flow.key);
    else
        put_tuple(w, CTA_TUPLE_ORIG, flow.key.orig, flow.key, one_way ? zone : std::uint16_t{0});
    if (zone != 0 && !one_way)
        w.put_be(CTA_ZONE, zone);
    if (request == Request::remove || gets(request))
        return w.finish();
    if (request != Request::relax)
        w.put_be(CTA_TIMEOUT, timeout);
    if (request == Request::rearm || request == Request::relax) {
        put_protoinfo(w, flow, request);
        return w.finish();
    }
    if (request == Request::create) {
        const Tuple inverse = state::inverse(flow.key);
        put_tuple(w, CTA_TUPLE_REPLY, inverse, flow.key,
                  flow.extras.reply_zone.value_or(std::uint16_t{0}));
        if (flow.reply != inverse)
            put_nat(w, flow);
    }
    if (request != Request::update_progress)
        put_status(w, flow);
    put_protoinfo(w, flow, request);
    w.put_be(CTA_MARK, flow.mark);
    if (request == Request::create && !flow.extras.helper.empty())
        put_help(w, flow.extras.helper);
    if (flow.extras.labels != state::Labels{})
        put_labels(w, flow.extras.labels);
    put_seq_adjust(w, CTA_SEQ_ADJ_ORIG, flow.extras.seq_adjust[0]);
    put_seq_adjust(w, CTA_SEQ_ADJ_REPLY, flow.extras.seq_adjust[1]);
    return w.finish();
}

std::size_t build_dump(MutableBytes buffer, std::uint32_t seq,
                       const std::optional<state::MarkMatch>& marks) {
    Writer w(buffer, message_type(Request::get), NLM_F_REQUEST | NLM_F_DUMP, seq);
    w.plain(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
    if (marks) {
        w.put_be(CTA_MARK, marks->value);
        w.put_be(CTA_MARK_MASK, marks->mask);
    }
    return w.finish();
}

} // namespace encsync::table::ctnetlink
