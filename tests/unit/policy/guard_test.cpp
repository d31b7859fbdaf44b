// SPDX-License-Identifier: ISC
#include "policy/guard.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace encsync::policy {
namespace {

using Packet = std::vector<std::uint8_t>;

const Selectors kFour{{net::Address{{192, 168, 1, 101}}}, {{192, 168, 1, 100}}};
const Selectors kSix{{net::parse_address("2001:db8::1").value()},
                     net::parse_address("2001:db8::2").value()};

// Version 6, one DEL_C.
Packet pfsync() {
    Packet p(20 + 4 + 12);
    p[0] = 6;
    p[3] = static_cast<std::uint8_t>(p.size());
    p[20] = 7; // DEL_C
    p[21] = 3; // words
    p[23] = 1; // count
    p[35] = 9;
    return p;
}

Packet four(const Packet& payload = pfsync()) {
    Packet p(20);
    p[0] = 0x45;
    store_be(&p[2], static_cast<std::uint16_t>(20 + payload.size()));
    p[6] = 0x40; // DF
    p[8] = 255;
    p[9] = 240;
    std::memcpy(&p[12], kFour.sources[0].bytes.data(), 4);
    std::memcpy(&p[16], kFour.destination.bytes.data(), 4);
    p.insert(p.end(), payload.begin(), payload.end());
    return p;
}

Packet six(const Packet& payload = pfsync()) {
    Packet p(40);
    p[0] = 0x60;
    store_be(&p[4], static_cast<std::uint16_t>(payload.size()));
    p[6] = 240;
    p[7] = 255;
    std::memcpy(&p[8], kSix.sources[0].bytes.data(), 16);
    std::memcpy(&p[24], kSix.destination.bytes.data(), 16);
    p.insert(p.end(), payload.begin(), payload.end());
    return p;
}

// The packet with one byte changed.
Packet with(Packet p, std::size_t at, std::uint8_t value) {
    p.at(at) = value;
    return p;
}

std::string verdict(const Packet& p, const Selectors& s) {
    return to_string(check(p, s).why);
}

std::string words(const Packet& p, pfsync::Expected dialect,
                  std::optional<pfsync::Dialect>& used_dialect) {
    const Checked checked = check(p, kFour, dialect);
    return explain(checked.why, p, kFour, dialect, used_dialect);
}

std::string words(const Packet& p, pfsync::Expected dialect = pfsync::kOwnDialect) {
    std::optional<pfsync::Dialect> used_dialect;
    return words(p, dialect, used_dialect);
}

TEST(Guard, ExplainsWhatItRefuses) {
    const Packet v5 = with(four(), 20, 5), v4 = with(four(), 20, 4);
    EXPECT_EQ(words(v5), "it speaks pfsync version 5 (FreeBSD's), and version 6 was expected "
                         "(wire=encsync or openbsd)");
    EXPECT_EQ(words(four(), pfsync::Dialect::freebsd1400),
              "it speaks pfsync version 6 (encsync or openbsd), and version 5 was expected "
              "(wire=freebsd-1400)");
    EXPECT_EQ(words(v4, std::nullopt),
              "it speaks pfsync version 4, and versions 5 and 6 are known (wire=auto)");
    EXPECT_EQ(words(with(four(), 8, 64)), "its packets have TTL 64, and 255 was expected");
    EXPECT_EQ(words(with(four(), 15, 9)),
              "its packets are from 192.168.1.9, and 192.168.1.101 was expected");
    EXPECT_EQ(words(with(four(), 19, 9)),
              "its packets are for 192.168.1.9, and 192.168.1.100 was expected");
    EXPECT_EQ(words(with(four(), 9, 17)),
              "its packets are of protocol 17, and pfsync's 240 was expected");
    EXPECT_EQ(words({}), "its packets are malformed (short_packet)");
    std::optional<pfsync::Dialect> used_dialect;
    EXPECT_EQ(explain(Reason::bad_ttl, with(six(), 7, 1), kSix, {}, used_dialect),
              "its packets have TTL 1, and 255 was expected");
    EXPECT_EQ(explain(Reason::wrong_source, six(), kSix, {}, used_dialect),
              "its packets are from 2001:db8::1, and 2001:db8::1 was expected");
}

// The dialect is named once a packet has shown it.
TEST(Guard, NamesTheDialectOfAFullState) {
    Packet payload(20 + 4 + state_size(pfsync::Dialect::freebsd1400));
    payload[0] = 5;
    store_be(&payload[2], static_cast<std::uint16_t>(payload.size()));
    payload[20] = *action_of(pfsync::Dialect::freebsd1400, pfsync::Kind::insert);
    payload[23] = 1;
    std::optional<pfsync::Dialect> used_dialect;
    for (const Packet& packet : {four(payload), with(four(), 20, 5)})
        EXPECT_EQ(words(packet, pfsync::Dialect::openbsd, used_dialect),
                  "it speaks pfsync version 5 (freebsd-1400), and version 6 was expected "
                  "(wire=encsync or openbsd)");
}

TEST(Guard, AcceptsWhatTheAssociationIsFor) {
    const Packet p4 = four(), p6 = six();
    const Checked c4 = check(p4, kFour);
    ASSERT_EQ(c4.why, Reason::accept);
    EXPECT_EQ(Packet(c4.payload.begin(), c4.payload.end()), pfsync());
    const Checked c6 = check(p6, kSix);
    ASSERT_EQ(c6.why, Reason::accept);
    EXPECT_EQ(Packet(c6.payload.begin(), c6.payload.end()), pfsync());
}

TEST(Guard, RefusesEachByItsName) {
    const Packet p = four();
    EXPECT_EQ(verdict(with(p, 0, 0x55), kFour), "bad_ip_version");
    EXPECT_EQ(verdict(with(p, 0, 0x46), kFour), "ip_options");
    EXPECT_EQ(verdict(with(p, 0, 0x44), kFour), "bad_ip_length");
    EXPECT_EQ(verdict(with(p, 3, p[3] - 1), kFour), "bad_ip_length");
    EXPECT_EQ(verdict(with(p, 3, p[3] + 1), kFour), "bad_ip_length");
    EXPECT_EQ(verdict(with(p, 6, 0x20), kFour), "fragment");
    EXPECT_EQ(verdict(with(p, 7, 1), kFour), "fragment");
    EXPECT_EQ(verdict(with(p, 6, 0), kFour), "accept"); // without DF
    EXPECT_EQ(verdict(with(p, 9, 17), kFour), "not_pfsync");
    EXPECT_EQ(verdict(with(p, 15, 100), kFour), "wrong_source");
    EXPECT_EQ(verdict(with(p, 19, 101), kFour), "wrong_destination");
    EXPECT_EQ(verdict(with(p, 8, 254), kFour), "bad_ttl");
    EXPECT_EQ(verdict(with(p, 20, 5), kFour), "pfsync_bad_version");
    EXPECT_EQ(verdict(with(p, 23, 200), kFour), "pfsync_bad_length");
    EXPECT_EQ(verdict(with(p, 43, 0), kFour), "pfsync_zero_count");
    EXPECT_EQ(verdict(with(p, 41, 0), kFour), "pfsync_zero_stride");
    EXPECT_EQ(verdict(with(p, 43, 2), kFour), "pfsync_section_overrun");
    EXPECT_EQ(verdict(four({}), kFour), "pfsync_short_header");
    EXPECT_EQ(verdict(with(p, 23, 22), kFour), "pfsync_short_subheader");
}

TEST(Guard, RefusesEachByItsNameInIp6) {
    const Packet p = six();
    EXPECT_EQ(verdict(with(p, 5, p[5] - 1), kSix), "bad_ip_length");
    EXPECT_EQ(verdict(with(p, 6, 44), kSix), "fragment");
    for (const std::uint8_t extension : {0, 43, 51, 60, 135})
        EXPECT_EQ(verdict(with(p, 6, extension), kSix), "ip_options");
    EXPECT_EQ(verdict(with(p, 6, 58), kSix), "not_pfsync");
    EXPECT_EQ(verdict(with(p, 23, 7), kSix), "wrong_source");
    EXPECT_EQ(verdict(with(p, 39, 7), kSix), "wrong_destination");
    EXPECT_EQ(verdict(with(p, 7, 64), kSix), "bad_ttl");
    EXPECT_EQ(verdict(with(p, 40, 5), kSix), "pfsync_bad_version");
}

// Several firewalls on one cable: each of them, and nobody else.
TEST(Guard, AcceptsEachSpeaker) {
    Selectors several = kFour;
    several.sources.push_back({{192, 168, 1, 102}});
    EXPECT_EQ(verdict(four(), several), "accept");
    EXPECT_EQ(verdict(with(four(), 15, 102), several), "accept");
    EXPECT_EQ(verdict(with(four(), 15, 102), kFour), "wrong_source");
    const Packet stranger = with(four(), 15, 103);
    EXPECT_EQ(verdict(stranger, several), "wrong_source");
    EXPECT_EQ(verdict(four(), {{}, kFour.destination}), "wrong_source"); // nobody speaks
    std::optional<pfsync::Dialect> used_dialect;
    EXPECT_EQ(
        explain(Reason::wrong_source, stranger, several, {}, used_dialect),
        "its packets are from 192.168.1.103, and 192.168.1.101 or 192.168.1.102 was expected");
}

TEST(Guard, AFamilyIsPartOfTheAddress) {
    EXPECT_EQ(verdict(four(), kSix), "wrong_source");
    EXPECT_EQ(verdict(six(), kFour), "wrong_source");
}

TEST(Guard, CutShortAnywhereAPacketIsRefused) {
    for (const auto& [whole, selectors] : {std::pair(four(), kFour), std::pair(six(), kSix)})
        for (std::size_t size = 0; size < whole.size(); size++) {
            Packet cut(whole.begin(), whole.begin() + static_cast<long>(size));
            const std::size_t header = selectors.sources[0].is_v6() ? 40 : 20;
            EXPECT_EQ(verdict(cut, selectors), size < header ? "short_packet" : "bad_ip_length");
            if (size < header)
                continue;
            // With an IP length that agrees, pfsync's own lengths must detect it.
            store_be(&cut[selectors.sources[0].is_v6() ? 4 : 2],
                     static_cast<std::uint16_t>(selectors.sources[0].is_v6() ? size - 40 : size));
            const Checked c = check(cut, selectors);
            EXPECT_NE(c.why, Reason::accept) << size;
            EXPECT_TRUE(c.payload.empty());
        }
}

} // namespace
} // namespace encsync::policy
