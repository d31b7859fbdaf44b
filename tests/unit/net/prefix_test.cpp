// SPDX-License-Identifier: ISC
#include "net/prefix.hpp"

#include <gtest/gtest.h>

namespace encsync::net {
namespace {

Address address(const char* text) {
    return parse_address(text).value();
}
Prefix prefix(const char* text) {
    return parse_prefix(text).value();
}

TEST(Prefix, RoundTrip) {
    for (const char* text :
         {"0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "::/0", "2001:db8::/33", "2001:db8::1/128"})
        EXPECT_EQ(to_string(prefix(text)), text);
    EXPECT_EQ(prefix("192.0.2.1"), prefix("192.0.2.1/32"));
    EXPECT_EQ(prefix("2001:db8::1"), prefix("2001:db8::1/128"));
}

TEST(Prefix, WhatIsNone) {
    for (const char* text : {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x",
                             "10.0.0.0/0x8", "10.0.0.0/8/8", "2001:db8::/129", "10.0.0/8"})
        EXPECT_FALSE(parse_prefix(text)) << text;
}

TEST(Prefix, Contains) {
    EXPECT_TRUE(prefix("0.0.0.0/0").contains(address("203.0.113.9")));
    EXPECT_TRUE(prefix("2001:db8::1").contains(address("2001:db8::1")));
    EXPECT_FALSE(prefix("2001:db8::1").contains(address("2001:db8::2")));
    EXPECT_TRUE(prefix("10.0.0.0/9").contains(address("10.127.255.255")));
    EXPECT_FALSE(prefix("10.0.0.0/9").contains(address("10.128.0.0")));
    EXPECT_TRUE(prefix("2001:db8::/33").contains(address("2001:db8:7fff::1")));
    EXPECT_FALSE(prefix("2001:db8::/33").contains(address("2001:db8:8000::1")));
    // The other family, which begins with the same bytes.
    EXPECT_FALSE(prefix("0.0.0.0/0").contains(address("::")));
    EXPECT_FALSE(prefix("10.0.0.0/8").contains(address("a00::1")));
}

// Every length, by the bits one at a time.
TEST(Prefix, EveryLength) {
    for (const char* text : {"165.90.195.60", "a55a:c33c:1:f0f0:9669:6996:abcd:1234"}) {
        const Address whole = address(text);
        for (unsigned length = 0; length <= address_width(whole.family); length++) {
            const Prefix p{whole, static_cast<std::uint8_t>(length)};
            EXPECT_TRUE(p.contains(whole));
            EXPECT_TRUE(p.contains(p.masked().network));
            EXPECT_EQ(p.masked(), p.masked().masked());
            for (unsigned bit = 0; bit < address_width(whole.family); bit++) {
                Address other = whole;
                other.bytes[bit / 8] ^= static_cast<std::uint8_t>(0x80U >> bit % 8);
                EXPECT_EQ(p.contains(other), bit >= length) << length << " " << bit;
                EXPECT_EQ((p.masked() == Prefix{other, p.length}.masked()), bit >= length);
            }
        }
    }
}

} // namespace
} // namespace encsync::net
