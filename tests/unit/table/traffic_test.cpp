// SPDX-License-Identifier: ISC
// Real packets through a real firewall:
//
//     client 10.1.0.2 ---- 10.1.0.1 [ this namespace ] 198.51.100.1 ---- 198.51.100.80 server
//                                     masquerades
//
// A copy that was put must let a connection continue that the kernel would otherwise refuse.
#include "two_tables.hpp"

#include <cstdlib>
#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>

namespace encsync::table::test {
namespace {

constexpr const char* kRules = R"(
table ip test {
    counter refused { }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ct state established meta length 500-600 ct mark set 77
        ct state established accept
        ct state new udp dport 53 accept
        ct state new tcp flags & (fin|syn|rst|ack) == syn accept
        counter name refused drop
    }
    chain postrouting {
        type nat hook postrouting priority 100; policy accept;
        oifname "fs" masquerade
    }
}
)";

class TrafficTest : public TwoTables {
  protected:
    void SetUp() override {
        InNamespace::SetUp(); // NOLINT(bugprone-parent-virtual-call): one table will do
        if (HasFatalFailure())
            return;
        firewall_ = this_namespace();
        client_ = make_node("fc", "10.1.0.1/24", "10.1.0.2/24", "10.1.0.1");
        server_ = make_node("fs", "198.51.100.1/24", "198.51.100.80/24", "");
        std::ofstream("/proc/sys/net/ipv4/ip_forward") << "1";
        // Connections are not picked up midway.
        std::ofstream("/proc/sys/net/netfilter/nf_conntrack_tcp_loose") << "0";
        ASSERT_TRUE(run(fmt::format("nft -f - <<'E'\n{}\nE", kRules)));
        open_tables();
    }
    void TearDown() override {
        if (firewall_) {
            ASSERT_EQ(::setns(firewall_.get(), CLONE_NEWNET), 0);
        }
        TwoTables::TearDown();
    }

    static bool run(const std::string& command) { return std::system(command.c_str()) == 0; }

    Fd make_node(const std::string& link, const std::string& here, const std::string& there,
                 const std::string& gateway) {
        EXPECT_EQ(::unshare(CLONE_NEWNET), 0);
        Fd node = this_namespace();
        EXPECT_EQ(::setns(firewall_.get(), CLONE_NEWNET), 0);
        EXPECT_TRUE(
            run(fmt::format("ip link add {0} type veth peer name eth0 netns /proc/{1}/fd/{2} "
                            "&& ip address add {3} dev {0} && ip link set {0} up",
                            link, ::getpid(), node.get(), here)));
        EXPECT_EQ(::setns(node.get(), CLONE_NEWNET), 0);
        EXPECT_TRUE(run(fmt::format("ip address add {} dev eth0 && ip link set eth0 up", there)));
        if (!gateway.empty()) {
            EXPECT_TRUE(run("ip route add default via " + gateway));
        }
        EXPECT_EQ(::setns(firewall_.get(), CLONE_NEWNET), 0);
        return node;
    }

