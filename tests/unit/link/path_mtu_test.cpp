// SPDX-License-Identifier: ISC
#include "ipsec/link/path_mtu.hpp"
#include "tests/unit/link/routed.hpp"

namespace encsync::link {
namespace {

using std::chrono::minutes;

// ---- accepted errors -----------------------------------------------------------------------

using Change = PathMtu::Change;
using Source = PathMtu::Source;
using std::chrono::seconds;

// A peer that answers no probes.
struct Belief : testing::Test {
    PathMtu path{1500, 640, {}, false};
    Clock::time_point now = Clock::time_point{} + std::chrono::hours(1);
    void SetUp() override { path.start(now); }
};

TEST_F(Belief, FallsToWhatIsSaidAndNotBelowTheFloor) {
    EXPECT_EQ(1500, path.mtu());
    EXPECT_FALSE(path.sent(1500));
    EXPECT_FALSE(path.next());
    EXPECT_EQ(Change::none, path.too_big(1500, now));
    EXPECT_EQ(Change::none, path.too_big(9000, now));
    EXPECT_EQ(Source::configured, path.source());
    EXPECT_EQ(Change::lowered, path.too_big(1400, now));
    EXPECT_EQ(Source::reported, path.source());
    EXPECT_EQ(Change::none, path.too_big(1400, now)); // the same error about the next packet
    EXPECT_EQ(Change::none, path.too_big(1450, now)); // delayed
    EXPECT_EQ(Change::lowered, path.too_big(640, now));
    EXPECT_EQ(Change::refused, path.too_big(639, now));
    EXPECT_EQ(Change::refused, path.too_big(0, now));
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
    PathMtu low(1000, 1280, {}, true);
    EXPECT_EQ(Change::refused, low.too_big(999, now));
    EXPECT_EQ(1000, low.mtu());
    low.start(now);
    EXPECT_FALSE(low.next()); // nothing to search
}

TEST_F(Belief, RisesWhenAProbeIsNotAnswered) {
    path.too_big(1300, now);
    EXPECT_EQ(now + minutes(10), path.next());
    EXPECT_FALSE(path.due(now + minutes(9)).probe);
    now += minutes(10);
    const auto due = path.due(now);
    ASSERT_TRUE(due.probe);
    EXPECT_EQ(1500, due.probe->size);
    EXPECT_FALSE(path.due(now + seconds(2)).probe);
    EXPECT_EQ(1300, path.mtu());
    EXPECT_EQ(Change::raised, path.due(now + seconds(3)).change);
    EXPECT_EQ(1500, path.mtu());
    EXPECT_EQ(Source::configured, path.source());
    EXPECT_FALSE(path.next());
}

TEST_F(Belief, StaysWhenAProbeIsAnswered) {
    path.too_big(1300, now);
    now += minutes(10);
    ASSERT_TRUE(path.due(now).probe);
    EXPECT_EQ(Change::refused, path.too_big(100, now)); // a forged error is ignored
    EXPECT_TRUE(path.probing());
    EXPECT_EQ(Change::none, path.too_big(1300, now));
    EXPECT_FALSE(path.probing());
    EXPECT_FALSE(path.due(now + minutes(1)).probe);
    EXPECT_EQ(1300, path.mtu());
    EXPECT_EQ(now + minutes(10), path.next());
}

TEST_F(Belief, RisesToWhatTheAnswerToAProbeSays) {
    path.too_big(1300, now);
    now += minutes(10);
    ASSERT_TRUE(path.due(now).probe);
    EXPECT_EQ(Change::raised, path.too_big(1400, now));
    EXPECT_EQ(1400, path.mtu());
    now += minutes(10);
    ASSERT_TRUE(path.due(now).probe);
    EXPECT_EQ(Change::lowered, path.too_big(1200, now));
}

TEST_F(Belief, AProbeThatCannotBeSentIsPutOff) {
    path.too_big(1300, now);
    now += minutes(10);
    ASSERT_TRUE(path.due(now).probe);
    path.put_off(now);
    EXPECT_EQ(now + seconds(3), path.next());
    EXPECT_EQ(1300, path.mtu());
    path.stop();
    EXPECT_FALSE(path.next());
}

// ---- search --------------------------------------------------------------------------------

// A peer that answers, behind a path that drops what is larger than `carries`.
struct Search : testing::Test {
    PathMtu path{1500, 640, {}, true};
    Clock::time_point now = Clock::time_point{} + std::chrono::hours(1);
    std::size_t carries = 1500;
    bool peer_there = true, peer_answers = true;
    std::vector<Change> changes;
    std::vector<std::uint16_t> probes;

