// SPDX-License-Identifier: ISC
// Entries put into the kernel's own conntrack, and read back.
#include "two_tables.hpp"

#include "table/conntrack/ctnetlink_build.hpp"
#include "table/conntrack/netlink.hpp"
#include "table/progress.hpp"

#include <cstdlib>
#include <sys/socket.h>

namespace encsync::table::test {
namespace {

constexpr std::uint8_t kSctp = 132, kDccp = 33, kUdpLite = 136, kGre = 47, kOspf = 89;

class KernelTest : public TwoTables {};

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
    const auto one_way = [](state::Flow f, std::uint16_t original, std::uint16_t reply) {
        f.key.zone = original;
        f.extras.reply_zone = reply;
        return f;
    };
    out.emplace_back("original zone", one_way(tcp(1113), 10, 0));
    out.emplace_back("reply zone", one_way(tcp(1114), 0, 10));
    out.emplace_back("original zone snat", one_way(snat(udp(1115), "198.51.100.1", 40015), 10, 0));
    out.emplace_back("reply zone both",
                     one_way(snat(dnat(tcp(1116, "10.1.0.2", "198.51.100.1"), "10.9.0.80", 8080),
                                  "10.9.0.1", 50001),
                             0, 0xffff));
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
        EXPECT_EQ(back.liberal, f.key.proto == IPPROTO_TCP);
        back.liberal = f.liberal;
        EXPECT_EQ(back, f);
        ours_->remove(f);
        ours_->flush();
        EXPECT_FALSE(is_there(f.key));
    }
    EXPECT_EQ(ours_->writer_counters().created, all.size());
    EXPECT_EQ(ours_->writer_counters().deleted, all.size());
}

TEST_F(KernelTest, OneTupleLivesInSeveralZones) {
    std::vector<state::Flow> all;
    for (const std::uint16_t zone : {0, 10, 20}) {
        all.push_back(tcp(1300));
        all.back().key.zone = zone;
        all.back().mark = zone + 1U;
        if (zone == 20) // with replies in 0 they would be the first flow's
            all.back() = snat(all.back(), "198.51.100.1", 40000);
        if (zone == 20)
            all.back().extras.reply_zone = 0;
        put(all.back());
    }
    ASSERT_TRUE(our_.refused.empty());
    for (const state::Flow& f : all)
        EXPECT_EQ(read_back(f.key).mark, f.mark);
    ours_->remove(all[1]);
    ours_->flush();
    EXPECT_TRUE(is_there(all[0].key) && !is_there(all[1].key) && is_there(all[2].key));
}

TEST_F(KernelTest, TheDirectionsOfAZoneAreReplacedLikeAReply) {
    state::Flow f = tcp(1301);
    f.key.zone = 10;
    put(f);
    f.extras.reply_zone = 0;
    put(f);
    ASSERT_TRUE(our_.refused.empty());
    EXPECT_EQ(read_back(f.key).extras.reply_zone, 0);
    EXPECT_EQ(ours_->writer_counters().replaced, 1U);
    // And stays after any update.
    f.mark = 5;
    put(f);
    EXPECT_EQ(read_back(f.key).extras.reply_zone, 0);
    EXPECT_EQ(read_back(f.key).mark, 5U);
    EXPECT_EQ(ours_->writer_counters().replaced, 1U);
}

