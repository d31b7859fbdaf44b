// SPDX-License-Identifier: ISC
// The daemon's answers, as text for the user.
#include "cli/render.hpp"

#include <gtest/gtest.h>

namespace encsync::cli {
namespace {

boost::json::value parse(const char* text) {
    return boost::json::parse(text);
}

TEST(Render, Counts) {
    EXPECT_EQ(count(0), "0");
    EXPECT_EQ(count(999), "999");
    EXPECT_EQ(count(1000), "1,000");
    EXPECT_EQ(count(1234567), "1,234,567");
    EXPECT_EQ(count(UINT64_MAX), "18,446,744,073,709,551,615");
}

TEST(Render, Sizes) {
    EXPECT_EQ(size(0), "0 B");
    EXPECT_EQ(size(1023), "1023 B");
    EXPECT_EQ(size(1024), "1.0 KiB");
    EXPECT_EQ(size(1536), "1.5 KiB");
    EXPECT_EQ(size(1048575), "1.0 MiB"); // not 1024.0 KiB
    EXPECT_EQ(size(UINT64_MAX), "16.0 EiB");
}

TEST(Render, Durations) {
    EXPECT_EQ(duration(0), "0s");
    EXPECT_EQ(duration(59), "59s");
    EXPECT_EQ(duration(60), "1m0s");
    EXPECT_EQ(duration(3599), "59m59s");
    EXPECT_EQ(duration(3600), "1h0m");
    EXPECT_EQ(duration(86399), "23h59m");
    EXPECT_EQ(duration(86400), "1d0h");
    EXPECT_EQ(duration(100 * 86400), "100d0h");
}

TEST(Render, AlignsTables) {
    EXPECT_EQ(table({{"A", "LONG", "C"}, {"wide", "x"}, {"", "", "end"}}), "A     LONG  C\n"
                                                                           "wide  x\n"
                                                                           "            end\n");
    EXPECT_EQ(table({}), "");
}

TEST(Render, LetsNoControlCharacterThrough) {
    EXPECT_EQ(clean("a\x1b[2J\n\x7f\tb"), "a?[2J???b");
    EXPECT_EQ(clean("m\xc3\xbcller"), "m\xc3\xbcller");
    const auto out = render_status(parse(R"({"node":"m\u001b[2J","ready":false,"why":"a\nb",
        "peers":[{"name":"x\u0007","last_error":"\u001b]0;y"}]})"));
    for (const char c : out)
        EXPECT_TRUE(c == '\n' || c >= ' ') << out;
}

TEST(Render, Status) {
    EXPECT_EQ(render_status(parse(R"({"node": "mickey", "role": "active", "ready": true,
        "version": "0.1.0", "uptime": 7500, "states": 1234, "own": 1000, "copies": 234,
        "memory": 12582912,
        "policy": {"installed": true, "refused": {"bad_ttl": 10, "never": 0, "bad_length": 2}},
        "peers": [{"name": "minnie", "state": "up", "role": "standby", "ready": true,
                   "in_step": true, "spi_in": "c0ffee01", "spi_out": "deadbeef", "rx_packets": 1234,
                   "tx_packets": 5, "rx_bytes": 1536, "tx_bytes": 400, "refused": 3, "since": 9,
                   "last_received": 1, "last_error": "", "checked_seconds_ago": 2,
                   "check": {"equal": true}},
                  {"name": "goofy", "state": "down", "ready": false,
                   "last_error": "no trusted key"}]})")),
              R"(mickey: active, ready
encsyncd 0.1.0, up 2h5m, memory 12.0 MiB
states 1,234: own 1,000, copies 234
policy installed, refused 12 (bad_ttl 10, bad_length 2)

PEER    STATE  ROLE     IN STEP              SPI IN    SPI OUT   RECEIVED         SENT       REFUSED  HEARD
minnie  up     standby  yes, checked 2s ago  c0ffee01  deadbeef  1,234 (1.5 KiB)  5 (400 B)  3        1s ago
goofy   down   -        no                   -         -         - (-)            - (-)      -        -
goofy: no trusted key
)");
}

TEST(Render, RolesThatDoNotFitAreNamed) {
    EXPECT_TRUE(render_status(parse(R"({"node":"mickey","role":"active","ready":true,
        "role_warning":"2 nodes are active: mickey, minnie"})"))
                    .starts_with("mickey: active, ready\nWARNING: 2 nodes are active: mickey, "
                                 "minnie\nencsyncd"));
    EXPECT_EQ(render_status(parse(R"({"node":"mickey","role_warning":""})")).find("WARNING"),
              std::string::npos);
}

TEST(Render, ADifferenceIsNotCalledInStep) {
    const auto out =
        render_status(parse(R"({"peers":[{"name":"minnie","in_step":true,"checked_seconds_ago":75,
            "check":{"equal":false}}]})"));
    EXPECT_NE(out.find("repairing, checked 1m15s ago"), out.npos) << out;
}

TEST(Render, StatusThatIsNotReadySaysSo) {
    const auto out = render_status(
        parse(R"({"node":"mickey","role":"standby","ready":false,"why":"minnie: bulk runs",
            "policy":{"installed":false,"refused":{}},"peers":[]})"));
    EXPECT_NE(out.find("mickey: standby, NOT ready: minnie: bulk runs\n"), out.npos) << out;
    EXPECT_NE(out.find("policy NOT INSTALLED, refused 0\n"), out.npos) << out;
    EXPECT_NE(out.find("no peers\n"), out.npos) << out;
}

// A daemon of another version.
TEST(Render, TakesAnyShape) {
    for (const char* odd : {"null", "[]", "{}", "7", "\"x\"", "[null]", "[7,[],{}]",
                            R"({"node":7,"ready":"yes","uptime":-1,"states":1.5,"memory":1e30,
                                "policy":7,"peers":7})",
                            R"({"policy":{"refused":{"a":"b"}},"peers":[7,{"name":{}}],
                                "identities":[7],"reply":7,"refused":7})"}) {
        for (auto* render : {render_status, render_peers, render_sas, render_policy, render_state,
                             render_identities, render_trusted}) {
            const std::string out = render(parse(odd));
            ASSERT_FALSE(out.empty()) << odd;
            EXPECT_EQ(out.back(), '\n') << odd;
        }
    }
    EXPECT_NE(render_status(parse("{}")).find("not known whether ready"), std::string::npos);
}

