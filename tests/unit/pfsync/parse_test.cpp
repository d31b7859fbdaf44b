// SPDX-License-Identifier: ISC
// Structure: packets that are truncated, forged or hostile.
#include "describe.hpp"
#include "pfsync/extension.hpp"
#include "tests/unit/pfsync/write_clr.hpp"

#include <algorithm>
#include <gtest/gtest.h>

namespace encsync::pfsync {
namespace {

using common::kHeaderSize;
using common::kSubheaderSize;
namespace header = common::header;

// A copy of exactly these bytes on the heap, so that the sanitizer detects a read beyond them.
std::vector<std::uint8_t> exactly(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

class EachDialect : public testing::TestWithParam<Dialect> {};
INSTANTIATE_TEST_SUITE_P(Dialects, EachDialect, testing::ValuesIn(kAllDialects));

TEST_P(EachDialect, EveryPacketCutAtEveryByteIsRefused) {
    const Dialect d = GetParam();
    for (const Vector& v : load_vectors(d)) {
        if (check(v.packet, d) != Fault::none)
            continue; // already refused when complete
        const std::size_t length = load_be<std::uint16_t>(&v.packet[header::length]);
        for (std::size_t size = 0; size < length; size++) {
            const auto cut = exactly(Bytes(v.packet).first(size));
            const Fault expected = size < 20 ? Fault::short_header : Fault::bad_length;
            EXPECT_EQ(check(cut, d), expected) << v.name << " at " << size;
            EXPECT_EQ(check(cut, std::nullopt), expected) << v.name << " at " << size;
            EXPECT_EQ(detect(cut), std::nullopt);
        }
        EXPECT_EQ(check(exactly(Bytes(v.packet).first(length)), d), Fault::none) << v.name;
    }
}

// The packet is truncated and its length field agrees: sections must be checked by themselves.
TEST_P(EachDialect, EveryPacketCutWithItsLengthFieldIsBoundedBySections) {
    const Dialect d = GetParam();
    for (const Vector& v : load_vectors(d)) {
        Parser whole(v.packet, d);
        std::vector<std::size_t> ends{kHeaderSize};
        while (const Section* s = whole.next())
            ends.push_back(whole.offset() + kSubheaderSize + s->body.size());
        if (whole.fault() != Fault::none)
            continue;
        for (std::size_t size = kHeaderSize; size < ends.back(); size++) {
            auto cut = exactly(Bytes(v.packet).first(size));
            store_be(&cut[header::length], static_cast<std::uint16_t>(size));
            const auto end =
                std::find_if(ends.rbegin(), ends.rend(), [&](std::size_t e) { return e <= size; });
            const Fault expected = *end == size      ? Fault::none
                                   : size - *end < 4 ? Fault::short_subheader
                                                     : Fault::section_overrun;
            Parser parser(cut, d);
            while (parser.next() != nullptr) {
            }
            EXPECT_EQ(parser.fault(), expected) << v.name << " at " << size;
            EXPECT_EQ(parser.offset(), *end) << v.name << " at " << size;
            EXPECT_EQ(check(cut, d), expected);
        }
    }
}

TEST_P(EachDialect, EveryMessageCutAtEveryByteIsShort) {
    const Dialect d = GetParam();
    std::size_t seen = 0;
    for (const Vector& v : load_vectors(d)) {
        Parser parser(v.packet, d);
        while (const Section* s = parser.next()) {
            const Meaning meaning{s->kind, s->layout};
            const std::size_t need = message_size(meaning);
            EXPECT_EQ(need, message_size(s->action, d));
            const std::string whole = describe_message(*s, s->message(0));
            if (need == 0 || whole.starts_with("refused"))
                continue;
            seen++;
            for (std::size_t size = 0; size < need; size++) {
                const auto cut = exactly(s->message(0).first(size));
                EXPECT_EQ(describe_message(meaning, cut), "refused short_message");
                if (need == common::kIdSize) {
                    EXPECT_EQ(read_id(cut), state::StateId{});
                }
            }
            // Between the standard message and the tail's end: read, but without the tail.
            const std::size_t tail_end = need + extension::tail::size;
            for (std::size_t size = need; size < std::min<std::size_t>(s->stride, tail_end);
                 size++) {
                const std::string part = describe_message(meaning, s->message(0).first(size));
                EXPECT_FALSE(part.starts_with("refused")) << part;
                EXPECT_EQ(part.find(" tail "), std::string::npos) << part;
            }
        }
    }
    EXPECT_GT(seen, 40U);
}

TEST(Parser, StopsAtTheFirstFaultForGood) {
    const Vector v = load_vector("bad-subheader");
    Parser parser(v.packet);
    EXPECT_NE(parser.next(), nullptr);
    EXPECT_EQ(parser.next(), nullptr);
    EXPECT_EQ(parser.next(), nullptr);
    EXPECT_EQ(parser.fault(), Fault::short_subheader);
    EXPECT_EQ(parser.offset(), 36U);
}

TEST(Parser, EndsQuietlyAndStays) {
    const Vector v = load_vector("ours-ins-tcp");
    Parser parser(v.packet);
    EXPECT_NE(parser.next(), nullptr);
    EXPECT_EQ(parser.next(), nullptr);
    EXPECT_EQ(parser.next(), nullptr);
    EXPECT_EQ(parser.fault(), Fault::none);
    EXPECT_EQ(parser.offset(), v.packet.size());
}

TEST_P(EachDialect, TakesEveryOtherVersionForAnotherDialect) {
    const Dialect d = GetParam();
    auto packet = load_vector("ours-mixed", d).packet;
    EXPECT_EQ(check(packet, d), Fault::none);
    for (int version = 0; version < 256; version++) {
        packet[header::version] = static_cast<std::uint8_t>(version);
        EXPECT_EQ(check(packet, d), version == version_of(d) ? Fault::none : Fault::bad_version);
        if (version != 5 && version != 6) {
            EXPECT_EQ(check(packet, std::nullopt), Fault::bad_version);
        }
    }
}

// INS, UPD and DEL use one validator; the compressed update uses the shared part of it.
TEST_P(EachDialect, EveryValueOfACheckedByteIsJudgedTheSame) {
    const Dialect d = GetParam();
    const Layout& at = traits(d).state;
    const int limit = at.timeout_max, inet6 = at.af_inet6;
    const std::size_t state = common::peer::state;
    const auto packet = load_vector("ours-ins-tcp", d).packet;
    const Bytes good = Bytes(packet).subspan(24, state_size(d));
    const auto mixed = load_vector("ours-mixed", d).packet;
    const Bytes good_upd_c = Bytes(mixed).subspan(24 + 12 + 4, common::kUpdCSize);
    for (int value = 0; value < 256; value++) {
        const auto with = [&](Bytes from, std::size_t offset) {
            auto m = exactly(from);
            m[offset] = static_cast<std::uint8_t>(value);
            return m;
        };
        FullState out;
        CompressedUpdate update;
        const Fault state_fault = value <= 12 ? Fault::none : Fault::bad_peer_state;
        EXPECT_EQ(read(d, with(good, at.src + state), out), state_fault) << value;
        EXPECT_EQ(read(d, with(good, at.dst + state), out), state_fault) << value;
        using namespace common;
        EXPECT_EQ(read(d, with(good_upd_c, upd_c::src + state), update), state_fault) << value;
        EXPECT_EQ(read(d, with(good_upd_c, upd_c::dst + state), update), state_fault) << value;
        const Fault timeout_fault = value < limit ? Fault::none : Fault::bad_timeout;
        EXPECT_EQ(read(d, with(good, at.timeout), out), timeout_fault) << value;
        EXPECT_EQ(read(d, with(good_upd_c, upd_c::timeout), update), timeout_fault) << value;
        EXPECT_EQ(read(d, with(good, at.direction), out),
                  value == 1 || value == 2 ? Fault::none : Fault::bad_direction)
            << value;
        // A single family: where there are several, they must agree.
        const bool alone = at.key_af == 0 && at.stack_af == at.wire_af;
        EXPECT_EQ(read(d, with(good, at.wire_af), out),
                  value == kAfInet || (alone && value == inet6) ? Fault::none : Fault::bad_family)
            << value;
        auto both = exactly(good);
        if (at.key_af != 0)
            both[at.wire + at.key_af] = both[at.stack + at.key_af] = 0;
        if (at.stack_af != at.wire_af)
            both[at.stack_af] = static_cast<std::uint8_t>(value);
        EXPECT_EQ(read(d, with(both, at.wire_af), out),
                  value == kAfInet || value == inet6 ? Fault::none : Fault::bad_family)
            << value;
    }
}

// Version 5 identifies messages by action number; each of the 256 has one meaning.
TEST(Parser, EveryActionOfVersion5) {
    for (const Expected d : {Expected(Dialect::freebsd1301), Expected(Dialect::freebsd1400),
                             Expected(Dialect::freebsd1500), Expected()})
        for (int action = 0; action < 256; action++) {
            if (action > 16 &&
                kind(dialects_of(5).back(), static_cast<std::uint8_t>(action)) != Kind::unknown)
                continue; // a later dialect's
            std::vector<std::uint8_t> packet(20 + 4 + 360);
            packet[header::version] = 5;
            packet[20] = static_cast<std::uint8_t>(action);
            packet[23] = 1;
            static constexpr std::size_t kSizes[] = {20, 242, 12, 242, 84,  12,  242, 12, 0,
                                                     0,  12,  48, 0,   277, 277, 360, 360};
            const bool known = action < 17 && action != 8 && action != 9 &&
                               (action != 6 || !d || *d == Dialect::freebsd1301);
            const std::size_t size = known ? kSizes[action] : 0;
            packet.resize(24 + size);
            store_be(&packet[header::length], static_cast<std::uint16_t>(packet.size()));
            Parser parser(packet, d);
            const Section* s = parser.next();
            EXPECT_EQ(s != nullptr, known) << action;
            EXPECT_EQ(parser.fault(), known ? Fault::none : Fault::bad_action) << action;
            if (s != nullptr) {
                EXPECT_EQ(s->stride, size);
                EXPECT_EQ(s->body.size(), size);
            }
            EXPECT_EQ(check(packet, d), Fault::none); // messages before it count
        }
}

TEST(Kinds, HaveOneNumberInEachDialect) {
    for (const Dialect d : kAllDialects)
        for (int n = 0; n < kKinds; n++) {
            const Kind k{static_cast<std::uint8_t>(n)};
            const auto action = action_of(d, k);
            const bool none =
                k == Kind::unknown || k == Kind::error ||
                (k == Kind::eof && traits(d).message_lengths) ||
                (k == Kind::remove && version_of(d) == 5 && d != dialects_of(5).front());
            EXPECT_EQ(action.has_value(), !none) << to_string(d) << " " << to_string(k);
            if (action) {
                EXPECT_EQ(meaning(d, *action), (Meaning{k, d}));
            }
        }
    EXPECT_EQ(kind(Dialect::openbsd, 13), Kind::insert);
    EXPECT_EQ(kind(Dialect::openbsd, 15), Kind::tdb);
    EXPECT_EQ(kind(Dialect::openbsd, 16), Kind::unknown);
    EXPECT_EQ(kind(Dialect::openbsd, 255), Kind::unknown);
    EXPECT_EQ(meaning(Dialect::freebsd1500, 1), (Meaning{Kind::insert, Dialect::freebsd1301}));
    EXPECT_EQ(meaning(Dialect::freebsd1301, 15), (Meaning{Kind::insert, Dialect::freebsd1500}));
}

TEST(Detect, GoesByVersionAndFullStates) {
    for (const Dialect d : kAllDialects) {
        SCOPED_TRACE(to_string(d));
        EXPECT_EQ(detect(load_vector("ours-ins-tcp", d).packet), d);
        EXPECT_EQ(detect(load_vector("pf-order", d).packet), d);
        // Small messages are the same in all dialects of version 5.
        const Expected without_role =
            dialects_of(version_of(d)).size() > 1 ? Expected() : Expected(d);
        EXPECT_EQ(detect(load_vector("ours-mixed", d).packet), without_role);
        EXPECT_EQ(detect(load_vector("ours-empty", d).packet), without_role);
        EXPECT_EQ(detect(load_vector("bad-overrun", d).packet), std::nullopt);
        EXPECT_EQ(detect(load_vector("bad-short-header", d).packet), std::nullopt);
    }
    EXPECT_EQ(detect(load_vector("ours-upd", Dialect::freebsd1400).packet), Dialect::freebsd1400);
    EXPECT_EQ(detect(load_vector("ours-del", Dialect::freebsd1301).packet), Dialect::freebsd1301);
    EXPECT_EQ(detect(load_vector("pf-all-sizes", Dialect::freebsd1301).packet),
              Dialect::freebsd1500);
}

TEST(FullState, NameMayFillAllButTheNul) {
    const auto packet = load_vector("ours-ins-tcp").packet;
    auto m = exactly(Bytes(packet).subspan(24));
    std::fill_n(&m[openbsd::full::ifname], 15, 'x');
    FullState out;
    EXPECT_EQ(read(m, out), Fault::none);
    m[openbsd::full::ifname + 15] = 'x';
    EXPECT_EQ(read(m, out), Fault::bad_ifname);
}

TEST(Clear, NameEndsAtItsNul) {
    std::vector<std::uint8_t> m(openbsd::kClrSize);
    write_clr(m.data(), "fifteen_letters", 1);
    Clear out;
    EXPECT_EQ(read(m, out), Fault::none);
    EXPECT_EQ(out.ifname, "fifteen_letters");
    m[15] = 'x';
    EXPECT_EQ(read(m, out), Fault::bad_ifname);
}

TEST(Fault, EveryOneHasItsOwnName) {
    std::vector<std::string_view> names;
    names.reserve(kFaults);
    for (int n = 0; n < kFaults; n++)
        names.push_back(to_string(static_cast<Fault>(n)));
    EXPECT_EQ(std::count(names.begin(), names.end(), "unknown"), 0);
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
    EXPECT_EQ(to_string(static_cast<Fault>(kFaults)), "unknown");
}

} // namespace
} // namespace encsync::pfsync
