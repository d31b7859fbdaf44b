// SPDX-License-Identifier: ISC
// Rules of nosync: which flows each condition matches, in our code and in the kernel's socket
// filter, which is run on a pair of Unix sockets.
#include "flows.hpp"

#include "table/conntrack/ctnetlink_build.hpp"
#include "table/conntrack/kernel_filter.hpp"
#include "table/conntrack/netlink.hpp"
#include "util/fd.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <random>
#include <sys/socket.h>

namespace encsync::table::test {
namespace {

using net::PortRange;
using state::MarkMatch;
using state::NoSync;
using state::NoSyncRule;

constexpr std::uint8_t kGre = 47, kSctp = 132;

state::Flow in_zone(state::Flow f, std::uint16_t zone) {
    f.key.zone = zone;
    return f;
}
state::Flow in_zones(state::Flow f, std::uint16_t original, std::uint16_t reply) {
    f.key.zone = original;
    f.extras.reply_zone = reply;
    return f;
}
state::Flow marked(state::Flow f, std::uint32_t mark) {
    f.mark = mark;
    return f;
}
state::Flow gre(std::uint16_t key) {
    return flow(kGre, "10.1.0.2", key, "192.0.2.80", key);
}

// ---- the kernel's messages about a flow ------------------------------------------------------

enum class Event { created, updated, destroyed };

// As written by ctnetlink: the two directions, and zone and mark if they are not 0.
std::vector<std::uint8_t> message(const state::Flow& f, Event event, std::uint32_t port = 0) {
    const int type = NFNL_SUBSYS_CTNETLINK << 8 |
                     (event == Event::destroyed ? IPCTNL_MSG_CT_DELETE : IPCTNL_MSG_CT_NEW);
    std::vector<std::uint8_t> buffer(1024);
    netlink::Writer w(buffer, static_cast<std::uint16_t>(type),
                      event == Event::created ? NLM_F_CREATE | NLM_F_EXCL : 0, 0);
    w.plain(nfgenmsg{
        static_cast<std::uint8_t>(f.key.family == state::Family::inet ? AF_INET : AF_INET6),
        NFNETLINK_V0, 0});
    const bool one_way = f.extras.reply_zone.has_value();
    const auto tuple = [&](int attribute, const state::Tuple& t, std::uint16_t zone) {
        const bool v4 = f.key.family == state::Family::inet;
        const std::size_t size = v4 ? 4 : 16;
        const std::size_t nest = w.begin(attribute);
        const std::size_t ip = w.begin(CTA_TUPLE_IP);
        w.put(v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, t.src.bytes.data(), size);
        w.put(v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, t.dst.bytes.data(), size);
        w.end(ip);
        const std::size_t proto = w.begin(CTA_TUPLE_PROTO);
        w.put_be(CTA_PROTO_NUM, f.key.proto);
        if (f.key.proto == IPPROTO_ICMP || f.key.proto == IPPROTO_ICMPV6) {
            w.put_be(f.key.proto == IPPROTO_ICMP ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID,
                     t.sport);
        } else if (f.key.proto != 89) { // OSPF has none
            w.put_be(CTA_PROTO_SRC_PORT, t.sport);
            w.put_be(CTA_PROTO_DST_PORT, t.dport);
        }
        w.end(proto);
        if (one_way && zone != 0)
            w.put_be(CTA_TUPLE_ZONE, zone);
        w.end(nest);
    };
    tuple(CTA_TUPLE_ORIG, f.key.orig, f.key.zone);
    tuple(CTA_TUPLE_REPLY, f.reply, f.extras.reply_zone.value_or(0));
    if (f.key.zone != 0 && !one_way)
        w.put_be(CTA_ZONE, f.key.zone);
    w.put_be(CTA_ID, std::uint32_t{0x12345678});
    w.put_be(CTA_STATUS, std::uint32_t{0xe});
    if (f.mark != 0)
        w.put_be(CTA_MARK, f.mark);
    buffer.resize(w.finish());
    std::memcpy(&buffer[offsetof(nlmsghdr, nlmsg_pid)], &port, sizeof port);
    return buffer;
}

class KernelFilter {
  public:
    explicit KernelFilter(const std::vector<sock_filter>& program) {
        std::array<int, 2> pair{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.data()),
                  0);
        in_.reset(pair[0]);
        out_.reset(pair[1]);
        std::vector<sock_filter> code = program;
        const sock_fprog given{static_cast<unsigned short>(code.size()), code.data()};
        taken_ = ::setsockopt(out_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &given, sizeof given) == 0;
        EXPECT_TRUE(taken_) << std::strerror(errno) << ", " << code.size() << " instructions";
    }
    KernelFilter(std::uint32_t port, const NoSync& nosync)
        : KernelFilter(build_event_filter(port, nosync.rules())) {}

