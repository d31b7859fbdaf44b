// SPDX-License-Identifier: ISC
#include "state/flow.hpp"

#include <gtest/gtest.h>

namespace encsync::state {
namespace {

Address address(const std::string& text) {
    return {net::parse_address(text).value().bytes};
}

Flow make(std::uint8_t proto, const std::string& src, std::uint16_t sport, const std::string& dst,
          std::uint16_t dport) {
    Flow f;
    f.key.proto = proto;
    f.key.family = net::parse_address(src).value().family;
    f.key.orig = {address(src), address(dst), sport, dport};
    f.reply = inverse(f.key);
    return f;
}

TEST(Inverse, TurnsPortsRound) {
    for (const std::uint8_t proto : {6, 17, 47, 132}) {
        const Flow f = make(proto, "10.0.0.2", 1000, "192.0.2.1", 53);
        EXPECT_EQ(f.reply, (Tuple{f.key.orig.dst, f.key.orig.src, 53, 1000}));
    }
}

TEST(Inverse, IcmpTypesBecomeTheirAnswers) {
    struct Row {
        std::uint8_t proto;
        int type, answer;
    };
    for (const Row& row : std::initializer_list<Row>{{1, 8, 0},
                                                     {1, 13, 14},
                                                     {1, 15, 16},
                                                     {1, 17, 18},
                                                     {58, 128, 129},
                                                     {58, 139, 140},
                                                     {1, 3, 3},     // not a query
                                                     {1, 128, 128}, // the other protocol's
                                                     {58, 8, 8}}) {
        Key key;
        key.proto = row.proto;
        key.orig = {address("10.0.0.2"), address("192.0.2.1"), 77,
                    static_cast<std::uint16_t>(row.type << 8 | 3)};
        const Tuple back = inverse(key);
        EXPECT_EQ(back.dport, row.answer << 8 | 3) << row.type;
        EXPECT_EQ(back.sport, 77); // the id stays
        EXPECT_EQ(back.src, key.orig.dst);
        EXPECT_EQ(back.dst, key.orig.src);
    }
}

TEST(Inverse, TwiceIsWhereItBegan) {
    for (int proto = 0; proto < 256; proto++)
        for (int type = 0; type < 256; type++) {
            Key key;
            key.proto = static_cast<std::uint8_t>(proto);
            key.orig = {address("10.0.0.2"), address("192.0.2.1"), 7,
                        static_cast<std::uint16_t>(type << 8 | 1)};
            Key back = key;
            back.orig = inverse(key);
            EXPECT_EQ(inverse(back), key.orig) << proto << " " << type;
        }
}

TEST(Nat, IsSeenOnTheSideItIsOn) {
    const Flow plain = make(6, "10.0.0.2", 1000, "192.0.2.1", 443);
    EXPECT_FALSE(has_snat(plain));
    EXPECT_FALSE(has_dnat(plain));

    Flow f = plain;
    f.reply.dst = address("203.0.113.5");
    EXPECT_TRUE(has_snat(f));
    EXPECT_FALSE(has_dnat(f));
    f = plain;
    f.reply.dport = 61000;
    EXPECT_TRUE(has_snat(f));
    EXPECT_FALSE(has_dnat(f));
    f = plain;
    f.reply.src = address("10.8.8.8");
    EXPECT_FALSE(has_snat(f));
    EXPECT_TRUE(has_dnat(f));
    f = plain;
    f.reply.sport = 8443;
    EXPECT_FALSE(has_snat(f));
    EXPECT_TRUE(has_dnat(f));
    f.reply.dport = 61000;
    EXPECT_TRUE(has_snat(f));
    EXPECT_TRUE(has_dnat(f));
}

TEST(Nat, IcmpIdIsTheSourcesSide) {
    Flow f = make(1, "10.0.0.2", 77, "192.0.2.1", 8 << 8);
    EXPECT_FALSE(has_snat(f));
    EXPECT_FALSE(has_dnat(f));
    f.reply.sport = 78;
    EXPECT_TRUE(has_snat(f));
    EXPECT_FALSE(has_dnat(f));
}

TEST(ToString, SaysFlowsAsPeopleDo) {
    EXPECT_EQ(to_string(make(6, "10.0.0.2", 40000, "192.0.2.1", 443)),
              "tcp 10.0.0.2:40000 -> 192.0.2.1:443");
    EXPECT_EQ(to_string(make(17, "2001:db8::1", 5000, "2001:db8::53", 53)),
              "udp [2001:db8::1]:5000 -> [2001:db8::53]:53");
    EXPECT_EQ(to_string(make(50, "10.0.0.2", 0, "192.0.2.1", 0)), "50 10.0.0.2 -> 192.0.2.1");
    EXPECT_EQ(to_string(make(58, "fe80::1", 7, "fe80::2", 128 << 8)),
              "icmp6 fe80::1 -> fe80::2 id 7 type 128");
    Flow f = make(6, "10.0.0.2", 40000, "192.0.2.1", 443);
    f.reply.dst = address("203.0.113.5");
    f.reply.dport = 61000;
    EXPECT_EQ(to_string(f),
              "tcp 10.0.0.2:40000 -> 192.0.2.1:443 (203.0.113.5:61000 -> 192.0.2.1:443)");
}

} // namespace
} // namespace encsync::state
