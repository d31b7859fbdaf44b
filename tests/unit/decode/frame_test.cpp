// SPDX-License-Identifier: ISC
// Frames of every link type, valid, of other protocols, and truncated.
#include "decode/frame.hpp"
#include "decode/hex.hpp"
#include "packets.hpp"

#include <gtest/gtest.h>

namespace encsync::decode {
namespace {

const Data kPayload{6, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

Data ipv4(std::uint8_t protocol = 240, const Data& options = {}) {
    const auto header = static_cast<std::uint8_t>(20 + options.size());
    Data out{static_cast<std::uint8_t>(0x40 | header / 4),
             0x10,
             0,
             static_cast<std::uint8_t>(header + kPayload.size()),
             0,
             0,
             0x40,
             0,
             255,
             protocol,
             0,
             0,
             10,
             9,
             0,
             1,
             10,
             9,
             0,
             2};
    return std::move(out) + options + kPayload;
}

Data ipv6(std::uint8_t next = 240, const Data& between = {}) {
    Data out{0x60, 0,   0,    0, 0, static_cast<std::uint8_t>(between.size() + kPayload.size()),
             next, 254, 0xfd, 0, 0, 0,
             0,    0,   0,    0, 0, 0,
             0,    0,   0,    0, 0, 1,
             0xfd, 0,   0,    0, 0, 0,
             0,    0,   0,    0, 0, 0,
             0,    0,   0,    2};
    return std::move(out) + between + kPayload;
}

Data ethernet(const Data& type, const Data& rest) {
    return Data{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12} + type + rest;
}

const Data kTypeIpv4{8, 0}, kTypeIpv6{0x86, 0xdd}, kTypeEnc0{0x88, 0xb5};

void expect_pfsync(int link_type, const Data& frame, const char* src) {
    const Frame f = find_pfsync(link_type, frame);
    ASSERT_EQ(f.verdict, Frame::Verdict::pfsync) << link_type;
    EXPECT_EQ(Data(f.payload.begin(), f.payload.end()), kPayload) << link_type;
    ASSERT_EQ(f.ip.has_value(), src != nullptr);
    if (src != nullptr) {
        EXPECT_EQ(f.ip->src, src);
    }
}

TEST(Frame, EveryLinkType) {
    for (const int raw : {12, 14, 101}) {
        expect_pfsync(raw, ipv4(), "10.9.0.1");
        expect_pfsync(raw, ipv6(), "fd00::1");
    }
    expect_pfsync(228, ipv4(), "10.9.0.1");
    expect_pfsync(229, ipv6(), "fd00::1");
    expect_pfsync(1, ethernet(kTypeIpv4, ipv4()), "10.9.0.1");
    expect_pfsync(1, ethernet(kTypeIpv6, ipv6()), "fd00::1");
    expect_pfsync(1, ethernet(kTypeEnc0, ipv4()), "10.9.0.1");
    expect_pfsync(113, Data(14) + kTypeIpv4 + ipv4(), "10.9.0.1");
    expect_pfsync(276, kTypeIpv6 + Data(18) + ipv6(), "fd00::1");
    for (const int loop : {0, 108})
        expect_pfsync(loop, Data(4) + ipv4(), "10.9.0.1");
    expect_pfsync(109, Data(12) + ipv4(), "10.9.0.1");
    for (const int bare : {18, 121, 246}) {
        expect_pfsync(bare, kPayload, nullptr);
        expect_pfsync(bare, ipv4(), "10.9.0.1");
    }
    for (const int type : {0, 1, 12, 14, 18, 101, 108, 109, 113, 121, 228, 229, 246, 276})
        EXPECT_TRUE(knows_link_type(type));
    EXPECT_FALSE(knows_link_type(105));
    EXPECT_EQ(find_pfsync(105, ipv4()).verdict, Frame::Verdict::other);
}

TEST(Frame, VlanTags) {
    const Data tag{0, 7};
    expect_pfsync(1, ethernet(Data{0x81, 0} + tag + kTypeIpv4, ipv4()), "10.9.0.1");
    expect_pfsync(1, ethernet(Data{0x88, 0xa8} + tag + Data{0x81, 0} + tag + kTypeIpv6, ipv6()),
                  "fd00::1");
    EXPECT_EQ(find_pfsync(1, ethernet(Data{0x81, 0} + tag + Data{8, 6}, ipv4())).verdict,
              Frame::Verdict::other);
}

TEST(Frame, HeaderFieldsAndPadding) {
    const Data padded = ethernet(kTypeIpv4, ipv4() + Data{9, 9, 9, 9});
    const Frame f = find_pfsync(1, padded);
    EXPECT_EQ(Data(f.payload.begin(), f.payload.end()), kPayload);
    EXPECT_EQ(f.ip->dst, "10.9.0.2");
    EXPECT_EQ(f.ip->ttl, 255);
    EXPECT_EQ(find_pfsync(101, ipv6()).ip->ttl, 254);
    expect_pfsync(101, ipv4(240, Data(8, 1)), "10.9.0.1"); // options
}

TEST(Frame, OtherProtocols) {
    EXPECT_EQ(find_pfsync(101, ipv4(50)).verdict, Frame::Verdict::other);
    EXPECT_EQ(find_pfsync(101, ipv6(50)).verdict, Frame::Verdict::other);
    EXPECT_EQ(find_pfsync(1, ethernet({8, 6}, Data(28))).verdict, Frame::Verdict::other);
}

TEST(Frame, ExtensionHeaders) {
    expect_pfsync(101, ipv6(0, Data{240, 0, 1, 4, 0, 0, 0, 0}), "fd00::1");
    expect_pfsync(101, ipv6(0, Data{60, 0, 1, 4, 0, 0, 0, 0, 240, 1} + Data(14)), "fd00::1");
    // Another protocol after them is another protocol.
    EXPECT_EQ(find_pfsync(101, ipv6(0, Data{17, 0, 1, 4, 0, 0, 0, 0})).verdict,
              Frame::Verdict::other);
}

TEST(Frame, Fragments) {
    for (const Data& flags : {Data{0x20, 0}, Data{0, 1}}) {
        Data data = ipv4();
        data[6] = flags[0];
        data[7] = flags[1];
        const Frame f = find_pfsync(101, data);
        EXPECT_EQ(f.verdict, Frame::Verdict::bad);
        EXPECT_EQ(f.error, "fragment");
    }
    const Frame six = find_pfsync(101, ipv6(44, Data{240, 0, 0, 1, 0, 0, 0, 0}));
    EXPECT_EQ(six.error, "fragment");
}

TEST(Frame, ImpossibleLengths) {
    Data data = ipv4();
    data[0] = 0x44; // a header of 16 bytes
    EXPECT_EQ(find_pfsync(101, data).error, "bad_ip_length");
    data = ipv4();
    data[3] = 19;
    EXPECT_EQ(find_pfsync(101, data).error, "bad_ip_length");
    data = ipv6(0, Data{240, 200, 1, 4, 0, 0, 0, 0});
    EXPECT_EQ(find_pfsync(101, data).error, "bad_ip_length");
}

// A payload never reaches beyond the frame.
TEST(Frame, CutShort) {
    for (const int type : {0, 1, 12, 101, 108, 109, 113, 228, 229, 246, 276})
        for (const Data& whole :
             {ethernet(Data{0x81, 0, 0, 7} + kTypeIpv4, ipv4()), ethernet(kTypeIpv6, ipv6()),
              ipv4(), ipv6(0, Data{240, 0, 1, 4, 0, 0, 0, 0}), Data(14) + kTypeIpv4 + ipv4()})
            for (std::size_t size = 0; size <= whole.size(); size++) {
                const Data frame(whole.begin(), whole.begin() + static_cast<long>(size));
                const Frame f = find_pfsync(type, frame);
                if (f.verdict == Frame::Verdict::pfsync) {
                    EXPECT_LE(f.payload.data() + f.payload.size(), frame.data() + frame.size());
                }
            }
}

TEST(Hex, Lines) {
    EXPECT_EQ(parse_hex("0601 aB:ff\t\r").bytes, (Data{6, 1, 0xab, 0xff}));
    EXPECT_TRUE(parse_hex("").bytes.empty());
    EXPECT_EQ(parse_hex("").error, "");
}

TEST(Hex, Refused) {
    const auto said = [](std::string_view line) {
        const Hex hex = parse_hex(line);
        EXPECT_TRUE(hex.bytes.empty());
        return std::string(hex.error) + "@" + std::to_string(hex.column);
    };
    EXPECT_EQ(said("06 0"), "bad_hex@4");
    EXPECT_EQ(said("06 zz"), "bad_hex@3");
    EXPECT_EQ(said("0 6"), "bad_hex@1");
    EXPECT_EQ(said("# 06"), "bad_hex@0");
    EXPECT_EQ(said(std::string(2 * kMaxPacket + 2, '0')), "too_long@131070");
    EXPECT_EQ(parse_hex(std::string(2 * kMaxPacket, '0')).bytes.size(), kMaxPacket);
}

} // namespace
} // namespace encsync::decode
