// SPDX-License-Identifier: ISC
#include "table/conntrack/ctnetlink_parse.hpp"

#include "table/conntrack/ctnetlink_tuple.hpp"
#include "table/conntrack/netlink.hpp"
#include "table/progress.hpp"

// Before linux/in.h, which then omits its own definitions.
#include <netinet/in.h>

#include <algorithm>
#include <ctime>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string>

namespace encsync::table::ctnetlink {

namespace {

using netlink::Attributes;
using state::Family;
using state::Tuple;

template<std::unsigned_integral T>
bool read(Bytes value, T& out) {
    if (value.size() != sizeof(T))
        return false;
    out = load_be<T>(value.data());
    return true;
}

bool read(Bytes value, Family family, state::Address& out) {
    if (value.size() != net::address_size(family))
        return false;
    out = {};
    std::memcpy(out.bytes.data(), value.data(), value.size());
    return true;
}

bool read_labels(Bytes value, state::Labels& out) {
    if (value.size() != out.size())
        return false;
    std::ranges::copy(value, out.begin());
    turn_labels(out);
    return true;
}

Fault end_of(const Attributes& a) {
    return a.malformed() ? Fault::bad_attribute : Fault::none;
}

Fault parse_addresses(Bytes nest, Family family, Tuple& out) {
    bool src = false, dst = false;
    Attributes a(nest);
    while (a.next()) {
        const int type = a.type();
        const bool v4 = family == Family::inet;
        if (type == (v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC)) {
            if (!(src = read(a.value(), family, out.src)))
                return Fault::bad_size;
        } else if (type == (v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST)) {
            if (!(dst = read(a.value(), family, out.dst)))
                return Fault::bad_size;
        }
    }
    return src && dst ? end_of(a) : (a.malformed() ? Fault::bad_attribute : Fault::bad_tuple);
}

Fault parse_protocol(Bytes nest, std::uint8_t& proto, Tuple& out) {
    bool known = false, ok = true;
    std::uint8_t type = 0, code = 0;
    bool icmp = false;
    Attributes a(nest);
    while (a.next()) {
        switch (a.type()) {
        case CTA_PROTO_NUM:
            known = ok = read(a.value(), proto);
            break;
        case CTA_PROTO_SRC_PORT:
        case CTA_PROTO_ICMP_ID:
        case CTA_PROTO_ICMPV6_ID:
            ok = read(a.value(), out.sport);
            break;
        case CTA_PROTO_DST_PORT:
            ok = read(a.value(), out.dport);
            break;
        case CTA_PROTO_ICMP_TYPE:
        case CTA_PROTO_ICMPV6_TYPE:
            ok = icmp = read(a.value(), type);
            break;
        case CTA_PROTO_ICMP_CODE:
        case CTA_PROTO_ICMPV6_CODE:
            ok = icmp = read(a.value(), code);
            break;
        default:
            break;
        }
        if (!ok)
            return Fault::bad_size;
    }
    if (a.malformed())
        return Fault::bad_attribute;
    if (!known)
        return Fault::bad_tuple;
    if (icmp)
        out.dport = static_cast<std::uint16_t>(type << 8 | code);
    return Fault::none;
}

} // namespace

Fault parse_tuple(Bytes nest, Family family, std::uint8_t& proto, Tuple& out, std::uint16_t* zone) {
    bool addresses = false, protocol = false;
    Attributes a(nest);
    while (a.next()) {
        Fault fault = Fault::none;
        if (a.type() == CTA_TUPLE_IP) {
            fault = parse_addresses(a.value(), family, out);
            addresses = true;
        } else if (a.type() == CTA_TUPLE_PROTO) {
            fault = parse_protocol(a.value(), proto, out);
            protocol = true;
        } else if (a.type() == CTA_TUPLE_ZONE && zone != nullptr) {
            fault = read(a.value(), *zone) ? Fault::none : Fault::bad_size;
        }
        if (fault != Fault::none)
            return fault;
    }
    if (a.malformed())
        return Fault::bad_attribute;
    return addresses && protocol ? Fault::none : Fault::bad_tuple;
}

namespace {

// The state attribute of one protocol's nest.
Fault parse_state(Bytes nest, int attribute, std::uint8_t states, std::uint8_t& out, bool& found) {
    Attributes a(nest);
    while (a.next())
        if (a.type() == attribute) {
            if (!(found = read(a.value(), out)))
                return Fault::bad_size;
            if (out >= states)
                return Fault::bad_state;
        }
    return end_of(a);
}

// Whether packets of both directions pass regardless of their sequence numbers.
Fault parse_liberal(Bytes nest, bool& out) {
    bool original = false, reply = false;
    Attributes a(nest);
    while (a.next()) {
        const bool first = a.type() == CTA_PROTOINFO_TCP_FLAGS_ORIGINAL;
        if (!first && a.type() != CTA_PROTOINFO_TCP_FLAGS_REPLY)
            continue;
        if (a.value().size() < sizeof(nf_ct_tcp_flags))
            return Fault::bad_size;
        const auto flags = netlink::load<nf_ct_tcp_flags>(a.value().data());
        (first ? original : reply) = (flags.flags & IP_CT_TCP_FLAG_BE_LIBERAL) != 0;
    }
    out = original && reply;
    return end_of(a);
}

Fault parse_verification_tags(Bytes nest, std::array<std::uint32_t, 2>& out) {
    Attributes a(nest);
    while (a.next()) {
        const int type = a.type();
        if (type != CTA_PROTOINFO_SCTP_VTAG_ORIGINAL && type != CTA_PROTOINFO_SCTP_VTAG_REPLY)
            continue;
        if (!read(a.value(), out[type == CTA_PROTOINFO_SCTP_VTAG_REPLY]))
            return Fault::bad_size;
    }
    return end_of(a);
}

Fault parse_protoinfo(Bytes nest, Entry& out) {
    Attributes a(nest);
    while (a.next()) {
        std::uint8_t state = 0;
        bool found = false;
        Fault fault = Fault::none;
        Progress progress;
        if (a.type() == CTA_PROTOINFO_TCP) {
            fault = parse_state(a.value(), CTA_PROTOINFO_TCP_STATE, kTcpStates, state, found);
            progress = tcp_progress(state);
            if (fault == Fault::none)
                fault = parse_liberal(a.value(), out.flow.liberal);
        } else if (a.type() == CTA_PROTOINFO_SCTP) {
            // Kernels before 6.0 have a tenth state, HEARTBEAT_ACKED: the association is
            // established.
            fault = parse_state(a.value(), CTA_PROTOINFO_SCTP_STATE, kSctpStates + 1, state, found);
            progress = state == kSctpStates
                           ? Progress{state::tcp::kEstablished, state::tcp::kEstablished}
                           : sctp_progress(state);
            if (fault == Fault::none)
                fault = parse_verification_tags(a.value(), out.flow.extras.verification_tags);
        } else if (a.type() == CTA_PROTOINFO_DCCP) {
            // IGNORE and INVALID are never an entry's state.
            fault = parse_state(a.value(), CTA_PROTOINFO_DCCP_STATE, kDccpStates, state, found);
            progress = dccp_progress(state);
        }
        if (fault != Fault::none)
            return fault;
        if (found) {
            out.flow.src_state = progress.src;
            out.flow.dst_state = progress.dst;
            out.has_progress = out.flow.progress_known = true;
        }
    }
    return end_of(a);
}

// Seconds since the entry was created, which the kernel reports as a wall-clock time in
// nanoseconds.
Fault parse_age(Bytes nest, std::uint32_t& age) {
    Attributes a(nest);
    while (a.next())
        if (a.type() == CTA_TIMESTAMP_START) {
            std::uint64_t start = 0;
            if (!read(a.value(), start))
                return Fault::bad_size;
            const auto now = static_cast<std::uint64_t>(std::time(nullptr));
            const std::uint64_t seconds = start / 1'000'000'000;
            age = now > seconds ? static_cast<std::uint32_t>(now - seconds) : 0;
        }
    return end_of(a);
}

// An unknown name is treated as no helper: the flow itself is valid.
Fault parse_help(Bytes nest, state::Name& out) {
    Attributes a(nest);
    while (a.next())
        if (a.type() == CTA_HELP_NAME) {
            const Bytes v = a.value();
            const auto end = std::ranges::find(v, 0);
            const std::string text(v.begin(), end);
            out = state::Name::of(text).value_or(state::Name{});
        }
    return end_of(a);
}

Fault parse_seq_adjust(Bytes nest, state::SeqAdjust& out) {
    Attributes a(nest);
    while (a.next()) {
        std::uint32_t* to = a.type() == CTA_SEQADJ_CORRECTION_POS  ? &out.position
                            : a.type() == CTA_SEQADJ_OFFSET_BEFORE ? &out.before
                            : a.type() == CTA_SEQADJ_OFFSET_AFTER  ? &out.after
                                                                   : nullptr;
        if (to != nullptr && !read(a.value(), *to))
            return Fault::bad_size;
    }
    return end_of(a);
}

// Protocols whose progress is only in CTA_PROTOINFO.
bool has_states(std::uint8_t proto) {
    return proto == IPPROTO_TCP || proto == IPPROTO_SCTP || proto == IPPROTO_DCCP;
}

} // namespace

const char* to_string(Fault fault) {
    switch (fault) {
    case Fault::none:
        return "none";
    case Fault::short_message:
        return "short_message";
    case Fault::not_conntrack:
        return "not_conntrack";
    case Fault::bad_family:
        return "bad_family";
    case Fault::bad_attribute:
        return "bad_attribute";
    case Fault::bad_size:
        return "bad_size";
    case Fault::missing_tuple:
        return "missing_tuple";
    case Fault::bad_tuple:
        return "bad_tuple";
    case Fault::bad_state:
        return "bad_state";
    case Fault::bad_zone:
        break;
    }
    return "bad_zone";
}

Fault parse(Bytes message, Entry& out) {
    constexpr std::size_t headers = sizeof(nlmsghdr) + sizeof(nfgenmsg);
    if (message.size() < headers)
        return Fault::short_message;
    const auto header = netlink::load<nlmsghdr>(message.data());
    if (header.nlmsg_len < headers || header.nlmsg_len > message.size())
        return Fault::short_message;
    out = {};
    out.port = header.nlmsg_pid;
    out.seq = header.nlmsg_seq;
    switch (header.nlmsg_type) {
    case NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW:
        out.kind =
            (header.nlmsg_flags & NLM_F_CREATE) != 0 ? Entry::Kind::created : Entry::Kind::updated;
        break;
    case NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE:
        out.kind = Entry::Kind::destroyed;
        break;
    default:
        return Fault::not_conntrack;
    }
    const auto family = netlink::load<nfgenmsg>(&message[sizeof(nlmsghdr)]).nfgen_family;
    return parse_entry(message.first(header.nlmsg_len).subspan(headers), family, out);
}

Fault parse_entry(Bytes attributes, std::uint8_t system_family, Entry& out) {
    state::Flow& flow = out.flow;
    flow.progress_known = flow.timeout_known = flow.mark_known = flow.labels_known = false;
    const auto family = net::family_of_system(system_family);
    if (!family)
        return Fault::bad_family;
    flow.key.family = *family;

    bool orig = false, reply = false;
    std::uint8_t reply_proto = 0;
    std::uint16_t zone = 0, orig_zone = 0, reply_zone = 0; // of both directions, or of one
    bool adjusts = false;
    std::optional<std::uint32_t> reported_status;
    Attributes a(attributes);
    while (a.next()) {
        Fault fault = Fault::none;
        bool sized = true;
        switch (a.type()) {
        case CTA_TUPLE_ORIG:
            fault =
                parse_tuple(a.value(), flow.key.family, flow.key.proto, flow.key.orig, &orig_zone);
            orig = true;
            break;
        case CTA_TUPLE_REPLY:
            fault = parse_tuple(a.value(), flow.key.family, reply_proto, flow.reply, &reply_zone);
            reply = true;
            break;
        case CTA_STATUS:
            sized = read(a.value(), reported_status.emplace());
            break;
        case CTA_TIMEOUT:
            sized = flow.timeout_known = read(a.value(), flow.timeout);
            break;
        case CTA_MARK:
            sized = flow.mark_known = read(a.value(), flow.mark);
            break;
        case CTA_ZONE:
            sized = read(a.value(), zone);
            break;
        case CTA_PROTOINFO:
            fault = parse_protoinfo(a.value(), out);
            break;
        case CTA_HELP:
            fault = parse_help(a.value(), flow.extras.helper);
            break;
        case CTA_LABELS:
            sized = read_labels(a.value(), flow.extras.labels);
            flow.labels_known = true;
            break;
        case CTA_SEQ_ADJ_ORIG:
        case CTA_SEQ_ADJ_REPLY:
            fault =
                parse_seq_adjust(a.value(), flow.extras.seq_adjust[a.type() == CTA_SEQ_ADJ_REPLY]);
            adjusts = true;
            break;
        case CTA_TIMESTAMP:
            fault = parse_age(a.value(), flow.age);
            break;
        default:
            break;
        }
        if (fault != Fault::none)
            return fault;
        if (!sized)
            return Fault::bad_size;
    }
    if (a.malformed())
        return Fault::bad_attribute;
    if (!orig || !reply)
        return Fault::missing_tuple;
    if (flow.key.proto != reply_proto)
        return Fault::bad_tuple;
    if ((zone != 0) + (orig_zone != 0) + (reply_zone != 0) > 1)
        return Fault::bad_zone;
    flow.key.zone = zone != 0 ? zone : orig_zone;
    if (orig_zone != reply_zone)
        flow.extras.reply_zone = reply_zone;

    const std::uint32_t status = reported_status.value_or(0);
    if ((status & IPS_SEEN_REPLY) != 0)
        flow.flags |= state::kSeenReply;
    if ((status & IPS_ASSURED) != 0)
        flow.flags |= state::kAssured;
    // Events do not contain them. An adjustment by 0 is none.
    flow.seq_adjust_known = adjusts || (reported_status && (status & IPS_SEQ_ADJUST) == 0);
    for (state::SeqAdjust& adjust : flow.extras.seq_adjust)
        if (adjust.before == 0 && adjust.after == 0)
            adjust = {};
    const bool offloaded = (status & (IPS_OFFLOAD | IPS_HW_OFFLOAD)) != 0;
    if (offloaded)
        flow.timeout_known = false; // set by the flowtable, not by a packet
    if (!has_states(flow.key.proto)) {
        const Progress progress = datagram_progress(flow.key.proto, flow.flags);
        flow.src_state = progress.src;
        flow.dst_state = progress.dst;
        out.has_progress = flow.progress_known = reported_status.has_value();
    } else if (offloaded && !flow.progress_known) {
        out.take_for_established();
    }
    return Fault::none;
}

void Entry::take_for_established() {
    flow.src_state = flow.dst_state = state::tcp::kEstablished;
    has_progress = true;
}

void Entry::name_whole() {
    flow.mark_known = flow.labels_known = true;
    if (!has_progress)
        take_for_established();
}

} // namespace encsync::table::ctnetlink
