// SPDX-License-Identifier: ISC
#include "flows.hpp"

#include "table/conntrack/ctnetlink_parse.hpp"
#include "table/progress.hpp"
#include "table/timeouts.hpp"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace encsync::table::test {
namespace {

// linux/netfilter/nf_conntrack_tcp.h
enum Tcp : std::uint8_t {
    none,
    syn_sent,
    syn_recv,
    established,
    fin_wait,
    close_wait,
    last_ack,
    time_wait,
    close,
    syn_sent2
};

struct Row {
    std::uint8_t conntrack;
    Progress pair;
};

TEST(TcpProgress, EveryStateHasItsPair) {
    for (const Row& row :
         {Row{none, {0, 0}}, Row{syn_sent, {2, 0}}, Row{syn_recv, {4, 2}}, Row{established, {4, 4}},
          Row{fin_wait, {7, 4}}, Row{close_wait, {9, 4}}, Row{last_ack, {9, 7}},
          Row{time_wait, {9, 9}}, Row{close, {10, 10}}, Row{syn_sent2, {2, 2}}}) {
        EXPECT_EQ(tcp_progress(row.conntrack), row.pair) << int{row.conntrack};
        EXPECT_EQ(tcp_conntrack(row.pair), row.conntrack);
    }
}

TEST(TcpProgress, OtherPairsGoToTheNearestState) {
    for (const Row& row :
         {Row{syn_sent, {0, 2}}, Row{syn_sent, {2, 1}}, Row{none, {0, 1}}, Row{syn_recv, {3, 2}},
          Row{syn_recv, {2, 4}}, Row{syn_recv, {4, 3}}, Row{syn_recv, {4, 0}},
          Row{fin_wait, {4, 7}}, Row{fin_wait, {6, 4}}, Row{fin_wait, {5, 4}},
          Row{close_wait, {4, 9}}, Row{close_wait, {4, 10}}, Row{last_ack, {7, 7}},
          Row{last_ack, {7, 9}}, Row{last_ack, {8, 5}}, Row{time_wait, {9, 10}},
          Row{time_wait, {10, 9}}, Row{syn_sent, {11, 0}}, Row{syn_recv, {12, 2}}})
        EXPECT_EQ(tcp_conntrack(row.pair), row.conntrack)
            << int{row.pair.src} << ":" << int{row.pair.dst};
}

TEST(Progress, EveryPairThatTheWireAllowsMapsAndStays) {
    for (std::uint8_t src = 0; src <= state::tcp::kMaxState; src++)
        for (std::uint8_t dst = 0; dst <= state::tcp::kMaxState; dst++) {
            const Progress pair{src, dst};
            ASSERT_LT(tcp_conntrack(pair), kTcpStates);
            ASSERT_LT(sctp_conntrack(pair), kSctpStates);
            ASSERT_LT(dccp_conntrack(pair), kDccpStates);
            // What it maps to is a fixed point.
            EXPECT_EQ(tcp_conntrack(tcp_progress(tcp_conntrack(pair))), tcp_conntrack(pair));
            EXPECT_EQ(sctp_conntrack(sctp_progress(sctp_conntrack(pair))), sctp_conntrack(pair));
            EXPECT_EQ(dccp_conntrack(dccp_progress(dccp_conntrack(pair))), dccp_conntrack(pair));
        }
}

TEST(Progress, EveryStateOfSctpAndDccpComesBack) {
    for (std::uint8_t s = 0; s < kSctpStates; s++)
        EXPECT_EQ(sctp_conntrack(sctp_progress(s)), s);
    for (std::uint8_t s = 0; s < kDccpStates; s++)
        EXPECT_EQ(dccp_conntrack(dccp_progress(s)), s);
}

TEST(Progress, DatagramsFollowTheirStatus) {
    EXPECT_EQ(datagram_progress(IPPROTO_UDP, 0), (Progress{1, 0}));
    EXPECT_EQ(datagram_progress(IPPROTO_UDP, state::kSeenReply), (Progress{2, 1}));
    EXPECT_EQ(datagram_progress(IPPROTO_UDP, state::kSeenReply | state::kAssured),
              (Progress{2, 2}));
    EXPECT_EQ(datagram_progress(IPPROTO_ICMP, state::kSeenReply), (Progress{0, 0}));
}

TEST(ImpliedFlags, AreTheFlowsOwnWhereItHasAny) {
    state::Flow f = tcp(1);
    f.flags = state::kSeenReply;
    EXPECT_EQ(implied_flags(f), state::kSeenReply);
}

TEST(ImpliedFlags, FollowFromProgressWhereAPfPeerSaysNothing) {
    constexpr std::uint8_t both = state::kSeenReply | state::kAssured;
    struct Case {
        state::Flow flow;
        Progress progress;
        std::uint8_t flags;
    };
    for (const Case& c : {Case{tcp(1), {2, 0}, 0}, Case{tcp(1), {4, 2}, state::kSeenReply},
                          Case{tcp(1), {4, 4}, both}, Case{tcp(1), {9, 9}, both},
                          Case{udp(1), {1, 0}, 0}, Case{udp(1), {2, 1}, state::kSeenReply},
                          Case{udp(1), {2, 2}, both}, Case{ping(1), {0, 0}, 0}}) {
        state::Flow f = c.flow;
        f.flags = 0;
        f.src_state = c.progress.src;
        f.dst_state = c.progress.dst;
        EXPECT_EQ(implied_flags(f), c.flags) << state::to_string(f);
    }
}

// ---- lifetimes -------------------------------------------------------------------------------

class TimeoutsTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "timeoutsXXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        directory_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }
    void set(const std::string& file, const std::string& text) {
        std::ofstream(directory_ + "/nf_conntrack_" + file) << text;
    }
    std::string directory_;
};