    bool drops(Bytes datagram) {
        EXPECT_GE(::send(in_.get(), datagram.data(), datagram.size(), 0), 0);
        std::array<std::uint8_t, 2048> buffer{};
        return ::recv(out_.get(), buffer.data(), buffer.size(), 0) < 0;
    }

  private:
    Fd in_, out_;
    bool taken_ = false;
};

// ---- each condition --------------------------------------------------------------------------

struct Case {
    const char* name;
    NoSyncRule rule;
    std::vector<state::Flow> fits, others;
};

std::vector<Case> cases() {
    const auto outside = [](std::uint16_t n) { return snat(tcp(n), "198.51.100.1", 40000); };
    const auto inside = [](std::uint16_t n) {
        return dnat(tcp(n, "203.0.113.5", "198.51.100.1", 443), "10.9.0.80", 8443);
    };
    const auto six = [] { return tcp(1, "2001:db8:1::2", "2001:db8:2::80"); };
    state::Flow ospf = udp(0);
    ospf.key.proto = 89;
    ospf.key.orig.sport = ospf.key.orig.dport = 0;
    ospf.reply = state::inverse(ospf.key);
    state::Flow sctp = tcp(7);
    sctp.key.proto = kSctp;
    return {
        {"mark",
         {.mark = MarkMatch{0x10, 0xf0}},
         {marked(tcp(1), 0x10), marked(tcp(1), 0xff1f)},
         {tcp(1), marked(tcp(1), 0x30), marked(tcp(1), 0x1)}},
        {"whole mark",
         {.mark = MarkMatch{0xdecade01}},
         {marked(six(), 0xdecade01)},
         {marked(six(), 0xdecade00), six()}},
        {"no mark", {.mark = MarkMatch{0}}, {tcp(1)}, {marked(tcp(1), 0x80000000)}},
        {"src",
         {.src = prefix("10.1.0.0/16")},
         {tcp(1), udp(1), gre(1)},
         {tcp(1, "10.2.0.1"), tcp(1, "192.0.2.80", "10.1.0.2"), six()}},
        {"src of 20 bits",
         {.src = prefix("10.1.240.0/20")},
         {tcp(1, "10.1.255.255")},
         {tcp(1, "10.1.239.255")}},
        {"src after translation",
         {.src = prefix("198.51.100.1")},
         {outside(1)},
         {tcp(1), inside(1)}},
        {"dst",
         {.dst = prefix("192.0.2.80")},
         {tcp(1), outside(1)},
         {tcp(1, "192.0.2.80", "10.1.0.2"), udp(1), inside(1)}},
        {"dst after translation", {.dst = prefix("10.9.0.0/24")}, {inside(1)}, {tcp(1)}},
        {"dst before translation", {.dst = prefix("198.51.100.1")}, {inside(1)}, {outside(1)}},
        {"net",
         {.nets = {prefix("192.0.2.0/24")}},
         {tcp(1), tcp(1, "192.0.2.1", "10.0.0.1"), outside(1)},
         {tcp(1, "10.1.0.2", "192.0.3.1")}},
        {"net after translation", {.nets = {prefix("10.9.0.80")}}, {inside(1)}, {outside(1)}},
        {"nets",
         {.nets = {prefix("10.1.0.0/16"), prefix("192.0.2.0/24")}},
         {tcp(1), tcp(1, "192.0.2.1", "10.1.0.2")},
         {tcp(1, "10.1.0.2", "10.1.0.3"), tcp(1, "192.0.2.1", "192.0.2.2")}},
        {"net of IPv6",
         {.nets = {prefix("2001:db8:2::/47")}},
         {six(), tcp(1, "2001:db8:3::1", "2001:db8:9::1")},
         {tcp(1, "2001:db8:4::1", "2001:db8:1::1"), tcp(1)}},
        {"address of IPv6",
         {.src = prefix("2001:db8:1::2")},
         {six()},
         {tcp(1, "2001:db8:1::3", "2001:db8:2::80")}},
        // a00:: begins with the bytes of 10.0.0.0.
        {"families", {.src = prefix("10.0.0.0/8")}, {tcp(1)}, {tcp(1, "a00::1", "2001:db8:2::80")}},
        {"port",
         {.ports = PortRange{53, 53}},
         {udp(1), tcp(1, "10.1.0.2", "192.0.2.53", 53)},
         {udp(53, "10.1.0.2", "192.0.2.53", 54), tcp(53)}},
        {"port before and after translation",
         {.ports = PortRange{8443, 8443}},
         {inside(1)},
         {tcp(8443)}},
        {"ports",
         {.ports = PortRange{400, 443}},
         {tcp(1), inside(1), sctp},
         {tcp(1, "10.1.0.2", "192.0.2.80", 444), tcp(1, "10.1.0.2", "192.0.2.80", 399)}},
        {"protocols without ports",
         {.ports = PortRange{1, 65535}},
         {tcp(1), sctp},
         {ping(9), ping(9, "2001:db8:1::2", "2001:db8:2::80"), gre(9), ospf}},
        {"proto", {.proto = IPPROTO_UDP}, {udp(1)}, {tcp(1), ping(1)}},
        {"zone",
         {.zone = 7},
         {in_zone(tcp(1), 7), in_zones(tcp(1), 7, 0), in_zones(tcp(1), 0, 7)},
         {tcp(1), in_zone(tcp(1), 0x700), in_zones(tcp(1), 8, 0), in_zones(tcp(1), 0, 8)}},
        {"no zone",
         {.zone = 0},
         {tcp(1)},
         {in_zone(tcp(1), 1), in_zones(tcp(1), 1, 0), in_zones(tcp(1), 0, 1)}},
        {"all at once",
         {.mark = MarkMatch{1, 1},
          .src = prefix("10.1.0.0/16"),
          .dst = prefix("192.0.2.0/24"),
          .nets = {prefix("10.0.0.0/8")},
          .ports = PortRange{1, 1023},
          .proto = IPPROTO_TCP,
          .zone = 3},
         {in_zone(marked(tcp(1), 1), 3)},
         {in_zone(tcp(1), 3), marked(tcp(1), 1), in_zone(marked(udp(1), 1), 3),
          in_zone(marked(tcp(1, "10.2.0.1"), 1), 3),
          in_zone(marked(tcp(1, "10.1.0.1", "192.0.3.1"), 1), 3),
          in_zone(marked(tcp(1, "10.1.0.1", "192.0.2.1", 1024), 1), 3)}},
    };
}

TEST(NoSync, EachCondition) {
    for (const Case& c : cases()) {
        for (const state::Flow& f : c.fits)
            EXPECT_TRUE(c.rule.matches(f)) << c.name << ": " << state::to_string(f);
        for (const state::Flow& f : c.others)
            EXPECT_FALSE(c.rule.matches(f)) << c.name << ": " << state::to_string(f);
    }
}

TEST(NoSync, AnyRuleWillDoAndOnlyMarksMayChange) {
    const NoSync nosync({{.mark = MarkMatch{1, 1}, .proto = IPPROTO_TCP}, {.zone = 7}});
    EXPECT_TRUE(nosync.matches(marked(tcp(1), 1)));
    EXPECT_FALSE(nosync.matches_for_life(marked(tcp(1), 1)));
    EXPECT_TRUE(nosync.matches_by_mark(marked(tcp(1), 1)));
    EXPECT_TRUE(nosync.matches(in_zone(udp(1), 7)));
    EXPECT_TRUE(nosync.matches_for_life(in_zone(udp(1), 7)));
    EXPECT_FALSE(nosync.matches(marked(udp(1), 1)));
    EXPECT_FALSE(NoSync().matches(tcp(1)));
    EXPECT_TRUE(NoSync().empty());
}

// ---- the kernel's filter ---------------------------------------------------------------------

TEST(KernelFilter, SaysWhatTheMatcherSays) {
    for (const Case& c : cases()) {
        KernelFilter filter(0, NoSync({c.rule}));
        const auto dropped = [&](const state::Flow& f, Event event) {
            return filter.drops(message(f, event));
        };
        const bool for_life = !c.rule.mark;
        for (const state::Flow& f : c.fits) {
            SCOPED_TRACE(fmt::format("{}: {}", c.name, state::to_string(f)));
            EXPECT_TRUE(dropped(f, Event::created));
            EXPECT_EQ(dropped(f, Event::updated), for_life);
            EXPECT_EQ(dropped(f, Event::destroyed), for_life);
        }
        for (const state::Flow& f : c.others)
            for (const Event event : {Event::created, Event::updated, Event::destroyed})
                EXPECT_FALSE(dropped(f, event)) << c.name << ": " << state::to_string(f);
    }
}

TEST(KernelFilter, EchoesAreDroppedWithAndWithoutRules) {
    for (const NoSync& nosync : {NoSync(), NoSync({NoSyncRule{.zone = 7}})}) {
        KernelFilter filter(0x01020304, nosync);
        EXPECT_TRUE(filter.drops(message(tcp(1), Event::updated, 0x01020304)));
        EXPECT_FALSE(filter.drops(message(tcp(1), Event::updated, 0x04030201)));
        EXPECT_FALSE(filter.drops(message(tcp(1), Event::updated)));
    }
    KernelFilter none(0, NoSync());
    EXPECT_FALSE(none.drops(message(tcp(1), Event::updated)));
}

TEST(KernelFilter, ManyRulesOnManyFlows) {
    std::mt19937 random(20260101);
    const auto pick = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
    const auto maybe = [&] { return pick(3) == 0; };
    const auto some_address = [&](bool v6) {
        return v6 ? fmt::format("2001:db8:{}::{}", pick(3), pick(3))
                  : fmt::format("10.{}.0.{}", pick(3), pick(3));
    };
    const auto some_prefix = [&] {
        const bool v6 = maybe();
        net::Prefix p = prefix(some_address(v6));
        p.length = static_cast<std::uint8_t>(v6 ? 1 + pick(128) : 1 + pick(32));
        return p.masked();
    };
    const auto some_rule = [&] {
        NoSyncRule r;
        if (maybe())
            r.mark = MarkMatch{pick(4), 3};
        if (maybe())
            r.src = some_prefix();
        if (maybe())
            r.dst = some_prefix();
        while (maybe())
            r.nets.push_back(some_prefix());
        if (maybe())
            r.ports = PortRange{static_cast<std::uint16_t>(pick(4)),
                                static_cast<std::uint16_t>(2 + pick(4))};
        if (maybe())
            r.proto = pick(2) == 0 ? IPPROTO_TCP : IPPROTO_UDP;
        if (r == NoSyncRule{} || maybe())
            r.zone = static_cast<std::uint16_t>(pick(2));
        return r;
    };
    const auto some_flow = [&] {
        const bool v6 = pick(2) == 0;
        const auto port = [&] { return static_cast<std::uint16_t>(pick(6)); };
        state::Flow f = flow(pick(2) == 0 ? IPPROTO_TCP : IPPROTO_UDP, some_address(v6), port(),
                             some_address(v6), port());
        if (maybe())
            f = snat(f, some_address(v6), port());
        if (maybe())
            f = dnat(f, some_address(v6), port());
        f = in_zone(marked(f, pick(4)), static_cast<std::uint16_t>(pick(2)));
        if (maybe())
            f.extras.reply_zone = f.key.zone == 0 ? 1 : 0;
        return f;
    };
    int dropped = 0, passed = 0;
    for (int round = 0; round < 300; round++) {
        std::vector<NoSyncRule> rules;
        for (std::uint32_t n = 1 + pick(3); n > 0; n--)
            rules.push_back(some_rule());
        const NoSync nosync(rules);
        KernelFilter filter(5, nosync);
        for (int i = 0; i < 50; i++) {
            const state::Flow f = some_flow();
            const bool drop = filter.drops(message(f, Event::created));
            ASSERT_EQ(drop, nosync.matches(f)) << round << ": " << state::to_string(f);
            ASSERT_EQ(filter.drops(message(f, Event::updated)), nosync.matches_for_life(f));
            (drop ? dropped : passed)++;
        }
    }
    EXPECT_GT(dropped, 1000);
    EXPECT_GT(passed, 1000);
}

TEST(KernelFilter, WhatFindsNoRoomPasses) {
    std::vector<NoSyncRule> rules;
    for (std::uint16_t i = 1; i <= 64; i++)
        rules.push_back({.nets = {prefix(fmt::format("10.{}.0.0/16", i))}, .zone = 9});
    const auto program = build_event_filter(1, rules);
    EXPECT_LE(program.size(), kMaxFilterSize);
    KernelFilter filter(program);
    const auto in_net = [](int i) {
        return message(in_zone(tcp(1, fmt::format("10.{}.0.1", i)), 9), Event::created);
    };
    EXPECT_TRUE(filter.drops(in_net(1)));
    EXPECT_TRUE(filter.drops(in_net(8)));
    EXPECT_FALSE(filter.drops(in_net(64)));
    // A rule whose jumps are too long for the kernel is left out, and no other.
    NoSyncRule far{.zone = 9};
    for (int i = 0; i < 8; i++)
        far.nets.push_back(prefix("2001:db8::/127"));
    KernelFilter rest(build_event_filter(1, std::vector{NoSyncRule{.zone = 3}, far}));
    EXPECT_TRUE(rest.drops(message(in_zone(tcp(1), 3), Event::created)));
    EXPECT_FALSE(
        rest.drops(message(in_zone(tcp(1, "2001:db8::1", "2001:db8::1"), 9), Event::created)));
}

// A truncated message passes, to be refused by name, or is decided by the part that exists.
TEST(KernelFilter, CutShortAnywhereNothingOfAnotherFlowIsDropped) {
    const NoSyncRule rule{.mark = MarkMatch{1, 1},
                          .src = prefix("10.1.0.0/16"),
                          .ports = PortRange{1, 1023},
                          .zone = 3};
    KernelFilter filter(5, NoSync({rule}));
    const auto fits = message(in_zone(marked(tcp(1), 1), 3), Event::created);
    const auto other = message(in_zone(marked(tcp(1, "10.2.0.1"), 1), 3), Event::created);
    EXPECT_TRUE(filter.drops(fits));
    for (std::size_t size = sizeof(nlmsghdr) + 4; size < fits.size(); size++) {
        EXPECT_FALSE(filter.drops(Bytes(fits).first(size))) << size;
        EXPECT_FALSE(filter.drops(Bytes(other).first(size))) << size;
    }
}

// ---- dumps -----------------------------------------------------------------------------------

TEST(WantedMarks, AreWhatNoRuleOfOneBitExcludes) {
    const auto wanted = [](const std::vector<NoSyncRule>& rules) { return expected_marks(rules); };
    EXPECT_EQ(wanted({}), std::nullopt);
    EXPECT_EQ(wanted({{.mark = MarkMatch{0x10, 0x10}}}), (MarkMatch{0, 0x10}));
    EXPECT_EQ(wanted({{.mark = MarkMatch{0, 0x10}}}), (MarkMatch{0x10, 0x10}));
    EXPECT_EQ(wanted({{.mark = MarkMatch{0x10, 0x10}}, {.mark = MarkMatch{0, 1}}}),
              (MarkMatch{1, 0x11}));
    // Cannot be inverted: more than one bit, or another condition besides.
    EXPECT_EQ(wanted({{.mark = MarkMatch{0x10, 0xf0}}}), std::nullopt);
    EXPECT_EQ(wanted({{.mark = MarkMatch{1, 1}, .zone = 7}, {.zone = 8}}), std::nullopt);
    const auto both = wanted({{.mark = MarkMatch{1, 1}}, {.mark = MarkMatch{0, 1}}});
    EXPECT_EQ(both, (MarkMatch{0, 1}));
}

} // namespace
} // namespace encsync::table::test
