// SPDX-License-Identifier: ISC
#include "ipsec/link/enc0.hpp"
#include "ipsec/link/inner.hpp"
#include "tests/unit/link/params.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <vector>

namespace encsync::link {
namespace {

using Clock = std::chrono::steady_clock;

class Window : public testing::Test {
  protected:
    void SetUp() override {
        if (!enter_namespace())
            GTEST_SKIP() << "no network namespace to be had";
        auto opened = Enc0::open(io, "enc0", 1418);
        ASSERT_TRUE(opened) << opened.error().text;
        enc0 = std::move(*opened);
    }
    template<class F>
    bool until(F&& condition) {
        const auto deadline = Clock::now() + std::chrono::seconds(60);
        while (!condition()) {
            io.restart();
            if (io.run_one_until(deadline) == 0)
                return condition();
        }
        return true;
    }
    static std::vector<std::uint8_t> packet() {
        net::Address src, dst;
        src.bytes = {192, 168, 1, 100};
        dst.bytes = {127, 0, 0, 1}; // ours: the kernel would accept it if it received it
        std::vector<std::uint8_t> bytes(20 + 36, 6);
        write_inner_header(bytes.data(), src, dst, 36);
        return bytes;
    }

    boost::asio::io_context io;
    std::unique_ptr<Enc0> enc0;
};

std::string snmp(const std::string& protocol) { // the counters of that protocol
    std::ifstream in("/proc/self/net/snmp");
    std::string line, last;
    while (std::getline(in, line))
        if (line.starts_with(protocol + ": "))
            last = line;
    return last;
}

// Datagrams of another program.
void send_into_it(int count) {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "enc0", 5));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);
    to.sin_addr.s_addr = htonl(0xc0000201);
    const void* address = &to;
    for (int i = 0; i < count; i++)
        EXPECT_EQ(4, sendto(fd, "abcd", 4, 0, static_cast<const sockaddr*>(address), sizeof to));
    close(fd);
}

std::string configuration() { // of enc0
    std::array<char, 512> line{};
    std::FILE* ip = popen("ip -o link show enc0; ip -o addr show enc0", "r");
    std::string output;
    while (std::fgets(line.data(), line.size(), ip) != nullptr)
        output += line.data();
    pclose(ip);
    return output;
}

TEST_F(Window, TcpdumpShowsClearPackets) {
    EXPECT_FALSE(enc0->watched());
    // Line-buffered; ends after three packets, and in any case when we kill it.
    int ends[2];
    ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execlp("tcpdump", "tcpdump", "--immediate-mode", "-l", "-n", "-i", "enc0", "-c", "3", "-Z",
               "root", "ip", "proto", "240", nullptr);
        _exit(127);
    }
    close(ends[1]);
    EXPECT_TRUE(until([&] { return enc0->watched(); }));
    const std::string icmp = snmp("Icmp"), ip = snmp("Ip");

    // It is open before its filter is set, so packets are shown until it has three.
    int status = 0;
    const auto deadline = Clock::now() + std::chrono::seconds(20);
    pid_t ended = 0;
    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && Clock::now() < deadline) {
        enc0->show(packet());
        io.restart();
        io.run_for(std::chrono::milliseconds(20));
    }
    if (ended == 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    std::string output(4096, '\0');
    output.resize(static_cast<std::size_t>(
        std::max<ssize_t>(0, ::read(ends[0], output.data(), output.size()))));
    close(ends[0]);
    EXPECT_NE(std::string::npos, output.find("IP 192.168.1.100 > 127.0.0.1:")) << output;
    EXPECT_GE(enc0->stats().shown, 3u);
    EXPECT_EQ(0u, enc0->stats().not_shown);
    // The kernel did not process them: nothing entered its IP input, no error was sent.
    EXPECT_EQ(icmp, snmp("Icmp"));
    EXPECT_EQ(ip, snmp("Ip"));
    EXPECT_TRUE(until([&] { return !enc0->watched(); }));
}

TEST_F(Window, OthersOnOtherInterfacesAreNoWatchers) {
    const int other = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(0x0003));
    ASSERT_GE(other, 0); // bound to all interfaces, so it counts
    EXPECT_TRUE(until([&] { return enc0->watched(); }));
    close(other);
    EXPECT_TRUE(until([&] { return !enc0->watched(); }));
}

