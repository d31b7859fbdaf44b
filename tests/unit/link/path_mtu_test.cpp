// SPDX-License-Identifier: ISC
#include "ipsec/link/path_mtu.hpp"

#include "tests/unit/link/nodes.hpp"

#include <fcntl.h>
#include <fstream>
#include <sstream>

namespace encsync::link {
namespace {

using std::chrono::minutes;

// ---- what is believed ----------------------------------------------------------------------

using Change = PathMtu::Change;
using Due = PathMtu::Due;

struct Belief : testing::Test {
    PathMtu path{1500, 640, {}};
    Clock::time_point now{};
};

TEST_F(Belief, FallsToWhatIsSaidAndNotBelowTheFloor) {
    EXPECT_EQ(1500, path.mtu());
    EXPECT_FALSE(path.next());
    EXPECT_EQ(Change::none, path.told(1500, now));
    EXPECT_EQ(Change::none, path.told(9000, now));
    EXPECT_EQ(Change::lowered, path.told(1400, now));
    EXPECT_EQ(Change::none, path.told(1400, now)); // the same about the next packet
    EXPECT_EQ(Change::none, path.told(1450, now)); // late
    EXPECT_EQ(Change::lowered, path.told(640, now));
    EXPECT_EQ(Change::refused, path.told(639, now));
    EXPECT_EQ(Change::refused, path.told(0, now));
    EXPECT_EQ(640, path.mtu());
}

TEST_F(Belief, GoesDownInStepsWhereNobodySaysHowFar) {
    EXPECT_EQ(Change::lowered, path.too_big(now));
    EXPECT_EQ(1436, path.mtu());
    while (path.too_big(now) == Change::lowered)
        ;
    EXPECT_EQ(640, path.mtu());
}

TEST_F(Belief, AConfiguredMtuBelowTheFloorIsTheFloor) {
    PathMtu low(1000, 1280, {});
    EXPECT_EQ(Change::refused, low.told(999, now));
    EXPECT_EQ(1000, low.mtu());
}

TEST_F(Belief, RisesWhenAProbeIsNotAnswered) {
    path.told(1300, now);
    EXPECT_EQ(now + minutes(10), path.next());
    EXPECT_EQ(Due::nothing, path.due(now + minutes(9)));
    now += minutes(10);
    EXPECT_EQ(Due::probe, path.due(now));
    path.probed(now);
    EXPECT_EQ(Due::nothing, path.due(now + std::chrono::seconds(2)));
    EXPECT_EQ(1300, path.mtu());
    EXPECT_EQ(Due::raised, path.due(now + std::chrono::seconds(3)));
    EXPECT_EQ(1500, path.mtu());
    EXPECT_FALSE(path.next());
}

TEST_F(Belief, StaysWhenAProbeIsAnswered) {
    path.told(1300, now);
    now += minutes(10);
    ASSERT_EQ(Due::probe, path.due(now));
    path.probed(now);
    EXPECT_EQ(Change::refused, path.told(100, now)); // a forger's answer is none
    EXPECT_TRUE(path.probing());
    EXPECT_EQ(Change::none, path.told(1300, now));
    EXPECT_FALSE(path.probing());
    EXPECT_EQ(Due::nothing, path.due(now + minutes(1)));
    EXPECT_EQ(1300, path.mtu());
    EXPECT_EQ(now + minutes(10), path.next());
}

TEST_F(Belief, RisesToWhatTheAnswerToAProbeSays) {
    path.told(1300, now);
    path.probed(now);
    EXPECT_EQ(Change::raised, path.told(1400, now));
    EXPECT_EQ(1400, path.mtu());
    path.probed(now);
    EXPECT_EQ(Change::lowered, path.told(1200, now));
}

TEST_F(Belief, AProbeThatCannotBeSentIsPutOff) {
    path.told(1300, now);
    now += minutes(10);
    ASSERT_EQ(Due::probe, path.due(now));
    path.put_off(now);
    EXPECT_EQ(now + minutes(10), path.next());
    EXPECT_EQ(1300, path.mtu());
}

// ---- a real router -------------------------------------------------------------------------

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
long snmp(const std::string& protocol, const std::string& name) {
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

// mickey ---- router ---- minnie, each in a namespace of its own. The narrow link is behind the
// router, so only an ICMP error can tell mickey.
class Routed : public TwoNodes {
  protected:
    void SetUp() override {
        if (!enter_namespace())
            GTEST_SKIP() << "no network namespace to be had";
        options.socket.buffer_size = 4 << 20;
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
            minnie.emplace(io, options);
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
    // "Fragmentation needed" for mickey about a datagram of his, as somebody on the way says it.
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

TEST_F(Routed, TheMtuFallsWhenARouterSaysSo) {
    build();
    send_full(5);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 5; }));
    EXPECT_EQ(1500, mickey->stats().mtu);
    narrow(1300);
    send_full(3);
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1300; }));
    EXPECT_EQ(5u, minnie->packets.size());
    EXPECT_EQ(max_payload(1300, false, false), mickey->link->acquire(0).size());
    mickey->link->commit(0, 0);
    send_full(20);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 25; }));
    EXPECT_EQ(1u, mickey->stats().mtu_lowered);
    EXPECT_EQ(0u, mickey->stats().icmp_refused);
    EXPECT_EQ(1500, minnie->stats().mtu);
    expect_no_fragments();
}

