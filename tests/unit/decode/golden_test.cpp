// SPDX-License-Identifier: ISC
// The golden packets: the decoder must show what their generator describes.
#include "packets.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <set>
#include <sstream>

namespace encsync::decode {
namespace {

namespace json = boost::json;

// "section ins stride 264 count 1", with names as the generator has them.
std::string describe(const json::object& section) {
    std::string name(section.at("action").as_string());
    name = name.substr(0, name.find("_1")); // INS_1301
    std::ranges::transform(name, name.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (section.contains("skipped") || name == "otdb")
        name = json::serialize(section.at("number"));
    return fmt::format("section {} stride {} count {}", name, json::serialize(section.at("stride")),
                       json::serialize(section.at("count")));
}

// What the description says of the packet as a whole.
struct Said {
    std::string reason, offset; // the first; the offset if a header is wrong
    std::vector<std::string> sections;
};
Said read(const std::vector<std::string>& expect) {
    Said out;
    for (const std::string& line : expect) {
        std::istringstream in(line);
        std::string first, second, at;
        in >> first >> second;
        if (first == "section")
            out.sections.push_back(line);
        else if (first == "fault" && out.reason.empty())
            in >> at >> out.offset;
        if ((first == "refused" || first == "fault") && out.reason.empty())
            out.reason = second;
    }
    return out;
}

// Refused by a node with a reason that is not in the packet: it expects one dialect of its peer,
// and its own states have one family and one protocol.
bool refused_for_the_reader(const std::string& name) {
    static const std::set<std::string> kNames{
        "openbsd/bad-version",
        "freebsd-1301/bad-version",
        "freebsd-1400/bad-version",
        "freebsd-1500/bad-version",
        "freebsd-1301/bad-upd-c-timeout",
        "freebsd-1400/bad-action-del",
        "freebsd-1500/bad-action-del",
        "freebsd-1500/bad-af-to",
        "freebsd-1500/bad-protocols",
    };
    return kNames.contains(name);
}

TEST(Golden, VerdictsAndSections) {
    const auto all = load_golden();
    std::size_t bad = 0;
    for (const Golden& g : all) {
        if (refused_for_the_reader(g.name))
            continue;
        const Decoded decoded = decode(g.packet);
        const Said said = read(g.expect);
        ASSERT_EQ(decoded.bad, !said.reason.empty()) << g.name << " " << verdict(decoded);
        if (decoded.bad) {
            EXPECT_EQ(decoded.packet.at("error").as_string(), said.reason) << g.name;
            EXPECT_TRUE(verdict(decoded).ends_with("@" + said.offset) || said.offset.empty())
                << g.name << " " << verdict(decoded);
        }
        bad += decoded.bad ? 1 : 0;
        std::vector<std::string> found;
        if (const auto* list = decoded.packet.if_contains("sections"))
            for (const json::value& section : list->as_array())
                if (found.size() < said.sections.size())
                    found.push_back(describe(section.as_object()));
        // One more may follow: a section with a wrong header is shown as far as it can be read.
        EXPECT_EQ(found, said.sections) << g.name;
    }
    EXPECT_GT(bad, 20U);
    EXPECT_GT(all.size(), bad + 30);
}

// Written by hand from the generator's arguments and the layout, field by field.
TEST(Golden, AFullStateOfOpenbsdInFull) {
    const Decoded decoded = decode(golden("openbsd/pf-ins"));
    EXPECT_FALSE(decoded.bad);
    const json::value expected = json::parse(R"({
        "version": 6, "length": 288, "pfcksum": "00000000000000000000000000000000",
        "sections": [{"action": "INS", "number": 13, "count": 1, "stride": 264, "messages": [{
            "id": "1122334455667788", "creatorid": "0a0b0c0d", "ifname": "em0",
            "af": "inet", "proto": 6, "direction": "in",
            "wire": {"addr": ["10.0.0.2", "192.0.2.1"], "port": [40000, 443], "rdomain": 0,
                     "af": "inet"},
            "stack": {"addr": ["10.0.0.2", "192.0.2.1"], "port": [40000, 443], "rdomain": 0,
                      "af": "inet"},
            "src": {"state": 4, "seqlo": 1000, "seqhi": 66536, "seqdiff": 0, "max_win": 512,
                    "mss": 0, "wscale": 135,
                    "scrub": {"flags": 1, "ttl": 64, "valid": 1, "ts_mod": 16909060}},
            "dst": {"state": 4, "seqlo": 2000, "seqhi": 68000, "seqdiff": 0, "max_win": 1024,
                    "mss": 1460, "wscale": 134,
                    "scrub": {"flags": 0, "ttl": 0, "valid": 0, "ts_mod": 0}},
            "creation": 77, "expire": 86400, "timeout": 2, "state_flags": 352,
            "packets": [10, 9], "bytes": [8000, 1099511627776],
            "rt": 0, "rt_addr": "0.0.0.0", "rule": 3, "anchor": 4294967295,
            "nat_rule": 4294967295, "rtableid": [0, 0], "max_mss": 1460, "log": 1,
            "sync_flags": 8, "updates": 0, "min_ttl": 0, "set_tos": 0, "set_prio": [3, 4]
        }]}]})");
    EXPECT_EQ(json::value(decoded.packet), expected) << json::serialize(decoded.packet);
}

json::value only_message(const Decoded& decoded) {
    return decoded.packet.at("sections").as_array().at(0).at("messages").as_array().at(0);
}

TEST(Golden, SmallMessagesOfOpenbsd) {
    const Decoded decoded = decode(golden("openbsd/ours-mixed"));
    ASSERT_FALSE(decoded.bad);
    const auto& sections = decoded.packet.at("sections").as_array();
    ASSERT_EQ(sections.size(), 8U);
    const auto messages = [&](std::size_t n) { return sections.at(n).at("messages"); };
    EXPECT_EQ(messages(0), json::parse(R"([{"id":"1122334455667788","creatorid":"0a0b0c0d"}])"));
    EXPECT_EQ(messages(1).at(0).at("src").at("state"), 7);
    EXPECT_EQ(messages(1).at(0).at("timeout"), 3);
    EXPECT_EQ(messages(2), json::parse(R"([{"id":"0000000000000001","creatorid":"0a0b0c0d"},
                                           {"id":"0000000000000002","creatorid":"00000003"}])"));
    EXPECT_EQ(messages(3), json::parse(R"([{"id":"0000000000000000","creatorid":"00000000"}])"));
    EXPECT_EQ(messages(4), json::parse(R"([{"ifname":"","creatorid":"0a0b0c0d"},
                                           {"ifname":"em0","creatorid":"0a0b0c0d"}])"));
    EXPECT_EQ(messages(5), json::parse(R"([{"creatorid":"0a0b0c0d","endtime":0,"status":1}])"));
    EXPECT_EQ(messages(6), json::parse(R"([{"creatorid":"0a0b0c0d","endtime":300,"status":2}])"));
    EXPECT_EQ(messages(7), json::parse(R"([{"spi":"00001000",
        "sockaddr":{"len":16,"af":"inet","addr":"192.0.2.9"}, "rpl":17, "bytes":123456789012,
        "sproto":50, "updates":0, "rdomain":0}])"));
}

TEST(Golden, IPv6AndIcmp) {
    const json::value six = only_message(decode(golden("openbsd/ours-ins-udp6")));
    EXPECT_EQ(six.at("af"), "inet6");
    EXPECT_EQ(six.at("wire").at("addr"), json::parse(R"(["2001:db8::1","2001:db8::53"])"));
    const json::value icmp = only_message(decode(golden("openbsd/pf-icmp-out")));
    EXPECT_EQ(icmp.at("direction"), "out");
    EXPECT_EQ(icmp.at("wire").at("port"), json::parse("[8,77]"));
}

// Version 6 can be extended at the end of its messages; encsync nodes do so.
TEST(Golden, TheTailOfAnEncsyncNode) {
    EXPECT_EQ(only_message(decode(golden("openbsd/ours-ins-tail"))).at("tail"),
              json::parse(R"({"mark":3735928559,"timeout":86400,"zone":9,"flags":1,"status":3})"));
    EXPECT_FALSE(only_message(decode(golden("openbsd/ours-ins-tcp"))).as_object().contains("tail"));
    Data removal(16);
    removal[12] = 5;
    EXPECT_EQ(only_message(decode(packet(6, {section(7, {removal})}))).at("tail"),
              json::parse(R"({"term":5})"));
    // A longer message is from a future version that is unknown here.
    EXPECT_FALSE(only_message(decode(golden("openbsd/pf-longer-id"))).as_object().contains("tail"));
}

TEST(Golden, CutShortIsBadAtEveryByte) {
    for (const Golden& g : load_golden()) {
        if (g.name.find("/bad-") != g.name.npos || g.name.find("-trailer") != g.name.npos)
            continue;
        for (std::size_t size = 0; size < g.packet.size(); size++) {
            const Data cut(g.packet.begin(), g.packet.begin() + static_cast<long>(size));
            const Decoded decoded = decode(cut);
            EXPECT_EQ(verdict(decoded), size < 20 ? "short_header@0" : "bad_length@0")
                << g.name << " " << size;
            if (size % 16 == 0) { // each would take long
                EXPECT_NE(to_text(decoded.packet).find("BAD"), std::string::npos);
            }
        }
    }
}

} // namespace
} // namespace encsync::decode