TEST(Render, Peers) {
    EXPECT_EQ(render_peers(parse("[]")), "no peers\n");
    EXPECT_EQ(render_peers(parse(R"([{"name":"minnie","state":"up","last_error":"",
        "bulk":{"sending":false,"sent":3000,"why":""},"spis":["c0","ff"]},{"name":"goofy","state":"down"}])")),
              "minnie\n"
              "  name           minnie\n"
              "  state          up\n"
              "  bulk           sending no, sent 3,000\n"
              "  spis           c0, ff\n"
              "\ngoofy\n"
              "  name           goofy\n"
              "  state          down\n");
}

TEST(Render, Sas) {
    EXPECT_EQ(render_sas(parse("[]")), "no security associations\n");
    EXPECT_EQ(render_sas(parse(R"([{"peer":"minnie","direction":"in","spi":"c0ffee01",
        "cipher":"aes256gcm16","esn":true,"age":61,"packets":1000,"bytes":2048,"replayed":1,
        "failed":2,"key_exchange":"curve25519","retiring":true}])")),
              "PEER    DIRECTION  SPI       CIPHER       ESN  AGE   PACKETS  BYTES    REPLAYED  "
              "FAILED  KEY EXCHANGE\n"
              "minnie  in         c0ffee01  aes256gcm16  yes  1m1s  1,000    2.0 KiB  1         2  "
              "     curve25519    retiring\n");
}