TEST_F(Routed, TheMtuFallsOverIpv6) {
    build(true);
    narrow(1400);
    send_full(3);
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1400; }));
    EXPECT_TRUE(minnie->packets.empty());
    send_full(3);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 3; }));
    EXPECT_EQ(0u, mickey->stats().icmp_refused);
}

TEST_F(Routed, ForgedErrorsDoNot) {
    build();
    send_full(3); // numbers 1 to 3
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 3; }));
    const auto refused = [&](std::uint64_t n) {
        return until([&] { return mickey->stats().icmp_refused == n; });
    };
    forge(4, 700, {}); // quotes as little as RFC 792 asks for
    ASSERT_TRUE(refused(1));
    forge(4, 700, quote(0x12345678, 3)); // an SPI that is none
    ASSERT_TRUE(refused(2));
    forge(4, 700, quote(kMinnieIn, 4)); // a number not sent yet
    ASSERT_TRUE(refused(3));
    forge(4, 700, quote(kMinnieIn, 0)); // and one that never is
    ASSERT_TRUE(refused(4));
    forge(4, 639, quote(kMinnieIn, 3)); // seen on the way, but below any path
    ASSERT_TRUE(refused(5));
    forge(4, 0, quote(kMinnieIn, 3));
    ASSERT_TRUE(refused(6));
    EXPECT_EQ(1500, mickey->stats().mtu);
    EXPECT_EQ(0u, mickey->stats().mtu_lowered);
    send_full(3);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 6; }));
    EXPECT_EQ(0u, mickey->stats().too_big);
    // The twin: what cannot be told from a router's word is believed.
    forge(4, 700, quote(kMinnieIn, 3));
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 700; }));
}

// An error that waits on the socket must not be taken for a failure of what is sent next.
TEST_F(Routed, ForgedErrorsLoseNoPackets) {
    build();
    for (int i = 0; i < 50; i++) {
        forge(i % 2 == 0 ? 3 : 4, 700, quote(1, 1)); // port unreachable, too big
        send_full(2);
    }
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 100; }));
    EXPECT_EQ(0u, mickey->stats().unreachable + mickey->stats().too_big);
    EXPECT_EQ(100u, mickey->stats().tx_packets);
    ASSERT_TRUE(until([&] {
        return mickey->link->stats().receive_error == 25 && mickey->stats().icmp_refused == 25;
    }));
}

TEST_F(Routed, TheMtuRisesAgainWhenTheProbeGetsThrough) {
    options.path.raise_after = std::chrono::milliseconds(100);
    options.path.answer_within = std::chrono::milliseconds(500);
    build();
    narrow(1300);
    send_full(1);
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1300; }));
    narrow(1500);
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1500; }));
    EXPECT_GE(mickey->stats().mtu_probes, 1u);
    EXPECT_GE(minnie->stats().dummy, 1u);
    EXPECT_TRUE(minnie->packets.empty()); // a probe is nothing to the receiver
    send_full(5);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 5; }));
    expect_no_fragments();
}

TEST_F(Routed, TheMtuStaysWhenTheProbeDoesNot) {
    options.path.raise_after = std::chrono::milliseconds(10);
    options.path.answer_within = std::chrono::hours(1);
    build();
    narrow(1300);
    send_full(1);
    ASSERT_TRUE(until([&] { return mickey->stats().mtu_probes >= 3; }));
    EXPECT_EQ(1300, mickey->stats().mtu);
    EXPECT_EQ(0u, mickey->stats().mtu_raised);
    narrow(1400); // wider, but not as wide as configured: the answer says so
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1400; }));
    EXPECT_EQ(1u, mickey->stats().mtu_raised);
    EXPECT_EQ(0u, minnie->stats().dummy);
}

} // namespace
} // namespace encsync::link
