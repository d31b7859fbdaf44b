// SPDX-License-Identifier: ISC
#include "table/conntrack/kernel_filter.hpp"

#include "net/bpf.hpp"
#include "util/bytes.hpp"

#include <bit>
#include <cstddef>
#include <cstring>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <optional>
#include <sys/socket.h>

namespace encsync::table {

namespace {

using namespace net::bpf;
using net::Prefix;
using state::NoSyncRule;

constexpr std::uint32_t kAttributes = sizeof(nlmsghdr) + 4; // after struct nfgenmsg
constexpr std::uint32_t kFamilyByte = sizeof(nlmsghdr);
constexpr std::uint32_t kHeader = sizeof(nlattr);
constexpr std::uint32_t kNoPort = 0x10000;
constexpr auto kNetlinkAttribute = static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_NLATTR),
               kNestedAttribute = static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_NLATTR_NEST);

// The filter's scratch memory. Values that rules compare are searched once and kept here; of
// addresses, their offsets.
enum Slot : std::uint32_t {
    kOrigSrc,
    kOrigDst,
    kReplySrc,
    kReplyDst,
    kOrigPort,
    kReplyPort,
    kProto,
    kMark,
    kZone,
    kNest,       // while searching: the attribute that is searched
    kSourceType, // while searching: CTA_IP_V4_SRC or CTA_IP_V6_SRC
};

// A = the offset of the attribute in the message; 0: it has none.
void find(Program& p, std::uint32_t type) {
    p.load(kAttributes);
    p.op(BPF_LDX | BPF_IMM, type);
    p.fetch_at(BPF_W, kNetlinkAttribute);
}

// The same for an attribute within the one at A. Its type is `type`, or X.
void find_within(Program& p, std::optional<std::uint32_t> type) {
    if (type)
        p.op(BPF_LDX | BPF_IMM, *type);
    p.fetch_at(BPF_W, kNestedAttribute);
}

