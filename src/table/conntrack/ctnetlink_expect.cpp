// SPDX-License-Identifier: ISC
#include "table/conntrack/ctnetlink_expect.hpp"

#include "table/conntrack/ctnetlink_tuple.hpp"
#include "table/conntrack/netlink.hpp"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string>
#include <sys/socket.h>

namespace encsync::table::ctnetlink {

namespace {

using netlink::Attributes;
using netlink::Writer;
using state::Expectation;
using state::Family;
using state::Tuple;

constexpr std::uint16_t message_type(int type) {
    return static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK_EXP << 8 | type);
}

template<std::unsigned_integral T>
Fault number(Bytes value, T& out) {
    if (value.size() != sizeof(T))
        return Fault::bad_size;
    out = load_be<T>(value.data());
    return Fault::none;
}

Fault parse_nat(Bytes nest, Expectation& out) {
    Attributes a(nest);
    Tuple tuple;
    while (a.next()) {
        Fault fault = Fault::none;
        std::uint32_t direction = 0;
        std::uint8_t proto = 0;
        if (a.type() == CTA_EXPECT_NAT_DIR) {
            fault = number(a.value(), direction);
            out.nat_reply = direction != 0;
        } else if (a.type() == CTA_EXPECT_NAT_TUPLE) {
            fault = parse_tuple(a.value(), out.master.family, proto, tuple);
        }
        if (fault != Fault::none)
            return fault;
    }
    out.has_nat = true;
    out.nat_address = tuple.src;
    out.nat_port = tuple.sport;
    return a.malformed() ? Fault::bad_attribute : Fault::none;
}

Fault parse_attribute(const Attributes& a, Expectation& e, unsigned& tuples) {
    const Family family = e.master.family;
    std::uint32_t word = 0;
    Fault fault = Fault::none;
    switch (a.type()) {
    case CTA_EXPECT_MASTER:
        tuples |= 1;
        return parse_tuple(a.value(), family, e.master.proto, e.master.orig);
    case CTA_EXPECT_TUPLE:
        tuples |= 2;
        return parse_tuple(a.value(), family, e.proto, e.tuple);
    case CTA_EXPECT_MASK: {
        tuples |= 4;
        std::uint8_t proto = 0;
        Tuple mask;
        fault = parse_tuple(a.value(), family, proto, mask);
        e.mask = mask.src;
        e.mask_port = mask.sport;
        return fault;
    }
    case CTA_EXPECT_NAT:
        return parse_nat(a.value(), e);
    case CTA_EXPECT_TIMEOUT:
        return number(a.value(), e.timeout);
    case CTA_EXPECT_ZONE:
        return number(a.value(), e.zone);
    case CTA_EXPECT_FLAGS:
        fault = number(a.value(), word);
        e.flags = word & (Expectation::kPermanent | Expectation::kInactive);
        return fault;
    case CTA_EXPECT_CLASS:
        fault = number(a.value(), word);
        e.policy_class = static_cast<std::uint8_t>(word);
        return word > UINT8_MAX ? Fault::bad_state : fault;
    case CTA_EXPECT_FN: {
        const Bytes v = a.value();
        const std::string text(v.begin(), std::ranges::find(v, 0));
        const auto function = state::FunctionName::of(text);
        e.function = function.value_or(state::FunctionName{});
        return function ? Fault::none : Fault::bad_size;
    }
    default:
        return Fault::none;
    }
}

} // namespace

Fault parse(Bytes message, ExpectEntry& out) {
    constexpr std::size_t headers = sizeof(nlmsghdr) + sizeof(nfgenmsg);
    if (message.size() < headers)
        return Fault::short_message;
    const auto header = netlink::load<nlmsghdr>(message.data());
    if (header.nlmsg_len < headers || header.nlmsg_len > message.size())
        return Fault::short_message;
    out = {};
    out.gone = header.nlmsg_type == message_type(IPCTNL_MSG_EXP_DELETE);
    if (!out.gone && header.nlmsg_type != message_type(IPCTNL_MSG_EXP_NEW))
        return Fault::not_conntrack;
    const auto family =
        net::family_of_system(netlink::load<nfgenmsg>(&message[sizeof(nlmsghdr)]).nfgen_family);
    if (!family)
        return Fault::bad_family;
    out.expectation.master.family = *family;

    unsigned tuples = 0;
    Attributes a(message.first(header.nlmsg_len).subspan(headers));
    while (a.next())
        if (const Fault fault = parse_attribute(a, out.expectation, tuples); fault != Fault::none)
            return fault;
    if (a.malformed())
        return Fault::bad_attribute;
    return tuples == 7 ? Fault::none : Fault::missing_tuple;
}

std::size_t build(MutableBytes buffer, ExpectRequest request, const Expectation& e,
                  const state::Name& helper, std::uint32_t seq) {
    const bool create = request == ExpectRequest::create;
    Writer w(buffer,
             message_type(request == ExpectRequest::remove ? IPCTNL_MSG_EXP_DELETE
                          : request == ExpectRequest::get  ? IPCTNL_MSG_EXP_GET
                                                           : IPCTNL_MSG_EXP_NEW),
             static_cast<std::uint16_t>(NLM_F_REQUEST | (create ? NLM_F_CREATE : 0)), seq);
    w.plain(nfgenmsg{net::system_family(e.master.family), NFNETLINK_V0, 0});
    state::Key key = e.master;
    key.proto = e.proto;
    put_tuple(w, CTA_EXPECT_TUPLE, e.tuple, key);
    // For a new one the kernel looks for its master in the zone of the original direction.
    if (const std::uint16_t zone = create ? e.master.zone : e.zone; zone != 0)
        w.put_be(CTA_EXPECT_ZONE, zone);
    if (request == ExpectRequest::remove || request == ExpectRequest::get)
        return w.finish();
    Tuple mask{e.mask, {}, e.mask_port, UINT16_MAX};
    mask.dst.bytes.fill(0xff);
    put_tuple(w, CTA_EXPECT_MASK, mask, key);
    put_tuple(w, CTA_EXPECT_MASTER, e.master.orig, e.master);
    w.put_be(CTA_EXPECT_TIMEOUT, e.timeout);
    w.put_be(CTA_EXPECT_FLAGS, std::uint32_t{e.flags});
    w.put_be(CTA_EXPECT_CLASS, std::uint32_t{e.policy_class});
    // The class is one of the helper's. SIP's signalling connections use the helper again.
    if (e.policy_class != 0 || helper.text() == "sip")
        w.put(CTA_EXPECT_HELP_NAME, helper.padded().data(), helper.text().size() + 1);
    if (!e.function.empty())
        w.put(CTA_EXPECT_FN, e.function.padded().data(), e.function.text().size() + 1);
    if (e.has_nat) {
        const std::size_t nat = w.begin(CTA_EXPECT_NAT);
        w.put_be(CTA_EXPECT_NAT_DIR, std::uint32_t{e.nat_reply});
        put_tuple(w, CTA_EXPECT_NAT_TUPLE, {e.nat_address, {}, e.nat_port, 0}, key);
        w.end(nat);
    }
    return w.finish();
}

std::size_t build_expect_dump(MutableBytes buffer, std::uint32_t seq) {
    Writer w(buffer, message_type(IPCTNL_MSG_EXP_GET), NLM_F_REQUEST | NLM_F_DUMP, seq);
    w.plain(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
    return w.finish();
}

} // namespace encsync::table::ctnetlink
