// Every protocol, family and kind of NAT, there and back.
#include "describe.hpp"
#include "pfsync/extension.hpp"

#include <gtest/gtest.h>

namespace encsync::pfsync {
namespace {

using state::Family;
using state::Flow;

enum class Nat { none, source, destination, both };

struct Kind {
    std::uint8_t proto;
    Family family;
    Nat nat;
};

bool has_ports(std::uint8_t proto) {
    return proto == 6 || proto == 17 || proto == 132 || proto == 136 || proto == 33 || proto == 47;
}

Flow make(const Kind& kind) {
    const auto address = [&](std::uint8_t last) {
        state::Address out;
        for (std::size_t n = 0; n < (kind.family == Family::inet ? 4 : 16); n++)
            out.bytes[n] = static_cast<std::uint8_t>(last + 16 * n);
        return out;
    };
    Flow f;
    f.key.proto = kind.proto;
    f.key.family = kind.family;
    f.key.orig.src = address(1);
    f.key.orig.dst = address(2);
    const bool icmp = kind.proto == 1 || kind.proto == 58;
    if (icmp || has_ports(kind.proto)) {
        f.key.orig.sport = 0x1234;
        f.key.orig.dport = icmp ? (kind.proto == 1 ? 13 : 128) << 8 : 0x0050;
    }
    f.reply = inverse(f.key);
    if (kind.nat == Nat::source || kind.nat == Nat::both) {
        f.reply.dst = address(3);
        if (icmp)
            f.reply.sport = 0x4321;
        else if (has_ports(kind.proto))
            f.reply.dport = 0x4321;
    }
    if (kind.nat == Nat::destination || kind.nat == Nat::both) {
        f.reply.src = address(4);
        if (has_ports(kind.proto))
            f.reply.sport = 0x1f90;
    }
    f.id = {0xfedcba9876543210, 0x80000001};
    f.timeout = 4000000000U;
    f.age = 123456;
    f.src_state = kind.proto == 6 ? 4 : 1;
    f.dst_state = kind.proto == 6 ? 4 : 1;
    return f;
}

std::vector<Kind> kinds() {
    std::vector<Kind> out;
    for (const std::uint8_t proto : {0, 1, 6, 17, 33, 41, 47, 50, 58, 132, 136, 255})
        for (const Family family : {Family::inet, Family::inet6})
            for (const Nat nat : {Nat::none, Nat::source, Nat::destination, Nat::both})
                out.push_back({proto, family, nat});
    return out;
}

TEST(RoundTrip, StandardState) {
    for (const Kind& kind : kinds()) {
        Flow flow = make(kind);
        SCOPED_TRACE(to_string(flow));
        // What the standard state has room for, and what its reader makes of the rest.
        flow.flags = state::kSeenReply;
        if (flow.key.proto == 6)
            flow.flags |= state::kAssured | state::kSloppy;
        std::vector<std::uint8_t> m(openbsd::kStateSize);
        write_state(m.data(), flow, {});
        FullState out;
        ASSERT_EQ(read(m, out), Fault::none);
        EXPECT_EQ(out.flow, flow) << to_string(out.flow);
        EXPECT_FALSE(out.has_tail);
        EXPECT_TRUE(out.live);
        EXPECT_FALSE(out.wants_ack);
        EXPECT_EQ(m[openbsd::full::direction],
                  kind.nat == Nat::source ? openbsd::kDirectionOut : openbsd::kDirectionIn);
    }
}

TEST(RoundTrip, StateWithTail) {
    for (const Kind& kind : kinds())
        for (const std::uint8_t flags : {0, 1, 3, 8, 11}) {
            Flow flow = make(kind);
            SCOPED_TRACE(to_string(flow));
            flow.flags = flags;
            flow.mark = 0xa5a5a5a5;
            flow.key.zone = 0xfffe;
            std::vector<std::uint8_t> m(openbsd::kStateSize + extension::tail::size);
            write_state(m.data(), flow, {.tail = true, .live = false, .wants_ack = true});
            FullState out;
            ASSERT_EQ(read(m, out), Fault::none);
            EXPECT_EQ(out.flow, flow) << to_string(out.flow);
            EXPECT_TRUE(out.has_tail);
            EXPECT_FALSE(out.live);
            EXPECT_TRUE(out.wants_ack);
        }
}

// What the wire has no room for is lost, and known to be.
TEST(RoundTrip, LosesIcmpCodeAndUntailedMark) {
    Flow flow = make({1, Family::inet, Nat::none});
    flow.key.orig.dport |= 5;
    flow.mark = 7;
    flow.key.zone = 8;
    std::vector<std::uint8_t> m(openbsd::kStateSize);
    write_state(m.data(), flow, {});
    FullState out;
    ASSERT_EQ(read(m, out), Fault::none);
    EXPECT_EQ(out.flow.key.orig.dport, 13 << 8);
    EXPECT_EQ(out.flow.mark, 0U);
    EXPECT_EQ(out.flow.key.zone, 0);
}

} // namespace
} // namespace encsync::pfsync
