// SPDX-License-Identifier: ISC
#include "ipsec/link/inner.hpp"

#include <gtest/gtest.h>
#include <vector>

namespace encsync::link {
namespace {

TEST(Inner, Ipv4HeaderByteForByte) {
    net::Address src, dst;
    src.bytes = {192, 168, 1, 100};
    dst.bytes = {192, 168, 1, 101};
    std::vector<std::uint8_t> header(20, 0xee);
    write_inner_header(header.data(), src, dst, 40);
    // The checksum by hand: the other words add up to 0x30955; 0x0955 + 3, inverted.
    const std::vector<std::uint8_t> expected{0x45, 0x10, 0,   60,  0, 0,   0x40, 0,   255, 240,
                                             0xf6, 0xa7, 192, 168, 1, 100, 192,  168, 1,   101};
    EXPECT_EQ(expected, header);
}

TEST(Inner, Ipv6HeaderByteForByte) {
    net::Address src, dst;
    src.family = dst.family = net::Family::inet6;
    src.bytes = {0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    dst.bytes = {0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
    std::vector<std::uint8_t> header(40, 0xee);
    write_inner_header(header.data(), src, dst, 0x0123);
    std::vector<std::uint8_t> expected{0x61, 0, 0, 0, 0x01, 0x23, 240, 255};
    expected.insert(expected.end(), src.bytes.begin(), src.bytes.end());
    expected.insert(expected.end(), dst.bytes.begin(), dst.bytes.end());
    EXPECT_EQ(expected, header);
}

TEST(Inner, TheLargestPayloadFitsAndOneMoreDoesNot) {
    for (std::size_t mtu = kMinMtu; mtu < 9100; mtu++)
        for (const bool outer : {false, true})
            for (const bool inner : {false, true}) {
                const std::size_t n = max_payload(mtu, outer, inner) + ip_header_size(inner);
                const std::size_t headers = ip_header_size(outer) + 8;
                ASSERT_LE(headers + esp::sealed_size(n), mtu);
                ASSERT_GT(headers + esp::sealed_size(n + 1), mtu);
            }
    EXPECT_EQ(1418u, max_payload(1500, false, false));
    EXPECT_EQ(0u, max_payload(60, false, false));
    EXPECT_EQ(0u, max_payload(0, true, true));
}

TEST(Inner, ConfidentialityPaddingIsCutOff) {
    std::vector<std::uint8_t> packet(100);
    const auto cut = [&] { return without_padding(packet).size(); };
    packet[0] = 0x45;
    packet[3] = 60;
    EXPECT_EQ(60u, cut());
    packet[3] = 100;
    EXPECT_EQ(100u, cut());
    packet[3] = 101; // longer than the packet: the policy refuses it
    EXPECT_EQ(100u, cut());
    packet[3] = 19; // shorter than a header: likewise
    EXPECT_EQ(100u, cut());
    packet[0] = 0x60;
    packet[5] = 20;
    EXPECT_EQ(60u, cut());
    packet[5] = 61;
    EXPECT_EQ(100u, cut());
    packet[0] = 0x50;
    EXPECT_EQ(100u, cut());
    for (std::size_t size = 0; size <= 40; size++) { // truncated at every byte
        const std::vector<std::uint8_t> start(size, 0x60);
        EXPECT_EQ(size, without_padding(start).size());
    }
}

} // namespace
} // namespace encsync::link
