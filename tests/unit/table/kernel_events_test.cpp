// SPDX-License-Identifier: ISC
// Reports of the kernel's own conntrack: events, which of them are filtered, dumps.
#include "two_tables.hpp"

#include "table/conntrack/kernel_filter.hpp"
#include "table/conntrack/netlink.hpp"

#include <cstdlib>
#include <fmt/format.h>
#include <sys/socket.h>

namespace encsync::table::test {
namespace {

class KernelEventsTest : public TwoTables {};

// ---- events ----------------------------------------------------------------------------------

TEST_F(KernelEventsTest, OthersAreHeardAndOwnEchoesAreNot) {
    const state::Flow mine = tcp(4000), theirs = tcp(4001);
    put(mine);
    state::Flow changed = mine;
    changed.src_state = 7;
    put(changed);
    other_->put(theirs, Lifetime::natural);
    other_->flush();
    state::Flow closing = theirs;
    closing.src_state = 7;
    other_->put(closing, Lifetime::natural);
    other_->remove(closing);
    other_->flush();
    ours_->remove(mine);
    ours_->flush();
    settle();

    ASSERT_EQ(our_.created.size(), 1U);
    EXPECT_EQ(our_.created[0].key, theirs.key);
    ASSERT_EQ(our_.updated.size(), 1U);
    EXPECT_EQ(our_.updated[0].src_state, 7);
    ASSERT_EQ(our_.destroyed.size(), 1U);
    EXPECT_EQ(our_.destroyed[0].key, theirs.key);
    // The kernel's filter dropped ours; the other table shows that they existed.
    EXPECT_EQ(ours_->event_counters().own_echoes, 0U);
    ASSERT_EQ(others_.created.size(), 1U);
    EXPECT_EQ(others_.created[0].key, mine.key);
    EXPECT_EQ(others_.updated.size(), 1U);
    EXPECT_EQ(others_.destroyed.size(), 1U);
}

TEST_F(KernelEventsTest, OwnEchoesThatPassTheSocketFilterAreDroppedInCode) {
    Recorder recorder;
    ConntrackOptions options;
    options.filter_in_kernel = false;
    auto unfiltered = open(io_, options);
    ASSERT_TRUE(unfiltered);
    unfiltered->start(recorder);
    unfiltered->put(tcp(4002), Lifetime::copy);
    unfiltered->remove(tcp(4002));
    unfiltered->flush();
    ASSERT_TRUE(run_until([&] { return unfiltered->event_counters().own_echoes >= 2; }));
    put(tcp(4003));
    ASSERT_TRUE(run_until([&] { return !recorder.created.empty(); }));
    EXPECT_EQ(recorder.created[0].key, tcp(4003).key);
    EXPECT_EQ(recorder.created.size(), 1U);
    EXPECT_TRUE(recorder.destroyed.empty());
}

TEST_F(KernelEventsTest, FlowsNotToBeSyncedAreCountedAndNotReported) {
    other_->put(tcp(4005, "127.0.0.1", "127.0.0.1"), Lifetime::natural);
    state::Flow vrrp = udp(0);
    vrrp.key.proto = 112;
    vrrp.key.orig.sport = vrrp.key.orig.dport = 0;
    vrrp.reply = state::inverse(vrrp.key);
    other_->put(vrrp, Lifetime::natural);
    other_->put(udp(4006, "10.1.0.2", "224.0.0.251"), Lifetime::natural);
    other_->flush();
    settle();
    EXPECT_TRUE(our_.created.empty());
    const auto& ignored = ours_->event_counters().ignored;
    EXPECT_EQ(ignored[static_cast<std::size_t>(Ignored::loopback)], 1U);
    EXPECT_EQ(ignored[static_cast<std::size_t>(Ignored::protocol)], 1U);
    EXPECT_EQ(ignored[static_cast<std::size_t>(Ignored::multicast)], 1U);
}

TEST_F(KernelEventsTest, LocalAddressesAreFollowed) {
    ASSERT_EQ(std::system("ip link add v0 type veth peer name v1 && ip link set v0 up && "
                          "ip link set v1 up"),
              0);
    const auto local = [&] { return ours_->local_addresses().is_local(ip("10.1.0.2")); };
    EXPECT_FALSE(local());
    ASSERT_EQ(std::system("ip address add 10.1.0.2/24 dev v0 && ip address add 10.1.0.2/24 dev v1"),
              0);
    ASSERT_TRUE(run_until(local));
    other_->put(tcp(4007), Lifetime::natural);
    other_->flush();
    settle();
    EXPECT_TRUE(our_.created.empty());
    EXPECT_EQ(ours_->event_counters().ignored[static_cast<std::size_t>(Ignored::local)], 1U);
    ASSERT_EQ(std::system("ip address del 10.1.0.2/24 dev v0"), 0);
    ASSERT_EQ(std::system("ip address add 10.7.0.1/24 dev v0"), 0);
    const auto seven = [&] { return ours_->local_addresses().is_local(ip("10.7.0.1")); };
    ASSERT_TRUE(run_until(seven));
    EXPECT_TRUE(local()); // v1 still has it
    ASSERT_EQ(std::system("ip address del 10.1.0.2/24 dev v1"), 0);
    ASSERT_TRUE(run_until([&] { return !local(); }));
    other_->put(tcp(4008), Lifetime::natural);
    other_->flush();
    ASSERT_TRUE(run_until([&] { return !our_.created.empty(); }));
}

TEST_F(KernelEventsTest, AnAddressThatWasThereBeforeIsKnownFromTheStart) {
    ASSERT_EQ(std::system("ip link add v0 type veth peer name v1 && "
                          "ip address add 10.1.0.2/24 dev v0"),
              0);
    auto table = open(io_);
    ASSERT_TRUE(table);
    EXPECT_TRUE(table->local_addresses().is_local(ip("10.1.0.2")));
    EXPECT_FALSE(table->local_addresses().is_local(ip("10.1.0.3")));
}

// ---- nosync ----------------------------------------------------------------------------------

// Twice: with the kernel's filter, and with our code only.
class NoSyncTest : public TwoTables, public testing::WithParamInterface<bool> {
  protected:
    void SetUp() override {
        TwoTables::SetUp();
        if (HasFatalFailure())
            return;
        ConntrackOptions options;
        options.filter_in_kernel = GetParam();
        options.filter.nosync = state::NoSync(
            {state::NoSyncRule{.mark = state::MarkMatch{0x10, 0x10}}, state::NoSyncRule{.zone = 7},
             state::NoSyncRule{.dst = prefix("192.0.2.128/25"), .proto = IPPROTO_UDP}});
        table_ = open(io_, options);
        ASSERT_TRUE(table_);
        table_->start(seen_);
        ASSERT_TRUE(run_until([&] { return seen_.dumps_ended == 1; }));
    }
    void TearDown() override {
        table_.reset();
        TwoTables::TearDown();
    }
    void write(const state::Flow& f) {
        other_->put(f, Lifetime::natural);
        other_->flush();
    }
    // All earlier events have been received, or never will be.
    void pass_by() {
        const state::Flow last = udp(++marker_, "10.254.0.1");
        write(last);
        ASSERT_TRUE(run_until(
            [&] { return !seen_.created.empty() && seen_.created.back().key == last.key; }));
        seen_.created.pop_back();
    }
    std::uint64_t ignored(Ignored why) {
        return table_->event_counters().ignored[static_cast<std::size_t>(why)];
    }

