// SPDX-License-Identifier: ISC
// Against the kernel's own conntrack, each test in a network namespace of its own.
#include "flows.hpp"
#include "netns.hpp"

#include "table/ctnetlink_build.hpp"
#include "table/kernel_filter.hpp"
#include "table/netlink.hpp"
#include "table/progress.hpp"

#include <cstdlib>
#include <fmt/format.h>
#include <sys/socket.h>

namespace encsync::table::test {
namespace {

constexpr std::uint8_t kSctp = 132, kDccp = 33, kUdpLite = 136, kGre = 47, kOspf = 89;

class KernelTest : public InNamespace {
  protected:
    void SetUp() override {
        InNamespace::SetUp();
        if (HasFatalFailure())
            return;
        // Ours is under test; other stands for whoever else changes the table.
        ours_ = open(io_);
        other_ = open(io_);
        ASSERT_TRUE(ours_ && other_);
        ours_->start(our_);
        other_->start(others_);
        ASSERT_TRUE(run_until([&] { return our_.dumps_ended == 1 && others_.dumps_ended == 1; }));
    }
    void TearDown() override {
        ours_.reset();
        other_.reset();
        InNamespace::TearDown();
    }

    // The entry as the kernel has it, or fails.
    state::Flow read_back(const state::Key& key) {
        dump(*other_, others_);
        const auto at = others_.dump.find(key);
        if (at == others_.dump.end()) {
            ADD_FAILURE() << "not in the kernel";
            return {};
        }
        return at->second.first;
    }
    bool is_there(const state::Key& key) {
        dump(*other_, others_);
        return others_.dump.contains(key);
    }
    void put(const state::Flow& f, Lifetime lifetime = Lifetime::copy) {
        ours_->put(f, lifetime);
        ours_->flush();
    }
    // Both tables have seen everything that happened so far.
    void settle() {
        const auto seen = [](const Recorder& r, const state::Key& key) {
            return std::any_of(r.created.begin(), r.created.end(),
                               [&](const auto& f) { return f.key == key; });
        };
        const state::Flow ours = udp(++marker_, "10.255.0.1"),
                          others = udp(++marker_, "10.255.0.1");
        ours_->put(ours, Lifetime::natural);
        ours_->flush();
        other_->put(others, Lifetime::natural);
        other_->flush();
        ASSERT_TRUE(run_until([&] { return seen(our_, others.key) && seen(others_, ours.key); }));
        const auto forget = [&](std::vector<state::Flow>& flows) {
            std::erase_if(flows,
                          [&](const auto& f) { return f.key == ours.key || f.key == others.key; });
        };
        forget(our_.created);
        forget(others_.created);
    }

