// SPDX-License-Identifier: ISC
// EXPECT, compared with its offsets, and read back.
#include "pfsync/expectation.hpp"

#include "pfsync/extension.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <vector>

namespace encsync::pfsync {
namespace {

namespace expect = extension::expect;
using state::Expectation;

state::Address address(const char* text) {
    return {net::parse_address(text).value().bytes};
}

Expectation example(state::Family family = state::Family::inet) {
    const bool v4 = family == state::Family::inet;
    Expectation e;
    e.master.family = family;
    e.tuple = {address(v4 ? "192.0.2.1" : "2001:db8::1"), address(v4 ? "10.0.0.2" : "2001:db8::2"),
               0, 51210};
    e.mask = address(v4 ? "255.255.255.255" : "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    e.proto = IPPROTO_TCP;
    e.flags = Expectation::kPermanent;
    e.policy_class = 3;
    e.has_nat = e.nat_reply = true;
    e.nat_address = address(v4 ? "10.9.9.9" : "2001:db8::9");
    e.nat_port = 51211;
    e.function = *state::FunctionName::of("nat-follow-master");
    e.timeout = 299;
    return e;
}

std::vector<std::uint8_t> written(const Expectation& e) {
    std::vector<std::uint8_t> m(expect::size);
    write_expect(m.data(), {0x1122334455667788, 0x0a0b0c0d}, 1, 2, e);
    return m;
}

TEST(Expect, RoundTrip) {
    for (const state::Family family : {state::Family::inet, state::Family::inet6}) {
        const Expectation e = example(family);
        ExpectMessage out;
        ASSERT_EQ(read(written(e), out), Fault::none);
        EXPECT_EQ(out.master, (state::StateId{0x1122334455667788, 0x0a0b0c0d}));
        EXPECT_EQ(out.index, 1);
        EXPECT_EQ(out.count, 2);
        EXPECT_EQ(out.family, family);
        out.expectation.master = e.master;
        EXPECT_EQ(out.expectation, e);
    }
}

TEST(Expect, StandsWhereTheLayoutSays) {
    const auto m = written(example());
    EXPECT_EQ(m[12], 1);
    EXPECT_EQ(m[13], 2);
    EXPECT_EQ(m[14], IPPROTO_TCP);
    EXPECT_EQ(m[15], 0xc1);
    EXPECT_EQ(m[16], 3);
    EXPECT_EQ(m[17], 2);
    EXPECT_EQ(load_be<std::uint16_t>(&m[18]), 51211);
    EXPECT_EQ(load_be<std::uint32_t>(&m[20]), 299U);
    EXPECT_EQ(load_be<std::uint32_t>(&m[24]), 0xc0000201U);
    EXPECT_EQ(load_be<std::uint32_t>(&m[40]), 0x0a000002U);
    EXPECT_EQ(load_be<std::uint32_t>(&m[56]), 0xffffffffU);
    EXPECT_EQ(load_be<std::uint32_t>(&m[72]), 0x0a090909U);
    EXPECT_EQ(load_be<std::uint16_t>(&m[90]), 51210);
    EXPECT_EQ(m[96], 'n');
}

TEST(Expect, RefusesByName) {
    const auto with = [](std::size_t at, std::uint8_t value) {
        auto m = written(example());
        m[at] = value;
        ExpectMessage out;
        return read(m, out);
    };
    EXPECT_EQ(with(expect::index, 0), Fault::none);
    EXPECT_EQ(with(expect::index, 2), Fault::bad_expectation);
    EXPECT_EQ(with(expect::count, 0), Fault::bad_expectation);
    EXPECT_EQ(with(expect::count, state::kMaxExpectations), Fault::none);
    EXPECT_EQ(with(expect::count, state::kMaxExpectations + 1), Fault::bad_expectation);
    EXPECT_EQ(with(expect::af, 10), Fault::bad_family);
    EXPECT_EQ(with(expect::function + 23, 'x'), Fault::bad_name);
    EXPECT_EQ(with(expect::function, '/'), Fault::bad_name);
    auto m = written(example());
    std::fill_n(&m[expect::creatorid], 4, std::uint8_t{0});
    ExpectMessage out;
    EXPECT_EQ(read(m, out), Fault::bad_creatorid);
    for (std::size_t size = 0; size < expect::size; size++)
        EXPECT_EQ(read(Bytes(m).first(size), out), Fault::short_message);
}

} // namespace
} // namespace encsync::pfsync
