// SPDX-License-Identifier: ISC
// The rules of nosync: each condition, and the errors with their places.
#include "config/values.hpp"

#include <gtest/gtest.h>

namespace encsync::config {
namespace {

using state::NoSyncRule;

std::vector<NoSyncRule> read(std::string_view text) {
    std::vector<NoSyncRule> out;
    const Verdict verdict = read_nosync(text, out);
    EXPECT_FALSE(verdict) << text << ": " << verdict->message;
    return out;
}

net::Prefix prefix(std::string_view text) {
    std::vector<net::Prefix> out;
    EXPECT_FALSE(read_prefixes(text, out)) << text;
    return out.at(0);
}

TEST(NoSyncRules, EachCondition) {
    const auto one = [](std::string_view text) { return read(text).at(0); };
    EXPECT_EQ(one("mark 0x10/0xf0"), (NoSyncRule{.mark = state::MarkMatch{0x10, 0xf0}}));
    EXPECT_EQ(one("mark 0X1F"), (NoSyncRule{.mark = state::MarkMatch{0x1f, 0xffffffff}}));
    EXPECT_EQ(one("mark 4294967295"),
              (NoSyncRule{.mark = state::MarkMatch{0xffffffff, 0xffffffff}}));
    EXPECT_EQ(one("mark 0"), (NoSyncRule{.mark = state::MarkMatch{0, 0xffffffff}}));
    EXPECT_EQ(one("mark 0/16"), (NoSyncRule{.mark = state::MarkMatch{0, 16}}));
    EXPECT_EQ(one("src 10.0.0.0/8"), (NoSyncRule{.src = prefix("10.0.0.0/8")}));
    EXPECT_EQ(one("dst 2001:db8::1"), (NoSyncRule{.dst = prefix("2001:db8::1/128")}));
    EXPECT_EQ(one("net 10.9.0.0/24"), (NoSyncRule{.nets = {prefix("10.9.0.0/24")}}));
    EXPECT_EQ(one("port 53"), (NoSyncRule{.ports = net::PortRange{53, 53}}));
    EXPECT_EQ(one("port 1-65535"), (NoSyncRule{.ports = net::PortRange{1, 65535}}));
    EXPECT_EQ(one("proto udp"), (NoSyncRule{.proto = 17}));
    EXPECT_EQ(one("proto icmp6"), (NoSyncRule{.proto = 58}));
    EXPECT_EQ(one("proto 255"), (NoSyncRule{.proto = 255}));
    EXPECT_EQ(one("zone 0"), (NoSyncRule{.zone = 0}));
    EXPECT_EQ(one("zone 65535"), (NoSyncRule{.zone = 65535}));
}

TEST(NoSyncRules, JoinedAndParted) {
    const auto rules = read("proto udp  and\tport 53,mark 1 , net 10.0.0.0/8 and net 192.0.2.0/24");
    ASSERT_EQ(rules.size(), 3u);
    EXPECT_EQ(rules[0], (NoSyncRule{.ports = net::PortRange{53, 53}, .proto = 17}));
    EXPECT_EQ(rules[1].mark->value, 1u);
    ASSERT_EQ(rules[2].nets.size(), 2u);
    EXPECT_EQ(rules[2].nets[1], prefix("192.0.2.0/24"));
}

TEST(NoSyncRules, Refusals) {
    const struct {
        const char *text, *refusal, *hint;
    } bad[] = {
        {"mark", "3: 'mark' has no value", ""},
        {"mark and zone 1", "5: 'mark' has no value", ""},
        {"mark x", "5: 'x' is no mark", "write 0x10/0xf0, or a number of 32 bits"},
        {"mark 0x", "5: '0x' is no mark", "write 0x10/0xf0, or a number of 32 bits"},
        {"mark -1", "5: '-1' is no mark", "write 0x10/0xf0, or a number of 32 bits"},
        {"mark 0x100000000", "5: '0x100000000' is no mark",
         "write 0x10/0xf0, or a number of 32 bits"},
        {"mark 1/", "7: '' is no mask", "write 0x10/0xf0"},
        {"mark 1/0xg", "7: '0xg' is no mask", "write 0x10/0xf0"},
        {"mark 0/0", "7: with the mask 0 every mark fits", ""},
        {"mark 0x11/0xf0", "5: '0x11/0xf0' has bits set beyond its mask",
         "did you mean '0x10/0xf0'?"},
        {"src 10.0.0.1/8", "4: '10.0.0.1/8' has bits set beyond its prefix",
         "did you mean '10.0.0.0/8'?"},
        {"dst host", "4: 'host' is no IP address", ""},
        {"net 10.0.0.0/0", "13: a prefix length is from 1 to 32 here", ""},
        {"port 0", "5: '0' is no port, 1 to 65535", ""},
        {"port 65536", "5: '65536' is no port, 1 to 65535", ""},
        {"port http", "5: 'http' is no port, 1 to 65535", ""},
        {"port 1-", "7: '' is no port, 1 to 65535", ""},
        {"port -1", "5: '' is no port, 1 to 65535", ""},
        {"port 10-x", "8: 'x' is no port, 1 to 65535", ""},
        {"port 10-9", "5: the range '10-9' ends before it begins", ""},
        {"proto udpp", "6: 'udpp' is no protocol", "did you mean 'udp'?"},
        {"proto 256", "6: '256' is no protocol",
         "write its number, or one of tcp, udp, icmp, icmp6, sctp, dccp, udplite, gre"},
        {"zone 65536", "5: '65536' is not from 0 to 65535", ""},
        {"zone x", "5: 'x' is no number", ""},
        {"10.0.0.0/8", "0: '10.0.0.0/8' is no condition",
         "a condition is one of mark, src, dst, net, proto, port, zone"},
        {"zone 1 and zonee 2", "11: 'zonee' is no condition", "did you mean 'zone'?"},
        {"zone 1 and", "9: a condition is missing after 'and'", ""},
        {"and zone 1", "0: a condition is missing before 'and'", ""},
        {"zone 1 and and mark 2", "11: a condition is missing before 'and'", ""},
        {"zone 1 mark 2", "7: expected 'and' or a comma before 'mark'", ""},
        {"zone 1, port 80 and port 443", "20: 'port' is there twice in one rule",
         "part alternatives by commas"},
        {"zone 1,", "6: a rule is missing beside the comma", ""},
        {", zone 1", "0: a rule is missing beside the comma", ""},
        {"zone 1,,zone 2", "7: a rule is missing beside the comma", ""},
        {"zone 1, proto icmp and port 8", "8: no flow fits: this protocol has no ports", ""},
        {"proto gre and port 8", "0: no flow fits: this protocol has no ports", ""},
        {"src 10.0.0.0/8 and dst 2001:db8::1",
         "0: no flow fits: these are addresses of two families", "part alternatives by commas"},
        {"net 10.0.0.0/8 and net 2001:db8::1",
         "0: no flow fits: these are addresses of two families", "part alternatives by commas"},
    };
    for (const auto& [text, refusal, hint] : bad) {
        std::vector<NoSyncRule> out(3);
        const Verdict verdict = read_nosync(text, out);
        ASSERT_TRUE(verdict) << text;
        EXPECT_EQ(fmt::format("{}: {}", verdict->offset, verdict->message), refusal) << text;
        EXPECT_EQ(verdict->hint, hint) << text;
        EXPECT_LT(verdict->offset, std::string_view(text).size() + 1) << text;
        EXPECT_EQ(out.size(), 3u) << text << ": a refused value was stored";
    }
}

TEST(NoSyncRules, AreBounded) {
    std::string text = "zone 0";
    for (int i = 1; i < 64; i++)
        text += fmt::format(", zone {}", i);
    EXPECT_EQ(read(text).size(), 64u);
    std::vector<NoSyncRule> out;
    const Verdict verdict = read_nosync(text + ", zone 64", out);
    ASSERT_TRUE(verdict);
    EXPECT_EQ(verdict->message, "there are more than 64 rules");
    EXPECT_EQ(verdict->offset, text.size() + 2);
}

TEST(NoSyncRules, CutShortAnywhereTheyAreRulesOrARefusalInTheText) {
    const std::string_view whole =
        "mark 0x10/0xf0 and zone 7, src 10.0.0.0/8 and dst 192.0.2.1, net 2001:db8::/32 and "
        "proto udp and port 1000-2000";
    unsigned good = 0, bad = 0;
    for (std::size_t size = 1; size <= whole.size(); size++) {
        const std::string text(whole.substr(0, size));
        std::vector<NoSyncRule> out;
        const Verdict verdict = read_nosync(text, out);
        EXPECT_EQ(verdict.has_value(), out.empty()) << text;
        if (verdict) {
            EXPECT_LE(verdict->offset, size) << text;
        }
        verdict ? bad++ : good++;
    }
    EXPECT_GT(good, 10u);
    EXPECT_GT(bad, 30u);
}

} // namespace
} // namespace encsync::config
