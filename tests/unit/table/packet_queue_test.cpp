// SPDX-License-Identifier: ISC
// Packets that wait in a real kernel's queue. The rule is one of iptables: it uses the same queue
// as an nftables rule, and is supported by more kernels. If the kernel's queue does not report the
// flow, these tests run in tests/vm only.
#include "netns.hpp"
#include "table/conntrack/packet_queue.hpp"

#include <arpa/inet.h>
#include <boost/asio/post.hpp>
#include <cstdlib>
#include <poll.h>
#include <sys/socket.h>

namespace encsync::table::test {
namespace {

constexpr std::uint16_t kQueue = 240;

struct Waiting {
    std::uint32_t id;
    std::optional<state::Flow> flow;
};

class PacketQueueTest : public InNamespace {
  protected:
    void SetUp() override {
        InNamespace::SetUp();
        if (HasFatalFailure())
            return;
        ASSERT_EQ(std::system("ip link set lo up && "
                              "iptables-nft -t mangle -A POSTROUTING -m conntrack --ctstate NEW "
                              "! --ctstatus CONFIRMED "
                              "-j NFQUEUE --queue-num 240 --queue-bypass"),
                  0);
        if (const auto probe = PacketQueue::open(io_, kQueue); !probe) // supported or not
            GTEST_SKIP() << probe.error().text;
        server_.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        client_.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        ASSERT_EQ(with(::bind, server_, kDport), 0);
        ASSERT_EQ(with(::bind, client_, kSport), 0);
        ASSERT_EQ(with(::connect, client_, kDport), 0);
    }
    void TearDown() override {
        queue_.reset();
        InNamespace::TearDown();
    }

    template<class F>
    static int with(F call, const Fd& fd, std::uint16_t port) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return call(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
    }
    void open_queue() {
        auto queue = PacketQueue::open(io_, kQueue);
        ASSERT_TRUE(queue) << queue.error().text;
        queue_ = std::move(*queue);
        queue_->start([this](std::uint32_t id, const state::Flow* flow) {
            waiting_.push_back({id, flow != nullptr ? std::optional(*flow) : std::nullopt});
        });
    }
    // Queueing is complete when send() returns, so no wait is needed.
    bool arrived() const {
        pollfd p{server_.get(), POLLIN, 0};
        return ::poll(&p, 1, 0) == 1;
    }
    void send() const { ASSERT_EQ(::send(client_.get(), "x", 1, 0), 1); }

    static constexpr std::uint16_t kSport = 4000, kDport = 4001;
    Fd server_, client_;
    std::unique_ptr<PacketQueue> queue_;
    std::vector<Waiting> waiting_;
};

TEST_F(PacketQueueTest, APacketWaitsWithTheFlowThatItBegins) {
    open_queue();
    auto table = open(io_, {.filter = {}});
    Recorder recorder;
    table->start(recorder);
    send();
    ASSERT_TRUE(run_until([&] { return waiting_.size() == 1; }));
    EXPECT_FALSE(arrived());
    ASSERT_TRUE(waiting_[0].flow);
    const state::Flow& flow = *waiting_[0].flow;
    EXPECT_EQ(flow.key.proto, IPPROTO_UDP);
    EXPECT_EQ(flow.key.orig.sport, kSport);
    EXPECT_EQ(flow.key.orig.dport, kDport);
    EXPECT_EQ(flow.key.family, state::Family::inet);
    EXPECT_EQ(flow.reply, state::inverse(flow.key));
    EXPECT_EQ(std::pair(flow.src_state, flow.dst_state),
              std::pair(std::uint8_t{1}, std::uint8_t{0}));
    EXPECT_FALSE(flow.timeout_known);
    // The kernel has no entry before the packet has left.
    dump(*table, recorder);
    EXPECT_TRUE(recorder.dump.empty());
    queue_->accept(waiting_[0].id);
    EXPECT_TRUE(arrived());
    EXPECT_EQ(queue_->counters().packets, 1U);
    // The second packet of a known flow does not wait.
    send();
    EXPECT_EQ(::recv(server_.get(), waiting_.data(), 1, MSG_DONTWAIT), 1);
    EXPECT_EQ(::recv(server_.get(), waiting_.data(), 1, MSG_DONTWAIT), 1);
}

TEST_F(PacketQueueTest, AConnectionWaitsWithItsSyn) {
    open_queue();
    const Fd listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const Fd near(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ASSERT_EQ(with(::bind, listening, 80), 0);
    ASSERT_EQ(::listen(listening.get(), 1), 0);
    EXPECT_EQ(with(::connect, near, 80), -1);
    ASSERT_TRUE(run_until([&] { return waiting_.size() == 1; }));
    ASSERT_TRUE(waiting_[0].flow);
    EXPECT_EQ(waiting_[0].flow->src_state, state::tcp::kSynSent);
    EXPECT_EQ(waiting_[0].flow->dst_state, state::tcp::kClosed);
    EXPECT_EQ(waiting_[0].flow->key.orig.dport, 80);
    pollfd connected{near.get(), POLLOUT, 0};
    EXPECT_EQ(::poll(&connected, 1, 0), 0);
    queue_->accept(waiting_[0].id);
    EXPECT_EQ(::poll(&connected, 1, 60000), 1);
}

TEST_F(PacketQueueTest, WhatWaitsGoesOnWhenTheQueueGoes) {
    open_queue();
    send();
    ASSERT_TRUE(run_until([&] { return waiting_.size() == 1; }));
    EXPECT_FALSE(arrived());
    queue_.reset();
    EXPECT_TRUE(arrived());
}

TEST_F(PacketQueueTest, WithoutAQueueNothingWaits) {
    send();
    EXPECT_TRUE(arrived());
}

TEST_F(PacketQueueTest, AnIdThatIsNotWaitingIsNoVerdict) {
    open_queue();
    send();
    ASSERT_TRUE(run_until([&] { return waiting_.size() == 1; }));
    queue_->accept(waiting_[0].id + 1);
    EXPECT_FALSE(arrived());
    queue_->accept(waiting_[0].id);
    EXPECT_TRUE(arrived());
}

TEST_F(PacketQueueTest, ANumberThatIsTakenIsRefusedInWords) {
    open_queue();
    auto second = PacketQueue::open(io_, kQueue);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().text.find("another program has queue 240"), std::string::npos)
        << second.error().text;
    EXPECT_TRUE(PacketQueue::open(io_, kQueue + 1));
}

} // namespace
} // namespace encsync::table::test
