// SPDX-License-Identifier: ISC
// Each type of value: its forms, its limits, and values just beyond them.
#include "config/values.hpp"

#include <gtest/gtest.h>

namespace encsync::config {
namespace {

using std::chrono::seconds;

std::string refusal(const Verdict& verdict) {
    return verdict ? verdict->message : "(good)";
}

TEST(Duration, Forms) {
    const std::pair<const char*, long> good[] = {{"90", 90},    {"90s", 90},   {"5m", 300},
                                                 {"4h", 14400}, {"1d", 86400}, {"2", 2}};
    for (const auto& [text, expected] : good) {
        seconds out{};
        EXPECT_FALSE(read_duration(text, {2, 86400}, out)) << text;
        EXPECT_EQ(out, seconds(expected)) << text;
    }
    const char* bad[] = {"s",
                         "1",
                         "86401",
                         "1441m",
                         "2d",
                         "-5",
                         "+5",
                         "1.5h",
                         "1h30m",
                         "5 m",
                         "5M",
                         "0x10",
                         "99999999999999999999",
                         "4294967295d",
                         "1w",
                         "h4"};
    for (const char* text : bad) {
        seconds out(7);
        EXPECT_TRUE(read_duration(text, {2, 86400}, out)) << text;
        EXPECT_EQ(out, seconds(7)) << text << ": a refused value was stored";
    }
}

TEST(Duration, IsWrittenInItsLargestUnit) {
    EXPECT_EQ(format_duration(seconds(0)), "0s");
    EXPECT_EQ(format_duration(seconds(59)), "59s");
    EXPECT_EQ(format_duration(seconds(90)), "90s");
    EXPECT_EQ(format_duration(seconds(300)), "5m");
    EXPECT_EQ(format_duration(seconds(14400)), "4h");
    EXPECT_EQ(format_duration(seconds(86400)), "1d");
    for (const long count : {1L, 59L, 60L, 61L, 3600L, 86400L, 90000L}) {
        seconds out{};
        EXPECT_FALSE(read_duration(format_duration(seconds(count)), {1, 100000}, out));
        EXPECT_EQ(out, seconds(count));
    }
}

TEST(Duration, ToTheMillisecond) {
    using std::chrono::milliseconds;
    const std::pair<const char*, long> good[] = {{"0", 0},       {"0ms", 0},        {"1ms", 1},
                                                 {"500ms", 500}, {"2s", 2000},      {"2", 2000},
                                                 {"1m", 60000},  {"60000ms", 60000}};
    for (const auto& [text, expected] : good) {
        milliseconds out(7);
        EXPECT_FALSE(read_duration(text, {0, 60}, out)) << text;
        EXPECT_EQ(out, milliseconds(expected)) << text;
    }
    for (const char* text : {"60001ms", "61", "61s", "2m", "ms", "-1ms", "1.5s", "5 ms", "5MS",
                             "500mss", "4294967296ms", "99999999999999999999ms", "s"}) {
        milliseconds out(7);
        EXPECT_TRUE(read_duration(text, {0, 60}, out)) << text;
        EXPECT_EQ(out, milliseconds(7)) << text << ": a refused value was stored";
    }
    milliseconds out(7);
    EXPECT_TRUE(read_duration("999ms", {1, 60}, out) == std::nullopt); // rounded up for the limit
    EXPECT_TRUE(read_duration("0ms", {1, 60}, out));
    EXPECT_EQ(read_duration("61000ms", {0, 60}, out)->message, "'61000ms' is not from 0s to 1m");
    EXPECT_EQ(read_duration("soon", {0, 60}, out)->hint, "write 500ms, 2s or 1m");
}

TEST(Number, Limits) {
    std::uint32_t out = 7;
    EXPECT_FALSE(read_number("0", {0, 255}, out));
    EXPECT_EQ(out, 0u);
    EXPECT_FALSE(read_number("255", {0, 255}, out));
    EXPECT_EQ(out, 255u);
    for (const char* text : {"256", "-1", "1e2", "0x1", "4294967296", "18446744073709551616", "a"})
        EXPECT_TRUE(read_number(text, {0, 255}, out)) << text;
    EXPECT_EQ(out, 255u);
}

TEST(WordValue, KnownLaterAndUnknown) {
    const Word words[] = {{"tunnel", 3, false}, {"transport", 0, true}};
    int out = 0;
    EXPECT_FALSE(read_word("tunnel", words, out));
    EXPECT_EQ(out, 3);
    EXPECT_EQ(refusal(read_word("transport", words, out)), "'transport' is not supported yet");
    const Verdict slip = read_word("tunel", words, out);
    ASSERT_TRUE(slip);
    EXPECT_EQ(slip->message, "'tunel' is not one of: tunnel");
    EXPECT_EQ(slip->hint, "did you mean 'tunnel'?");
    EXPECT_EQ(out, 3);
}

TEST(AddressValue, RoundTrip) {
    for (const char* text : {"192.168.1.100", "10.0.0.1", "2001:db8::1", "fd00::2", "fe80::1%eth0",
                             "febf::2%br-sync.7"}) {
        Address out;
        EXPECT_FALSE(read_address(text, out)) << text;
        EXPECT_EQ(to_string(out), text);
        EXPECT_EQ(out.ip.is_v6(), std::string_view(text).find(':') != std::string_view::npos);
    }
    Address out;
    EXPECT_FALSE(read_address("1.2.3.4", out));
    EXPECT_EQ(out.ip.bytes[0], 1);
    EXPECT_EQ(out.ip.bytes[3], 4);
    EXPECT_EQ(out.ip.bytes[4], 0);
}

TEST(AddressValue, TheScopeBelongsToIt) {
    Address a, b;
    EXPECT_FALSE(read_address("fe80::1%eth0", a));
    EXPECT_FALSE(read_address("fe80::1%eth1", b));
    EXPECT_EQ(a.scope, "eth0");
    EXPECT_EQ(a.ip, b.ip);
    EXPECT_NE(a, b);
}

TEST(AddressValue, WhatNoHostHas) {
    const std::pair<const char*, const char*> bad[] = {
        {"minnie", "'minnie' is no IP address"},
        {"1.2.3", "'1.2.3' is no IP address"},
        {"1.2.3.256", "'1.2.3.256' is no IP address"},
        {"2001:db8:::1", "'2001:db8:::1' is no IP address"},
        {"1.2.3.4/24", "this is one address, without a prefix length"},
        {"%any", "'%any': encsync needs the address itself"},
        {"fe80::1", "a link-local address needs a scope, the interface that it is on"},
        {"fe80::1%", "an interface is missing behind the '%'"},
        {"fe80::1%2", "write the interface's name; its number changes when it goes and comes back"},
        {"fe80::1%eth 0", "an interface's name has letters, digits, '.', '_' and '-' only"},
        {"fe80::1%eth0%eth1", "an interface's name has letters, digits, '.', '_' and '-' only"},
        {"fe80::1%eth0/64", "this is one address, without a prefix length"},
        {"fec0::1%eth0", "only a link-local address (fe80::/10) has a scope"},
        {"2001:db8::1%eth0", "only a link-local address (fe80::/10) has a scope"},
        {"169.254.1.1%eth0", "only a link-local address (fe80::/10) has a scope"},
        {"fe80::x%eth0", "'fe80::x' is no IP address"},
        {"0.0.0.0", "the unspecified address is nobody's"},
        {"::", "the unspecified address is nobody's"},
        {"0.0.0.1", "addresses in 0.0.0.0/8 are nobody's"},
        {"224.0.0.240", "this is a multicast address"},
        {"ff02::1", "this is a multicast address"},
        {"127.0.0.1", "a loopback address reaches no other machine"},
        {"::1", "a loopback address reaches no other machine"},
        {"255.255.255.255", "this is a broadcast or reserved address"},
        {"::ffff:1.2.3.4", "write an IPv4 address as such, not mapped into IPv6"},
    };
    for (const auto& [text, message] : bad) {
        Address out;
        EXPECT_EQ(refusal(read_address(text, out)), message);
        EXPECT_EQ(out, Address{});
    }
}

TEST(ListenValue, RoundTrip) {
    const std::string longest = "/" + std::string(net::Listen::kMaxPath - 1, 's');
    for (const std::string& text :
         {std::string("127.0.0.1:9240"), std::string("0.0.0.0:1"), std::string("[::1]:65535"),
          std::string("[::]:9240"), std::string("/run/encsync/metrics.sock"), longest}) {
        net::Listen out;
        EXPECT_FALSE(read_listen(text, out)) << text;
        EXPECT_EQ(to_string(out), text);
        EXPECT_TRUE(out.anywhere());
    }
    EXPECT_FALSE(net::Listen().anywhere());
    EXPECT_EQ(to_string(net::Listen()), "");
}

TEST(ListenValue, WhatNobodyListensOn) {
    const std::string long_path = "/" + std::string(net::Listen::kMaxPath, 's');
    const std::pair<std::string, const char*> bad[] = {
        {"9240", "'9240' has no port, and is no absolute path"},
        {"127.0.0.1", "'127.0.0.1' has no port, and is no absolute path"},
        {"metrics.sock", "'metrics.sock' has no port, and is no absolute path"},
        {":9240", "the address is missing before the ':'"},
        {"127.0.0.1:", "the port is missing behind the ':'"},
        {"127.0.0.1:0", "'0' is not from 1 to 65535"},
        {"127.0.0.1:65536", "'65536' is not from 1 to 65535"},
        {"127.0.0.1:http", "'http' is no number"},
        {"127.0.0.1:+1", "'+1' is no number"},
        {"localhost:9240", "'localhost' is no IP address"},
        {"*:9240", "'*' is no IP address"},
        {"::1:9240", "an IPv6 address with a port is written in brackets"},
        {"[127.0.0.1]:9240", "an IPv4 address has no brackets"},
        {"[]:9240", "'[]' is no IP address"},
        {"[::1:9240", "'[::1' is no IP address"},
        {"[fe80::1]:9240", "a link-local address cannot be listened on"},
        {"[fe80::1%eth0]:9240", "'fe80::1%eth0' is no IP address"},
        {"[::ffff:1.2.3.4]:9240", "write an IPv4 address as such, not mapped into IPv6"},
        {"224.0.0.1:9240", "this is a multicast address"},
        {"/run/encsync/", "this names a directory, not a socket in it"},
        {long_path, "the path has 108 bytes; that of a socket has 107 at most"},
    };
    for (const auto& [text, message] : bad) {
        net::Listen out;
        EXPECT_EQ(refusal(read_listen(text, out)), message) << text;
        EXPECT_FALSE(out.anywhere()) << text;
    }
}

TEST(RightValue, MayBeTheGroup) {
    Address out;
    EXPECT_FALSE(read_right("%multicast", out));
    EXPECT_TRUE(out.ip.is_multicast());
    EXPECT_FALSE(read_right("192.0.2.1", out));
    EXPECT_EQ(to_string(out), "192.0.2.1");
    EXPECT_EQ(refusal(read_right("%any", out)), "'%any': encsync needs the address itself");
    EXPECT_EQ(refusal(read_right("224.0.0.240", out)), "this is a multicast address");
    EXPECT_EQ(refusal(read_address("%multicast", out)),
              "'%multicast': encsync needs the address itself");
}

// Up to kMaxSpeakers + 1 items, each with a number at its end.
std::string list(const char* stem, std::size_t count) {
    std::string out;
    for (std::size_t n = 0; n < count; n++)
        out += fmt::format("{}{}{}", n == 0 ? "" : ",", stem, 10 + n);
    return out;
}

TEST(Speakers, Lists) {
    std::vector<Address> out;
    const auto at = [&](const std::string& text) {
        const Verdict verdict = read_addresses(text, out);
        return verdict ? fmt::format("{}: {}", verdict->offset, verdict->message) : "(good)";
    };
    EXPECT_EQ(at("172.16.0.2, fe80::1%eth0"), "(good)");
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(to_string(out[1]), "fe80::1%eth0");
    EXPECT_EQ(at(list("172.16.0.", kMaxSpeakers)), "(good)");
    EXPECT_EQ(out.size(), kMaxSpeakers);
    EXPECT_EQ(at(list("172.16.0.", kMaxSpeakers + 1)), "192: 16 are the most");
    EXPECT_EQ(at("172.16.0.2,172.16.0.2"), "11: 172.16.0.2 is there twice");
    EXPECT_EQ(at("172.16.0.2, 224.0.0.240"), "12: this is a multicast address");
    EXPECT_EQ(at("172.16.0.2,"), "10: an address is missing beside the comma");
    EXPECT_EQ(at(", 172.16.0.2"), "0: an address is missing beside the comma");
    EXPECT_EQ(out.size(), kMaxSpeakers); // unchanged
}

TEST(Macs, Lists) {
    std::vector<net::Mac> out;
    const auto at = [&](const std::string& text) {
        const Verdict verdict = read_macs(text, out);
        return verdict ? fmt::format("{}: {}", verdict->offset, verdict->message) : "(good)";
    };
    EXPECT_EQ(at("52:54:00:12:34:56 ,52:54:00:AB:34:56"), "(good)");
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(to_string(out[1]), "52:54:00:ab:34:56");
    EXPECT_EQ(at("52:54:00:12:34"), "0: '52:54:00:12:34' is no MAC address");
    EXPECT_EQ(read_macs("x", out)->hint, "write 52:54:00:12:34:56");
    EXPECT_EQ(at("00:00:00:00:00:00"), "0: the zero address is nobody's");
    for (const char* group : {"01:00:5e:00:00:f0", "ff:ff:ff:ff:ff:ff"})
        EXPECT_EQ(at(group),
                  "0: this is a multicast or broadcast address, from which nobody sends");
    EXPECT_EQ(at("52:54:00:12:34:5a,52:54:00:12:34:5A"), "18: 52:54:00:12:34:5a is there twice");
    EXPECT_EQ(at("52:54:00:12:34:56,,"), "18: a MAC address is missing beside the comma");
    EXPECT_EQ(at(list("52:54:00:12:34:", kMaxSpeakers)), "(good)");
    EXPECT_EQ(at(list("52:54:00:12:34:", kMaxSpeakers + 1)), "288: 16 are the most");
}

TEST(Creatorids, Lists) {
    std::vector<std::uint32_t> out;
    EXPECT_FALSE(read_creatorids("a1B2c3d4,00000007", out));
    EXPECT_EQ(out, (std::vector<std::uint32_t>{0xa1b2c3d4, 7}));
    const auto offset = [&](std::string_view text) -> std::size_t {
        const Verdict verdict = read_creatorids(text, out);
        return verdict ? verdict->offset : 999;
    };
    EXPECT_EQ(offset("a1b2c3d4, 7"), 10u);
    EXPECT_EQ(offset("00000000"), 0u);
    EXPECT_EQ(offset("0x1b2c3d"), 0u);
    EXPECT_EQ(offset("a1b2c3d4, a1b2c3d4"), 10u);
    EXPECT_EQ(offset("a1b2c3d4,"), 8u);
    EXPECT_EQ(out.size(), 2u); // unchanged
}

TEST(Prefixes, ListsAndMembership) {
    std::vector<net::Prefix> out;
    ASSERT_FALSE(read_prefixes("10.0.0.0/8, 192.0.2.1,2001:db8::/33", out));
    ASSERT_EQ(out.size(), 3u);
    EXPECT_EQ(to_string(out[0]), "10.0.0.0/8");
    EXPECT_EQ(to_string(out[1]), "192.0.2.1/32");
    EXPECT_EQ(to_string(out[2]), "2001:db8::/33");
    const auto address = [](const char* text) {
        Address a;
        EXPECT_FALSE(read_address(text, a));
        return a.ip;
    };
    EXPECT_TRUE(out[0].contains(address("10.255.0.1")));
    EXPECT_FALSE(out[0].contains(address("11.0.0.1")));
    EXPECT_TRUE(out[1].contains(address("192.0.2.1")));
    EXPECT_FALSE(out[1].contains(address("192.0.2.2")));
    EXPECT_TRUE(out[2].contains(address("2001:db8:7fff::1")));
    EXPECT_FALSE(out[2].contains(address("2001:db8:8000::1")));
    // 10.0.0.0 and a00:: begin with the same bytes.
    EXPECT_FALSE(out[0].contains(address("a00::1")));
}

TEST(Prefixes, Refusals) {
    std::vector<net::Prefix> out;
    const auto at = [&](const char* text) {
        const Verdict verdict = read_prefixes(text, out);
        return verdict ? fmt::format("{}: {}", verdict->offset, verdict->message) : "(good)";
    };
    EXPECT_EQ(at("10.0.0.1/8"), "0: '10.0.0.1/8' has bits set beyond its prefix");
    EXPECT_EQ(read_prefixes("10.0.0.1/8", out)->hint, "did you mean '10.0.0.0/8'?");
    EXPECT_EQ(at("10.0.0.0/8, x"), "12: 'x' is no IP address");
    EXPECT_EQ(at("10.0.0.0/33"), "9: a prefix length is from 1 to 32 here");
    EXPECT_EQ(at("0.0.0.0/0"), "8: a prefix length is from 1 to 32 here");
    EXPECT_EQ(at("::/129"), "3: a prefix length is from 1 to 128 here");
    EXPECT_EQ(at("10.0.0.0/"), "9: a prefix length is from 1 to 32 here");
    EXPECT_EQ(at("10.0.0.0/8,"), "10: a prefix is missing beside the comma");
    EXPECT_EQ(at(",10.0.0.0/8"), "0: a prefix is missing beside the comma");
    EXPECT_TRUE(out.empty());
}

TEST(InterfaceMaps, Examples) {
    std::vector<InterfacePair> out;
    ASSERT_FALSE(read_interface_map("em0:wan", out));
    EXPECT_EQ(out, (std::vector<InterfacePair>{{"em0", "wan"}}));
    // Blanks, a name that is on both sides, and the longest.
    ASSERT_FALSE(read_interface_map("em0:em1, em1 : em0,igb0.100:a23456789012345", out));
    EXPECT_EQ(out, (std::vector<InterfacePair>{
                       {"em0", "em1"}, {"em1", "em0"}, {"igb0.100", "a23456789012345"}}));
}

TEST(InterfaceMaps, Refusals) {
    std::vector<InterfacePair> out;
    const auto at = [&](const char* text) {
        const Verdict verdict = read_interface_map(text, out);
        return verdict ? fmt::format("{}: {}", verdict->offset, verdict->message) : "(good)";
    };
    EXPECT_EQ(at("em0"), "0: 'em0' has no colon");
    EXPECT_FALSE(read_interface_map("em0", out)->hint.empty());
    EXPECT_EQ(at("em0:"), "3: a name is missing beside the colon");
    EXPECT_EQ(at("em1:lan, :wan"), "9: a name is missing beside the colon");
    EXPECT_EQ(at("em0:wan,"), "7: a pair is missing beside the comma");
    EXPECT_EQ(at(",em0:wan"), "0: a pair is missing beside the comma");
    EXPECT_EQ(at("em0:wan:lan"),
              "7: an interface's name has letters, digits, '.', '_' and '-' only");
    EXPECT_EQ(at("em0:wan, a234567890123456:lan"),
              "9: an interface's name has 15 characters at most");
    EXPECT_EQ(at("em0:wan, em1:a234567890123456"),
              "13: an interface's name has 15 characters at most");
    EXPECT_EQ(at("all:wan"), "0: 'all' cannot be the name of this interface");
    EXPECT_EQ(at("em0:wan, em0:lan"), "9: 'em0' is left of two pairs");
    EXPECT_EQ(at("em0:wan, em1:wan"), "9: 'wan' is right of two pairs");
    EXPECT_TRUE(out.empty());
}

TEST(Names, Limits) {
    std::string out;
    for (const std::string& text :
         {std::string("a"), std::string("fw-1.example_2"), std::string(63, 'x')}) {
        EXPECT_FALSE(read_name(text, out)) << text;
        EXPECT_EQ(out, text);
    }
    out = "kept";
    EXPECT_EQ(refusal(read_name(std::string(64, 'x'), out)),
              "the name has 64 characters; 63 are the most");
    EXPECT_EQ(refusal(read_name("@minnie", out)),
              "'@minnie': a name is written as it is, without '@'");
    const Verdict blank = read_name("a b", out);
    ASSERT_TRUE(blank);
    EXPECT_EQ(blank->offset, 1u);
    EXPECT_TRUE(read_name("m\xc3\xbcnnie", out));
    EXPECT_TRUE(read_name("a/b", out));
    EXPECT_EQ(refusal(read_name("..", out)), "'..' cannot be a name");
    EXPECT_EQ(refusal(read_name(".", out)), "'.' cannot be a name");
    EXPECT_EQ(out, "kept");
    EXPECT_FALSE(read_name("...", out)); // must be usable as a file name
}

TEST(Names, OfInterfaces) {
    std::string out;
    EXPECT_FALSE(read_interface("enc0", out));
    EXPECT_FALSE(read_interface("abcdefghijklmno", out));
    for (const char* text : {"abcdefghijklmnop", ".", "..", "lo", "a/b", "a:b", "enc%d", "a b"})
        EXPECT_TRUE(read_interface(text, out)) << text;
    EXPECT_EQ(out, "abcdefghijklmno");
}

TEST(Names, OfUsers) {
    std::string out;
    EXPECT_FALSE(read_user("_encsync-1", out));
    EXPECT_EQ(out, "_encsync-1");
    for (const std::string& text :
         {std::string("root"), std::string("1a"), std::string("-a"), std::string("Nobody"),
          std::string("a:b"), std::string("nobody"), std::string(33, 'a')})
        EXPECT_TRUE(read_user(text, out)) << text;
}

TEST(Paths, AreAbsolute) {
    std::string out;
    EXPECT_FALSE(read_path("/var/lib/encsync/keys", out));
    EXPECT_TRUE(read_path("keys", out));
    EXPECT_TRUE(read_path("~/keys", out));
    EXPECT_FALSE(read_path("/" + std::string(1023, 'x'), out));
    EXPECT_TRUE(read_path("/" + std::string(1024, 'x'), out));
}

TEST(Proposals, Good) {
    std::string out;
    for (const char* text :
         {"aes256gcm16-prfsha384-curve25519", "chacha20poly1305-prfsha512-ecp384",
          "aes128gcm16-aes256gcm16-prfsha256-modp3072-modp4096"}) {
        EXPECT_FALSE(read_ike_proposal(text, out)) << text;
        EXPECT_EQ(out, text);
    }
    EXPECT_FALSE(read_esp_proposal("aes256gcm16-curve25519-esn , aes128gcm16-ecp256-noesn", out));
    EXPECT_EQ(out, "aes256gcm16-curve25519-esn,aes128gcm16-ecp256-noesn");
    EXPECT_FALSE(read_esp_proposal("aes256gcm16-curve25519-esn-noesn", out));
}

TEST(Proposals, MlKemWhereCharonHasIt) {
    std::string out;
    const std::string hybrid = "aes256gcm16-prfsha384-curve25519-ke1_mlkem768";
    const Verdict ike = read_ike_proposal(hybrid, out);
    EXPECT_EQ(ike ? ike->message : "", has_mlkem() ? "" : "charon has no ML-KEM here");
    if (ike) {
        EXPECT_EQ(ike->offset, 33U);
        EXPECT_EQ(ike->hint, "strongSwan 6 and OpenSSL 3.5 have it (Debian 13)");
    }
    // It is additional, so not alone; and ESP's keys are made of those of IKE.
    EXPECT_TRUE(read_ike_proposal("aes256gcm16-prfsha384-ke1_mlkem768", out));
    EXPECT_TRUE(read_esp_proposal("aes256gcm16-curve25519-ke1_mlkem768-esn", out));
    // The default offers what others have, too, and after it.
    EXPECT_FALSE(read_ike_proposal(default_ike(), out));
    EXPECT_EQ(out, has_mlkem() ? hybrid + ",aes256gcm16-prfsha384-curve25519"
                               : "aes256gcm16-prfsha384-curve25519");
}

TEST(Proposals, WithoutMlKem) {
    EXPECT_EQ(without_mlkem("a-curve25519-ke1_mlkem768,a-curve25519,b-ecp256"),
              "a-curve25519,b-ecp256");
    EXPECT_EQ(without_mlkem("a-curve25519"), "a-curve25519");
    EXPECT_EQ(without_mlkem("a-curve25519-ke1_mlkem768"), "a-curve25519-ke1_mlkem768");
}

TEST(Proposals, Refusals) {
    std::string out = "kept";
    const auto ike = [&](const char* text) {
        const Verdict verdict = read_ike_proposal(text, out);
        return verdict ? fmt::format("{}: {}", verdict->offset, verdict->message) : "(good)";
    };
    const auto esp = [&](const char* text) {
        const Verdict verdict = read_esp_proposal(text, out);
        return verdict ? fmt::format("{}: {}", verdict->offset, verdict->message) : "(good)";
    };
    EXPECT_EQ(ike("aes256gcm16-prfsha384"), "0: the proposal has no key exchange group");
    EXPECT_EQ(ike("aes256gcm16-curve25519"), "0: the proposal has no pseudo-random function");
    EXPECT_EQ(ike("prfsha384-curve25519"), "0: the proposal has no cipher");
    EXPECT_EQ(ike("aes256-sha256-modp2048"), "0: unknown algorithm 'aes256'");
    EXPECT_EQ(ike("aes256gcm16-prfsha384-curve25519-esn"), "33: 'esn' has no place in ike=");
    EXPECT_EQ(ike("aes256gcm16--curve25519"), "12: an algorithm is missing beside the '-'");
    EXPECT_EQ(ike("aes256gcm16-aes256gcm16-prfsha384-curve25519"),
              "12: 'aes256gcm16' is named twice");
    EXPECT_EQ(ike("aes256gcm16-prfsha384-curve25519!"),
              "32: leave out the '!': encsync never offers more than is written");
    EXPECT_EQ(ike("aes256gcm16-prfsha384-curve25519,"),
              "32: a proposal is missing beside the comma");
    EXPECT_EQ(esp("aes256gcm16-curve25519, aes256gcm16"),
              "24: the proposal has no key exchange group");
    EXPECT_EQ(esp("aes256gcm16-prfsha384-curve25519"), "12: 'prfsha384' has no place in esp=");
    EXPECT_EQ(esp("null-curve25519"), "0: unknown algorithm 'null'");
    EXPECT_EQ(read_esp_proposal("aes256gcm-curve25519", out)->hint, "did you mean 'aes256gcm16'?");
    EXPECT_EQ(out, "kept");
}

} // namespace
} // namespace encsync::config
