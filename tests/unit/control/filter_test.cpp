// SPDX-License-Identifier: ISC
// The filter of `encsync states`, and a flow as JSON.
#include "control/describe.hpp"
#include "control/filter.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::control {
namespace {

using state::Flow;

state::Address address(const char* text) {
    return {net::parse_address(text).value().bytes};
}

Flow flow(int proto, const char* src, std::uint16_t sport, const char* dst, std::uint16_t dport) {
    Flow f;
    f.key.proto = static_cast<std::uint8_t>(proto);
    f.key.family = net::parse_address(src).value().family;
    f.key.orig = {address(src), address(dst), sport, dport};
    f.reply = state::inverse(f.key);
    return f;
}

// 10.0.0.2 is translated to 203.0.113.9.
Flow masqueraded() {
    Flow f = flow(IPPROTO_TCP, "10.0.0.2", 40000, "192.0.2.1", 443);
    f.reply.dst = address("203.0.113.9");
    f.reply.dport = 50000;
    f.src_state = state::tcp::kEstablished;
    f.dst_state = state::tcp::kFinWait1;
    f.flags = state::kSeenReply | state::kAssured;
    f.id = {0x00f1e2d3c4b5a697, 0x8a01b2c3};
    f.mark = 7;
    f.key.zone = 3;
    f.age = 5;
    f.timeout = 3600;
    return f;
}

bool match(const std::string& text, const Flow& f, std::string_view owner = {}) {
    const auto filter = Filter::parse(text);
    EXPECT_TRUE(filter) << text << ": " << filter.error().text;
    return filter && filter->matches(f, owner);
}

TEST(Filter, MatchesOneTcpFlow) {
    const Flow f = masqueraded();
    for (const char* yes : {"",
                            "  ",
                            "tcp",
                            "proto 6",
                            "inet",
                            "10.0.0.2",
                            "10.0.0.0/8",
                            "10.0.0.2/32",
                            "0.0.0.0/0",
                            "192.0.2.1",
                            "203.0.113.9",
                            "src 10.0.0.0/30",
                            "dst 192.0.2.1",
                            "port 443",
                            "port 40000",
                            "port 50000",
                            "port 400-500",
                            "sport 40000",
                            "dport 443",
                            "state established",
                            "state fin_wait_1",
                            "nat",
                            "snat",
                            "not dnat",
                            "assured",
                            "not unreplied",
                            "zone 3",
                            "mark 7",
                            "mark 0x7",
                            "id 00f1e2d3c4b5a697",
                            "id f1e2d3c4b5a697",
                            "creatorid 8a01b2c3",
                            "own",
                            "not copy",
                            "tcp port 443 not 10.1.0.0/16",
                            "tcp,port 443"})
        EXPECT_TRUE(match(yes, f)) << yes;
    for (const char* no : {"udp",
                           "proto 17",
                           "inet6",
                           "10.0.0.3",
                           "10.0.0.3/32",
                           "11.0.0.0/8",
                           "10.0.0.4/30",
                           "::/0",
                           "src 192.0.2.1",
                           "dst 10.0.0.2",
                           "src 203.0.113.9",
                           "port 444",
                           "port 444-39999",
                           "sport 443",
                           "dport 40000",
                           "sport 50000",
                           "state closed",
                           "state multiple",
                           "not nat",
                           "not snat",
                           "dnat",
                           "not assured",
                           "unreplied",
                           "zone 0",
                           "mark 0",
                           "id 1",
                           "creatorid 1",
                           "not own",
                           "copy",
                           "owner minnie",
                           "tcp not port 443",
                           "tcp port 1"})
        EXPECT_FALSE(match(no, f)) << no;
}

TEST(Filter, KnowsWhoseAFlowIs) {
    const Flow f = masqueraded();
    EXPECT_TRUE(match("copy", f, "minnie"));
    EXPECT_TRUE(match("owner minnie", f, "minnie"));
    EXPECT_FALSE(match("own", f, "minnie"));
    EXPECT_FALSE(match("owner goofy", f, "minnie"));
}

TEST(Filter, MatchesIpv6AtEveryPrefixLength) {
    const Flow f = flow(IPPROTO_UDP, "2001:db8::1", 5353, "2001:db8:ffff::2", 53);
    EXPECT_TRUE(match("inet6 udp port 53 2001:db8::1", f));
    EXPECT_TRUE(match("not nat", f));
    for (int length = 0; length <= 128; length++)
        EXPECT_TRUE(match("src 2001:db8::1/" + std::to_string(length), f)) << length;
    EXPECT_TRUE(match("src 2001:db8::/127", f));
    EXPECT_FALSE(match("src 2001:db8::/128", f));
    EXPECT_FALSE(match("src 2001:db8::2/127", f));
    EXPECT_FALSE(match("src a001:db8::1/1", f));
    EXPECT_FALSE(match("0.0.0.0/0", f));
}

// An ICMP id is stored where others have a port.
TEST(Filter, IcmpHasNoPorts) {
    const Flow f = flow(IPPROTO_ICMP, "10.0.0.2", 443, "192.0.2.1", 8 << 8);
    EXPECT_TRUE(match("icmp", f));
    EXPECT_TRUE(match("icmp not nat", f));
    EXPECT_FALSE(match("port 443", f));
    EXPECT_FALSE(match("sport 443", f));
    EXPECT_TRUE(match("state no_traffic", f));
    EXPECT_FALSE(match("state closed", f)); // 0 as well, but a TCP word
}

TEST(Filter, RefusesByName) {
    const auto why = [](const std::string& text) {
        const auto filter = Filter::parse(text);
        return filter ? std::string("accepted") : filter.error().text;
    };
    EXPECT_EQ(why("tpc"), "filter: 'tpc' is neither an address nor a known word");
    EXPECT_EQ(why("tcp 10.0.0.256"), "filter: '10.0.0.256' is neither an address nor a known word");
    EXPECT_EQ(why("10.0.0.0/33"), "filter: '10.0.0.0/33' is neither an address nor a known word");
    EXPECT_EQ(why("::/129"), "filter: '::/129' is neither an address nor a known word");
    EXPECT_EQ(why("10.0.0.0/"), "filter: '10.0.0.0/' is neither an address nor a known word");
    EXPECT_EQ(why("port"), "filter: 'port' needs a value after it");
    EXPECT_EQ(why("not"), "filter: 'not' needs a word after it");
    EXPECT_EQ(why("not not tcp"), "filter: 'not' is neither an address nor a known word");
    for (const char* value : {"http", "65536", "-1", "500-400", "1-", "-", "0x", "1x"})
        EXPECT_EQ(why(std::string("port ") + value),
                  std::string("filter: '") + value + "' is no value for 'port'");
    EXPECT_EQ(why("proto 256"), "filter: '256' is no value for 'proto'");
    EXPECT_EQ(why("zone 65536"), "filter: '65536' is no value for 'zone'");
    EXPECT_EQ(why("mark 4294967296"), "filter: '4294967296' is no value for 'mark'");
    EXPECT_EQ(why("id 10000000000000000"), "filter: '10000000000000000' is no value for 'id'");
    EXPECT_EQ(why("id xyz"), "filter: 'xyz' is no value for 'id'");
    EXPECT_EQ(why("state open"), "filter: 'open' is no value for 'state'");
    EXPECT_EQ(why("src tcp"), "filter: 'tcp' is no value for 'src'");
    std::string many;
    for (std::size_t i = 0; i < Filter::kMaxWords; i++)
        many += "tcp ";
    EXPECT_EQ(why(many), "accepted");
    EXPECT_EQ(why(many + "tcp"), "filter: more than 64 words");
}

TEST(StateWords, AreConntracksOrPfsOrNumbers) {
    const auto words = [](int proto, std::uint8_t src, std::uint8_t dst) {
        Flow f = flow(proto, "10.0.0.2", 1, "192.0.2.1", 2);
        f.src_state = src;
        f.dst_state = dst;
        const auto [a, b] = state_words(f);
        return a + ":" + b;
    };
    EXPECT_EQ(words(IPPROTO_TCP, 0, 4), "closed:established");
    EXPECT_EQ(words(IPPROTO_TCP, 9, 4), "fin_wait_2:established");
    EXPECT_EQ(words(IPPROTO_TCP, 9, 9), "time_wait:time_wait");
    EXPECT_EQ(words(IPPROTO_TCP, 10, 10), "close:close");
    EXPECT_EQ(words(IPPROTO_TCP, 10, 11), "time_wait:11");
    EXPECT_EQ(words(IPPROTO_UDP, 2, 3), "multiple:3");
}

TEST(Filter, FindsAStateByTheWordThatIsShown) {
    Flow f = flow(IPPROTO_TCP, "10.0.0.2", 1, "192.0.2.1", 2);
    f.src_state = f.dst_state = state::tcp::kFinWait2;
    EXPECT_TRUE(match("state time_wait", f));
    EXPECT_FALSE(match("state fin_wait_2", f));
    f.src_state = f.dst_state = state::tcp::kTimeWait;
    EXPECT_TRUE(match("state close", f));
    EXPECT_FALSE(match("state time_wait", f));
}

TEST(Filter, MindsCaseInNamesOnly) {
    Flow f = flow(IPPROTO_TCP, "2001:db8::1", 1, "2001:db8::2", 443);
    f.src_state = f.dst_state = state::tcp::kEstablished;
    EXPECT_TRUE(match("TCP State ESTABLISHED src 2001:DB8::1 NOT udp Owner Minnie", f, "Minnie"));
    EXPECT_FALSE(match("owner minnie", f, "Minnie"));
}

TEST(Describe, GivesWhatScriptsRelyOn) {
    EXPECT_EQ(describe(masqueraded(), "mickey"), boost::json::parse(R"({
        "id": "00f1e2d3c4b5a697", "creatorid": "8a01b2c3", "proto": "tcp",
        "src": "10.0.0.2", "sport": 40000, "dst": "192.0.2.1", "dport": 443,
        "reply": {"src": "192.0.2.1", "sport": 443, "dst": "203.0.113.9", "dport": 50000},
        "state": "established:fin_wait_1", "zone": 3, "mark": 7, "owner": "mickey",
        "age": 5, "expires": 3600})"));
}

TEST(Describe, GivesIcmpItsOwnNames) {
    const auto out = describe(flow(IPPROTO_ICMP, "10.0.0.2", 77, "192.0.2.1", 8 << 8), "mickey");
    EXPECT_EQ(out.at("icmp_id"), 77);
    EXPECT_EQ(out.at("icmp_type"), 8);
    EXPECT_EQ(out.at("icmp_code"), 0);
    EXPECT_EQ(out.at("reply").at("icmp_type"), 0);
    EXPECT_FALSE(out.contains("sport"));
}

} // namespace
} // namespace encsync::control
