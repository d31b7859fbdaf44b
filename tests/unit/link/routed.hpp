// SPDX-License-Identifier: ISC
// Two nodes with a router between them, each in a network namespace of its own.
#pragma once

#include "tests/unit/link/nodes.hpp"

#include <fcntl.h>
#include <fstream>
#include <sstream>

namespace encsync::link {

// A network namespace without a name, which ends with this.
class Namespace {
  public:
    Namespace() {
        const Fd before = open("/proc/thread-self/ns/net");
        EXPECT_EQ(0, unshare(CLONE_NEWNET));
        fd_ = open("/proc/thread-self/ns/net");
        shell("ip link set lo up");
        EXPECT_EQ(0, setns(before.get(), CLONE_NEWNET));
    }
    std::string path() const {
        return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_.get());
    }
    template<class F>
    auto within(F&& work) const {
        const Fd before = open("/proc/thread-self/ns/net");
        EXPECT_EQ(0, setns(fd_.get(), CLONE_NEWNET));
        struct Back {
            int fd;
            ~Back() { EXPECT_EQ(0, setns(fd, CLONE_NEWNET)); }
        } back{before.get()};
        return work();
    }
    void run(const std::string& command) const {
        within([&] { shell(command); });
    }

  private:
    static Fd open(const char* file) { return Fd(::open(file, O_RDONLY | O_CLOEXEC)); }
    Fd fd_;
};

// A counter of /proc/thread-self/net/snmp; -1: no such counter.
inline long snmp(const std::string& protocol, const std::string& name) {
    std::ifstream in("/proc/thread-self/net/snmp");
    for (std::string names, values; std::getline(in, names) && std::getline(in, values);) {
        std::istringstream n(names), v(values);
        std::string key, value;
        while (n >> key && v >> value)
            if (names.starts_with(protocol + ":") && key == name)
                return std::stol(value);
    }
    return -1;
}

// mickey ---- router ---- minnie, each in a namespace of its own. The narrow link is after the
// router, so mickey learns of it only by an ICMP error.
class Routed : public TwoNodes {
  protected:
    void SetUp() override {
        if (!enter_namespace())
            GTEST_SKIP() << "no network namespace to be had";
        options.ike.socket.buffer_size = 4 << 20;
        options.path.raise_after = std::chrono::hours(1);
    }
    void build(bool ipv6 = false) {
        left = ipv6 ? "fd00:1::1" : "10.1.0.1";
        right = ipv6 ? "fd00:2::1" : "10.2.0.1";
        const std::string near = ipv6 ? "fd00:1::2" : "10.1.0.2";
        const std::string far = ipv6 ? "fd00:2::2" : "10.2.0.2";
        const std::string bits = ipv6 ? "/64 nodad" : "/24";
        here.run("ip link add here0 type veth peer name near0 netns " + router.path());
        there.run("ip link add there0 type veth peer name far0 netns " + router.path());
        here.run("ip link set here0 up && ip addr add " + left + bits + " dev here0");
        there.run("ip link set there0 up && ip addr add " + right + bits + " dev there0");
        router.run("ip link set near0 up && ip link set far0 up");
        router.run("ip addr add " + near + bits + " dev near0 && ip addr add " + far + bits +
                   " dev far0 && echo 1 > /proc/sys/net/ipv4/ip_forward"
                   " && echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
        here.run("ip route add default via " + near);
        there.run("ip route add default via " + far);
        here.within([&] {
            mickey.emplace(io, options);
            ASSERT_TRUE(mickey->link->add_peer(peer("minnie", left, right)));
        });
        there.within([&] {
            UserspaceOptions roomy = options; // small buffers are for the sender only
            roomy.ike.socket.buffer_size = 4 << 20;
            minnie.emplace(io, roomy);
            ASSERT_TRUE(minnie->link->add_peer(peer("mickey", right, left)));
        });
        connect_both();
    }
    void narrow(int size) {
        router.run("ip link set far0 mtu " + std::to_string(size));
        there.run("ip link set there0 mtu " + std::to_string(size));
    }
    void send_full(int packets) {
        for (int i = 0; i < packets; i++) {
            const std::size_t room = mickey->link->acquire(0).size();
            ASSERT_TRUE(mickey->put(text(room, static_cast<std::uint8_t>(i))));
        }
        mickey->link->flush();
    }
    void expect_no_fragments() {
        for (const Namespace* where : {&here, &router, &there})
            where->within([] {
                EXPECT_EQ(0, snmp("Ip", "FragCreates"));
                EXPECT_EQ(0, snmp("Ip", "ReasmReqds"));
            });
    }
    // "Fragmentation needed" to mickey about one of its datagrams, as sent from the path.
    void forge(std::uint8_t code, std::uint16_t next_mtu, const Buffer& quoted) {
        Buffer icmp(8 + 20 + 8);
        icmp[0] = 3;
        icmp[1] = code;
        store_be(&icmp[6], next_mtu);
        std::uint8_t* ip = &icmp[8];
        ip[0] = 0x45;
        store_be(ip + 2, std::uint16_t{1500});
        ip[8] = 60;
        ip[9] = IPPROTO_UDP;
        inet_pton(AF_INET, left.c_str(), ip + 12);
        inet_pton(AF_INET, right.c_str(), ip + 16);
        store_be(ip + 20, std::uint16_t{4500});
        store_be(ip + 22, std::uint16_t{4500});
        store_be(ip + 24, std::uint16_t{1480});
        icmp.insert(icmp.end(), quoted.begin(), quoted.end());
        icmp.resize((icmp.size() + 1) / 2 * 2);
        std::uint32_t sum = 0;
        for (std::size_t i = 0; i < icmp.size(); i += 2)
            sum += load_be<std::uint16_t>(&icmp[i]);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        store_be(&icmp[2], static_cast<std::uint16_t>(~sum));
        router.within([&] {
            const Fd raw(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
            const Endpoint to = endpoint(left, 0);
            EXPECT_EQ(static_cast<ssize_t>(icmp.size()),
                      sendto(raw.get(), icmp.data(), icmp.size(), 0, to.data(),
                             static_cast<socklen_t>(to.size())));
        });
    }
    static Buffer quote(std::uint32_t spi, std::uint32_t number) {
        Buffer bytes(16);
        store_be(bytes.data(), spi);
        store_be(bytes.data() + 4, number);
        return bytes;
    }

    Namespace here, router, there;
};

} // namespace encsync::link