void pass_if_missing(Program& p) {
    p.op(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
    p.ret(kPass);
}

// ---- searching -------------------------------------------------------------------------------

void find_source_type(Program& p) {
    p.fetch_at(BPF_B, kFamilyByte);
    p.op(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 0, 2);
    p.load(CTA_IP_V4_SRC);
    p.op(BPF_JMP | BPF_JA, 3);
    p.op(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 1, 0);
    p.ret(kPass);
    p.load(CTA_IP_V6_SRC);
    p.store(kSourceType);
    static_assert(CTA_IP_V4_DST == CTA_IP_V4_SRC + 1 && CTA_IP_V6_DST == CTA_IP_V6_SRC + 1);
}

void find_addresses(Program& p, std::uint32_t tuple, Slot src, Slot dst) {
    find(p, tuple);
    pass_if_missing(p);
    find_within(p, CTA_TUPLE_IP);
    pass_if_missing(p);
    p.store(kNest);
    for (const auto& [slot, step] : {std::pair{src, 0U}, {dst, 1U}}) {
        p.recall(kSourceType);
        p.op(BPF_ALU | BPF_ADD | BPF_K, step);
        p.op(BPF_MISC | BPF_TAX);
        p.recall(kNest);
        find_within(p, {});
        pass_if_missing(p);
        p.op(BPF_ALU | BPF_ADD | BPF_K, kHeader);
        p.store(slot);
    }
}

// Protocols without ports have no attribute for them.
void find_port(Program& p, std::uint32_t type, Slot slot) {
    p.recall(kNest);
    find_within(p, type);
    p.op(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2);
    p.load(kNoPort);
    p.op(BPF_JMP | BPF_JA, 2);
    p.fetch_behind(BPF_H, kHeader);
    p.store(slot);
}

void find_protocol(Program& p, bool ports) {
    for (const std::uint32_t tuple : {CTA_TUPLE_ORIG, CTA_TUPLE_REPLY}) {
        find(p, tuple);
        pass_if_missing(p);
        find_within(p, CTA_TUPLE_PROTO);
        pass_if_missing(p);
        p.store(kNest);
        if (tuple == CTA_TUPLE_REPLY) {
            find_port(p, CTA_PROTO_SRC_PORT, kReplyPort);
            return;
        }
        find_within(p, CTA_PROTO_NUM);
        pass_if_missing(p);
        p.fetch_behind(BPF_B, kHeader);
        p.store(kProto);
        if (!ports)
            return;
        find_port(p, CTA_PROTO_DST_PORT, kOrigPort);
    }
}

// The message omits it if it is 0.
void find_number(Program& p, std::uint32_t type, int size, Slot slot) {
    find(p, type);
    p.op(BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 0);
    p.fetch_behind(size, kHeader);
    p.store(slot);
}

// The zone of both directions, or of one, which is inside its tuple.
void find_zone(Program& p) {
    find_number(p, CTA_ZONE, BPF_H, kZone);
    for (const std::uint32_t tuple : {CTA_TUPLE_ORIG, CTA_TUPLE_REPLY}) {
        find(p, tuple);
        pass_if_missing(p);
        find_within(p, CTA_TUPLE_ZONE);
        p.op(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 0);
        p.fetch_behind(BPF_H, kHeader);
        p.store(kZone);
    }
}

void find_what_is_asked_for(Program& p, std::span<const NoSyncRule> rules) {
    bool addresses = false, protocol = false, ports = false, mark = false, zone = false;
    for (const NoSyncRule& rule : rules) {
        addresses = addresses || rule.src || rule.dst || !rule.nets.empty();
        ports = ports || rule.ports;
        protocol = protocol || rule.proto || ports;
        mark = mark || rule.mark;
        zone = zone || rule.zone;
    }
    if (addresses) {
        find_source_type(p);
        find_addresses(p, CTA_TUPLE_ORIG, kOrigSrc, kOrigDst);
        find_addresses(p, CTA_TUPLE_REPLY, kReplySrc, kReplyDst);
    }
    if (protocol)
        find_protocol(p, ports);
    if (mark)
        find_number(p, CTA_MARK, BPF_W, kMark);
    if (zone)
        find_zone(p);
}

// ---- comparing -------------------------------------------------------------------------------

// One of the addresses is in the prefix.
bool need_prefix(Program& p, const Prefix& prefix, std::initializer_list<Slot> addresses,
                 Label& otherwise) {
    p.fetch_at(BPF_B, kFamilyByte);
    p.need(BPF_JEQ, net::system_family(prefix.network.family), otherwise);
    Label held, next;
    std::size_t left = addresses.size();
    for (const Slot address : addresses) {
        Label& fails = --left == 0 ? otherwise : next;
        p.op(BPF_LDX | BPF_MEM, address);
        for (unsigned word = 0; word * 32 < prefix.length; word++) {
            const unsigned bits = std::min(32U, prefix.length - word * 32);
            p.op(BPF_LD | BPF_W | BPF_IND, word * 4);
            if (bits < 32)
                p.op(BPF_ALU | BPF_AND | BPF_K, ~(UINT32_MAX >> bits));
            p.need(BPF_JEQ, load_be<std::uint32_t>(&prefix.network.bytes[std::size_t{word} * 4]),
                   fails);
        }
        if (left != 0) {
            p.go(held);
            if (!p.place(next))
                return false;
        }
    }
    return p.place(held);
}

bool need_port(Program& p, net::PortRange range, Label& otherwise) {
    p.recall(kProto);
    p.refuse(BPF_JEQ, IPPROTO_GRE, otherwise); // its keys are in the attributes of ports
    Label held, next;
    p.recall(kOrigPort);
    p.need(BPF_JGE, range.first, next);
    p.refuse(BPF_JGT, range.last, next);
    p.go(held);
    if (!p.place(next))
        return false;
    p.recall(kReplyPort);
    p.need(BPF_JGE, range.first, otherwise);
    p.refuse(BPF_JGT, range.last, otherwise);
    return p.place(held);
}

// Drops what matches the rule. False if the rule is too long.
bool add_rule(Program& p, const NoSyncRule& rule) {
    Label otherwise;
    bool short_enough = true;
    if (rule.mark) {
        p.fetch_at(BPF_H, offsetof(nlmsghdr, nlmsg_flags));
        // The flags are in host byte order, but a half-word is loaded as big-endian.
        p.need(BPF_JSET, to_big_endian(std::uint16_t{NLM_F_CREATE}), otherwise);
        p.recall(kMark);
        p.op(BPF_ALU | BPF_AND | BPF_K, rule.mark->mask);
        p.need(BPF_JEQ, rule.mark->value, otherwise);
    }
    if (rule.proto) {
        p.recall(kProto);
        p.need(BPF_JEQ, *rule.proto, otherwise);
    }
    if (rule.zone) {
        p.recall(kZone);
        p.need(BPF_JEQ, *rule.zone, otherwise);
    }
    if (rule.ports)
        short_enough = short_enough && need_port(p, *rule.ports, otherwise);
    if (rule.src)
        short_enough = short_enough && need_prefix(p, *rule.src, {kOrigSrc, kReplyDst}, otherwise);
    if (rule.dst)
        short_enough = short_enough && need_prefix(p, *rule.dst, {kOrigDst, kReplySrc}, otherwise);
    for (const Prefix& net : rule.nets)
        short_enough = short_enough &&
                       need_prefix(p, net, {kOrigSrc, kOrigDst, kReplySrc, kReplyDst}, otherwise);
    p.ret(kDrop);
    return short_enough && p.place(otherwise);
}

} // namespace

std::vector<sock_filter> build_event_filter(std::uint32_t own_port,
                                            std::span<const NoSyncRule> rules) {
    Program p;
    if (own_port != 0) {
        p.fetch_at(BPF_W, offsetof(nlmsghdr, nlmsg_pid));
        p.op(BPF_JMP | BPF_JEQ | BPF_K, to_big_endian(own_port), 0, 1); // host byte order, as above
        p.ret(kDrop);
    }
    find_what_is_asked_for(p, rules);
    for (const NoSyncRule& rule : rules) {
        const std::size_t before = p.size();
        if (add_rule(p, rule) && p.size() < kMaxFilterSize)
            continue;
        p.cut(before);
        break;
    }
    p.ret(kPass);
    return p.code();
}

std::optional<state::MarkMatch> expected_marks(std::span<const NoSyncRule> rules) {
    state::MarkMatch wanted{0, 0};
    for (const NoSyncRule& rule : rules) {
        if (!rule.mark || std::popcount(rule.mark->mask) != 1 || rule != NoSyncRule{rule.mark})
            continue;
        // A bit that both 0 and 1 exclude excludes everything: the first one does here.
        if ((wanted.mask & rule.mark->mask) == 0)
            wanted.value |= rule.mark->mask & ~rule.mark->value;
        wanted.mask |= rule.mark->mask;
    }
    if (wanted.mask == 0)
        return {};
    return wanted;
}

} // namespace encsync::table