    void note(Change change) {
        if (change != Change::none)
            changes.push_back(change);
    }
    // Until nothing is due within `patience`; the clock jumps from one event to the next.
    void run(Clock::duration patience) {
        const auto end = now + patience;
        for (auto next = path.next(); next && *next <= end; next = path.next()) {
            now = std::max(now, *next);
            const auto due = path.due(now);
            note(due.change);
            if (!due.probe)
                continue;
            probes.push_back(due.probe->size);
            if (peer_there && peer_answers && due.probe->size <= carries)
                note(path.answered(due.probe->large_id, now));
            if (peer_there && peer_answers)
                note(path.answered(due.probe->small_id, now));
        }
        now = end;
    }
    void SetUp() override { path.start(now); }
};

TEST_F(Search, NothingChangesWhereAllPasses) {
    run(seconds(1));
    EXPECT_EQ(std::vector<std::uint16_t>{1500}, probes);
    EXPECT_TRUE(path.answers());
    EXPECT_FALSE(path.next());     // nothing is sent, so no probes
    EXPECT_FALSE(path.sent(640));  // small ones pass in any case
    EXPECT_TRUE(path.sent(1500));  // this one must be confirmed,
    EXPECT_FALSE(path.sent(1500)); // once for all of a second
    run(seconds(2));
    EXPECT_EQ(2u, probes.size());
    EXPECT_TRUE(changes.empty());
    EXPECT_EQ(1500, path.mtu());
    EXPECT_EQ(Source::configured, path.source());
}

TEST_F(Search, FindsWhatPassesWithinSeconds) {
    for (std::size_t size : {640u, 641u, 648u, 1000u, 1279u, 1280u, 1380u, 1491u, 1499u}) {
        path = PathMtu(1500, 640, {}, true);
        path.start(now);
        carries = 1500;
        run(seconds(1));
        carries = size;
        changes.clear();
        path.sent(1500);
        run(seconds(3)); // first: states arrive again
        ASSERT_FALSE(changes.empty()) << size;
        EXPECT_EQ(Change::vanished, changes[0]);
        EXPECT_LE(path.mtu(), size);
        run(seconds(20)); // then: the largest size
        EXPECT_LE(path.mtu(), size);
        EXPECT_GT(path.mtu() + 8u, size);
        EXPECT_EQ(Source::searched, path.source());
        EXPECT_FALSE(path.probing());
        EXPECT_EQ(1, std::ranges::count(changes, Change::vanished));
    }
}

TEST_F(Search, FallsAgainWhenThePathDoes) {
    carries = 1400;
    run(minutes(1));
    EXPECT_NEAR(1400, path.mtu(), 8);
    carries = 1300;
    path.sent(path.mtu());
    run(minutes(1));
    EXPECT_NEAR(1300, path.mtu(), 8);
    EXPECT_LE(path.mtu(), 1300);
}

TEST_F(Search, APathThatCarriesMoreAgainIsFound) {
    carries = 1300;
    run(minutes(1));
    carries = 1400; // less than configured
    run(minutes(10));
    EXPECT_LE(path.mtu(), 1400);
    EXPECT_GT(path.mtu(), 1392);
    carries = 1500;
    run(minutes(11));
    EXPECT_EQ(1500, path.mtu());
    EXPECT_EQ(Source::configured, path.source());
    EXPECT_EQ(Change::raised, changes.back());
}

// No answer at all shows nothing about sizes: the peer does not support probes, or is down.
TEST_F(Search, NothingIsLearnedFromSilence) {
    peer_answers = false;
    carries = 700;
    run(minutes(5));
    EXPECT_EQ(10u, probes.size());
    EXPECT_FALSE(path.answers());
    path.sent(1500);
    run(minutes(5));
    EXPECT_TRUE(changes.empty());
    EXPECT_EQ(1500, path.mtu());
    EXPECT_EQ(20u, probes.size());
    // Control: its answers were only late.
    peer_answers = true;
    path.sent(1500);
    run(minutes(1));
    EXPECT_LE(path.mtu(), 700);
    EXPECT_TRUE(path.answers());
}

TEST_F(Search, ALostProbeIsNoFailure) {
    run(seconds(1));
    path.sent(1500);
    carries = 0;
    auto due = path.due(*path.next()); // both are lost, or only the large one
    ASSERT_TRUE(due.probe);
    path.answered(due.probe->small_id, now);
    now = *path.next();
    due = path.due(now);
    ASSERT_TRUE(due.probe);
    EXPECT_EQ(1500, due.probe->size);
    path.answered(due.probe->large_id, now);
    run(seconds(5));
    EXPECT_TRUE(changes.empty());
    EXPECT_EQ(1500, path.mtu());
}

TEST_F(Search, AnswersToWhatWasNotAskedAreNone) {
    run(seconds(1));
    carries = 640;
    path.sent(1500);
    const auto due = path.due(*path.next());
    ASSERT_TRUE(due.probe);
    EXPECT_EQ(Change::none, path.answered(due.probe->large_id - 2, now)); // of the earlier round
    EXPECT_EQ(Change::none, path.answered(due.probe->large_id + 2, now)); // not sent yet
    EXPECT_TRUE(path.probing());
    run(seconds(5));
    ASSERT_FALSE(changes.empty());
    EXPECT_EQ(Change::vanished, changes[0]);
}

TEST_F(Search, AnErrorEndsASearch) {
    carries = 1000;
    run(seconds(2));
    ASSERT_EQ(std::vector{Change::vanished}, changes);
    ASSERT_EQ(640, path.mtu());
    ASSERT_TRUE(path.probing()); // of 1280
    EXPECT_EQ(Change::raised, path.too_big(1000, now));
    EXPECT_EQ(1000, path.mtu());
    EXPECT_FALSE(path.probing());
    EXPECT_EQ(now + minutes(10), path.next());
}

TEST_F(Search, BeginsAnewWhenThePeerComesAgain) {
    carries = 1300;
    run(minutes(1));
    path.stop();
    EXPECT_FALSE(path.next());
    EXPECT_FALSE(path.sent(1300));
    carries = 1500;
    path.start(now);
    run(seconds(1));
    EXPECT_EQ(1500, path.mtu());
}

TEST(PathProbe, IsWrittenAndRead) {
    const Buffer golden{'E', 'M', 'T', 'Q', 1, 2, 3, 4}, answer{'E', 'M', 'T', 'A', 0, 0, 0, 7, 0};
    EXPECT_TRUE(std::ranges::equal(golden, write_probe({false, 0x01020304})));
    EXPECT_EQ((PathProbe{false, 0x01020304}), read_probe(golden));
    EXPECT_EQ((PathProbe{true, 7}), read_probe(answer)); // what follows is filler
    EXPECT_FALSE(read_probe(Bytes(golden).first(7)));
    EXPECT_FALSE(read_probe({}));
    EXPECT_FALSE(read_probe(Buffer(1400))); // an older version's probe
}

// ---- with a real router --------------------------------------------------------------------

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
    forge(4, 700, {}); // quotes the minimum of RFC 792
    ASSERT_TRUE(refused(1));
    forge(4, 700, quote(0x12345678, 3)); // an unknown SPI
    ASSERT_TRUE(refused(2));
    forge(4, 700, quote(kMinnieIn, 4)); // a number not sent yet
    ASSERT_TRUE(refused(3));
    forge(4, 700, quote(kMinnieIn, 0)); // a number that is never used
    ASSERT_TRUE(refused(4));
    forge(4, 639, quote(kMinnieIn, 3)); // by an attacker on the path, but too small for any path
    ASSERT_TRUE(refused(5));
    forge(4, 0, quote(kMinnieIn, 3));
    ASSERT_TRUE(refused(6));
    EXPECT_EQ(1500, mickey->stats().mtu);
    EXPECT_EQ(0u, mickey->stats().mtu_lowered);
    send_full(3);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 6; }));
    EXPECT_EQ(0u, mickey->stats().too_big);
    // Control: an error that cannot be distinguished from a router's is accepted.
    forge(4, 700, quote(kMinnieIn, 3));
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 700; }));
}