TEST_F(TimeoutsTest, DefaultsAreTheKernels) {
    const Timeouts t(directory_);
    EXPECT_EQ(t.natural(tcp(1)), 432000U);
    EXPECT_EQ(t.natural(udp(1)), 120U);
    EXPECT_EQ(t.natural(ping(1)), 30U);
    state::Flow f = udp(1);
    f.flags = state::kSeenReply;
    f.dst_state = 1;
    EXPECT_EQ(t.natural(f), 30U);
    EXPECT_EQ(t.longest(f), 120U); // its next packet may make it a stream
    f.key.proto = 89;
    EXPECT_EQ(t.natural(f), 600U);
    f.key.proto = 33; // DCCP: this directory has no such timeouts
    EXPECT_EQ(t.natural(f), 600U);
}

TEST_F(TimeoutsTest, FilesAreReadAnew) {
    set("tcp_timeout_established", "7200\n");
    set("dccp_timeout_request", "240\n");
    set("dccp_timeout_open", "43200\n");
    Timeouts t(directory_);
    EXPECT_EQ(t.natural(tcp(1)), 7200U);
    state::Flow dccp = tcp(1);
    dccp.key.proto = 33;
    EXPECT_EQ(t.natural(dccp), 43200U);
    set("tcp_timeout_established", "100\n");
    EXPECT_EQ(t.natural(tcp(1)), 7200U);
    t.reload();
    EXPECT_EQ(t.natural(tcp(1)), 100U);
    set("tcp_timeout_established", "many\n");
    t.reload();
    EXPECT_EQ(t.natural(tcp(1)), 432000U);
}

TEST_F(TimeoutsTest, ACopyIsToldByMoreTimeThanTrafficGives) {
    const Timeouts t(directory_);
    state::Flow f = udp(1);
    f.timeout = 120;
    EXPECT_FALSE(t.is_untouched(f));
    f.timeout = 122;
    EXPECT_FALSE(t.is_untouched(f));
    f.timeout = 123;
    EXPECT_TRUE(t.is_untouched(f));
    f.timeout = 720;
    EXPECT_TRUE(t.is_untouched(f));
}

} // namespace
} // namespace encsync::table::test