    Fd socket_in(const Fd& node, int type) {
        EXPECT_EQ(::setns(node.get(), CLONE_NEWNET), 0);
        Fd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::setns(firewall_.get(), CLONE_NEWNET), 0);
        return fd;
    }
    static sockaddr_in at(const std::string& host, std::uint16_t port) {
        sockaddr_in out{};
        out.sin_family = AF_INET;
        out.sin_port = htons(port);
        ::inet_pton(AF_INET, host.c_str(), &out.sin_addr);
        return out;
    }
    template<class F>
    static int with(F call, const Fd& fd, const sockaddr_in& address) {
        return call(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    }
    static bool readable(const Fd& fd, int ms) {
        pollfd p{fd.get(), POLLIN, 0};
        return ::poll(&p, 1, ms) == 1;
    }
    static std::string receive(const Fd& fd) {
        std::array<char, 1024> text{};
        if (!readable(fd, 60000))
            return "nothing";
        const ssize_t n = ::recv(fd.get(), text.data(), text.size(), 0);
        return n < 0 ? "error" : std::string(text.data(), static_cast<std::size_t>(n));
    }
    static void send(const Fd& fd, const std::string& text) {
        EXPECT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
    }
    // Until the firewall has refused a packet.
    bool wait_for_refusal() {
        return run_until(
            [&] { return run("nft list counter ip test refused | grep -q 'packets [1-9]'"); });
    }

    void connect() {
        const Fd listening = socket_in(server_, SOCK_STREAM);
        const sockaddr_in server = at("198.51.100.80", 80);
        ASSERT_EQ(with(::bind, listening, server), 0);
        ASSERT_EQ(::listen(listening.get(), 1), 0);
        near_ = socket_in(client_, SOCK_STREAM);
        ASSERT_EQ(with(::connect, near_, server), 0);
        far_.reset(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
        ASSERT_TRUE(far_);
        send(near_, "hello");
        ASSERT_EQ(receive(far_), "hello");
        ASSERT_TRUE(run_until([&] {
            return !our_.updated.empty() && (our_.updated.back().flags & state::kAssured) != 0;
        }));
    }

    Fd firewall_, client_, server_, near_, far_;
};

TEST_F(TrafficTest, AConnectionIsReportedStepByStep) {
    connect();
    ASSERT_EQ(our_.created.size(), 1U);
    const state::Flow& first = our_.created[0];
    EXPECT_EQ(first.key.proto, IPPROTO_TCP);
    EXPECT_EQ(first.key.orig.src, address("10.1.0.2"));
    EXPECT_EQ(first.key.orig.dst, address("198.51.100.80"));
    EXPECT_EQ(first.key.orig.dport, 80);
    EXPECT_EQ(first.reply.dst, address("198.51.100.1"));
    EXPECT_EQ(std::pair(first.src_state, first.dst_state),
              std::pair(std::uint8_t{2}, std::uint8_t{0}));
    const state::Flow& last = our_.updated.back();
    EXPECT_EQ(last.src_state, state::tcp::kEstablished);
    EXPECT_EQ(last.dst_state, state::tcp::kEstablished);
}

TEST_F(TrafficTest, AnUpdateOfTheMarkAloneStillComesWithItsProgress) {
    connect();
    our_.updated.clear();
    send(near_, std::string(500, 'm'));
    ASSERT_TRUE(run_until([&] { return !our_.updated.empty(); }));
    EXPECT_EQ(our_.updated[0].mark, 77U);
    EXPECT_EQ(our_.updated[0].src_state, state::tcp::kEstablished);
    EXPECT_EQ(our_.updated[0].dst_state, state::tcp::kEstablished);
}

TEST_F(TrafficTest, ACopyCarriesTheConnectionOn) {
    connect();
    const state::Flow flow = our_.updated.back();
    other_->remove(flow);
    other_->flush();
    // Control: without the entry the firewall drops packets of both sides.
    send(near_, "lost?");
    ASSERT_TRUE(wait_for_refusal());
    EXPECT_FALSE(readable(far_, 0));

    ours_->put(flow, Lifetime::copy);
    ours_->flush();
    ASSERT_TRUE(our_.refused.empty());
    EXPECT_EQ(receive(far_), "lost?");
    send(far_, "no");
    EXPECT_EQ(receive(near_), "no");

    // Packets of both directions have used it: it is live, and no longer a copy.
    dump(*ours_, our_);
    ASSERT_TRUE(our_.dump.contains(flow.key));
    EXPECT_FALSE(our_.dump[flow.key].second);
    EXPECT_EQ(our_.dump[flow.key].first.reply, flow.reply);
}

TEST_F(TrafficTest, ACopyThatNoPacketUsedStaysACopy) {
    connect();
    const state::Flow flow = our_.updated.back();
    ours_->put(flow, Lifetime::copy);
    ours_->flush();
    dump(*ours_, our_);
    EXPECT_TRUE(our_.dump[flow.key].second);
}

TEST_F(TrafficTest, ADatagramExchangeIsCarriedOnUnderItsOldAddress) {
    const Fd server = socket_in(server_, SOCK_DGRAM);
    ASSERT_EQ(with(::bind, server, at("198.51.100.80", 53)), 0);
    const Fd client = socket_in(client_, SOCK_DGRAM);
    ASSERT_EQ(with(::connect, client, at("198.51.100.80", 53)), 0);
    send(client, "one");
    ASSERT_EQ(receive(server), "one");
    ASSERT_TRUE(run_until([&] { return !our_.created.empty(); }));
    const state::Flow flow = our_.created.back();
    other_->remove(flow);
    other_->flush();
    // As masqueraded by the peer: with another port than this kernel would choose.
    state::Flow copy = flow;
    copy.reply.dport = 61234;
    copy.flags = state::kSeenReply | state::kAssured;
    copy.src_state = copy.dst_state = 2;
    ours_->put(copy, Lifetime::copy);
    ours_->flush();
    send(client, "two");
    std::array<char, 16> text{};
    sockaddr_in from{};
    socklen_t size = sizeof from;
    ASSERT_TRUE(readable(server, 60000));
    ASSERT_EQ(::recvfrom(server.get(), text.data(), text.size(), 0,
                         reinterpret_cast<sockaddr*>(&from), &size),
              3);
    EXPECT_EQ(ntohs(from.sin_port), 61234);
    ASSERT_EQ(::sendto(server.get(), "yes", 3, 0, reinterpret_cast<sockaddr*>(&from), size), 3);
    EXPECT_EQ(receive(client), "yes");
}

} // namespace
} // namespace encsync::table::test