// An error queued on the socket must not be taken for a failure of the next packet.
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
    EXPECT_TRUE(minnie->packets.empty()); // a probe is not delivered to the receiver
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
    narrow(1400); // wider, but less than configured, as the error says
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1400; }));
    EXPECT_EQ(1u, mickey->stats().mtu_raised);
    EXPECT_EQ(0u, minnie->stats().dummy);
}

// ---- a path without ICMP errors ------------------------------------------------------------

// The router drops packets longer than `size` bytes, without an error.
class Silent : public Routed {
  protected:
    void SetUp() override {
        Routed::SetUp();
        probes = true;
        options.ike.socket.gso = false; // the rule would see a GSO packet as one
        options.path.try_every = std::chrono::milliseconds(50);
        options.path.confirm_every = std::chrono::milliseconds(100);
    }
    void swallow(int size) {
        router.run("nft 'add table inet hole; flush table inet hole;"
                   " add chain inet hole f { type filter hook forward priority 0; };"
                   " add rule inet hole f meta length > " +
                   std::to_string(size) + " drop'");
    }
    void expect_search(bool ipv6, int size) {
        build(ipv6);
        ASSERT_TRUE(until([&] { return mickey->stats().mtu_answers; }));
        send_full(3);
        ASSERT_TRUE(until([&] { return minnie->packets.size() == 3; }));
        swallow(size);
        send_full(3); // lost
        ASSERT_TRUE(until([&] { return mickey->stats().mtu_lowered == 1; }));
        ASSERT_TRUE(until([&] { return mickey->stats().mtu > size - 8; }));
        EXPECT_LE(mickey->stats().mtu, size);
        EXPECT_EQ(PathMtu::Source::searched, mickey->stats().mtu_source);
        EXPECT_EQ(3u, minnie->packets.size());
        send_full(20);
        ASSERT_TRUE(until([&] { return minnie->packets.size() == 23; }));
        EXPECT_EQ(0u, mickey->stats().too_big);
    }
};

