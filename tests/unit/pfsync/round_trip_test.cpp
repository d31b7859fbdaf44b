// SPDX-License-Identifier: ISC
// Every protocol, family and kind of NAT, there and back.
#include "describe.hpp"
#include "net/protocol.hpp"
#include "pfsync/extension.hpp"
#include "pfsync/progress.hpp"

#include <gtest/gtest.h>

namespace encsync::pfsync {
namespace {

using state::Family;
using state::Flow;

enum class Nat { none, source, destination, both };

struct Shape {
    std::uint8_t proto;
    Family family;
    Nat nat;
};

Flow make(const Shape& shape) {
    const auto address = [&](std::uint8_t last) {
        state::Address out;
        for (std::size_t n = 0; n < net::address_size(shape.family); n++)
            out.bytes[n] = static_cast<std::uint8_t>(last + 16 * n);
        return out;
    };
    Flow f;
    f.key.proto = shape.proto;
    f.key.family = shape.family;
    f.key.orig.src = address(1);
    f.key.orig.dst = address(2);
    const bool icmp = net::is_icmp(shape.proto);
    if (net::has_identifiers(shape.proto)) {
        f.key.orig.sport = 0x1234;
        f.key.orig.dport = icmp ? (shape.proto == 1 ? 13 : 128) << 8 : 0x0050;
    }
    f.reply = inverse(f.key);
    if (shape.nat == Nat::source || shape.nat == Nat::both) {
        f.reply.dst = address(3);
        if (icmp)
            f.reply.sport = 0x4321;
        else if (net::has_ports_or_keys(shape.proto))
            f.reply.dport = 0x4321;
    }
    if (shape.nat == Nat::destination || shape.nat == Nat::both) {
        f.reply.src = address(4);
        if (net::has_ports_or_keys(shape.proto))
            f.reply.sport = 0x1f90;
    }
    f.id = {0xfedcba9876543210, 0x80000001};
    f.timeout = 4000000000U;
    f.age = 123456;
    f.src_state = shape.proto == 6 ? 4 : 1;
    f.dst_state = shape.proto == 6 ? 4 : 1;
    return f;
}

std::vector<Shape> shapes() {
    std::vector<Shape> out;
    for (const std::uint8_t proto : {0, 1, 6, 17, 33, 41, 47, 50, 58, 132, 136, 255})
        for (const Family family : {Family::inet, Family::inet6})
            for (const Nat nat : {Nat::none, Nat::source, Nat::destination, Nat::both})
                out.push_back({proto, family, nat});
    return out;
}

class RoundTrip : public testing::TestWithParam<Dialect> {};
INSTANTIATE_TEST_SUITE_P(Dialects, RoundTrip, testing::ValuesIn(kAllDialects));

TEST_P(RoundTrip, StandardState) {
    const Dialect d = GetParam();
    const bool typeless = traits(d).state.icmp == Layout::Icmp::id_twice;
    const std::uint8_t seen = static_cast<std::uint8_t>(state::kSeenReply);
    for (const Shape& shape : shapes()) {
        Flow flow = make(shape);
        SCOPED_TRACE(to_string(flow));
        if (shape.proto == 1 && typeless) { // only echoes can be represented
            const bool changed = flow.reply != inverse(flow.key);
            flow.key.orig.dport = 8 << 8;
            flow.reply.dport = 0;
            EXPECT_EQ(changed, shape.nat != Nat::none);
        }
        // What the standard state can carry, and the reader's defaults for the rest.
        flow.flags = seen;
        if (flow.key.proto == 6)
            flow.flags |= state::kAssured | state::kSloppy;
        if (renumbers(traits(d).state, shape.proto)) {
            flow.src_state = flow.dst_state = state::tcp::kEstablished;
            flow.flags |= state::kAssured;
        }
        std::vector<std::uint8_t> m(state_size(d));
        write_state(d, m.data(), flow, {});
        FullState out;
        ASSERT_EQ(read(d, m, out), Fault::none);
        EXPECT_EQ(out.flow, flow) << to_string(out.flow);
        EXPECT_FALSE(out.has_tail);
        EXPECT_TRUE(out.live);
        EXPECT_FALSE(out.wants_ack);
        EXPECT_EQ(m[traits(d).state.direction],
                  shape.nat == Nat::source ? common::kDirectionOut : common::kDirectionIn);
    }
}

// A reader may be called with an object that contains another state.
TEST_P(RoundTrip, NothingIsLeftOfTheLastState) {
    const Dialect d = GetParam();
    Flow six = make({17, Family::inet6, Nat::both});
    Flow four = make({50, Family::inet, Nat::none});
    four.flags = state::kSeenReply;
    std::vector<std::uint8_t> first(state_size(d)), second(state_size(d));
    write_state(d, first.data(), six, {.wants_ack = true});
    write_state(d, second.data(), four, {});
    FullState out;
    ASSERT_EQ(read(d, first, out), Fault::none);
    ASSERT_EQ(read(d, second, out), Fault::none);
    EXPECT_EQ(out.flow, four);
    EXPECT_FALSE(out.wants_ack);
}

// The layouts with the id in both ports keep the id of an ICMP query and lose its type.
TEST(RoundTripIcmp, LosesTheTypeWithoutRoomForIt) {
    const Flow flow = make({1, Family::inet, Nat::none}); // a timestamp
    for (const Dialect d : kAllDialects) {
        std::vector<std::uint8_t> m(state_size(d));
        write_state(d, m.data(), flow, {});
        FullState out;
        ASSERT_EQ(read(d, m, out), Fault::none);
        EXPECT_EQ(out.flow.key.orig.sport, flow.key.orig.sport);
        const bool typeless = traits(d).state.icmp == Layout::Icmp::id_twice;
        EXPECT_EQ(out.flow.key.orig.dport, (typeless ? 8 : 13) << 8);
    }
}

TEST(RoundTripTail, StateWithTail) {
    for (const Shape& shape : shapes())
        for (const std::uint8_t flags : {0, 1, 3, 8, 11}) {
            Flow flow = make(shape);
            SCOPED_TRACE(to_string(flow));
            flow.flags = flags;
            flow.mark = 0xa5a5a5a5;
            flow.key.zone = 0xfffe;
            const bool more = (flags & 1) != 0;
            if (more)
                flow.extras = {{1, 2, 3},
                               *state::Name::of("a-name.of_15-ch"),
                               UINT32_MAX,
                               {{{UINT32_MAX, 1, 2}, {3, UINT32_MAX, 4}}},
                               flags == 1 ? std::optional<std::uint16_t>(0) : std::nullopt};
            std::vector<std::uint8_t> m(openbsd::kStateSize + extension::tail::size +
                                        (more ? extension::more::size : 0));
            write_state(m.data(), flow,
                        {.tail = true, .live = false, .more = more, .wants_ack = true});
            FullState out;
            ASSERT_EQ(read(m, out), Fault::none);
            EXPECT_EQ(out.flow, flow) << to_string(out.flow);
            EXPECT_TRUE(out.has_tail);
            EXPECT_FALSE(out.live);
            EXPECT_TRUE(out.wants_ack);
        }
}

// What the wire cannot carry is lost, and marked as unknown.
TEST(RoundTripTail, LosesIcmpCodeAndUntailedMark) {
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