    std::unique_ptr<Conntrack> table_;
    Recorder seen_;
};

INSTANTIATE_TEST_SUITE_P(, NoSyncTest, testing::Bool(),
                         [](const auto& in) { return in.param ? "InKernel" : "InCode"; });

TEST_P(NoSyncTest, ByWhatNeverChangesAFlowIsNeverHeardOf) {
    state::Flow zoned = tcp(6000), to_udp = udp(6001, "10.1.0.2", "192.0.2.200");
    zoned.key.zone = 7;
    state::Flow other_zone = tcp(6002), near_udp = udp(6003, "10.1.0.2", "192.0.2.100");
    other_zone.key.zone = 8;
    for (const state::Flow& f : {zoned, to_udp, other_zone, near_udp})
        write(f);
    state::Flow later = zoned;
    later.src_state = 7;
    write(later);
    other_->remove(zoned);
    other_->flush();
    pass_by();
    ASSERT_EQ(seen_.created.size(), 2U);
    EXPECT_EQ(seen_.created[0].key, other_zone.key);
    EXPECT_EQ(seen_.created[1].key, near_udp.key);
    EXPECT_TRUE(seen_.updated.empty() && seen_.destroyed.empty() && seen_.withdrawn.empty());
    EXPECT_EQ(ignored(Ignored::nosync), GetParam() ? 0U : 4U);
    dump(*table_, seen_);
    EXPECT_FALSE(seen_.dump.contains(to_udp.key));
    EXPECT_TRUE(seen_.dump.contains(near_udp.key) && seen_.dump.contains(other_zone.key));
}

TEST_P(NoSyncTest, AMarkWithdrawsAFlowAndBringsItBack) {
    state::Flow f = tcp(6100);
    f.mark = 0x01;
    write(f);
    pass_by();
    ASSERT_EQ(seen_.created.size(), 1U);
    EXPECT_EQ(seen_.created[0].mark, 0x01U);
    f.mark = 0x11;
    write(f);
    pass_by();
    ASSERT_EQ(seen_.withdrawn.size(), 1U);
    EXPECT_EQ(seen_.withdrawn[0].key, f.key);
    EXPECT_TRUE(seen_.destroyed.empty() && seen_.updated.empty());
    EXPECT_TRUE(is_there(f.key)); // the entry itself must not be changed
    dump(*table_, seen_);
    EXPECT_FALSE(seen_.dump.contains(f.key));
    f.mark = 0x02;
    write(f);
    pass_by();
    ASSERT_EQ(seen_.updated.size(), 1U);
    EXPECT_EQ(seen_.updated[0].mark, 0x02U);
    dump(*table_, seen_);
    EXPECT_TRUE(seen_.dump.contains(f.key));
}

TEST_P(NoSyncTest, AMarkedFlowBeginsUnheardAndItsEndIsTold) {
    state::Flow f = tcp(6200);
    f.mark = 0x10;
    write(f);
    pass_by();
    EXPECT_TRUE(seen_.created.empty() && seen_.withdrawn.empty());
    EXPECT_EQ(ignored(Ignored::nosync_mark), GetParam() ? 0U : 1U);
    other_->remove(f);
    other_->flush();
    pass_by();
    ASSERT_EQ(seen_.destroyed.size(), 1U);
    EXPECT_EQ(seen_.destroyed[0].key, f.key);
    EXPECT_EQ(ignored(Ignored::nosync_mark), GetParam() ? 1U : 2U);
}

// An entry that we put is a peer's, whatever its mark here.
TEST_P(NoSyncTest, ACopyOfAPeerIsPutAndNotWithdrawn) {
    state::Flow f = tcp(6300);
    f.mark = 0x10;
    table_->put(f, Lifetime::copy);
    table_->flush();
    EXPECT_EQ(read_back(f.key).mark, 0x10U);
    pass_by();
    EXPECT_TRUE(seen_.created.empty() && seen_.withdrawn.empty() && seen_.destroyed.empty());
    EXPECT_TRUE(seen_.refused.empty());
}

TEST_F(KernelEventsTest, AFullFilterFitsTheKernelsOldLimit) {
    std::ofstream limit("/proc/sys/net/core/optmem_max");
    if (!(limit << "20480" << std::flush))
        GTEST_SKIP() << "the limit is not this namespace's own";
    std::vector<state::NoSyncRule> rules;
    rules.reserve(64);
    for (int i = 0; i < 64; i++)
        rules.push_back({.mark = state::MarkMatch{1, 3},
                         .src = prefix(fmt::format("2001:db8:{}::/48", i)),
                         .nets = {prefix(fmt::format("2001:db8:{}:1::/64", i))},
                         .ports = net::PortRange{53, 53},
                         .zone = 3});
    const auto program = build_event_filter(1, rules);
    EXPECT_GT(program.size(), kMaxFilterSize / 2);
    auto socket = netlink::Socket::open(NETLINK_NETFILTER, "test");
    ASSERT_TRUE(socket);
    const auto attached = socket->attach(program);
    EXPECT_TRUE(attached) << attached.error().text;
    // Control: there is such a limit.
    std::vector<sock_filter> large(4000, sock_filter{BPF_LD | BPF_IMM, 0, 0, 0});
    large.push_back({BPF_RET | BPF_K, 0, 0, 1});
    EXPECT_FALSE(socket->attach(large));
}

// ---- dumps -----------------------------------------------------------------------------------

TEST_F(KernelEventsTest, ADumpTellsCopiesFromNaturalEntries) {
    put(tcp(5000), Lifetime::copy);
    put(tcp(5001), Lifetime::natural);
    put(udp(5002), Lifetime::copy);
    put(udp(5003), Lifetime::natural);
    put(ping(5004), Lifetime::copy);
    dump(*ours_, our_);
    ASSERT_EQ(our_.dump.size(), 5U);
    EXPECT_TRUE(our_.dump[tcp(5000).key].second);
    EXPECT_FALSE(our_.dump[tcp(5001).key].second);
    EXPECT_TRUE(our_.dump[udp(5002).key].second);
    EXPECT_FALSE(our_.dump[udp(5003).key].second);
    EXPECT_TRUE(our_.dump[ping(5004).key].second);
}

TEST_F(KernelEventsTest, ADumpAskedForWhileOneRunsComesAfterIt) {
    const int before = our_.dumps_begun;
    ours_->request_dump();
    ours_->request_dump(); // not begun yet: still the same one
    ASSERT_TRUE(run_until([&] { return our_.dumps_begun == before + 1; }));
    EXPECT_EQ(our_.dumps_ended, before);
    ours_->request_dump();
    ours_->request_dump();
    ASSERT_TRUE(run_until([&] { return our_.dumps_ended == before + 2; }));
    settle();
    EXPECT_EQ(our_.dumps_begun, before + 2);
}

TEST_F(KernelEventsTest, AnOverrunIsAnsweredByADumpAndNothingIsLost) {
    Recorder recorder;
    ConntrackOptions options;
    options.event_buffer = 4096;
    auto small = open(io_, options);
    ASSERT_TRUE(small);
    small->start(recorder);
    ASSERT_TRUE(run_until([&] { return recorder.dumps_ended == 1; }));
    constexpr std::uint16_t flows = 2000;
    for (std::uint16_t i = 0; i < flows; i++)
        ours_->put(udp(static_cast<std::uint16_t>(10000 + i)), Lifetime::copy);
    ours_->flush();
    ASSERT_TRUE(run_until(
        [&] { return recorder.dumps_ended >= 2 && recorder.dumps_begun == recorder.dumps_ended; }));
    EXPECT_GE(small->event_counters().overruns, 1U);
    EXPECT_LT(recorder.created.size(), flows); // it did lose events
    EXPECT_EQ(recorder.dump.size(), flows);
}

TEST_F(KernelEventsTest, WhatAnOverrunHidesUntilItsQueueIsReadIsShownByTheDump) {
    const state::Flow flow = udp(9999), other = udp(9998);
    put(flow);
    Recorder recorder;
    ConntrackOptions options;
    options.event_buffer = 1 << 20; // for more events than are read in a turn
    auto slow = open(io_, options);
    ASSERT_TRUE(slow);
    slow->start(recorder);
    ASSERT_TRUE(run_until([&] { return recorder.dumps_ended == 1; }));
    for (int batch = 0; batch < 100; batch++) {
        for (int n = 0; n < 100; n++) {
            ours_->put(other, Lifetime::copy);
            ours_->remove(other);
        }
        ours_->flush();
    }
    // A dump of so few flows is all in the answer's first datagram, which exists when it has begun.
    ASSERT_TRUE(run_until([&] { return recorder.dumps_begun == 2; }));
    ours_->remove(flow);
    ours_->flush();
    EXPECT_TRUE(run_until([&] {
        return std::any_of(recorder.destroyed.begin(), recorder.destroyed.end(),
                           [&](const auto& f) { return f.key == flow.key; });
    }));
    EXPECT_GE(slow->event_counters().overruns, 1U);
}

TEST_F(KernelEventsTest, FiftyThousandFlowsGoThroughTheBatch) {
    constexpr std::uint32_t flows = 50000;
    const auto nth = [](std::uint32_t i) {
        const state::Flow f = tcp(static_cast<std::uint16_t>(1024 + i % 50000));
        return i % 2 == 0 ? f : snat(f, "198.51.100.1", static_cast<std::uint16_t>(1024 + i));
    };
    for (std::uint32_t i = 0; i < flows; i++)
        ours_->put(nth(i), Lifetime::copy);
    ours_->flush();
    EXPECT_TRUE(our_.refused.empty());
    EXPECT_EQ(ours_->writer_counters().created, flows);
    for (std::uint32_t i = 0; i < flows; i++)
        ours_->put(nth(i), Lifetime::copy); // each is known to exist
    ours_->flush();
    EXPECT_EQ(ours_->writer_counters().updated, flows);
    dump(*ours_, our_);
    EXPECT_EQ(our_.dump.size(), flows);
    // The other table's socket buffer is large enough for all.
    ASSERT_TRUE(run_until([&] { return others_.created.size() == flows; }));
    EXPECT_EQ(other_->event_counters().overruns, 0U);
    for (std::uint32_t i = 0; i < flows; i++)
        ours_->remove(nth(i));
    ours_->flush();
    EXPECT_EQ(ours_->writer_counters().deleted, flows);
}

// ---- errors for what is missing --------------------------------------------------------------

TEST_F(KernelEventsTest, TheEventsSwitchIsPutOn) {
    const std::string file = "/proc/sys/net/netfilter/nf_conntrack_events";
    std::ofstream(file) << "0";
    auto table = open(io_);
    char value = 0;
    std::ifstream(file) >> value;
    EXPECT_EQ(value, '1');
}

} // namespace
} // namespace encsync::table::test
