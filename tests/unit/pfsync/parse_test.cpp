// Structure: what is cut short, forged or hostile.
#include "describe.hpp"

#include <algorithm>
#include <gtest/gtest.h>

namespace encsync::pfsync {
namespace {

using openbsd::Action;

// A copy of exactly these bytes on the heap, so that the sanitizer sees a read behind them.
std::vector<std::uint8_t> exactly(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

TEST(Parser, EveryPacketCutAtEveryByteIsRefused) {
    for (const Vector& v : load_vectors()) {
        if (check(v.packet) != Fault::none)
            continue; // refused whole already
        const std::size_t length = load_be<std::uint16_t>(&v.packet[openbsd::header::length]);
        for (std::size_t size = 0; size < length; size++) {
            const auto cut = exactly(Bytes(v.packet).first(size));
            EXPECT_EQ(check(cut), size < 20 ? Fault::short_header : Fault::bad_length)
                << v.name << " at " << size;
        }
        EXPECT_EQ(check(exactly(Bytes(v.packet).first(length))), Fault::none) << v.name;
    }
}

// The sender cuts its packet and says so honestly: sections must hold by themselves.
TEST(Parser, EveryPacketCutWithItsLengthFieldIsBoundedBySections) {
    for (const Vector& v : load_vectors()) {
        if (check(v.packet) != Fault::none)
            continue;
        std::vector<std::size_t> ends{openbsd::kHeaderSize};
        Parser whole(v.packet);
        while (const Section* s = whole.next())
            ends.push_back(whole.offset() + openbsd::kSubheaderSize + s->body.size());
        for (std::size_t size = openbsd::kHeaderSize; size < ends.back(); size++) {
            auto cut = exactly(Bytes(v.packet).first(size));
            store_be(&cut[openbsd::header::length], static_cast<std::uint16_t>(size));
            const auto end =
                std::find_if(ends.rbegin(), ends.rend(), [&](std::size_t e) { return e <= size; });
            const Fault expected = *end == size      ? Fault::none
                                   : size - *end < 4 ? Fault::short_subheader
                                                     : Fault::section_overrun;
            Parser parser(cut);
            while (parser.next() != nullptr) {
            }
            EXPECT_EQ(parser.fault(), expected) << v.name << " at " << size;
            EXPECT_EQ(parser.offset(), *end) << v.name << " at " << size;
            EXPECT_EQ(check(cut), expected);
        }
    }
}

TEST(Parser, EveryMessageCutAtEveryByteIsShort) {
    std::size_t seen = 0;
    for (const Vector& v : load_vectors()) {
        Parser parser(v.packet);
        while (const Section* s = parser.next()) {
            const std::size_t need = message_size(s->action);
            const std::string whole = describe_message(s->action, s->message(0));
            if (need == 0 || whole.starts_with("refused"))
                continue;
            seen++;
            for (std::size_t size = 0; size < need; size++) {
                const auto cut = exactly(s->message(0).first(size));
                EXPECT_EQ(describe_message(s->action, cut), "refused short_message");
                if (need == openbsd::kIdSize) {
                    EXPECT_EQ(read_id(cut), state::StateId{});
                }
            }
            // Between the standard message and the tail's end: read, but without the tail.
            for (std::size_t size = need; size < s->stride; size++) {
                const std::string part = describe_message(s->action, s->message(0).first(size));
                EXPECT_FALSE(part.starts_with("refused")) << part;
                EXPECT_EQ(part.find(" tail "), std::string::npos) << part;
            }
        }
    }
    EXPECT_GT(seen, 30U);
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

TEST(Parser, TakesEveryOtherVersionForAnotherDialect) {
    auto packet = load_vector("ours-mixed").packet;
    EXPECT_EQ(check(packet), Fault::none);
    for (int version = 0; version < 256; version++) {
        packet[openbsd::header::version] = static_cast<std::uint8_t>(version);
        EXPECT_EQ(check(packet), version == 6 ? Fault::none : Fault::bad_version);
    }
}

// INS, UPD and DEL go through one validator; the compressed update through its shared part.
TEST(FullState, EveryValueOfACheckedByteIsJudgedTheSame) {
    using namespace openbsd;
    const auto packet = load_vector("ours-ins-tcp").packet;
    const Bytes good = Bytes(packet).subspan(kHeaderSize + kSubheaderSize);
    const auto upd = load_vector("ours-mixed").packet;
    const Bytes good_upd_c = Bytes(upd).subspan(kHeaderSize + 4 + 12 + 4, kUpdCSize);
    for (int value = 0; value < 256; value++) {
        const auto with = [&](Bytes from, std::size_t at) {
            auto m = exactly(from);
            m[at] = static_cast<std::uint8_t>(value);
            return m;
        };
        FullState out;
        CompressedUpdate update;
        const Fault state_fault = value <= 12 ? Fault::none : Fault::bad_peer_state;
        EXPECT_EQ(read(with(good, full::src + peer::state), out), state_fault) << value;
        EXPECT_EQ(read(with(good, full::dst + peer::state), out), state_fault) << value;
        EXPECT_EQ(read(with(good_upd_c, upd_c::src + peer::state), update), state_fault) << value;
        EXPECT_EQ(read(with(good_upd_c, upd_c::dst + peer::state), update), state_fault) << value;
        const Fault timeout_fault = value < 20 ? Fault::none : Fault::bad_timeout;
        EXPECT_EQ(read(with(good, full::timeout), out), timeout_fault) << value;
        EXPECT_EQ(read(with(good_upd_c, upd_c::timeout), update), timeout_fault) << value;
        EXPECT_EQ(read(with(good, full::direction), out),
                  value == 1 || value == 2 ? Fault::none : Fault::bad_direction)
            << value;
        EXPECT_EQ(read(with(good, full::af), out),
                  value == kAfInet ? Fault::none : Fault::bad_family)
            << value;
        auto keyless = exactly(good);
        keyless[full::wire + key::af] = keyless[full::stack + key::af] = 0;
        EXPECT_EQ(read(with(keyless, full::af), out),
                  value == kAfInet || value == kAfInet6 ? Fault::none : Fault::bad_family)
            << value;
    }
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
    for (int n = 0; n < kFaults; n++)
        names.push_back(to_string(static_cast<Fault>(n)));
    EXPECT_EQ(std::count(names.begin(), names.end(), "unknown"), 0);
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
    EXPECT_EQ(to_string(static_cast<Fault>(kFaults)), "unknown");
}

} // namespace
} // namespace encsync::pfsync
