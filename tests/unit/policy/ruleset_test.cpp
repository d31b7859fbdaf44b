// SPDX-License-Identifier: ISC
// The ruleset in the kernel, with real packets between two network namespaces:
//
//     this namespace: v0 10.0.0.1, fd00::1 ---- eth0 10.0.0.2, fd00::2: the neighbour
#include "policy/ruleset.hpp"
#include "policy/watch.hpp"
#include "util/fd.hpp"

#include <arpa/inet.h>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/core.h>
#include <fstream>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sstream>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace encsync::policy {
namespace {

Fd this_namespace() {
    return Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}
bool run(const std::string& command) {
    return std::system(command.c_str()) == 0;
}

struct Host {
    sockaddr_storage address{};
    socklen_t size = 0;
    int family = AF_INET;

    explicit Host(const std::string& text, std::uint16_t port = 0) {
        auto* four = reinterpret_cast<sockaddr_in*>(&address);
        auto* six = reinterpret_cast<sockaddr_in6*>(&address);
        if (::inet_pton(AF_INET, text.c_str(), &four->sin_addr) == 1) {
            size = sizeof *four;
            four->sin_port = htons(port);
        } else {
            family = AF_INET6;
            ::inet_pton(AF_INET6, text.c_str(), &six->sin6_addr);
            size = sizeof *six;
            six->sin6_port = htons(port);
        }
        address.ss_family = static_cast<sa_family_t>(family);
    }
    const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&address); }
};

class RulesetTest : public testing::Test {
  protected:
    void SetUp() override {
        home_ = this_namespace();
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "takes CAP_SYS_ADMIN";
        neighbour_ = this_namespace();
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
        here_ = this_namespace();
        ASSERT_TRUE(run(fmt::format("ip link add v0 type veth peer name eth0 netns /proc/{}/fd/{}",
                                    ::getpid(), neighbour_.get())));
        ASSERT_TRUE(run("ip address add 10.0.0.1/24 dev v0 && ip link set v0 up && "
                        "ip -6 address add fd00::1/64 dev v0 nodad && ip link set lo up"));
        enter(neighbour_);
        ASSERT_TRUE(run("ip address add 10.0.0.2/24 dev eth0 && ip link set eth0 up && "
                        "ip -6 address add fd00::2/64 dev eth0 nodad"));
        enter(here_);
    }
    void TearDown() override {
        if (home_)
            enter(home_);
    }

    static void enter(const Fd& node) { ASSERT_EQ(::setns(node.get(), CLONE_NEWNET), 0); }

    Fd socket_in(const Fd& node, int family, int type, int protocol) {
        enter(node);
        Fd fd(::socket(family, type | SOCK_CLOEXEC, protocol));
        enter(here_);
        return fd;
    }
    static bool send(const Fd& fd, const Host& to, const std::string& text) {
        return ::sendto(fd.get(), text.data(), text.size(), 0, to.raw(), to.size) >= 0;
    }
    static bool readable(const Fd& fd, int ms) {
        pollfd p{fd.get(), POLLIN, 0};
        return ::poll(&p, 1, ms) == 1;
    }

    static Ruleset install(RulesetOptions options = {}) {
        auto r = Ruleset::install(std::move(options));
        if (!r) {
            ADD_FAILURE() << r.error().text;
            std::abort();
        }
        return std::move(*r);
    }
    static std::uint64_t count(Ruleset& r, const std::string& name) {
        auto s = r.status();
        return s ? s->counters.at(name) : UINT64_MAX;
    }
    // Until the kernel has counted this many.
    static bool wait_for(Ruleset& r, const std::string& name, std::uint64_t packets) {
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        while (count(r, name) < packets)
            if (std::chrono::steady_clock::now() > limit)
                return false;
        return true;
    }

