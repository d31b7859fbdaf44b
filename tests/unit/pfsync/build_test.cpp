// SPDX-License-Identifier: ISC
#include "describe.hpp"

#include <gtest/gtest.h>

namespace encsync::pfsync {
namespace {

using common::Timeout;
using openbsd::Action;

TEST(Builder, PutsRunsOfOneActionIntoOneSection) {
    std::vector<std::uint8_t> buffer(200);
    Builder packet(buffer);
    EXPECT_TRUE(packet.empty());
    for (const Action action : {Action::del_c, Action::del_c, Action::ins_ack, Action::del_c})
        ASSERT_NE(packet.add(action, openbsd::kIdSize), nullptr);
    EXPECT_FALSE(packet.empty());
    buffer.resize(packet.finish());
    EXPECT_EQ(buffer.size(), 20U + 3 * 4 + 4 * 12);
    Parser parser(buffer);
    EXPECT_EQ(parser.next()->count, 2);
    EXPECT_EQ(parser.next()->count, 1);
    EXPECT_EQ(parser.next()->count, 1);
    EXPECT_EQ(parser.next(), nullptr);
    EXPECT_EQ(parser.fault(), Fault::none);
}

TEST(Builder, EachBusHasASectionOfItsOwn) {
    for (const Dialect dialect : kAllDialects) {
        std::vector<std::uint8_t> buffer(200);
        Builder packet(buffer, dialect);
        for (const bool end : {false, true})
            write_bus(packet.add(Kind::bulk), 7, 0, end);
        buffer.resize(packet.finish());
        int sections = 0;
        Parser parser(buffer, dialect);
        while (const Section* section = parser.next())
            sections += section->kind == Kind::bulk ? 1 : 0;
        EXPECT_EQ(sections, 2);
    }
}

TEST(Builder, AnotherSizeOpensAnotherSection) {
    std::vector<std::uint8_t> buffer(1000);
    Builder packet(buffer);
    ASSERT_NE(packet.add(Action::ins, openbsd::kStateSize), nullptr);
    ASSERT_NE(packet.add(Action::ins, openbsd::kStateSize + 12), nullptr);
    buffer.resize(packet.finish());
    Parser parser(buffer);
    EXPECT_EQ(parser.next()->stride, 264);
    EXPECT_EQ(parser.next()->stride, 276);
    EXPECT_EQ(check(buffer), Fault::none);
}

TEST(Builder, AFullPacketTakesNoMoreAndStaysWhole) {
    for (std::size_t size = openbsd::kHeaderSize; size < 120; size++) {
        std::vector<std::uint8_t> buffer(size, 0xcc); // the sanitizer checks its end
        Builder packet(buffer);
        std::size_t n = 0;
        while (packet.fits(7, 12)) {
            ASSERT_NE(packet.add(Action::del_c, 12), nullptr);
            n++;
        }
        EXPECT_EQ(packet.add(Action::del_c, 12), nullptr);
        const std::size_t expected = size < 24 ? 0 : (size - 24) / 12;
        EXPECT_EQ(n, expected) << size;
        EXPECT_EQ(packet.finish(), n == 0 ? 20 : 24 + 12 * n);
        EXPECT_EQ(check(buffer), Fault::none);
    }
}

// A new section needs four bytes more than a message in the current one.
TEST(Builder, FitsCountsTheSubheader) {
    std::vector<std::uint8_t> buffer(20 + 4 + 12 + 12);
    Builder packet(buffer);
    ASSERT_NE(packet.add(Action::del_c, 12), nullptr);
    EXPECT_TRUE(packet.fits(static_cast<std::uint8_t>(Action::del_c), 12));
    EXPECT_FALSE(packet.fits(static_cast<std::uint8_t>(Action::ins_ack), 12));
    EXPECT_EQ(packet.add(Action::ins_ack, 12), nullptr);
    EXPECT_NE(packet.add(Action::del_c, 12), nullptr);
}

TEST(Builder, NeverOutgrowsTheLengthField) {
    std::vector<std::uint8_t> buffer(70000);
    Builder packet(buffer);
    while (packet.add(0xe1, 4) != nullptr) {
    }
    buffer.resize(packet.finish());
    EXPECT_EQ(buffer.size(), 65532U);
    EXPECT_EQ(check(buffer), Fault::none);
}

TEST(Builder, MessagesAreZeroedWhateverTheBufferHeld) {
    std::vector<std::uint8_t> buffer(100, 0xcc);
    Builder packet(buffer);
    const std::uint8_t* m = packet.add(Action::clr, openbsd::kClrSize);
    EXPECT_EQ(std::vector<std::uint8_t>(m, m + openbsd::kClrSize), std::vector<std::uint8_t>(20));
}

// Version 5: the end mark is included, and a packet is complete in every size of buffer.
TEST(Builder, AVersion5PacketKeepsRoomForItsEnd) {
    for (const Dialect d : dialects_of(5))
        for (std::size_t size = Builder::kMinRoom; size < 130; size++) {
            std::vector<std::uint8_t> buffer(size, 0xcc);
            Builder packet(buffer, d);
            std::size_t n = 0;
            while (packet.fits(Kind::remove_c)) {
                ASSERT_NE(packet.add(Kind::remove_c), nullptr);
                n++;
            }
            EXPECT_EQ(packet.add(Kind::remove_c), nullptr);
            EXPECT_EQ(n, size < 28 ? 0 : (size - 28) / 12) << size;
            const std::size_t length = packet.finish();
            EXPECT_EQ(length, n == 0 ? 24 : 28 + 12 * n);
            EXPECT_EQ(packet.finish(), length); // may be called again
            EXPECT_EQ(check(buffer, d), Fault::none);
        }
}

TEST(Builder, FillsAnEthernetFrame) {
    const auto count = [](Dialect d, Kind kind) {
        std::vector<std::uint8_t> buffer(1500 - 20); // the IP header
        Builder packet(buffer, d);
        int n = 0;
        while (packet.add(kind) != nullptr)
            n++;
        return n;
    };
    EXPECT_EQ(count(Dialect::openbsd, Kind::insert), 5);
    EXPECT_EQ(count(Dialect::freebsd1301, Kind::insert), 6);
    EXPECT_EQ(count(Dialect::freebsd1400, Kind::insert), 5);
    EXPECT_EQ(count(Dialect::freebsd1500, Kind::insert), 4);
    for (const Dialect d : kAllDialects)
        EXPECT_EQ(count(d, Kind::update_c), 17);
}

TEST(Builder, Version5NeverOutgrowsTheLengthField) {
    std::vector<std::uint8_t> buffer(70000);
    Builder packet(buffer, Dialect::freebsd1400);
    int n = 0;
    while (packet.add(Kind::insert) != nullptr)
        n++;
    EXPECT_EQ(n, (65535 - 28) / 277);
    buffer.resize(packet.finish());
    EXPECT_EQ(check(buffer, Dialect::freebsd1400), Fault::none);
}

Timeout timeout_of(std::uint8_t proto, std::uint8_t src, std::uint8_t dst) {
    state::Flow f;
    f.key.proto = proto;
    f.src_state = src;
    f.dst_state = dst;
    return timeout_index(f);
}

TEST(TimeoutIndex, FollowsPf) {
    EXPECT_EQ(timeout_of(6, 2, 0), Timeout::tcp_first);
    EXPECT_EQ(timeout_of(6, 4, 2), Timeout::tcp_opening);
    EXPECT_EQ(timeout_of(6, 2, 2), Timeout::tcp_opening);
    EXPECT_EQ(timeout_of(6, 4, 4), Timeout::tcp_established);
    EXPECT_EQ(timeout_of(6, 7, 4), Timeout::tcp_closing);
    EXPECT_EQ(timeout_of(6, 4, 9), Timeout::tcp_closing);
    EXPECT_EQ(timeout_of(6, 6, 4), Timeout::tcp_closing);
    EXPECT_EQ(timeout_of(6, 5, 9), Timeout::tcp_closing);
    EXPECT_EQ(timeout_of(6, 7, 7), Timeout::tcp_fin_wait);
    EXPECT_EQ(timeout_of(6, 9, 7), Timeout::tcp_fin_wait);
    EXPECT_EQ(timeout_of(6, 9, 9), Timeout::tcp_closed);
    EXPECT_EQ(timeout_of(6, 10, 10), Timeout::tcp_closed);
    EXPECT_EQ(timeout_of(6, 11, 0), Timeout::tcp_first);
    EXPECT_EQ(timeout_of(17, 1, 0), Timeout::udp_first);
    EXPECT_EQ(timeout_of(17, 1, 2), Timeout::udp_single);
    EXPECT_EQ(timeout_of(17, 2, 2), Timeout::udp_multiple);
    EXPECT_EQ(timeout_of(1, 0, 0), Timeout::icmp_first);
    EXPECT_EQ(timeout_of(58, 1, 1), Timeout::icmp_error);
    EXPECT_EQ(timeout_of(47, 1, 0), Timeout::other_first);
    EXPECT_EQ(timeout_of(132, 1, 1), Timeout::other_single);
    EXPECT_EQ(timeout_of(50, 2, 2), Timeout::other_multiple);
}

TEST(TimeoutIndex, OfSctpIsFreebsdsSince14) {
    const auto of = [](Dialect d, std::uint8_t src, std::uint8_t dst) {
        state::Flow f;
        f.key.proto = 132;
        f.src_state = src;
        f.dst_state = dst;
        return timeout_index(d, f);
    };
    for (const Dialect d : {Dialect::freebsd1400, Dialect::freebsd1500}) {
        EXPECT_EQ(of(d, 2, 0), Timeout::sctp_first);
        EXPECT_EQ(of(d, 4, 2), Timeout::sctp_opening);
        EXPECT_EQ(of(d, 2, 2), Timeout::sctp_opening);
        EXPECT_EQ(of(d, 4, 4), Timeout::sctp_established);
        EXPECT_EQ(of(d, 7, 4), Timeout::sctp_closing);
        EXPECT_EQ(of(d, 9, 7), Timeout::sctp_closing);
        EXPECT_EQ(of(d, 10, 10), Timeout::sctp_closed);
    }
    EXPECT_EQ(of(Dialect::freebsd1301, 2, 0), Timeout::other_first);
    EXPECT_EQ(of(Dialect::freebsd1301, 4, 2), Timeout::other_single);
    EXPECT_EQ(of(Dialect::freebsd1301, 4, 4), Timeout::other_multiple);
}

TEST(Progress, GoesThereAndBack) {
    using namespace state::tcp;
    for (const Dialect d : kAllDialects)
        for (int proto = 0; proto < 256; proto++)
            for (std::uint8_t s = 0; s <= 12; s++) {
                const auto p = static_cast<std::uint8_t>(proto);
                const std::uint8_t wire = wire_state(d, p, s);
                EXPECT_LE(wire, common::kMaxPeerState);
                const std::uint8_t back = flow_state(d, p, wire);
                if (!renumbers(traits(d).state, p)) {
                    EXPECT_EQ(wire, s);
                    EXPECT_EQ(back, s);
                    continue;
                }
                // Coarser, but never further than it was, nor back to closed.
                EXPECT_EQ(back == kClosed, s == kClosed);
                EXPECT_LE(back, std::max(s, kSynSent));
                EXPECT_EQ(back >= kEstablished, s >= kEstablished);
                EXPECT_EQ(wire_state(d, p, back), wire); // and converted again the same
            }
}

} // namespace
} // namespace encsync::pfsync