    std::unique_ptr<Conntrack> ours_, other_;
    Recorder our_, others_;
    std::uint16_t marker_ = 0;
};

// ---- create and read back --------------------------------------------------------------------

std::vector<std::pair<std::string, state::Flow>> flows_of_every_kind() {
    std::vector<std::pair<std::string, state::Flow>> out;
    out.emplace_back("tcp", tcp(1000));
    out.emplace_back("tcp6", tcp(1001, "2001:db8:1::2", "2001:db8:2::80"));
    out.emplace_back("udp", udp(1002));
    out.emplace_back("udp6", udp(1003, "2001:db8:1::2", "2001:db8:2::53"));
    out.emplace_back("icmp", ping(1004));
    out.emplace_back("icmp6", ping(1005, "2001:db8:1::2", "2001:db8:2::80"));
    auto other = [](std::uint8_t proto, std::uint16_t sport, std::uint16_t dport) {
        state::Flow f = udp(0);
        f.key.proto = proto;
        f.key.orig.sport = sport;
        f.key.orig.dport = dport;
        f.reply = state::inverse(f.key);
        return f;
    };
    out.emplace_back("udplite", other(kUdpLite, 1006, 53));
    out.emplace_back("gre", other(kGre, 0, 0));
    out.emplace_back("ospf", other(kOspf, 0, 0));
    state::Flow sctp = tcp(1007);
    sctp.key.proto = kSctp;
    out.emplace_back("sctp", sctp);
    state::Flow zoned = tcp(1008);
    zoned.key.zone = 7;
    zoned.mark = 0xdecade01;
    out.emplace_back("zone and mark", zoned);
    state::Flow lone = udp(1009);
    lone.flags = 0;
    lone.src_state = 1, lone.dst_state = 0;
    out.emplace_back("udp unreplied", lone);
    state::Flow answered = udp(1010);
    answered.flags = state::kSeenReply;
    answered.dst_state = 1;
    out.emplace_back("udp answered", answered);

    out.emplace_back("tcp snat", snat(tcp(1100), "198.51.100.1", 40000));
    out.emplace_back("tcp snat same port", snat(tcp(1101), "198.51.100.1", 1101));
    out.emplace_back("tcp snat port only", snat(tcp(1102), "10.1.0.2", 40002));
    out.emplace_back("tcp dnat", dnat(tcp(1103, "10.1.0.2", "198.51.100.1"), "10.9.0.80", 8080));
    out.emplace_back(
        "tcp both",
        snat(dnat(tcp(1104, "10.1.0.2", "198.51.100.1"), "10.9.0.80", 8080), "10.9.0.1", 50000));
    out.emplace_back("tcp6 snat",
                     snat(tcp(1105, "2001:db8:1::2", "2001:db8:2::80"), "2001:db8:9::1", 40005));
    out.emplace_back("tcp6 both",
                     snat(dnat(tcp(1106, "2001:db8:1::2", "2001:db8:2::80"), "2001:db8:a::80", 81),
                          "2001:db8:9::1", 40006));
    out.emplace_back("udp snat", snat(udp(1107), "198.51.100.1", 40007));
    out.emplace_back("udp dnat port only", dnat(udp(1108), "192.0.2.53", 5353));
    out.emplace_back("icmp snat", snat(ping(1109), "198.51.100.1", 7));
    out.emplace_back("icmp dnat", dnat(ping(1110), "10.9.0.80", 0));
    out.emplace_back("icmp6 snat",
                     snat(ping(1111, "2001:db8:1::2", "2001:db8:2::80"), "2001:db8:9::1", 8));
    out.emplace_back("ospf snat", snat(other(kOspf, 0, 0), "198.51.100.1", 0));
    state::Flow sctp_nat = snat(sctp, "198.51.100.1", 40011);
    sctp_nat.key.orig.sport = 1111;
    out.emplace_back("sctp snat", sctp_nat);
    state::Flow zoned_nat = snat(tcp(1112), "198.51.100.1", 40012);
    zoned_nat.key.zone = 9;
    out.emplace_back("zone snat", zoned_nat);
    return out;
}

TEST_F(KernelTest, EveryKindOfFlowReadsBackAsItWasPut) {
    const auto all = flows_of_every_kind();
    for (const auto& [name, f] : all) {
        SCOPED_TRACE(name);
        put(f);
        ASSERT_TRUE(our_.refused.empty()) << to_string(our_.refused.back().second);
        state::Flow back = read_back(f.key);
        EXPECT_EQ(back.reply, f.reply) << state::to_string(back) << " for " << state::to_string(f);
        EXPECT_GT(back.timeout, ours_->natural_timeout(f));
        EXPECT_LE(back.timeout, ours_->natural_timeout(f) + kCopyExtra);
        back.timeout = f.timeout;
        EXPECT_EQ(back, f);
        ours_->remove(f);
        ours_->flush();
        EXPECT_FALSE(is_there(f.key));
    }
    EXPECT_EQ(ours_->writer_counters().created, all.size());
    EXPECT_EQ(ours_->writer_counters().deleted, all.size());
}

TEST_F(KernelTest, DccpIsPutWhetherTheKernelFollowsItOrNot) {
    state::Flow f = tcp(1200);
    f.key.proto = kDccp;
    put(f);
    ASSERT_TRUE(our_.refused.empty()) << to_string(our_.refused.back().second);
    dump(*other_, others_);
    EXPECT_EQ(others_.dump.size(), 1U);
}

TEST_F(KernelTest, EveryTcpStateReadsBack) {
    for (std::uint8_t state = 1; state < kTcpStates; state++) {
        state::Flow f = tcp(static_cast<std::uint16_t>(2000 + state));
        const Progress progress = tcp_progress(state);
        f.src_state = progress.src;
        f.dst_state = progress.dst;
        put(f);
        const state::Flow back = read_back(f.key);
        EXPECT_EQ(back.src_state, f.src_state) << int{state};
        EXPECT_EQ(back.dst_state, f.dst_state) << int{state};
    }
}

TEST_F(KernelTest, EntriesHaveTheLiberalWindowFlag) {
    put(tcp(1));
    auto socket = netlink::Socket::open(NETLINK_NETFILTER, "test");
    ASSERT_TRUE(socket);
    std::array<std::uint8_t, 512> request{};
    const std::size_t size = ctnetlink::build(request, ctnetlink::Request::get, tcp(1), 0, 1);
    ASSERT_EQ(socket->send(Bytes(request).first(size)), 0);
    std::array<std::uint8_t, 4096> answer{};
    const ssize_t n = ::recv(socket->fd(), answer.data(), answer.size(), 0);
    ASSERT_GT(n, 0);
    netlink::Messages m(Bytes(answer).first(static_cast<std::size_t>(n)));
    ASSERT_TRUE(m.next());
    int liberal = 0;
    for (netlink::Attributes a(m.payload().subspan(4)); a.next();)
        if (a.type() == 4) // CTA_PROTOINFO
            for (netlink::Attributes info(a.value()); info.next();)
                for (netlink::Attributes t(info.value()); t.next();)
                    if (t.type() == 4 || t.type() == 5) // flags, both directions
                        liberal += (t.value()[0] & 0x08) != 0 ? 1 : 0;
    EXPECT_EQ(liberal, 2);
}

// ---- put on what is there --------------------------------------------------------------------

TEST_F(KernelTest, AHelperReadsBackAndOneThatIsNotHereIsLeftOut) {
    state::Flow f = tcp(21);
    f.extras.helper = *state::Name::of("ftp");
    put(f);
    EXPECT_EQ(read_back(f.key).extras.helper.text(), "ftp");
    state::Flow other = tcp(22);
    other.extras.helper = *state::Name::of("nonesuch");
    put(other);
    EXPECT_TRUE(read_back(other.key).extras.helper.empty());
    EXPECT_EQ(ours_->writer_counters().without_helper, 1U);
    EXPECT_TRUE(our_.refused.empty());
}

TEST_F(KernelTest, SequenceAdjustmentsReadBack) {
    state::Flow f = tcp(21);
    put(f);
    EXPECT_EQ(read_back(f.key).extras.seq_adjust, state::SeqAdjusts{});
    f.extras.seq_adjust = {{{1000, 0, 2}, {}}};
    put(f); // an update
    EXPECT_EQ(read_back(f.key).extras.seq_adjust, f.extras.seq_adjust);
    f.key.orig.sport++;
    f.reply.dport++;
    f.extras.seq_adjust[1] = {5000, 3, 0xfffffff0};
    put(f);
    EXPECT_EQ(read_back(f.key).extras.seq_adjust, f.extras.seq_adjust);
    EXPECT_TRUE(our_.refused.empty());
}

TEST_F(KernelTest, LabelsReadBackWhereARuleUsesThem) {
    state::Flow f = udp(30);
    f.extras.labels = state::with_label(state::with_label({}, 3), 100);
    put(f);
    put(f); // an update, which the kernel refuses where nothing uses labels
    EXPECT_EQ(read_back(f.key).extras.labels, state::Labels{});
    EXPECT_EQ(ours_->writer_counters().without_labels, 1U);
    ASSERT_EQ(std::system("nft 'add table inet t; add chain inet t c; "
                          "add rule inet t c ct label set 1'"),
              0);
    f = udp(31);
    f.extras.labels = state::with_label(state::with_label({}, 3), 100);
    put(f);
    EXPECT_EQ(read_back(f.key).extras.labels, f.extras.labels);
    f.extras.labels = {2}; // they replace those of before
    put(f);
    EXPECT_EQ(read_back(f.key).extras.labels, f.extras.labels);
    EXPECT_TRUE(our_.refused.empty());
}

TEST_F(KernelTest, PutBringsAnEntryThatIsThereToTheSameState) {
    state::Flow f = snat(tcp(3000), "198.51.100.1", 40000);
    f.src_state = 2, f.dst_state = 0, f.flags = 0;
    other_->put(f, Lifetime::natural); // ours has no hint of it until the event comes
    other_->flush();
    state::Flow later = f;
    later.src_state = later.dst_state = 4;
    later.flags = state::kSeenReply | state::kAssured;
    later.mark = 5;
    put(later);
    EXPECT_TRUE(our_.refused.empty());
    EXPECT_EQ(ours_->writer_counters().updated, 1U);
    state::Flow back = read_back(f.key);
    back.timeout = 0;
    EXPECT_EQ(back, later);
}

TEST_F(KernelTest, PutOfAnotherNatReplacesTheEntry) {
    const state::Flow before = snat(tcp(3001), "198.51.100.1", 40001);
    const state::Flow after = snat(tcp(3001), "198.51.100.9", 41001);
    for (const auto& [from, to] :
         {std::pair{before, after}, {after, tcp(3001)}, {tcp(3001), before}}) {
        other_->put(from, Lifetime::natural);
        other_->flush();
        put(to);
        EXPECT_TRUE(our_.refused.empty());
        EXPECT_EQ(read_back(from.key).reply, to.reply);
    }
    EXPECT_GE(ours_->writer_counters().replaced, 2U);
}

TEST_F(KernelTest, StatusCannotBeTakenBackButTheRestIsSet) {
    put(udp(3002));
    state::Flow lesser = udp(3002);
    lesser.flags = state::kSeenReply;
    lesser.dst_state = 1;
    lesser.mark = 9;
    put(lesser);
    EXPECT_TRUE(our_.refused.empty());
    const state::Flow back = read_back(lesser.key);
    EXPECT_EQ(back.flags, udp(3002).flags);
    EXPECT_EQ(back.mark, 9U);
}

TEST_F(KernelTest, ATakenReplyTupleIsAClash) {
    put(snat(tcp(3003), "198.51.100.1", 40003));
    put(snat(tcp(3004), "198.51.100.1", 40003));
    ASSERT_EQ(our_.refused.size(), 1U);
    EXPECT_EQ(our_.refused[0], std::pair(tcp(3004).key, Refusal::clash));
    EXPECT_FALSE(is_there(tcp(3004).key));
    EXPECT_TRUE(is_there(tcp(3003).key));
}

TEST_F(KernelTest, AnEntryOfTheOppositeDirectionIsAClash) {
    state::Flow reverse = tcp(443, "192.0.2.80", "10.1.0.2", 3005);
    other_->put(reverse, Lifetime::natural);
    other_->flush();
    put(tcp(3005));
    ASSERT_EQ(our_.refused.size(), 1U);
    EXPECT_EQ(our_.refused[0].second, Refusal::clash);
    EXPECT_TRUE(is_there(reverse.key));
}

TEST_F(KernelTest, WhatTheKernelDoesNotTakeIsInvalid) {
    state::Flow unreachable = ping(3006);
    unreachable.key.orig.dport = 3 << 8; // an error is no flow
    unreachable.reply = state::inverse(unreachable.key);
    put(unreachable);
    ASSERT_EQ(our_.refused.size(), 1U);
    EXPECT_EQ(our_.refused[0].second, Refusal::invalid);
}

TEST_F(KernelTest, RefreshRearmsAndMakesAnewWhatIsGone) {
    const state::Flow f = snat(udp(3007), "198.51.100.1", 40007);
    put(f, Lifetime::natural);
    EXPECT_LE(read_back(f.key).timeout, 120U);
    ours_->refresh(f, Lifetime::copy);
    ours_->flush();
    EXPECT_GT(read_back(f.key).timeout, 700U);
    other_->remove(f);
    other_->flush();
    EXPECT_FALSE(is_there(f.key));
    ours_->refresh(f, Lifetime::copy);
    ours_->flush();
    EXPECT_EQ(read_back(f.key).reply, f.reply);
}

TEST_F(KernelTest, TheLastOperationOfABatchHasTheLastWord) {
    const state::Flow f = tcp(3008);
    other_->put(f, Lifetime::natural);
    other_->flush();
    ours_->put(snat(f, "198.51.100.1", 40008), Lifetime::copy); // needs a second request
    ours_->remove(f);
    ours_->flush();
    EXPECT_FALSE(is_there(f.key));
    ours_->remove(f); // nothing there: no refusal
    ours_->put(f, Lifetime::copy);
    ours_->flush();
    EXPECT_TRUE(is_there(f.key));
    EXPECT_TRUE(our_.refused.empty());
}

// ---- events ----------------------------------------------------------------------------------

TEST_F(KernelTest, OthersAreHeardAndOwnEchoesAreNot) {
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
    // The kernel's filter took ours out; the other's view is the proof that they were there.
    EXPECT_EQ(ours_->counters().own_echoes, 0U);
    ASSERT_EQ(others_.created.size(), 1U);
    EXPECT_EQ(others_.created[0].key, mine.key);
    EXPECT_EQ(others_.updated.size(), 1U);
    EXPECT_EQ(others_.destroyed.size(), 1U);
}

TEST_F(KernelTest, OwnEchoesThatPassTheSocketFilterAreDroppedInCode) {
    Recorder recorder;
    ConntrackOptions options;
    options.filter_in_kernel = false;
    auto unfiltered = open(io_, options);
    ASSERT_TRUE(unfiltered);
    unfiltered->start(recorder);
    unfiltered->put(tcp(4002), Lifetime::copy);
    unfiltered->remove(tcp(4002));
    unfiltered->flush();
    ASSERT_TRUE(run_until([&] { return unfiltered->counters().own_echoes >= 2; }));
    put(tcp(4003));
    ASSERT_TRUE(run_until([&] { return !recorder.created.empty(); }));
    EXPECT_EQ(recorder.created[0].key, tcp(4003).key);
    EXPECT_EQ(recorder.created.size(), 1U);
    EXPECT_TRUE(recorder.destroyed.empty());
}

TEST_F(KernelTest, FlowsNotToBeSyncedAreCountedAndNotReported) {
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
    const auto& ignored = ours_->counters().ignored;
    EXPECT_EQ(ignored[static_cast<std::size_t>(Ignored::loopback)], 1U);
    EXPECT_EQ(ignored[static_cast<std::size_t>(Ignored::protocol)], 1U);
    EXPECT_EQ(ignored[static_cast<std::size_t>(Ignored::multicast)], 1U);
}

TEST_F(KernelTest, LocalAddressesAreFollowed) {
    ASSERT_EQ(std::system("ip link add v0 type veth peer name v1 && ip link set v0 up && "
                          "ip link set v1 up"),
              0);
    const auto local = [&] {
        return ours_->local_addresses().is_local(address("10.1.0.2"), state::Family::inet);
    };
    EXPECT_FALSE(local());
    ASSERT_EQ(std::system("ip address add 10.1.0.2/24 dev v0 && ip address add 10.1.0.2/24 dev v1"),
              0);
    ASSERT_TRUE(run_until(local));
    other_->put(tcp(4007), Lifetime::natural);
    other_->flush();
    settle();
    EXPECT_TRUE(our_.created.empty());
    EXPECT_EQ(ours_->counters().ignored[static_cast<std::size_t>(Ignored::local)], 1U);
    ASSERT_EQ(std::system("ip address del 10.1.0.2/24 dev v0"), 0);
    ASSERT_EQ(std::system("ip address add 10.7.0.1/24 dev v0"), 0);
    const auto seven = [&] {
        return ours_->local_addresses().is_local(address("10.7.0.1"), state::Family::inet);
    };
    ASSERT_TRUE(run_until(seven));
    EXPECT_TRUE(local()); // v1 has it still
    ASSERT_EQ(std::system("ip address del 10.1.0.2/24 dev v1"), 0);
    ASSERT_TRUE(run_until([&] { return !local(); }));
    other_->put(tcp(4008), Lifetime::natural);
    other_->flush();
    ASSERT_TRUE(run_until([&] { return !our_.created.empty(); }));
}

TEST_F(KernelTest, AnAddressThatWasThereBeforeIsKnownFromTheStart) {
    ASSERT_EQ(std::system("ip link add v0 type veth peer name v1 && "
                          "ip address add 10.1.0.2/24 dev v0"),
              0);
    auto table = open(io_);
    ASSERT_TRUE(table);
    EXPECT_TRUE(table->local_addresses().is_local(address("10.1.0.2"), state::Family::inet));
    EXPECT_FALSE(table->local_addresses().is_local(address("10.1.0.3"), state::Family::inet));
}

// ---- nosync ----------------------------------------------------------------------------------

// Twice: with the kernel's filter, and with our code alone.
class NoSyncTest : public KernelTest, public testing::WithParamInterface<bool> {
  protected:
    void SetUp() override {
        KernelTest::SetUp();
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
        KernelTest::TearDown();
    }
    void write(const state::Flow& f) {
        other_->put(f, Lifetime::natural);
        other_->flush();
    }
    // Everything that happened so far was seen, or never will be.
    void pass_by() {
        const state::Flow last = udp(++marker_, "10.254.0.1");
        write(last);
        ASSERT_TRUE(run_until(
            [&] { return !seen_.created.empty() && seen_.created.back().key == last.key; }));
        seen_.created.pop_back();
    }
    std::uint64_t ignored(Ignored why) {
        return table_->counters().ignored[static_cast<std::size_t>(why)];
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
    EXPECT_TRUE(is_there(f.key)); // the entry itself is nobody's to touch
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

// What we put ourselves is a peer's, whatever its mark here.
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

TEST_F(KernelTest, AFullFilterFitsTheKernelsOldLimit) {
    std::ofstream limit("/proc/sys/net/core/optmem_max");
    if (!(limit << "20480" << std::flush))
        GTEST_SKIP() << "the limit is not this namespace's own";
    std::vector<state::NoSyncRule> rules;
    for (int i = 0; i < 64; i++)
        rules.push_back({.mark = state::MarkMatch{1, 3},
                         .src = prefix(fmt::format("2001:db8:{}::/48", i)),
                         .nets = {prefix(fmt::format("2001:db8:{}:1::/64", i))},
                         .ports = state::PortRange{53, 53},
                         .zone = 3});
    const auto program = build_event_filter(1, rules);
    EXPECT_GT(program.size(), kMaxFilterSize / 2);
    auto socket = netlink::Socket::open(NETLINK_NETFILTER, "test");
    ASSERT_TRUE(socket);
    const auto attached = socket->attach(program);
    EXPECT_TRUE(attached) << attached.error().text;
    // The twin: there is such a limit.
    std::vector<sock_filter> large(4000, sock_filter{BPF_LD | BPF_IMM, 0, 0, 0});
    large.push_back({BPF_RET | BPF_K, 0, 0, 1});
    EXPECT_FALSE(socket->attach(large));
}

// ---- dumps -----------------------------------------------------------------------------------

TEST_F(KernelTest, ADumpTellsCopiesFromNaturalEntries) {
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

TEST_F(KernelTest, ADumpAskedForWhileOneRunsComesAfterIt) {
    const int before = our_.dumps_begun;
    ours_->request_dump();
    ours_->request_dump(); // not begun yet: the same one
    ASSERT_TRUE(run_until([&] { return our_.dumps_begun == before + 1; }));
    EXPECT_EQ(our_.dumps_ended, before);
    ours_->request_dump();
    ours_->request_dump();
    ASSERT_TRUE(run_until([&] { return our_.dumps_ended == before + 2; }));
    settle();
    EXPECT_EQ(our_.dumps_begun, before + 2);
}

TEST_F(KernelTest, AnOverrunIsAnsweredByADumpAndNothingIsLost) {
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
    EXPECT_GE(small->counters().overruns, 1U);
    EXPECT_LT(recorder.created.size(), flows); // it did lose events
    EXPECT_EQ(recorder.dump.size(), flows);
}

TEST_F(KernelTest, FiftyThousandFlowsGoThroughTheBatch) {
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
        ours_->put(nth(i), Lifetime::copy); // each known to be there
    ours_->flush();
    EXPECT_EQ(ours_->writer_counters().updated, flows);
    dump(*ours_, our_);
    EXPECT_EQ(our_.dump.size(), flows);
    // The other table's socket buffer holds them all.
    ASSERT_TRUE(run_until([&] { return others_.created.size() == flows; }));
    EXPECT_EQ(other_->counters().overruns, 0U);
    for (std::uint32_t i = 0; i < flows; i++)
        ours_->remove(nth(i));
    ours_->flush();
    EXPECT_EQ(ours_->writer_counters().deleted, flows);
}

// ---- what is missing is said -----------------------------------------------------------------

TEST_F(KernelTest, TheEventsSwitchIsPutOn) {
    const std::string file = "/proc/sys/net/netfilter/nf_conntrack_events";
    std::ofstream(file) << "0";
    auto table = open(io_);
    char value = 0;
    std::ifstream(file) >> value;
    EXPECT_EQ(value, '1');
}

} // namespace
} // namespace encsync::table::test