TEST_F(Silent, TheSizeThatPassesIsFound) {
    expect_search(false, 1390);
    expect_no_fragments();
}

TEST_F(Silent, TheSizeThatPassesIsFoundOverIpv6) {
    expect_search(true, 1390);
}

TEST_F(Silent, AWiderPathIsFoundAgain) {
    options.path.raise_after = std::chrono::milliseconds(500);
    expect_search(false, 1200);
    swallow(1500);
    ASSERT_TRUE(until([&] { return mickey->stats().mtu == 1500; }));
    EXPECT_EQ(PathMtu::Source::configured, mickey->stats().mtu_source);
}

TEST_F(Silent, TheMtuStaysWhereNothingIsDropped) {
    build();
    ASSERT_TRUE(until([&] { return mickey->stats().mtu_answers; }));
    for (std::size_t i = 1; i <= 5; i++) {
        const auto before = mickey->stats().mtu_probes;
        send_full(1);
        ASSERT_TRUE(until(
            [&] { return minnie->packets.size() == i && mickey->stats().mtu_probes > before; }));
    }
    EXPECT_EQ(1500, mickey->stats().mtu);
    EXPECT_EQ(0u, mickey->stats().mtu_lowered);
}

// A peer without support for probes: the configured MTU stays, whatever is lost.
TEST_F(Silent, AConfiguredMtuStaysWhereNobodyAnswers) {
    probes = false;
    build();
    swallow(1390);
    send_full(3);
    Node& out = *mickey;
    ASSERT_TRUE(out.put(text(100))); // a small one after them does arrive
    out.link->flush();
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 1; }));
    EXPECT_EQ(1500, mickey->stats().mtu);
    EXPECT_EQ(0u, mickey->stats().mtu_probes);
    EXPECT_FALSE(mickey->stats().mtu_answers);
}

} // namespace
} // namespace encsync::link