    // From the neighbour to us: received without the ruleset, counted and dropped with it.
    void expect_dropped_in(const std::string& our_address, std::size_t size,
                           std::uint64_t packets) {
        SCOPED_TRACE(fmt::format("{} bytes to {}", size, our_address));
        const Host us(our_address);
        const Fd listener = socket_in(here_, us.family, SOCK_RAW, 240);
        const Fd sender = socket_in(neighbour_, us.family, SOCK_RAW, 240);
        const std::string text(size, 'x');
        ASSERT_TRUE(send(sender, us, text));
        ASSERT_TRUE(readable(listener, 30000));
        std::vector<char> buffer(65536);
        ASSERT_GT(::recv(listener.get(), buffer.data(), buffer.size(), 0), 0);

        Ruleset ruleset = install();
        ASSERT_TRUE(send(sender, us, text));
        ASSERT_TRUE(wait_for(ruleset, "not_through_tunnel_in", packets));
        EXPECT_FALSE(readable(listener, 0));
        EXPECT_EQ(count(ruleset, "not_through_tunnel_in"), packets);
        EXPECT_EQ(count(ruleset, "tap_copies"), 0U);
        ASSERT_TRUE(ruleset.remove());
        ASSERT_TRUE(send(sender, us, text));
        EXPECT_TRUE(readable(listener, 30000));
    }

    Fd home_, here_, neighbour_;
};

TEST_F(RulesetTest, DropsWhatComesIn) {
    expect_dropped_in("10.0.0.1", 64, 1);
    expect_dropped_in("fd00::1", 64, 1);
}

TEST_F(RulesetTest, DropsFragments) {
    expect_dropped_in("10.0.0.1", 4000, 3);
    expect_dropped_in("fd00::1", 4000, 3);
}

TEST_F(RulesetTest, DropsFragmentsAlsoWhereConntrackPutsThemTogether) {
    ASSERT_TRUE(run("nft 'add table inet t; add chain inet t c { type filter hook prerouting "
                    "priority 0; }; add rule inet t c ct state new accept'"));
    expect_dropped_in("10.0.0.1", 4000, 3);
    expect_dropped_in("fd00::1", 4000, 3);
}

TEST_F(RulesetTest, DropsWhatGoesOut) {
    for (const std::string address : {"10.0.0.2", "fd00::2"}) {
        const Host them(address);
        const Fd listener = socket_in(neighbour_, them.family, SOCK_RAW, 240);
        const Fd sender = socket_in(here_, them.family, SOCK_RAW, 240);
        ASSERT_TRUE(send(sender, them, "before"));
        ASSERT_TRUE(readable(listener, 30000));
        std::array<char, 256> buffer{};
        ASSERT_GT(::recv(listener.get(), buffer.data(), buffer.size(), 0), 0);
        Ruleset ruleset = install();
        EXPECT_FALSE(send(sender, them, "in the clear"));
        EXPECT_EQ(errno, EPERM);
        EXPECT_EQ(count(ruleset, "not_through_tunnel_out"), 1U);
        EXPECT_FALSE(readable(listener, 0));
        ASSERT_TRUE(ruleset.remove());
    }
}

// This machine is a bridge between the neighbour and a third host, 10.0.0.3.
class BridgeTest : public RulesetTest {
  protected:
    void SetUp() override {
        RulesetTest::SetUp();
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
        far_ = this_namespace();
        enter(here_);
        ASSERT_TRUE(
            run(fmt::format("ip link add v1 type veth peer name eth0 netns /proc/{}/fd/{} && "
                            "ip link add br0 type bridge && ip link set v0 master br0 && "
                            "ip link set v1 master br0 && ip link set v1 up && ip link set br0 up",
                            ::getpid(), far_.get())));
        // With br_netfilter these frames pass the hooks of `inet` first.
        run("for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $f ] || echo 0 > "
            "$f; "
            "done");
        enter(far_);
        ASSERT_TRUE(run("ip address add 10.0.0.3/24 dev eth0 && ip link set eth0 up && "
                        "ip -6 address add fd00::3/64 dev eth0 nodad"));
        enter(here_);
    }
    // From the neighbour to the third host.
    bool passes(const std::string& to, std::size_t size = 64, int protocol = 240) {
        const Host third(to);
        const Fd listener = socket_in(far_, third.family, SOCK_RAW, protocol);
        const Fd sender = socket_in(neighbour_, third.family, SOCK_RAW, protocol);
        return send(sender, third, std::string(size, 'x')) && readable(listener, 30000);
    }
    void expect_dropped(Ruleset& ruleset, const std::string& to, std::size_t size,
                        std::uint64_t packets) {
        const std::uint64_t before = count(ruleset, "not_through_tunnel_bridge");
        const Host third(to);
        const Fd listener = socket_in(far_, third.family, SOCK_RAW, 240);
        const Fd sender = socket_in(neighbour_, third.family, SOCK_RAW, 240);
        ASSERT_TRUE(send(sender, third, std::string(size, 'x')));
        ASSERT_TRUE(wait_for(ruleset, "not_through_tunnel_bridge", before + packets));
        EXPECT_FALSE(readable(listener, 0));
    }
    Fd far_;
};

