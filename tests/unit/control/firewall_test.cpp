// SPDX-License-Identifier: ISC
// What encsync doctor makes of a ruleset. tests/lab/test_doctor.py has the real nft.
#include "cli/firewall.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace encsync::cli {
namespace {

namespace json = boost::json;

const std::string
    kIke = R"({"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},)"
           R"("right":{"set":[500,4500]}}})",
    kAccept = R"({"accept":null})", kDrop = R"({"drop":null})",
    kCounter = R"({"counter":{"packets":0,"bytes":0}})";

std::string base(const std::string& name, const std::string& hook, const std::string& policy,
                 const std::string& family = "inet") {
    return fmt::format(R"({{"chain":{{"family":"{}","table":"filter","name":"{}","handle":1,)"
                       R"("type":"filter","hook":"{}","prio":0,"policy":"{}"}}}})",
                       family, name, hook, policy);
}

std::string rule(const std::string& expressions, const std::string& chain = "input",
                 const std::string& family = "inet", const std::string& table = "filter") {
    return fmt::format(R"({{"rule":{{"family":"{}","table":"{}","chain":"{}","handle":2,)"
                       R"("expr":[{}]}}}})",
                       family, table, chain, expressions);
}

std::string match(const std::string& left, const std::string& right, const std::string& op = "==") {
    return fmt::format(R"({{"match":{{"op":"{}","left":{},"right":{}}}}})", op, left, right);
}
std::string payload(const std::string& protocol, const std::string& field) {
    return fmt::format(R"({{"payload":{{"protocol":"{}","field":"{}"}}}})", protocol, field);
}
std::string meta(const std::string& key) {
    return fmt::format(R"({{"meta":{{"key":"{}"}}}})", key);
}

// "" or the chain's name. With a first chain that drops by default.
std::string closed(const std::string& more, const std::string& from = "192.0.2.2",
                   const std::string& chain = base("input", "input", "drop")) {
    const std::string text =
        fmt::format(R"({{"nftables":[{{"metainfo":{{"version":"1.0.6"}}}},{}{}{}]}})", chain,
                    more.empty() ? "" : ",", more);
    const auto found = closed_chain(json::parse(text),
                                    {*net::parse_address(from), *net::parse_address(from), 4500});
    return found ? found->name : "";
}

TEST(Firewall, ThatDropsByDefaultNeedsARule) {
    EXPECT_EQ(closed(""), "input");
    EXPECT_EQ(closed("", "2001:db8::2"), "input");
    EXPECT_EQ(closed("", "192.0.2.2", base("input", "input", "accept")), "");
    EXPECT_EQ(closed("", "192.0.2.2", base("input", "forward", "drop")), "");
    EXPECT_EQ(closed("", "192.0.2.2", base("input", "input", "drop", "ip6")), "");
    EXPECT_EQ(closed("", "192.0.2.2", base("input", "input", "drop", "bridge")), "");
    EXPECT_EQ(closed(rule(kIke + "," + kAccept)), "");
    EXPECT_EQ(closed(rule(kIke + "," + kCounter)), "input"); // it only counts
    EXPECT_EQ(closed(rule(kIke + "," + kDrop)), "input");
    EXPECT_EQ(closed(rule(kAccept)), "");
    EXPECT_EQ(closed_chain({}, {}), std::nullopt);
    for (const char* odd : {"[]", "{\"nftables\":3}", "{\"nftables\":[3,{\"rule\":{\"expr\":7}}]}"})
        EXPECT_EQ(closed_chain(json::parse(odd), {}), std::nullopt);
}

TEST(Firewall, ItsLastRuleMayDropInsteadOfThePolicy) {
    const std::string open = base("input", "input", "accept");
    EXPECT_EQ(closed(rule(kCounter + "," + kDrop), "192.0.2.2", open), "input");
    EXPECT_EQ(
        closed(rule(R"({"reject":{"type":"icmpx","expr":"port-unreachable"}})"), "192.0.2.2", open),
        "input");
    EXPECT_EQ(closed(rule(kIke + "," + kAccept) + "," + rule(kDrop), "192.0.2.2", open), "");
    EXPECT_EQ(closed(rule(R"({"limit":{"rate":5,"per":"second","inv":true}},)" + kDrop),
                     "192.0.2.2", open),
              "");
    EXPECT_EQ(closed(rule(kDrop, "output"), "192.0.2.2", open), ""); // of another chain
}