// An entry has one zone. So no flow with two of them can come from a kernel, and none is created.
TEST_F(KernelTest, TwoZonesAreMoreThanAnEntryHas) {
    state::Flow f = tcp(1302);
    f.key.zone = 10;
    f.extras.reply_zone = 20;
    put(f);
    ASSERT_EQ(our_.refused.size(), 1U);
    EXPECT_EQ(our_.refused.back().second, Refusal::invalid);
    EXPECT_FALSE(is_there(f.key));
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

// Like an entry that was made by traffic.
void make_strict(const state::Flow& flow) {
    std::array<std::uint8_t, 512> request{};
    const std::size_t size = ctnetlink::build(request, ctnetlink::Request::relax, flow, 0, 1);
    for (std::size_t n = 4; n + 1 < size; n++)
        if (request[n - 4] == 6 && (request[n - 2] == 4 || request[n - 2] == 5) &&
            request[n] == 0x0a && request[n + 1] == 0x0a) // flags and mask of one direction
            request[n] = 0;
    auto socket = netlink::Socket::open(NETLINK_NETFILTER, "test");
    ASSERT_TRUE(socket);
    ASSERT_EQ(socket->send(Bytes(request).first(size)), 0);
}

TEST_F(KernelTest, AnEntryBecomesLiberalAndNothingElseChanges) {
    put(tcp(1), Lifetime::natural);
    state::Flow before = read_back(tcp(1).key);
    EXPECT_TRUE(before.liberal);
    make_strict(tcp(1));
    EXPECT_FALSE(read_back(tcp(1).key).liberal);
    state::Flow behind = tcp(1);
    behind.src_state = behind.dst_state = 0;
    ours_->relax(behind);
    ours_->flush();
    state::Flow after = read_back(tcp(1).key);
    before.timeout = after.timeout = 0;
    before.age = after.age = 0;
    EXPECT_EQ(after, before);
    make_strict(tcp(1));
    ours_->refresh(tcp(1), Lifetime::copy);
    ours_->flush();
    EXPECT_TRUE(read_back(tcp(1).key).liberal);
    // One that is gone is not created again.
    other_->remove(tcp(1));
    other_->flush();
    ours_->relax(tcp(1));
    ours_->flush();
    EXPECT_FALSE(is_there(tcp(1).key));
}

// ---- put on an existing entry ----------------------------------------------------------------

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

TEST_F(KernelTest, VerificationTagsReadBack) {
    state::Flow f = tcp(23);
    f.key.proto = 132;
    f.extras.verification_tags = {0x11223344, 0x55667788};
    put(f);
    EXPECT_EQ(read_back(f.key).extras.verification_tags, f.extras.verification_tags);
    state::Flow without = f;
    without.extras.verification_tags = {};
    put(without); // an update without them does not change them
    EXPECT_EQ(read_back(f.key).extras.verification_tags, f.extras.verification_tags);
    f.extras.verification_tags = {0x99aabbcc, 0xddeeff00}; // and one with them does
    put(f);
    EXPECT_EQ(read_back(f.key).extras.verification_tags, f.extras.verification_tags);
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
    f.extras.labels = {2}; // they replace the former ones
    put(f);
    EXPECT_EQ(read_back(f.key).extras.labels, f.extras.labels);
    EXPECT_TRUE(our_.refused.empty());
}

TEST_F(KernelTest, PutBringsAnEntryThatIsThereToTheSameState) {
    state::Flow f = snat(tcp(3000), "198.51.100.1", 40000);
    f.src_state = 2, f.dst_state = 0, f.flags = 0;
    other_->put(f, Lifetime::natural); // ours has no hint of it until the event
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
    later.liberal = true;
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
    EXPECT_EQ(our_.holders, (std::vector{tcp(3003).key}));
    EXPECT_FALSE(is_there(tcp(3004).key));
    EXPECT_TRUE(is_there(tcp(3003).key));
}

TEST_F(KernelTest, AClashIsOneOfTheSameZoneAlsoOfIcmp) {
    state::Flow first = snat(ping(3003), "198.51.100.1", 77), second = first, elsewhere = first;
    second.key.orig.sport = 3004;
    elsewhere.key.orig.sport = 3005;
    first.key.zone = second.key.zone = 5;
    put(first);
    put(elsewhere);
    EXPECT_TRUE(our_.refused.empty());
    put(second);
    ASSERT_EQ(our_.refused.size(), 1U);
    EXPECT_EQ(our_.holders, (std::vector{first.key}));
    ours_->remove(first);
    put(second);
    EXPECT_TRUE(is_there(second.key));
}

TEST_F(KernelTest, AnEntryOfTheOppositeDirectionIsAClash) {
    state::Flow reverse = tcp(443, "192.0.2.80", "10.1.0.2", 3005);
    other_->put(reverse, Lifetime::natural);
    other_->flush();
    put(tcp(3005));
    ASSERT_EQ(our_.refused.size(), 1U);
    EXPECT_EQ(our_.refused[0].second, Refusal::clash);
    EXPECT_EQ(our_.holders, (std::vector{reverse.key}));
    EXPECT_TRUE(is_there(reverse.key));
}

TEST_F(KernelTest, WhatTheKernelDoesNotTakeIsInvalid) {
    state::Flow unreachable = ping(3006);
    unreachable.key.orig.dport = 3 << 8; // an ICMP error is no flow
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
    ours_->remove(f); // does not exist: no refusal
    ours_->put(f, Lifetime::copy);
    ours_->flush();
    EXPECT_TRUE(is_there(f.key));
    EXPECT_TRUE(our_.refused.empty());
}

} // namespace
} // namespace encsync::table::test
