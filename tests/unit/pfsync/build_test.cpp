#include "describe.hpp"

#include <gtest/gtest.h>

namespace encsync::pfsync {
namespace {

using openbsd::Action;
using openbsd::Timeout;

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
        std::vector<std::uint8_t> buffer(size, 0xcc); // the sanitizer guards its end
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

// A section change needs four bytes more than a message that joins.
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

} // namespace
} // namespace encsync::pfsync
