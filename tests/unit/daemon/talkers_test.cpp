// SPDX-License-Identifier: ISC
#include "daemon/talkers.hpp"

#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::daemon {
namespace {

using Top = std::vector<std::pair<std::string, std::uint64_t>>;

state::Key flow(std::uint32_t from, std::uint16_t port = 443, std::uint8_t proto = IPPROTO_TCP) {
    state::Key key;
    key.orig.src.bytes = {10, static_cast<std::uint8_t>(from >> 16),
                          static_cast<std::uint8_t>(from >> 8), static_cast<std::uint8_t>(from)};
    key.orig.dst.bytes = {192, 0, 2, 1};
    key.orig.dport = port;
    key.proto = proto;
    return key;
}

TEST(Talkers, AreNamedByWhatIsAskedFor) {
    for (const auto& [by, expected] : std::initializer_list<std::pair<TalkersBy, Top>>{
             {TalkersBy::source, {{"10.0.0.2", 3}, {"2001:db8::1", 2}, {"10.0.0.1", 1}}},
             {TalkersBy::destination, {{"192.0.2.1", 4}, {"2001:db8::9", 2}}},
             {TalkersBy::service, {{"tcp 443", 2}, {"udp 443", 2}, {"icmp", 1}, {"50", 1}}}}) {
        Talkers talkers(by);
        talkers.add(flow(1));
        talkers.add(flow(2));
        talkers.add(flow(2, 0x0800, IPPROTO_ICMP)); // an echo request: no port
        talkers.add(flow(2, 0, IPPROTO_ESP));
        state::Key v6 = flow(0, 443, IPPROTO_UDP);
        v6.family = state::Family::inet6;
        v6.orig.src.bytes = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
        v6.orig.dst = v6.orig.src;
        v6.orig.dst.bytes[15] = 9;
        talkers.add(v6);
        talkers.add(v6);
        Top found = talkers.top(10);
        EXPECT_EQ(found.size(), expected.size());
        for (const auto& each : expected)
            EXPECT_NE(std::ranges::find(found, each), found.end()) << each.first;
        EXPECT_TRUE(std::ranges::is_sorted(found, std::greater{}, &Top::value_type::second));
        EXPECT_EQ(talkers.top(1).size(), 1U);
    }
    EXPECT_TRUE(Talkers(TalkersBy::source).top(10).empty());
}

// Who has many is found among any number of others, and what is forgotten of it is bounded.
TEST(Talkers, TheLargestIsFoundThoughThereAreMoreThanPlaces) {
    constexpr std::uint32_t kOthers = 50 * Talkers::kPlaces;
    Talkers talkers(TalkersBy::source);
    std::uint64_t all = 0, mine = 0;
    for (std::uint32_t n = 0; n < kOthers; n++, all++) {
        talkers.add(flow(100 + n));
        if (n % 100 == 0) { // a hundredth of all
            talkers.add(flow(1));
            all++;
            mine++;
        }
    }
    const Top top = talkers.top(3);
    ASSERT_FALSE(top.empty());
    EXPECT_EQ(top[0].first, "10.0.0.1");
    EXPECT_LE(top[0].second, mine);
    EXPECT_GE(top[0].second + all / Talkers::kPlaces, mine);
}

} // namespace
} // namespace encsync::daemon