TEST(Firewall, ARuleForSomethingElseDoesNotHelp) {
    for (const std::string& condition :
         {match(payload("tcp", "dport"), "4500"), match(payload("udp", "dport"), "53"),
          match(payload("udp", "dport"), R"({"range":[500,4499]})"),
          match(payload("udp", "sport"), R"({"set":[53,{"range":[5000,6000]}]})"),
          match(meta("l4proto"), "\"tcp\""), match(meta("l4proto"), R"({"set":["tcp",1]})"),
          match(payload("ip", "protocol"), "6"), match(payload("ip6", "saddr"), "\"2001:db8::2\""),
          match(meta("nfproto"), "\"ipv6\""), match(meta("iifname"), "\"lo\""),
          match(payload("ip", "saddr"), "\"192.0.2.3\""),
          match(payload("ip", "saddr"), R"({"prefix":{"addr":"192.0.3.0","len":24}})"),
          match(payload("ip", "saddr"), "\"192.0.2.2\"", "!="),
          // encsync keeps its datagrams out of conntrack.
          match(R"({"ct":{"key":"state"}})", R"(["established","related"])", "in"),
          match(R"({"ct":{"key":"state"}})", "\"new\""),
          match(R"({"ct":{"key":"status"}})", "\"dnat\"", "in"),
          match(R"({"ct":{"key":"mark"}})", "7", "!=")}) {
        EXPECT_EQ(closed(rule(condition + "," + kAccept)), "input") << condition;
        EXPECT_EQ(closed(rule(kIke + "," + condition + "," + kAccept)), "input") << condition;
    }
    EXPECT_EQ(closed(rule(kIke + "," + kAccept, "input", "inet", "other")), "input");
    EXPECT_EQ(closed(base("output", "output", "accept") + "," + rule(kAccept, "output")), "input");
}

TEST(Firewall, HasTheBenefitOfTheDoubt) {
    for (const std::string& condition :
         {match(payload("udp", "dport"), R"({"set":[53,{"range":[4000,5000]}]})"),
          match(payload("udp", "dport"), R"({"set":[{"elem":{"val":4500,"comment":"IKE"}}]})"),
          match(payload("th", "dport"), "4500"), match(meta("l4proto"), R"({"set":["tcp","udp"]})"),
          match(meta("l4proto"), "17"), match(payload("ip", "saddr"), "\"192.0.2.2\""),
          match(payload("ip", "saddr"), R"({"prefix":{"addr":"192.0.2.0","len":24}})"),
          match(payload("ip", "saddr"), "\"@friends\""),
          match(payload("udp", "dport"), "\"@open\""), match(meta("iifname"), "\"sync\""),
          match(meta("iifname"), "\"lo\"", "!="), match(meta("nfproto"), "\"ipv4\""),
          match(meta("mark"), "7"),
          match(R"({"ct":{"key":"state"}})", R"(["established","untracked"])", "in"),
          match(payload("tcp", "dport"), "22", "!=")})
        EXPECT_EQ(closed(rule(condition + "," + kAccept)), "") << condition;
    for (const char* verdict : {R"({"queue":{"num":1}})", R"({"xt":{"type":"target"}})"})
        EXPECT_EQ(closed(rule(verdict)), "") << verdict;
}

TEST(Firewall, FollowsJumps) {
    const std::string jump = R"({"jump":{"target":"wan"}})",
                      there = rule(kIke + "," + kAccept, "wan");
    EXPECT_EQ(closed(there), "input"); // nothing leads there
    EXPECT_EQ(closed(rule(jump) + "," + there), "");
    EXPECT_EQ(closed(rule(R"({"goto":{"target":"wan"}})") + "," + there), "");
    EXPECT_EQ(closed(rule(jump) + "," + rule(jump, "wan")), "input"); // in a circle
    const auto map = [](const std::string& data) {
        return rule(R"({"vmap":{"key":{"meta":{"key":"iifname"}},"data":)" + data + "}}");
    };
    EXPECT_EQ(closed(map(R"({"set":[["sync",{"jump":{"target":"wan"}}]]})") + "," + there), "");
    EXPECT_EQ(closed(map(R"({"set":[["sync",{"jump":{"target":"lan"}}]]})") + "," + there),
              "input");
}

TEST(Firewall, ThatIsSwitchedOffDropsNothing) {
    const auto table = [](const std::string& more) {
        return R"({"table":{"family":"inet","name":"filter","handle":1)" + more + "}}";
    };
    EXPECT_EQ(closed(table("")), "input");
    EXPECT_EQ(closed(table(R"(,"flags":"dormant")")), "");
    EXPECT_EQ(closed(table(R"(,"flags":["dormant"])")), "");
}

TEST(Firewall, ReadsVerdictMaps) {
    const auto map = [](const std::string& key, const std::string& data) {
        return rule(fmt::format(R"({{"vmap":{{"key":{},"data":{}}}}})", key, data));
    };
    const std::string state = R"({"ct":{"key":"state"}})";
    EXPECT_EQ(closed(map(state,
                         R"({"set":[["established",{"accept":null}],["invalid",{"drop":null}]]})")),
              "input");
    EXPECT_EQ(closed(map(meta("iifname"),
                         R"({"set":[["lo",{"accept":null}],["wan",{"jump":{"target":"w"}}]]})")),
              "input");
    EXPECT_EQ(closed(map(meta("iifname"), R"({"set":[["sync",{"accept":null}]]})")), "");
    EXPECT_EQ(closed(map(meta("iifname"), "\"@interfaces\"")), "");
}

} // namespace
} // namespace encsync::cli