TEST_F(BridgeTest, DropsWhatIsBridged) {
    for (const std::string third : {"10.0.0.3", "fd00::3"}) {
        SCOPED_TRACE(third);
        ASSERT_TRUE(passes(third) && passes(third, 4000)); // control
        Ruleset ruleset = install();
        EXPECT_TRUE(*ruleset.verify());
        expect_dropped(ruleset, third, 64, 1);
        expect_dropped(ruleset, third, 4000, 3);
        EXPECT_TRUE(passes(third, 64, 241)); // another protocol
        EXPECT_EQ(count(ruleset, "not_through_tunnel_in"), 0U);
        ASSERT_TRUE(ruleset.remove());
        EXPECT_TRUE(passes(third));
    }
}

TEST_F(BridgeTest, LetsFirewallsOnACableTalk) {
    const auto cable = [](const char* speaker) {
        const net::Address left{{10, 0, 0, 1}};
        return Cable{"br0", left, {{.address = *net::parse_address(speaker)}}, left};
    };
    Ruleset ruleset = install({.cables = {cable("10.0.0.2")}});
    EXPECT_TRUE(*ruleset.verify());
    EXPECT_TRUE(passes("10.0.0.3"));
    ASSERT_TRUE(ruleset.change({.cables = {cable("10.0.0.9")}}));
    expect_dropped(ruleset, "10.0.0.3", 64, 1);
}

// As with a kernel that has no bridges: here another program owns the table.
TEST_F(RulesetTest, DoesWithoutTheBridgeIfItMust) {
    FILE* nft = ::popen("nft -i >/dev/null", "w");
    ASSERT_NE(nft, nullptr);
    std::fputs("add table bridge encsync { flags owner; }\n", nft);
    std::fflush(nft);
    ASSERT_TRUE(run("for n in $(seq 300); do nft list tables | grep -q bridge && exit 0; "
                    "sleep 0.1; done; exit 1"));
    Ruleset ruleset = install();
    EXPECT_EQ(ruleset.text().find("table bridge"), std::string::npos);
    EXPECT_TRUE(*ruleset.verify());
    EXPECT_TRUE(run("nft list table inet encsync >/dev/null"));
    ::pclose(nft);
    ASSERT_TRUE(ruleset.change({}));
    EXPECT_NE(ruleset.text().find("table bridge"), std::string::npos);
    EXPECT_TRUE(*ruleset.verify());
}

TEST_F(RulesetTest, LeavesOtherProtocolsAlone) {
    Ruleset ruleset = install();
    const Host us("10.0.0.1");
    const Fd listener = socket_in(here_, AF_INET, SOCK_RAW, 241);
    const Fd sender = socket_in(neighbour_, AF_INET, SOCK_RAW, 241);
    ASSERT_TRUE(send(sender, us, "not pfsync"));
    EXPECT_TRUE(readable(listener, 30000));
    EXPECT_EQ(count(ruleset, "not_through_tunnel_in"), 0U);
}

TEST_F(RulesetTest, OwnCopiesOnTheTapAreDroppedAndNoRefusals) {
    const Fd tun(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(tun) << "takes /dev/net/tun";
    ifreq request{};
    std::strcpy(request.ifr_name, "enc0");
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    ASSERT_EQ(::ioctl(tun.get(), TUNSETIFF, &request), 0);
    ASSERT_TRUE(run("ip link set enc0 up && ip address add 10.0.9.1/24 dev enc0"));
    const Fd listener = socket_in(here_, AF_INET, SOCK_RAW, 240);
    // 10.0.9.2 to 10.0.9.1, protocol 240, no payload.
    const std::array<std::uint8_t, 20> packet{0x45, 0,    0,  20, 0, 0, 0x40, 0, 255, 240,
                                              0x13, 0xfa, 10, 0,  9, 2, 10,   0, 9,   1};
    std::array<std::uint8_t, 20> checked = packet;
    checked[10] = checked[11] = 0;
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < checked.size(); i += 2)
        sum += static_cast<std::uint32_t>(checked[i] << 8 | checked[i + 1]);
    sum = ~((sum & 0xffff) + (sum >> 16));
    checked[10] = static_cast<std::uint8_t>(sum >> 8);
    checked[11] = static_cast<std::uint8_t>(sum);
    ASSERT_EQ(::write(tun.get(), checked.data(), checked.size()), 20);
    ASSERT_TRUE(readable(listener, 30000)); // the packet is one that would be accepted
    std::array<char, 64> buffer{};
    ASSERT_GT(::recv(listener.get(), buffer.data(), buffer.size(), 0), 0);

    Ruleset ruleset = install();
    ASSERT_EQ(::write(tun.get(), checked.data(), checked.size()), 20);
    ASSERT_TRUE(wait_for(ruleset, "tap_copies", 1));
    EXPECT_FALSE(readable(listener, 0));
    EXPECT_EQ(count(ruleset, "not_through_tunnel_in"), 0U);
}

