// SPDX-License-Identifier: ISC
// Assembled programs, run by the kernel.
#include "net/bpf.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace encsync::net::bpf {
namespace {

// How much of a packet passes the filter; nothing: it is dropped.
std::size_t passed(const Program& program, const std::vector<std::uint8_t>& packet) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends), 0);
    auto code = program.code();
    const sock_fprog filter{static_cast<unsigned short>(code.size()), code.data()};
    EXPECT_EQ(setsockopt(ends[0], SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter), 0);
    std::vector<std::uint8_t> received(packet.size() + 1);
    ssize_t n = -1;
    if (send(ends[1], packet.data(), packet.size(), 0) >= 0)
        n = recv(ends[0], received.data(), received.size(), 0);
    close(ends[0]);
    close(ends[1]);
    return n < 0 ? 0 : static_cast<std::size_t>(n);
}

TEST(Bpf, JumpsToLabels) {
    Program p;
    Label one, two;
    p.fetch_at(BPF_B, 0);
    p.refuse(BPF_JEQ, 1, one);
    p.refuse(BPF_JGT, 0x7f, two);
    p.need(BPF_JEQ, 9, one); // two jumps to one place
    p.ret(2);
    ASSERT_TRUE(p.place(one));
    p.ret(3);
    ASSERT_TRUE(p.place(two));
    p.ret(kPass);
    EXPECT_EQ(passed(p, {9, 0, 0, 0}), 2U);
    EXPECT_EQ(passed(p, {1, 0, 0, 0}), 3U);
    EXPECT_EQ(passed(p, {8, 0, 0, 0}), 3U);
    EXPECT_EQ(passed(p, {0x80, 0, 0, 0}), 4U);
}

TEST(Bpf, LoadsAndCells) {
    Program p;
    Label no;
    p.fetch_length();
    p.need(BPF_JEQ, 8, no);
    p.fetch_at(BPF_B, 0); // offset of the number in the packet
    p.store(3);
    p.load(0);
    p.recall(3);
    p.fetch_behind(BPF_H, 1);
    p.need(BPF_JEQ, 0x1234, no);
    p.ret(kPass);
    ASSERT_TRUE(p.place(no));
    p.ret(kDrop);
    EXPECT_EQ(passed(p, {2, 0, 0, 0x12, 0x34, 0, 0, 0}), 8U);
    EXPECT_EQ(passed(p, {3, 0, 0, 0, 0x12, 0x34, 0, 0}), 8U);
    EXPECT_EQ(passed(p, {3, 0, 0, 0x12, 0x34, 0, 0, 0}), 0U);
    EXPECT_EQ(passed(p, {2, 0, 0, 0x12, 0x34, 0, 0}), 0U);
    EXPECT_EQ(passed(p, {9, 0, 0, 0x12, 0x34, 0, 0, 0}), 0U); // beyond the end
}

TEST(Bpf, OnlyAJumpThatAlwaysGoesMayBeFar) {
    for (const std::size_t between : {255U, 256U}) {
        Program p;
        Label near, far;
        p.fetch_at(BPF_B, 0);
        p.need(BPF_JEQ, 1, near);
        for (std::size_t n = 0; n < between; n++)
            p.load(0);
        EXPECT_EQ(p.place(near), between == 255);
        Program q;
        q.go(far);
        for (std::size_t n = 0; n < between; n++)
            q.ret(kDrop);
        ASSERT_TRUE(q.place(far));
        q.ret(kPass);
        EXPECT_EQ(passed(q, {7}), 1U);
    }
}

TEST(Bpf, CanBeCut) {
    Program p;
    p.ret(kPass);
    const std::size_t good = p.size();
    p.ret(kDrop);
    p.cut(good);
    EXPECT_EQ(p.size(), 1U);
    EXPECT_EQ(passed(p, {7}), 1U);
}

} // namespace
} // namespace encsync::net::bpf