TEST(Render, States) {
    EXPECT_EQ(states_header(), "PROTO FROM                  TO                    STATE            "
                               "       OWNER      AGE     EXPIRES NAT, EXTRAS\n");
    EXPECT_EQ(render_state(parse(R"({"proto":"tcp","src":"10.0.0.2","sport":40000,
        "dst":"192.0.2.1","dport":443,
        "reply":{"src":"192.0.2.1","sport":443,"dst":"203.0.113.9","dport":50000},
        "state":"established:established","owner":"mickey","age":5,"expires":3600})")),
              "tcp   10.0.0.2:40000        192.0.2.1:443         established:established mickey   "
              "  5s      1h0m    203.0.113.9:50000 > 192.0.2.1:443\n");
    EXPECT_EQ(render_state(parse(R"({"proto":"udp","src":"2001:db8::1","sport":53,
        "dst":"::2","dport":54,"reply":{"src":"::2","sport":54,"dst":"2001:db8::1","dport":53},
        "state":"single:single","owner":"minnie","age":5,"expires":30,"helper":"tftp",
        "labels":[3,17],"lifetime":72000,"expectations":1,"seq_adjust":[2,-1]})")),
              "udp   [2001:db8::1]:53      [::2]:54              single:single           minnie   "
              "  5s      30s     helper tftp, labels 3 17, lifetime 20h0m, "
              "sequence numbers [2,-1], expectations 1\n");
    EXPECT_EQ(render_state(parse(R"({"proto":"icmp","src":"10.0.0.2","icmp_id":7,
        "dst":"192.0.2.1","reply":{"src":"192.0.2.1","dst":"10.0.0.2","icmp_id":7},
        "state":"single:single","owner":"minnie","age":5,"expires":30})")),
              "icmp  10.0.0.2              192.0.2.1 id 7        single:single           minnie   "
              "  5s      30s\n");
}

TEST(Render, Policy) {
    EXPECT_EQ(render_policy(parse(R"({"installed":true,"refused":{"forged":1000},
        "counters":{"in_dropped":1000},"ruleset":"table inet encsync {\n\tchain in\u001b\n}\n"})")),
              "policy installed, refused 1,000 (forged 1,000)\n"
              "  in_dropped     1,000\n"
              "\n"
              "table inet encsync {\n\tchain in?\n}\n");
    const boost::json::object minnie{
        {"name", "minnie"},
        {"rules", boost::json::array{"at most 10 CLR a second (maxclears)"}},
        {"accepted", 1234},
        {"refusals", boost::json::object{{"bad_ttl", 2}}}};
    const boost::json::object policy{{"installed", true},
                                     {"refused", boost::json::object{}},
                                     {"peers", boost::json::array{minnie}}};
    EXPECT_EQ(render_policy(policy), "policy installed, refused 0\n"
                                     "\n"
                                     "minnie: 1,234 packets accepted\n"
                                     "  at most 10 CLR a second (maxclears)\n"
                                     "  not accepted: 2 bad_ttl\n");
}

TEST(Render, Keys) {
    EXPECT_EQ(render_identities(parse(R"({"name":"mickey","keydir":"/k","creatorid":"8a01b2c3",
        "identities":[{"fingerprint":"SHA256:abc","age":61,"created":"2026-01-01T00:00:00Z",
        "signs":true},{"fingerprint":"SHA256:def","age":1,"created":"2026-01-01T00:01:00Z",
        "signs":false}]})")),
              "mickey (/k), creatorid 8a01b2c3\n"
              "FINGERPRINT  AGE   CREATED\n"
              "SHA256:abc   1m1s  2026-01-01T00:00:00Z  in use\n"
              "SHA256:def   1s    2026-01-01T00:01:00Z  coming\n");
    EXPECT_EQ(render_trusted(parse("[]")), "no key is trusted\n");
    EXPECT_EQ(render_trusted(parse(R"([{"name":"minnie","fingerprint":"SHA256:abc","age":61,
        "since":"2026-01-01T00:00:00Z"}])")),
              "NAME    FINGERPRINT  AGE   TRUSTED SINCE\n"
              "minnie  SHA256:abc   1m1s  2026-01-01T00:00:00Z\n");
}

TEST(Render, FingerprintsToBeReadAloud) {
    EXPECT_EQ(render_words(parse("[]")), "");
    EXPECT_EQ(render_words(parse(R"([{"name":"minnie","fingerprint":"SHA256:abc",
        "hex":"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        "words":["a","b","c","d","e","f","g","h"]},{"fingerprint":"SHA256:def"}])")),
              "minnie  SHA256:abc\n"
              "  hex   0011 2233 4455 6677 8899 aabb ccdd eeff\n"
              "        0011 2233 4455 6677 8899 aabb ccdd eeff\n"
              "  1     a b c d e f\n"
              "  7     g h\n"
              "\n"
              "SHA256:def\n"
              "  hex   -\n"
              "\n");
}

} // namespace
} // namespace encsync::cli
