// SPDX-License-Identifier: ISC
#include "control/role_order.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace encsync::control {
namespace {

TEST(RoleOrder, TheLaterTickCountsThenTheLaterPid) {
    const RoleOrder first{100, 500};
    EXPECT_TRUE(first.before({101, 7}));
    EXPECT_FALSE(RoleOrder({101, 7}).before(first));
    EXPECT_TRUE(first.before({100, 501}));
    EXPECT_FALSE(RoleOrder({100, 501}).before(first));
    EXPECT_FALSE(first.before(first));
}

TEST(RoleOrder, PidsGoRound) {
    for (const std::uint32_t last : {32767u, 4194303u}) {
        EXPECT_TRUE(RoleOrder({100, last}).before({100, 301}));
        EXPECT_FALSE(RoleOrder({100, 301}).before({100, last}));
    }
}

TEST(RoleOrder, IsReadBackAndNothingElseIs) {
    const RoleOrder order{123456, 4711};
    EXPECT_EQ(order.text(), "123456 4711");
    const auto again = RoleOrder::parse(order.text());
    ASSERT_TRUE(again);
    EXPECT_EQ(*again, order);
    for (const char* text : {"", " ", "1", "1 ", " 1 2", "1 2 ", "1 2 3", "-1 2", "1 -2", "1  2",
                             "1\t2", "0x1 2", "18446744073709551616 1", "1 4294967296", "one two"})
        EXPECT_FALSE(RoleOrder::parse(text)) << text;
}

// Forked one after the other, and queried in the reverse order.
TEST(RoleOrder, OfProcessesIsThatOfTheirForks) {
    const auto ask = [](int wait_for, int out) {
        char byte = 0;
        if (::read(wait_for, &byte, 1) != 1)
            ::_exit(1);
        const std::string text = RoleOrder::of_caller().text();
        ::_exit(::write(out, text.data(), text.size()) != static_cast<ssize_t>(text.size()));
    };
    std::vector<RoleOrder> orders(4);
    std::vector<std::array<int, 2>> to(orders.size()), from(orders.size());
    std::vector<pid_t> pids;
    for (std::size_t n = 0; n < orders.size(); n++) {
        ASSERT_EQ(::pipe(to[n].data()) | ::pipe(from[n].data()), 0);
        const pid_t pid = ::fork();
        if (pid == 0)
            ask(to[n][0], from[n][1]);
        pids.push_back(pid);
    }
    for (std::size_t n = orders.size(); n-- > 0;) {
        std::array<char, 64> text{};
        ASSERT_EQ(::write(to[n][1], "x", 1), 1);
        const ssize_t got = ::read(from[n][0], text.data(), text.size());
        ASSERT_GT(got, 0);
        int status = -1;
        EXPECT_EQ(::waitpid(pids[n], &status, 0), pids[n]);
        EXPECT_EQ(status, 0);
        const auto order = RoleOrder::parse({text.data(), static_cast<std::size_t>(got)});
        ASSERT_TRUE(order);
        orders[n] = *order;
        EXPECT_EQ(order->pid, static_cast<std::uint32_t>(pids[n]));
        for (const int fd : {to[n][0], to[n][1], from[n][0], from[n][1]})
            ::close(fd);
    }
    for (std::size_t n = 1; n < orders.size(); n++) {
        EXPECT_TRUE(orders[n - 1].before(orders[n]));
        EXPECT_FALSE(orders[n].before(orders[n - 1]));
    }
    EXPECT_TRUE(orders.back().ticks <= RoleOrder::now().ticks);
}

TEST(RoleOrder, KeepalivedIsKnownByItsProgram) {
    EXPECT_FALSE(is_keepalived(::getpid()));
    EXPECT_FALSE(is_keepalived(0));
    EXPECT_FALSE(started_by_keepalived());
}

} // namespace
} // namespace encsync::control
