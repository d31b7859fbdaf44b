// SPDX-License-Identifier: ISC
#include "net/mac.hpp"

#include <gtest/gtest.h>

namespace encsync::net {
namespace {

TEST(Mac, RoundTrip) {
    for (const char* text : {"00:00:00:00:00:00", "52:54:00:12:34:56", "ff:ff:ff:ff:ff:ff"})
        EXPECT_EQ(to_string(parse_mac(text).value()), text);
    EXPECT_EQ(parse_mac("52:54:00:AB:CD:eF"), parse_mac("52:54:00:ab:cd:ef"));
    EXPECT_EQ(parse_mac("01:02:03:04:05:06"), (Mac{{1, 2, 3, 4, 5, 6}}));
}

TEST(Mac, WhatIsNone) {
    using namespace std::string_view_literals;
    for (const auto text :
         {""sv, "52:54:00:12:34"sv, "52:54:00:12:34:5"sv, "52:54:00:12:34:567"sv,
          "52:54:00:12:34:56:78"sv, "52-54-00-12-34-56"sv, "5254.0012.3456"sv, "525400123456"sv,
          "52:54:00:12:34:5g"sv, "52:54:00:12:34:-6"sv, "52:54:00:12:34: 6"sv,
          "52:54:00:12:34:0x"sv, " 2:54:00:12:34:56"sv, "52:54:00:12:34\0:56"sv})
        EXPECT_FALSE(parse_mac(text)) << text;
}

TEST(Mac, WhichAreNobodys) {
    EXPECT_TRUE(parse_mac("00:00:00:00:00:00")->is_zero());
    EXPECT_FALSE(parse_mac("00:00:00:00:00:01")->is_zero());
    for (const char* group : {"ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:f0", "33:33:00:00:00:f0"})
        EXPECT_TRUE(parse_mac(group)->is_group()) << group;
    EXPECT_FALSE(parse_mac("52:54:00:12:34:56")->is_group());
}

TEST(Mac, WhichInterfacesHaveOne) {
    EXPECT_EQ(has_mac("lo"), false);
    EXPECT_EQ(has_mac("there-is-none"), std::nullopt);
}

} // namespace
} // namespace encsync::net
