// SPDX-License-Identifier: ISC
// What the golden packets do not test: hostile frames, and that no byte is ignored.
#include "packets.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <numeric>
#include <set>

namespace encsync::decode {
namespace {

namespace json = boost::json;

const Data kId{0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13};
const Data kEof{12, 0, 0, 1};

json::value messages(const Data& data, std::size_t section = 0) {
    return decode(data).packet.at("sections").as_array().at(section).at("messages");
}

// The bytes of a message that can change without effect on the output. One bit is inverted, so that
// a field that is refused if it is too large is detected as well.
std::set<std::size_t> silent_bytes(std::uint8_t version, std::uint8_t action, const Data& message) {
    const auto said = [&](const Data& m) {
        return json::serialize(
            decode(packet(version, {section(action, {m}, version == 6)})).packet);
    };
    const std::string before = said(message);
    std::set<std::size_t> out;
    for (std::size_t i = 0; i < message.size(); i++) {
        Data changed = message;
        changed[i] ^= 0x40;
        if (said(changed) == before)
            out.insert(i);
    }
    return out;
}

std::set<std::size_t> range(std::size_t from, std::size_t end) {
    std::set<std::size_t> out;
    for (; from < end; from++)
        out.insert(from);
    return out;
}

std::set<std::size_t> operator|(std::set<std::size_t> a, const std::set<std::size_t>& b) {
    a.insert(b.begin(), b.end());
    return a;
}

// The bytes after the six bytes of padding in a peer block, the NUL of a name, and an IPv4 address.
std::set<std::size_t> peer_pads(std::size_t src) {
    return range(src + 26, src + 32) | range(src + 58, src + 64);
}

TEST(EveryByteShows, OpenbsdState) {
    Data m = golden("openbsd/pf-ins");
    m.erase(m.begin(), m.begin() + 24);
    ASSERT_EQ(m.size(), 264U);
    const auto pads = range(12, 24) // after "em0\0"
                      | range(28, 40) | range(44, 56) | range(68, 80) | range(84, 96) // IPv4
                      | range(172, 184) | range(63, 64) | range(103, 104) | peer_pads(104);
    EXPECT_EQ(silent_bytes(6, 13, m), pads);
}

TEST(EveryByteShows, FreebsdState1301) {
    const auto pads = range(13, 24) | range(28, 40) | range(44, 56) | range(64, 76) |
                      range(80, 92) | range(164, 176) | peer_pads(96) | range(235, 237);
    EXPECT_EQ(silent_bytes(5, 1, freebsd_state(242)), pads);
}

TEST(EveryByteShows, FreebsdState1400) {
    const auto pads = range(13, 24) | range(28, 40) | range(44, 56) | range(64, 76) |
                      range(80, 92) | range(164, 176) | peer_pads(96) | range(238, 239) |
                      range(266, 277);
    EXPECT_EQ(silent_bytes(5, 13, freebsd_state(277)), pads);
}

TEST(EveryByteShows, FreebsdState1500) {
    // The wire side is IPv6 here, the stack side and the route are IPv4.
    const auto pads = range(13, 24) | range(64, 76) | range(80, 92) | range(164, 176) |
                      peer_pads(96) | range(239, 296) | range(301, 312) | range(317, 328) |
                      range(357, 360);
    EXPECT_EQ(silent_bytes(5, 15, freebsd_state(360)), pads);
}

TEST(EveryByteShows, SmallMessages) {
    Data update(84, 3);
    EXPECT_EQ(silent_bytes(6, 4, update), peer_pads(8) | range(82, 84));
    EXPECT_EQ(silent_bytes(5, 4, update), peer_pads(8) | range(81, 84));
    for (const std::uint8_t version : {5, 6}) {
        for (const std::uint8_t action : {2, 5, 7})
            EXPECT_TRUE(silent_bytes(version, action, kId).empty());
        EXPECT_EQ(silent_bytes(version, 10, Data(12, 1)), range(9, 12));
        EXPECT_EQ(silent_bytes(version, 0, Data{'e', 'm', '0', 0, 1, 1, 1, 1, 1, 1,
                                                1,   1,   1,   1, 1, 1, 1, 2, 3, 4}),
                  range(4, 16));
    }
    // sockaddr_in: the port and the bytes after the address.
    Data tdb(52, 2);
    EXPECT_EQ(silent_bytes(6, 15, tdb), range(6, 8) | range(12, 32));
    Data old(48, 2);
    EXPECT_EQ(silent_bytes(6, 11, old), range(6, 8) | range(12, 32));
    EXPECT_EQ(silent_bytes(5, 11, old), range(6, 8) | range(12, 32) | range(46, 48));
    // Messages of encsync nodes.
    EXPECT_TRUE(silent_bytes(6, 0xe0, Data(44, 1)).empty());
    EXPECT_TRUE(silent_bytes(6, 0xe1, Data(16, 1)).empty());
    EXPECT_TRUE(silent_bytes(6, 0xe2, Data(144, 1)).empty());
    EXPECT_TRUE(silent_bytes(6, 0xe3, Data(24, 1)).empty());
    EXPECT_TRUE(silent_bytes(6, 0xe4, Data(4, 1)).empty());
    EXPECT_EQ(silent_bytes(6, 0xe5, Data(136, 1)), range(4, 8));
    EXPECT_EQ(silent_bytes(6, 0xe6, Data(40, 1)), range(7, 8));
    EXPECT_TRUE(silent_bytes(6, 0xe7, Data(20, 1)).empty());
}

TEST(Freebsd, AllSizesOfAState) {
    const Data data = packet(5, {section(1, {freebsd_state(242)}, false),
                                 section(14, {freebsd_state(277), freebsd_state(277)}, false),
                                 section(16, {freebsd_state(360)}, false), kEof});
    const Decoded decoded = decode(data);
    EXPECT_EQ(verdict(decoded), "none");
    const auto& sections = decoded.packet.at("sections").as_array();
    std::vector<std::string> names;
    for (const json::value& s : sections)
        names.emplace_back(s.at("action").as_string());
    EXPECT_EQ(names, (std::vector<std::string>{"INS_1301", "UPD_1400", "UPD_1500", "EOF"}));
    // Byte n of a state is n + 1, except where there is a name or a number with a limit.
    const json::value a = sections[0].at("messages").at(0), b = sections[1].at("messages").at(1),
                      c = sections[2].at("messages").at(0);
    for (const json::value& m : {a, b, c}) {
        EXPECT_EQ(m.at("id"), "0102030405060708");
        EXPECT_EQ(m.at("creatorid"), "e5e6e7e8");
        EXPECT_EQ(m.at("ifname"), "igb0");
        EXPECT_EQ(m.at("proto"), 6);
        EXPECT_EQ(m.at("wire").at("port"), json::parse("[14650,15164]"));  // 393a, 3b3c
        EXPECT_EQ(m.at("stack").at("port"), json::parse("[23902,24416]")); // 5d5e, 5f60
        EXPECT_EQ(m.at("src").at("state"), 4);
        EXPECT_EQ(m.at("src").at("seqlo"), 0x696a6b6c);
        EXPECT_EQ(m.at("dst").at("max_win"), 0x9596);
        EXPECT_EQ(m.at("rule"), 0xb1b2b3b4);
        EXPECT_EQ(m.at("nat_rule"), 0xb9babbbc);
        EXPECT_EQ(m.at("creation"), 0xbdbebfc0);
        EXPECT_EQ(m.at("expire"), 0xc1c2c3c4);
        EXPECT_EQ(m.at("packets").at(1), 0xcdcecfd0d1d2d3d4);
        EXPECT_EQ(m.at("bytes").at(0), 0xd5d6d7d8d9dadbdc);
    }
    EXPECT_EQ(a.at("af"), "inet");
    EXPECT_EQ(a.at("direction"), "in");
    EXPECT_EQ(a.at("wire").at("addr"), json::parse(R"(["25.26.27.28","41.42.43.44"])"));
    EXPECT_EQ(a.at("state_flags"), 0xef);
    EXPECT_EQ(a.at("log"), 0xee);
    EXPECT_EQ(a.at("timeout"), 2);
    EXPECT_EQ(a.at("rt_addr"), "161.162.163.164");
    EXPECT_FALSE(a.as_object().contains("qid"));
    EXPECT_EQ(b.at("state_flags"), 0xeced);
    EXPECT_EQ(b.at("qid"), 0xf3f4);
    EXPECT_EQ(b.at("dnrpipe"), 0xf9fa);
    EXPECT_EQ(b.at("rtableid"), -67305986); // fbfcfdfe, signed
    EXPECT_EQ(b.at("min_ttl"), 0xff);
    EXPECT_EQ(b.at("max_mss"), 0x0102);
    EXPECT_EQ(b.at("set_prio"), json::parse("[3,4]"));
    EXPECT_EQ(b.at("rt"), 5);
    EXPECT_EQ(b.at("rt_ifname"), "igb1");
    EXPECT_EQ(c.at("af"), "inet6");
    EXPECT_EQ(c.at("stack_af"), "inet");
    EXPECT_EQ(c.at("rt_af"), "inet");
    EXPECT_EQ(c.at("wire").at("addr").at(0), "191a:1b1c:1d1e:1f20:2122:2324:2526:2728");
    EXPECT_EQ(c.at("stack").at("addr").at(0), "61.62.63.64");
    EXPECT_EQ(c.at("tagname"), "office");
    EXPECT_EQ(c.at("rt_ifname"), "igb1");
    EXPECT_EQ(c.at("orig_ifname"), "igb2");
    EXPECT_EQ(c.at("direction"), "out");
    EXPECT_EQ(c.at("timeout"), 24);
    EXPECT_EQ(c.at("state_flags"), 0x4d4e);
    EXPECT_EQ(c.at("log"), 0x5e);
    EXPECT_EQ(c.at("set_prio"), json::parse("[100,101]"));
}

TEST(Freebsd, SameNumbersOtherMeaning) {
    const Data m = freebsd_state(360);
    EXPECT_EQ(verdict(packet(5, {section(15, {m}, false)})), "none");
    EXPECT_EQ(decode(packet(6, {section(15, {m})})).packet.at("sections").at(0).at("action"),
              "TDB");
}

TEST(Freebsd, AnUnknownActionEndsIt) {
    for (const std::uint8_t action : {8, 9, 17, 200}) {
        const Data data = packet(
            5, {section(7, {kId}, false), section(action, {kId}, false), section(7, {kId}, false)});
        EXPECT_EQ(verdict(data), "bad_action@36") << int{action};
        EXPECT_EQ(decode(data).packet.at("sections").as_array().size(), 2U);
        EXPECT_EQ(messages(data).as_array().size(), 1U);
    }
}

TEST(Freebsd, NothingIsReadBehindTheEnd) {
    const Data data = packet(5, {kEof, section(7, {kId}, false)});
    EXPECT_EQ(decode(data).packet.at("sections").as_array().size(), 1U);
    EXPECT_EQ(verdict(data), "bad_eof@24");
    EXPECT_EQ(verdict(packet(5, {kEof})), "none");
    EXPECT_EQ(verdict(packet(5, {section(7, {kId}, false)})), "none"); // the end mark is optional
}

// 65,535 messages of length 0 are none, and cost nothing.
TEST(Hostile, ACountOfNothing) {
    EXPECT_EQ(messages(packet(5, {Data{12, 0, 0xff, 0xff}})).as_array().size(), 0U);
    EXPECT_EQ(verdict(packet(6, {Data{12, 0, 0xff, 0xff}})), "zero_stride@20");
    for (const std::uint8_t version : {5, 6})
        EXPECT_EQ(verdict(packet(version, {Data{10, 3, 0, 0}})), "zero_count@20");
}

TEST(Hostile, ACountTooLargeShowsWhatIsThere) {
    Data v5 = packet(5, {section(7, {kId, kId}, false)});
    v5[23] = 3;
    EXPECT_EQ(verdict(v5), "section_overrun@20");
    EXPECT_EQ(messages(v5).as_array().size(), 2U);
    v5[23] = 2;
    EXPECT_EQ(verdict(v5), "none");
    v5[22] = 0xff;
    EXPECT_EQ(verdict(v5), "section_overrun@20");
}

TEST(Hostile, Headers) {
    Data good = packet(6, {section(7, {kId})});
    EXPECT_EQ(verdict(good), "none");
    EXPECT_EQ(verdict(Data{}), "short_header@0");
    for (const std::uint8_t version : {0, 1, 4, 7, 255}) {
        Data data = good;
        data[0] = version;
        EXPECT_EQ(verdict(data), "bad_version@0");
        EXPECT_EQ(decode(data).packet.at("version"), version);
    }
    Data small = good;
    small[3] = 19;
    EXPECT_EQ(verdict(small), "bad_length@0");
    // Bytes beyond the length field are not part of the packet.
    EXPECT_EQ(verdict(good + Data{1, 2, 3}), "none");
}

// Each field with a range, at its limit and beyond it.
TEST(Hostile, FieldsOutOfRange) {
    struct Row {
        std::uint8_t version, action;
        std::size_t size, at;
        std::uint8_t good, bad;
        const char* error;
    };
    // Offsets within the message.
    for (const Row& row : std::initializer_list<Row>{
             {5, 1, 242, 96 + 24, 12, 13, "bad_peer_state"},
             {5, 1, 242, 128 + 24, 0, 255, "bad_peer_state"},
             {5, 1, 242, 239, 19, 20, "bad_timeout"},
             {5, 1, 242, 234, 2, 3, "bad_direction"},
             {5, 1, 242, 234, 1, 0, "bad_direction"},
             {5, 1, 242, 232, 28, 24, "bad_family"},
             {5, 13, 277, 232, 28, 10, "bad_family"},
             {5, 13, 277, 239, 24, 25, "bad_timeout"},
             {5, 15, 360, 344, 28, 0, "bad_family"},
             {5, 15, 360, 345, 28, 1, "bad_family"},
             {5, 15, 360, 346, 0, 1, "bad_family"},
             {5, 15, 360, 350, 24, 25, "bad_timeout"},
             {5, 15, 360, 351, 1, 0, "bad_direction"},
         }) {
        Data m = freebsd_state(row.size);
        const auto said = [&] {
            return verdict(packet(row.version, {section(row.action, {m}, false)}));
        };
        m[row.at] = row.good;
        EXPECT_EQ(said(), "none") << row.error << " " << row.at;
        m[row.at] = row.bad;
        EXPECT_EQ(said(), fmt::format("{}@{}", row.error, 24 + row.at));
    }
}

TEST(Hostile, NamesWithoutAnEnd) {
    Data m = freebsd_state(360);
    std::fill_n(m.begin() + 232, 63, 'x');
    EXPECT_EQ(verdict(packet(5, {section(15, {m}, false)})), "none");
    m[232 + 63] = 'x';
    EXPECT_EQ(verdict(packet(5, {section(15, {m}, false)})), "bad_ifname@256");
}

// The JSON is UTF-8 whatever the name is, and the text is ASCII.
TEST(Hostile, NamesOfAnyBytes) {
    Data clr(20);
    const Data name{0x1b, '[', '2', 'J', 0xff, 0x9b, '\\', '"', '\n'};
    std::copy(name.begin(), name.end(), clr.begin());
    clr[19] = 1;
    const Decoded decoded = decode(packet(6, {section(0, {clr})}));
    const std::string line = json::serialize(decoded.packet);
    EXPECT_NE(line.find(R"("ifname":"\u001b[2J)"
                        "\xc3\xbf\xc2\x9b"
                        R"(\\\"\n")"),
              line.npos)
        << line;
    const std::string text = to_text(decoded.packet);
    for (const char c : text)
        EXPECT_TRUE((c >= ' ' && c < 127) || c == '\n');
    EXPECT_NE(text.find("\\x1b[2J\\xc3\\xbf"), text.npos) << text;
}

TEST(Text, SaysWhatMatters) {
    const std::string text = to_text(decode(golden("openbsd/ours-ins-tcp-snat")).packet);
    EXPECT_NE(text.find("tcp out on all 10.0.0.2:40000 > 192.0.2.1:443 (wire 203.0.113.5:61000 > "
                        "192.0.2.1:443) ESTABLISHED:ESTABLISHED"),
              text.npos)
        << text;
    EXPECT_NE(text.find("timeout 2 (tcp.established)"), text.npos);
    EXPECT_NE(text.find("state_flags 2 sloppy"), text.npos);
    EXPECT_EQ(text.find("BAD"), text.npos);
    // The JSON has all fields by name.
    for (const char* name : {"seqlo", "max_win", "creation", "expire", "packets", "rtableid"})
        EXPECT_NE(text.find(name), text.npos) << name;
}

TEST(Refused, IsAPacketOfAReason) {
    const Decoded decoded = refused("fragment", 0);
    EXPECT_TRUE(decoded.bad);
    EXPECT_EQ(json::serialize(decoded.packet), R"({"error":"fragment","offset":0})");
    EXPECT_NE(to_text(decoded.packet).find("BAD: fragment"), std::string::npos);
}

} // namespace
} // namespace encsync::decode