TEST_F(Window, IsMadeAgainIfItIsDeleted) {
    const unsigned first = enc0->index();
    const auto there = [] { return if_nametoindex("enc0") != 0; };
    for (int i = 0; i < 3; i++) { // a descriptor can do it more than once
        ASSERT_EQ(0, std::system("ip link del enc0"));
        EXPECT_FALSE(there());
        enc0->show(packet()); // does nothing
        ASSERT_TRUE(until(there));
    }
    EXPECT_EQ(3u, enc0->stats().not_shown);
    ASSERT_TRUE(until([&] { return enc0->index() != first; }));
    EXPECT_EQ(if_nametoindex("enc0"), enc0->index());
    // It is as the first was: up, with its mtu, and it shows packets to who listens there.
    const int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_ll here{};
    here.sll_family = AF_PACKET;
    here.sll_protocol = htons(0x0003);
    here.sll_ifindex = static_cast<int>(enc0->index());
    ASSERT_EQ(0, bind(fd, reinterpret_cast<const sockaddr*>(&here), sizeof here));
    EXPECT_TRUE(until([&] { return enc0->watched(); }));
    enc0->show(packet());
    std::array<std::uint8_t, 200> seen;
    EXPECT_EQ(static_cast<ssize_t>(packet().size()), recv(fd, seen.data(), seen.size(), 0));
    close(fd);
    EXPECT_NE(std::string::npos, configuration().find("mtu 1418")) << configuration();
    EXPECT_EQ(std::string::npos, configuration().find("inet")) << configuration();
    send_into_it(3);
    EXPECT_TRUE(until([&] { return enc0->stats().strangers >= 3; }));
    EXPECT_EQ(3u, enc0->stats().strangers);
}

TEST_F(Window, StaysAwayWhileAnotherHasItsName) {
    ASSERT_EQ(0, std::system("ip link del enc0 && ip link add enc0 type bridge"));
    const unsigned other = if_nametoindex("enc0");
    const auto end = Clock::now() + std::chrono::milliseconds(1200);
    until([&] { return Clock::now() > end; });
    EXPECT_EQ(other, if_nametoindex("enc0"));
    ASSERT_EQ(0, std::system("ip link del enc0"));
    EXPECT_TRUE(until([&] { return if_nametoindex("enc0") != 0; }));
}

TEST_F(Window, WhatOthersSendIntoItIsCountedAndDropped) {
    EXPECT_EQ(0u, enc0->stats().strangers); // and the kernel sends no router solicitation
    send_into_it(3);
    EXPECT_TRUE(until([&] { return enc0->stats().strangers >= 3; }));
    EXPECT_EQ(3u, enc0->stats().strangers);
}

TEST_F(Window, HasTheMtuAndNoAddresses) {
    const std::string output = configuration();
    EXPECT_NE(std::string::npos, output.find("mtu 1418")) << output;
    EXPECT_NE(std::string::npos, output.find("UP")) << output;
    EXPECT_EQ(std::string::npos, output.find("inet")) << output;
}

TEST_F(Window, GoesWhenItsOwnerGoes) {
    EXPECT_NE(0, enc0->index());
    enc0.reset();
    EXPECT_NE(0, std::system("ip link show enc0 >/dev/null 2>&1"));
    auto again = Enc0::open(io, "enc0", 1418);
    EXPECT_TRUE(again);
}

TEST_F(Window, RefusesByName) {
    const auto why = [&](const std::string& name, std::uint16_t mtu) {
        auto opened = Enc0::open(io, name, mtu);
        return opened ? std::string("opened") : opened.error().text;
    };
    EXPECT_EQ("enc0: an interface of this name is there already", why("enc0", 1418));
    EXPECT_EQ("sixteen-letters-: no name for an interface (1 to 15 characters)",
              why("sixteen-letters-", 1418));
    EXPECT_EQ("enc1: setting it up with mtu 40: Invalid argument", why("enc1", 40));
    EXPECT_EQ("opened", why("enc1", 600)); // and the failed one was removed
}

} // namespace
} // namespace encsync::link
