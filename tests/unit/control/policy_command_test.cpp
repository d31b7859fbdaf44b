// SPDX-License-Identifier: ISC
// encsync policy test: of captures that are written here.
#include "command.hpp"
#include "net/protocol.hpp"
#include "pfsync/build.hpp"

#include <array>
#include <cstring>

namespace encsync {
namespace {

using pfsync::Kind;

net::Address address(const char* text) {
    return net::parse_address(text).value();
}

state::Flow flow(std::uint16_t port, const char* dst = "10.2.0.2") {
    state::Flow f;
    f.key.family = net::Family::inet;
    f.key.proto = IPPROTO_TCP;
    f.key.orig = {{address("10.1.0.2").bytes}, {address(dst).bytes}, port, 443};
    f.reply = state::inverse(f.key);
    f.id = {port, 0x0a0b0c0d};
    f.src_state = f.dst_state = 4;
    f.timeout = 100;
    return f;
}

// A pcap file of raw IP packets.
class Pcap {
  public:
    Pcap() {
        for (const std::uint32_t word : {0xa1b2c3d4u, 0x00040002u, 0u, 0u, 65535u, 101u})
            add(word);
    }
    Pcap& packet(const char* src, const std::vector<state::Flow>& flows, std::uint8_t ttl = 255) {
        std::array<std::uint8_t, 1400> room{};
        pfsync::Builder builder(room);
        for (const state::Flow& f : flows)
            pfsync::write_state(pfsync::kOwnDialect, builder.add(Kind::insert), f, {});
        const std::size_t size = builder.finish();
        std::array<std::uint8_t, 20> ip{0x45, 0, 0, 0, 0, 0, 0x40, 0, ttl, net::kPfsync};
        store_be(&ip[2], static_cast<std::uint16_t>(ip.size() + size));
        std::memcpy(&ip[12], address(src).bytes.data(), 4);
        std::memcpy(&ip[16], address("192.0.2.1").bytes.data(), 4);
        const auto whole = static_cast<std::uint32_t>(ip.size() + size);
        for (const std::uint32_t word : {1000u + packets_++, 0u, whole, whole})
            add(word);
        text_.append(reinterpret_cast<const char*>(ip.data()), ip.size());
        text_.append(reinterpret_cast<const char*>(room.data()), size);
        return *this;
    }
    const std::string& text() const { return text_; }

  private:
    void add(std::uint32_t word) {
        text_.append(reinterpret_cast<const char*>(&word), sizeof word); // of this machine's order
    }
    std::string text_;
    unsigned packets_ = 0;
};

struct PolicyTest : Command {
    PolicyTest() {
        config("");
        write(dir_ / "good.pcap",
              Pcap().packet("192.0.2.2", {flow(1), flow(2)}).packet("192.0.2.3", {flow(3)}).text());
    }
    void config(const std::string& minnie) const {
        write(dir_ / "encsync.conf",
              "config setup\n\tnode=mickey\n\tkeydir=" + (dir_ / "keys").string() +
                  "\n\nconn %default\n\tleft=192.0.2.1\n\nconn minnie\n\tright=192.0.2.2\n" +
                  minnie + "\nconn donald\n\tright=192.0.2.3\n");
    }
    Outcome test(const char* file, std::vector<std::string> more = {}) const {
        std::vector<std::string> words{"policy", "test", dir_ / file};
        words.insert(words.end(), more.begin(), more.end());
        return run(std::move(words));
    }
};

TEST_F(PolicyTest, SaysThatAllWouldBeAccepted) {
    const auto done = test("good.pcap");
    EXPECT_EQ(done.status, 0) << done.err;
    EXPECT_EQ(done.out.substr(0, done.out.find('\n')), "1000.000000 minnie: accepted");
    EXPECT_NE(done.out.find("donald: accepted"), std::string::npos) << done.out;
    EXPECT_NE(done.out.find("    INS "), std::string::npos);
    EXPECT_TRUE(done.out.ends_with("2 packets would be accepted\n")) << done.out;
}

TEST_F(PolicyTest, NamesTheRuleOfEachMessage) {
    config("\taccept=dst 10.2.0.0/16\n\trefuse=dst 10.2.0.3\n\tmaxinserts=4\n");
    write(dir_ / "bad.pcap", Pcap()
                                 .packet("192.0.2.2", {flow(1), flow(2, "10.2.0.3"),
                                                       flow(3, "10.3.0.3"), flow(4, "127.0.0.1")})
                                 .packet("192.0.2.2", {flow(5)}, 64)
                                 .text());
    const auto done = test("bad.pcap");
    EXPECT_EQ(done.status, 1);
    for (const char* text : {"refused, refuse: a rule of refuse matches", "refused, not_accepted: ",
                             "refused, loopback: ", "minnie: refused, bad_ttl: the TTL is not 255"})
        EXPECT_NE(done.out.find(text), std::string::npos) << text << " in\n" << done.out;
    EXPECT_NE(done.err.find("2 of 2 packets would not be accepted"), std::string::npos) << done.err;
    const auto as_json = test("bad.pcap", {"--json"});
    EXPECT_EQ(as_json.status, 1);
    const auto first = json::parse(as_json.out.substr(0, as_json.out.find('\n')));
    EXPECT_EQ(first.at("peer"), "minnie");
    EXPECT_EQ(first.at("messages").at(0).at("verdict"), "accept");
    EXPECT_EQ(first.at("messages").at(1).at("verdict"), "refuse");
}

TEST_F(PolicyTest, JudgesByThePeer) {
    config("\tmaxinserts=1\n");
    EXPECT_EQ(test("good.pcap").status, 1); // two of minnie's in a second
    const auto as_donald = test("good.pcap", {"--peer", "donald"});
    EXPECT_NE(as_donald.out.find("donald: refused, wrong_source"), std::string::npos);
    EXPECT_NE(test("good.pcap", {"--peer", "goofy"}).err.find("no conn 'goofy'"),
              std::string::npos);
    write(dir_ / "strange.pcap", Pcap().packet("192.0.2.9", {flow(1)}).text());
    EXPECT_NE(test("strange.pcap").out.find("no peer: refused, wrong_source"), std::string::npos);
    write(dir_ / "own.pcap", Pcap().packet("192.0.2.1", {flow(1)}).text());
    EXPECT_EQ(test("own.pcap").status, 0); // what this node has sent
}

TEST_F(PolicyTest, NeedsAFileAndAConfiguration) {
    EXPECT_EQ(test("none.pcap").status, 1);
    write(dir_ / "text.pcap", "not a capture");
    EXPECT_EQ(test("text.pcap").status, 1);
    write(dir_ / "encsync.conf", "conn minnie\n");
    EXPECT_NE(test("good.pcap").err.find("encsync check"), std::string::npos);
}

} // namespace
} // namespace encsync
