// SPDX-License-Identifier: ISC
#include "net/protocol.hpp"

#include <gtest/gtest.h>
#include <set>

namespace encsync::net {
namespace {

template<class Question>
std::set<int> those(Question holds) {
    std::set<int> out;
    for (int proto = 0; proto < 256; proto++)
        if (holds(static_cast<std::uint8_t>(proto)))
            out.insert(proto);
    return out;
}

TEST(Protocol, WhatStandsInThePlaceOfPorts) {
    EXPECT_EQ(those(has_ports), (std::set{6, 17, 33, 132, 136}));
    EXPECT_EQ(those(has_ports_or_keys), (std::set{6, 17, 33, 47, 132, 136}));
    EXPECT_EQ(those(has_identifiers), (std::set{1, 6, 17, 33, 47, 58, 132, 136}));
    EXPECT_EQ(those(is_icmp), (std::set{1, 58}));
}

TEST(Protocol, ByNameOrNumber) {
    EXPECT_EQ(protocol_name(1), "icmp");
    EXPECT_EQ(protocol_name(6), "tcp");
    EXPECT_EQ(protocol_name(17), "udp");
    EXPECT_EQ(protocol_name(47), "gre");
    EXPECT_EQ(protocol_name(58), "icmp6");
    EXPECT_EQ(protocol_name(132), "sctp");
    EXPECT_EQ(protocol_name(kPfsync), "240");
    for (int proto = 0; proto < 256; proto++) {
        const auto number = static_cast<std::uint8_t>(proto);
        const std::string_view word = protocol_word(number);
        EXPECT_EQ(protocol_of(word), word.empty() ? std::nullopt : std::optional(number));
    }
    for (const char* word : {"", "TCP", "tc", "240", "esp"})
        EXPECT_EQ(protocol_of(word), std::nullopt) << word;
}

TEST(PortRange, BothEndsBelongToIt) {
    const PortRange range{1024, 2048};
    EXPECT_FALSE(range.contains(1023));
    EXPECT_TRUE(range.contains(1024));
    EXPECT_TRUE(range.contains(2048));
    EXPECT_FALSE(range.contains(2049));
    EXPECT_TRUE((PortRange{0, 65535}.contains(0)));
    EXPECT_TRUE((PortRange{0, 65535}.contains(65535)));
}

} // namespace
} // namespace encsync::net
