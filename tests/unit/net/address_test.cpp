// SPDX-License-Identifier: ISC
#include "net/asio.hpp"

#include <gtest/gtest.h>

namespace encsync::net {
namespace {

Address address(const char* text) {
    return parse_address(text).value();
}

TEST(Address, RoundTrip) {
    for (const char* text : {"0.0.0.0", "192.168.1.100", "255.255.255.255"}) {
        EXPECT_EQ(to_string(address(text)), text);
        EXPECT_FALSE(address(text).is_v6());
    }
    for (const char* text : {"::", "::1", "2001:db8::1", "fe80::1", "::ffff:192.0.2.1"}) {
        EXPECT_EQ(to_string(address(text)), text);
        EXPECT_TRUE(address(text).is_v6());
    }
    EXPECT_EQ(address("10.1.2.3"), (Address{{10, 1, 2, 3}, Family::inet}));
    EXPECT_EQ(address("2001:DB8::1"), address("2001:db8:0:0:0:0:0:1"));
}

TEST(Address, WhatIsNone) {
    using namespace std::string_view_literals;
    for (const auto text : {""sv, "10.1.2"sv, "10.1.2.3.4"sv, "10.1.2.256"sv, "10.1.2.03x"sv,
                            " 10.1.2.3"sv, "10.1.2.3 "sv, "10.1.2.3\0"sv, "10.1.2.3/8"sv, ":"sv,
                            "2001:db8"sv, "1::2::3"sv, "fe80::1%eth0"sv, "minnie"sv})
        EXPECT_FALSE(parse_address(text)) << text;
}

// 10.0.0.0 and a00:: begin with the same bytes.
TEST(Address, TheFamilyBelongsToIt) {
    EXPECT_EQ(address("10.0.0.0").bytes, address("a00::").bytes);
    EXPECT_NE(address("10.0.0.0"), address("a00::"));
    EXPECT_NE(address("0.0.0.0"), address("::"));
}

TEST(Address, Kinds) {
    const auto kinds = [](const char* text) {
        const Address a = address(text);
        return std::string(a.is_unspecified() ? "u" : "") + (a.is_loopback() ? "l" : "") +
               (a.is_multicast() ? "m" : "") + (a.is_link_local() ? "k" : "") +
               (a.is_v4_mapped() ? "4" : "");
    };
    for (const char* text : {"0.0.0.0", "::"})
        EXPECT_EQ(kinds(text), "u") << text;
    for (const char* text : {"127.0.0.1", "127.255.255.255", "::1"})
        EXPECT_EQ(kinds(text), "l") << text;
    for (const char* text : {"224.0.0.0", "239.255.255.255", "ff02::1"})
        EXPECT_EQ(kinds(text), "m") << text;
    for (const char* text : {"fe80::1", "febf::1"})
        EXPECT_EQ(kinds(text), "k") << text;
    EXPECT_EQ(kinds("::ffff:127.0.0.1"), "4");
    for (const char* text : {"126.0.0.1", "223.255.255.255", "240.0.0.1", "255.255.255.255",
                             "169.254.0.1", "254.128.0.1", "::2", "7f00::1", "fec0::1", "fd00::1"})
        EXPECT_EQ(kinds(text), "") << text;
    EXPECT_EQ(address("255.255.255.255"), kIpv4Broadcast);
}

TEST(Address, OutOfAPacket) {
    const std::uint8_t packet[16] = {0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    EXPECT_EQ(to_string(Address::read(packet, Family::inet)), "253.1.2.3");
    EXPECT_EQ(to_string(Address::read(packet, Family::inet6)), "fd01:203:405:607:809:a0b:c0d:e0f");
}

TEST(Address, ThereAndBackToTheSystem) {
    for (const Family family : {Family::inet, Family::inet6})
        EXPECT_EQ(family_of_system(system_family(family)), family);
    EXPECT_FALSE(family_of_system(0));
    for (const char* text : {"192.0.2.1", "0.0.0.0", "2001:db8::1", "fe80::1"}) {
        EXPECT_EQ(from_asio(to_asio(address(text))), address(text));
        EXPECT_EQ(to_asio(address(text)).to_string(), text);
    }
    const auto scoped = to_asio(address("fe80::1"), 7);
    EXPECT_EQ(scoped.to_v6().scope_id(), 7U);
    EXPECT_EQ(from_asio(scoped), address("fe80::1"));
}

} // namespace
} // namespace encsync::net