// The same packet, while its sender has another MAC address.
TEST_F(RulesetTest, DropsWhatComesFromAnotherMacAddress) {
    enter(neighbour_);
    ASSERT_TRUE(run("ip link set eth0 address 02:00:00:00:00:02"));
    enter(here_);
    for (const std::string address : {"10.0.0.2", "fd00::2"}) {
        const net::Address us = *net::parse_address(address == "10.0.0.2" ? "10.0.0.1" : "fd00::1");
        Ruleset ruleset = install({.cables = {{.interface = "v0",
                                               .left = us,
                                               .speakers = {{*net::parse_address(address),
                                                             net::parse_mac("02:00:00:00:00:02")}},
                                               .destination = us}}});
        EXPECT_TRUE(*ruleset.verify());
        const Host to(to_string(us));
        const Fd listener = socket_in(here_, to.family, SOCK_RAW, 240);
        const Fd sender = socket_in(neighbour_, to.family, SOCK_RAW, 240);
        const int ttl = 255;
        const auto [level, option] =
            us.is_v6() ? std::pair(IPPROTO_IPV6, IPV6_UNICAST_HOPS) : std::pair(IPPROTO_IP, IP_TTL);
        ASSERT_EQ(::setsockopt(sender.get(), level, option, &ttl, sizeof ttl), 0);
        ASSERT_TRUE(send(sender, to, "from the right one"));
        ASSERT_TRUE(readable(listener, 30000));
        std::array<char, 256> buffer{};
        ASSERT_GT(::recv(listener.get(), buffer.data(), buffer.size(), 0), 0);
        EXPECT_EQ(count(ruleset, "wrong_mac"), 0U);
        enter(neighbour_);
        ASSERT_TRUE(run("ip link set eth0 address 02:00:00:00:00:99"));
        enter(here_);
        ASSERT_TRUE(send(sender, to, "from another one"));
        ASSERT_TRUE(wait_for(ruleset, "wrong_mac", 1));
        EXPECT_FALSE(readable(listener, 0));
        EXPECT_EQ(count(ruleset, "not_through_tunnel_in"), 0U);
        enter(neighbour_);
        ASSERT_TRUE(run("ip link set eth0 address 02:00:00:00:00:02"));
        enter(here_);
    }
}

TEST_F(RulesetTest, OwnTunnelMakesNoConntrackEntries) {
    ASSERT_TRUE(run("nft 'add table inet t; add chain inet t c { type filter hook prerouting "
                    "priority 0; }; add rule inet t c ct state new accept'"));
    Tunnel tunnel;
    tunnel.left.bytes = {10, 0, 0, 1};
    tunnel.right.bytes = {10, 0, 0, 2};
    Ruleset ruleset = install({"enc0", {tunnel}});
    const auto entries_after = [&](std::uint16_t port) {
        const Fd listener = socket_in(here_, AF_INET, SOCK_DGRAM, 0);
        const Fd sender = socket_in(neighbour_, AF_INET, SOCK_DGRAM, 0);
        const Host us("10.0.0.1", port), them("10.0.0.2", port);
        EXPECT_EQ(::bind(listener.get(), us.raw(), us.size), 0);
        EXPECT_EQ(::bind(sender.get(), them.raw(), them.size), 0);
        EXPECT_TRUE(send(sender, us, "there"));
        EXPECT_TRUE(readable(listener, 30000));
        EXPECT_TRUE(send(listener, them, "back"));
        EXPECT_TRUE(readable(sender, 30000));
        int n = -1;
        std::ifstream("/proc/sys/net/netfilter/nf_conntrack_count") >> n;
        return n;
    };
    EXPECT_EQ(entries_after(4500), 0);
    EXPECT_EQ(entries_after(500), 0);
    EXPECT_EQ(entries_after(4501), 1);
}

// In a new namespace no rule has needed conntrack yet.
TEST_F(RulesetTest, MakesTheKernelTrackFlowsWhereItIsAsked) {
    const auto tracked = [this](const char* address) {
        const Host to(address, 4000);
        const Fd from = socket_in(here_, to.family, SOCK_DGRAM, 0);
        EXPECT_TRUE(send(from, to, "hello"));
        return run(fmt::format("conntrack -L -f {} -p udp -d {} 2>&1 | grep -q dport=4000",
                               to.family == AF_INET ? "ipv4" : "ipv6", address));
    };
    install();
    EXPECT_FALSE(tracked("10.0.0.2"));
    EXPECT_FALSE(tracked("fd00::2"));
    Ruleset ruleset = install({.tunnels = {}, .track = true});
    EXPECT_TRUE(tracked("10.0.0.2"));
    EXPECT_TRUE(tracked("fd00::2"));
    EXPECT_TRUE(*ruleset.verify());
}

TEST_F(RulesetTest, VerifyNoticesWhatAnAdministratorDoes) {
    for (const char* change :
         {"flush ruleset", "delete table inet encsync", "flush chain inet encsync receive",
          "insert rule inet encsync receive accept", "add table inet encsync { flags dormant; }",
          "delete table bridge encsync", "flush chain bridge encsync forward"}) {
        SCOPED_TRACE(change);
        Ruleset ruleset = install();
        auto before = ruleset.verify();
        ASSERT_TRUE(before && *before);
        ASSERT_TRUE(run(fmt::format("nft '{}'", change)));
        auto after = ruleset.verify();
        ASSERT_TRUE(after);
        EXPECT_FALSE(*after);
        auto again = ruleset.verify(); // and the result is remembered
        EXPECT_TRUE(again && !*again);
        auto status = ruleset.status();
        ASSERT_TRUE(status);
        EXPECT_FALSE(status->installed);
        ASSERT_TRUE(ruleset.reinstall());
        auto repaired = ruleset.verify();
        EXPECT_TRUE(repaired && *repaired);
        ASSERT_TRUE(ruleset.remove());
    }
}

TEST_F(RulesetTest, AWatchSeesWhoChangesItAndNothingElse) {
    Ruleset ruleset = install();
    auto watch = Watch::open(kTableName);
    ASSERT_TRUE(watch) << watch.error().text;
    EXPECT_FALSE(watch->take()); // nothing has happened since
    // Events are there when nft returns.
    for (const char* other : {"add table inet other", "add chain inet other encsync",
                              "add rule inet other encsync accept", "delete table inet other",
                              "add table inet encsync2", "delete table inet encsync2"}) {
        ASSERT_TRUE(run(fmt::format("nft '{}'", other)));
        EXPECT_FALSE(watch->take()) << other;
    }
    for (const char* change :
         {"insert rule inet encsync receive accept", "flush chain inet encsync receive",
          "add chain inet encsync more", "add table inet encsync { flags dormant; }",
          "flush chain bridge encsync forward", "delete table inet encsync"}) {
        ASSERT_TRUE(run(fmt::format("nft '{}'", change)));
        EXPECT_TRUE(watch->take()) << change;
        EXPECT_FALSE(watch->take()) << change;
    }
    ASSERT_TRUE(ruleset.reinstall());
    EXPECT_TRUE(watch->take()); // our own change, too
    ASSERT_TRUE(run("nft flush ruleset"));
    EXPECT_TRUE(watch->take());
}

// More events than there is room for.
TEST_F(RulesetTest, AWatchThatMissesEventsSaysSo) {
    auto watch = Watch::open(kTableName);
    ASSERT_TRUE(watch) << watch.error().text;
    std::ofstream many("/tmp/encsync-many.nft");
    many << "add table inet other\nadd set inet other s { type ipv4_addr; }\n";
    for (int n = 0; n < 20'000; n++)
        many << fmt::format("add element inet other s {{ 10.1.{}.{} }}\n", n / 250, n % 250);
    many.close();
    ASSERT_TRUE(run("nft -f /tmp/encsync-many.nft; s=$?; rm /tmp/encsync-many.nft; exit $s"));
    EXPECT_TRUE(watch->take());
    EXPECT_FALSE(watch->take());
    ASSERT_TRUE(run("nft delete table inet other"));
}

TEST_F(RulesetTest, VerifyLeavesOthersTheirChanges) {
    Ruleset ruleset = install();
    ASSERT_TRUE(run("nft 'add table inet other; add chain inet other c'"));
    auto in_place = ruleset.verify();
    EXPECT_TRUE(in_place && *in_place);
    EXPECT_TRUE(run("nft list table inet other >/dev/null"));
    ASSERT_TRUE(ruleset.reinstall());
    EXPECT_TRUE(run("nft list table inet other >/dev/null"));
}

TEST_F(RulesetTest, TotalsNeverGoBackwards) {
    Ruleset ruleset = install();
    const Host us("10.0.0.1");
    const Fd sender = socket_in(neighbour_, AF_INET, SOCK_RAW, 240);
    ASSERT_TRUE(send(sender, us, "one") && send(sender, us, "two"));
    ASSERT_TRUE(wait_for(ruleset, "not_through_tunnel_in", 2));
    ASSERT_TRUE(run("nft flush ruleset"));
    EXPECT_EQ(count(ruleset, "not_through_tunnel_in"), 2U);
    ASSERT_TRUE(ruleset.reinstall());
    EXPECT_EQ(count(ruleset, "not_through_tunnel_in"), 2U);
    ASSERT_TRUE(send(sender, us, "three"));
    ASSERT_TRUE(wait_for(ruleset, "not_through_tunnel_in", 3));
    ASSERT_TRUE(ruleset.reinstall()); // while it is in place
    EXPECT_EQ(count(ruleset, "not_through_tunnel_in"), 3U);
}

TEST_F(RulesetTest, ASecondInstallationReplacesTheFirst) {
    Ruleset first = install();
    Ruleset second = install({"enc7", {}});
    EXPECT_TRUE(run("nft list table inet encsync | grep -q enc7"));
    EXPECT_FALSE(run("nft list table inet encsync | grep -q enc0"));
    auto in_place = first.verify();
    EXPECT_TRUE(in_place && !*in_place);
}

TEST_F(RulesetTest, DefersOrSaysWhatTheKernelLacks) {
    const bool can = run("nft --check 'table inet probe { chain c { type filter hook postrouting "
                         "priority 0; queue num 1 ; }; }' 2>/dev/null");
    auto deferring = Ruleset::install({.syncdev = "enc0", .tunnels = {}, .defer_queue = 77});
    ASSERT_EQ(static_cast<bool>(deferring), can);
    if (can) {
        EXPECT_TRUE(*deferring->verify());
        return;
    }
    EXPECT_NE(deferring.error().text.find("nft_queue"), std::string::npos)
        << deferring.error().text;
    // Another error is not attributed to the queue.
    const auto misnamed = Ruleset::install({.syncdev = "e n", .tunnels = {}, .defer_queue = 77});
    ASSERT_FALSE(misnamed);
    EXPECT_EQ(misnamed.error().text.find("nft_queue"), std::string::npos);
}

TEST_F(RulesetTest, StaysWhenTheDaemonGoes) {
    { Ruleset ruleset = install(); }
    EXPECT_TRUE(run("nft list table inet encsync >/dev/null"));
}

TEST_F(RulesetTest, WithoutPermissionSaysWhatIsMissing) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setresuid(65534, 65534, 65534) != 0)
            ::_exit(3);
        auto r = Ruleset::install({});
        ::_exit(!r && r.error().text == "nftables: not permitted (it takes CAP_NET_ADMIN)" ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(RulesetText, NothingButAnInterfaceNameGoesIn) {
    for (const char* bad : {"", "enc0\" accept", "a-name-too-long-for-it", "enc0;", "enc 0"}) {
        auto r = Ruleset::install({bad, {}});
        ASSERT_FALSE(r) << bad;
        EXPECT_NE(r.error().text.find("is no interface name"), std::string::npos);
    }
}

TEST(RulesetText, NothingButAnInterfaceNameIsACable) {
    auto r = Ruleset::install(
        {.cables = {
             {.interface = "eth2\" accept", .left = {}, .speakers = {}, .destination = {}}}});
    ASSERT_FALSE(r);
    EXPECT_NE(r.error().text.find("is no interface name"), std::string::npos);
}

// The rules for a cable that end so; of both tables, or of `inet` alone.
std::vector<std::string> rules_of(const Cable& cable, std::string_view end = "240 accept",
                                  bool bridge = false) {
    std::vector<std::string> found;
    std::istringstream lines(ruleset_text({.cables = {cable}, .bridge = bridge}));
    for (std::string line; std::getline(lines, line);)
        if (line.ends_with(end))
            found.push_back(line.substr(8));
    return found;
}

// Every rule for a cable names its interface and both addresses.
TEST(RulesetText, AdmitsInClearOnlyWhatIsOnACable) {
    const net::Address left{{10, 0, 0, 1}}, group{{224, 0, 0, 240}};
    const std::vector<Speaker> right{{.address = {{10, 0, 0, 2}}}};
    const auto accepts = [](const Cable& cable) { return rules_of(cable); };
    const std::string from = "iifname \"eth2\" ip saddr 10.0.0.2 ";
    const std::string whole = "ip ttl 255 ip frag-off & 0x3fff == 0 ip protocol 240 accept";
    const std::string in = from + "ip daddr 10.0.0.1 " + whole;
    EXPECT_EQ(accepts({"eth2", left, right, left}),
              (std::vector{in, in, // before and after defragmentation
                           std::string("oifname \"eth2\" ip saddr 10.0.0.1 ip daddr 10.0.0.2 ip "
                                       "protocol 240 accept")}));
    const std::string in_group = from + "ip daddr 224.0.0.240 " + whole;
    EXPECT_EQ(accepts({"eth2", left, right, group, true}),
              (std::vector{in_group, in_group,
                           std::string("oifname \"eth2\" ip saddr 10.0.0.1 ip daddr 224.0.0.240 "
                                       "ip protocol 240 accept")}));
    EXPECT_EQ(ruleset_text({}).find("240 accept"), std::string::npos);
    EXPECT_EQ(rules_of({"eth2", left, right, left}, "wrong_mac\" drop").size(), 0U);
}

TEST(RulesetText, AdmitsAFirewallOnlyFromItsMacAddress) {
    const net::Address left{{10, 0, 0, 1}};
    const Cable cable{"eth2",
                      left,
                      {{.address = {{10, 0, 0, 2}}, .mac = net::parse_mac("52:54:00:12:34:5F")}},
                      left};
    const std::string in =
        "iifname \"eth2\" ether saddr 52:54:00:12:34:5f ip saddr 10.0.0.2 ip daddr "
        "10.0.0.1 ip ttl 255 ip frag-off & 0x3fff == 0 ip protocol 240 accept";
    EXPECT_EQ(rules_of(cable),
              (std::vector{in, in,
                           std::string("oifname \"eth2\" ip saddr 10.0.0.1 ip daddr 10.0.0.2 ip "
                                       "protocol 240 accept")}));
    const std::string other = "iifname \"eth2\" ether saddr != 52:54:00:12:34:5f ip saddr 10.0.0.2 "
                              "meta l4proto 240 counter name \"wrong_mac\" drop";
    EXPECT_EQ(rules_of(cable, "wrong_mac\" drop"), (std::vector{other, other}));
}

// What its firewalls say to each other, over a bridge of this machine's.
TEST(RulesetText, LetsFirewallsOnACableTalkOverABridge) {
    const net::Address left{{10, 0, 0, 1}};
    const Speaker one{.address = {{10, 0, 0, 2}}},
        two{.address = {{10, 0, 0, 3}}, .mac = net::parse_mac("52:54:00:12:34:5F")};
    const Cable cable{"br0", left, {one, two}, left};
    auto both = rules_of(cable, "240 accept", true);
    const auto inet = rules_of(cable);
    ASSERT_EQ(both.size(), inet.size() + 2);
    both.erase(both.begin(), both.begin() + static_cast<std::ptrdiff_t>(inet.size()));
    EXPECT_EQ(both, (std::vector<std::string>{"ip saddr 10.0.0.2 ip protocol 240 accept",
                                              "ether saddr 52:54:00:12:34:5f ip saddr 10.0.0.3 ip "
                                              "protocol 240 accept"}));
}

// What is sent goes once to the group; each speaker has rules of its own for what comes.
TEST(RulesetText, AdmitsEachSpeakerOnACable) {
    const net::Address left = *net::parse_address("fd00::1"), one = *net::parse_address("fd00::2"),
                       two = *net::parse_address("fd00::3");
    const net::Address group = *net::parse_address("ff12::f0");
    const Cable cable{
        "eth2", left, {{one, {}}, {two, net::parse_mac("02:00:00:00:00:03")}}, group, true};
    const auto in = [](const std::string& frame, const std::string& from) {
        return "iifname \"eth2\" " + frame + "ip6 saddr " + from +
               " ip6 daddr ff12::f0 ip6 hoplimit 255 ip6 nexthdr 240 accept";
    };
    const std::string first = in("", "fd00::2");
    const std::string second = in("ether saddr 02:00:00:00:00:03 ", "fd00::3");
    EXPECT_EQ(rules_of(cable),
              (std::vector{first, second, first, second,
                           std::string("oifname \"eth2\" ip6 saddr fd00::1 ip6 daddr ff12::f0 ip6 "
                                       "nexthdr 240 accept")}));
    EXPECT_EQ(rules_of(cable, "wrong_mac\" drop").size(), 2U);
}

TEST(RulesetText, DefersOnlyWhereItIsAsked) {
    RulesetOptions options{.syncdev = "enc0", .tunnels = {}, .own_ports = {500, 4500}};
    EXPECT_EQ(ruleset_text(options).find("queue"), std::string::npos);
    options.defer_queue = 77;
    const std::string text = ruleset_text(options);
    EXPECT_NE(text.find("hook postrouting priority 101"), std::string::npos) << text;
    EXPECT_NE(text.find("udp sport { 500, 4500 } accept\n"), std::string::npos) << text;
    EXPECT_NE(text.find("ct state new ct status & confirmed == 0 queue num 77 bypass\n"),
              std::string::npos)
        << text;
}

TEST(RulesetText, AdmitsOnlyWhatComesOutOfThePeersStates) {
    const auto rules = [](std::optional<std::uint32_t> reqid) {
        return ruleset_text(
            {.syncdev = "enc7",
             .tunnels = {{.left = {{10, 0, 0, 1}}, .right = {{10, 0, 0, 2}}, .reqid = reqid}}});
    };
    const std::string in = "iifname \"enc7\" ipsec in reqid 77 ip saddr 10.0.0.2 ip daddr 10.0.0.1 "
                           "meta l4proto 240 accept";
    const std::string out = "oifname \"enc7\" ip saddr 10.0.0.1 ip daddr 10.0.0.2 meta l4proto 240 "
                            "accept";
    const std::string kernel = rules(77), userspace = rules({});
    EXPECT_NE(kernel.find(in), std::string::npos) << kernel;
    EXPECT_NE(kernel.find(out), std::string::npos) << kernel;
    EXPECT_EQ(kernel.find("forward {\n        type filter hook forward priority -450; policy "
                          "accept;\n        iifname"),
              std::string::npos);
    // Only these two rules for input and one for output, each followed by a drop.
    EXPECT_EQ(userspace.find("l4proto 240 accept"), std::string::npos) << userspace;
    EXPECT_NE(userspace.find("tap_copies\" drop"), std::string::npos) << userspace;
}

TEST(RulesetText, UntracksNoMoreThanTheTunnel) {
    const auto rules = [](const Tunnel& t) { return ruleset_text({"enc0", {t}}); };
    Tunnel t;
    t.left.bytes = {10, 0, 0, 1};
    t.right.bytes = {10, 0, 0, 2};
    EXPECT_NE(rules(t).find("ip saddr 10.0.0.2 ip daddr 10.0.0.1 udp sport { 500, 4500 } "
                            "udp dport { 500, 4500 } notrack"),
              std::string::npos);
    t.interface = "sync"; // for a link-local address
    EXPECT_NE(rules(t).find("iifname \"sync\" meta nfproto ipv4 ip saddr 10.0.0.2"),
              std::string::npos);
    EXPECT_NE(rules(t).find("oifname \"sync\" meta nfproto ipv4 ip saddr 10.0.0.1"),
              std::string::npos);
    t.interface = {};
    t.right = {};
    t.right_ports = {};
    EXPECT_NE(rules(t).find("ipv4 ip daddr 10.0.0.1 udp dport { 500, 4500 } notrack"),
              std::string::npos);
    t.left_ports = {};
    EXPECT_EQ(rules(t).find("notrack"), std::string::npos); // it would match all UDP to there
    t.left_ports = {500};
    t.left = {};
    EXPECT_EQ(rules(t).find("notrack"), std::string::npos);
}

} // namespace
} // namespace encsync::policy
