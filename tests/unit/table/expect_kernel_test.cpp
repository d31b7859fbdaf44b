// SPDX-License-Identifier: ISC
// Expectations, compared with the kernel's own.
#include "two_tables.hpp"

#include "table/conntrack/ctnetlink_expect.hpp"

#include <algorithm>
#include <array>

namespace encsync::table::test {
namespace {

const state::Name kFtp = *state::Name::of("ftp");

state::Flow control(bool v6 = false) {
    state::Flow f = v6 ? tcp(4000, "2001:db8:1::2", "2001:db8:2::80", 21)
                       : tcp(4000, "10.1.0.2", "192.0.2.80", 21);
    f.extras.helper = kFtp;
    return f;
}

state::Expectation expectation(const state::Flow& master, std::uint16_t port) {
    state::Expectation e;
    e.master = master.key;
    e.tuple = {master.key.orig.dst, master.key.orig.src, 0, port};
    std::fill_n(e.mask.bytes.begin(), master.key.family == state::Family::inet ? 4 : 16,
                std::uint8_t{0xff});
    e.proto = IPPROTO_TCP;
    e.timeout = 100; // not the helper's own, which is 300
    return e;
}

class ExpectKernelTest : public TwoTables {
  protected:
    void make(const state::Flow& master, const std::vector<state::Expectation>& all) {
        ours_->put(master, Lifetime::copy);
        for (const state::Expectation& e : all)
            ours_->expect(e, master.extras.helper);
        ours_->flush();
    }
    // The expectation that the other table reports from the kernel.
    state::Expectation heard() {
        EXPECT_TRUE(run_until([&] { return !others_.expected.empty(); }));
        return others_.expected.empty() ? state::Expectation{} : others_.expected.back().first;
    }
};

TEST_F(ExpectKernelTest, OfAMasterInAZoneIsMadeFoundAndRemoved) {
    struct Case {
        std::uint16_t zone;
        std::optional<std::uint16_t> reply_zone;
    };
    for (const Case& c : {Case{10, {}}, Case{20, 0}, Case{0, 30}}) {
        state::Flow master = control();
        master.key.zone = c.zone;
        master.extras.reply_zone = c.reply_zone;
        SCOPED_TRACE(state::zone_id(master));
        state::Expectation e = expectation(master, 1001);
        e.zone = state::zone_id(master);
        EXPECT_FALSE(ours_->expects(e));
        others_.expected.clear();
        others_.unexpected.clear();
        make(master, {e});
        EXPECT_EQ(heard().master.zone, 0); // the kernel does not report it
        EXPECT_EQ(heard().zone, 0);
        EXPECT_TRUE(other_->expects(e));
        state::Expectation elsewhere = e;
        elsewhere.zone = 11;
        EXPECT_FALSE(other_->expects(elsewhere));
        elsewhere = e;
        elsewhere.master.orig.sport++;
        EXPECT_FALSE(other_->expects(elsewhere)) << "of another master";
        others_.expected.clear();
        dump(*other_, others_);
        EXPECT_LE(heard().timeout, 100U) << "what was asked for, not the helper's";
        ours_->unexpect(e);
        ours_->flush();
        ASSERT_TRUE(run_until([&] { return !others_.unexpected.empty(); }));
        EXPECT_FALSE(other_->expects(e));
        ours_->remove(master);
        ours_->flush();
    }
    EXPECT_EQ(ours_->expectation_counters().no_master, 0U);
    EXPECT_EQ(ours_->expectation_counters().refused, 0U);
}

TEST_F(ExpectKernelTest, ReadsBackAsItWasMade) {
    for (const bool v6 : {false, true}) {
        others_.expected.clear();
        state::Expectation e = expectation(control(v6), 1001);
        e.flags = state::Expectation::kPermanent;
        if (!v6) {
            e.has_nat = e.nat_reply = true;
            e.nat_address = address("10.1.0.3");
            e.nat_port = 1002;
            e.function = *state::FunctionName::of("nat-follow-master");
        }
        make(control(v6), {e});
        state::Expectation there = heard();
        EXPECT_TRUE(others_.expected.back().second);
        EXPECT_EQ(there.timeout, 300U); // the helper's; then it is changed to ours
        there.timeout = e.timeout;
        EXPECT_EQ(there, e);
        EXPECT_EQ(other_->expectation_counters().faults, decltype(ExpectationCounters::faults){});
        // A dump shows the timeout that was set.
        others_.expected.clear();
        dump(*other_, others_);
        there = heard();
        EXPECT_FALSE(others_.expected.back().second);
        EXPECT_LE(there.timeout, 100U);
        EXPECT_GE(there.timeout, 90U);
        ours_->unexpect(e);
        ours_->flush();
        ASSERT_TRUE(run_until([&] { return !others_.unexpected.empty(); }));
        EXPECT_EQ(others_.unexpected.back().name(), e.name());
        others_.unexpected.clear();
    }
    EXPECT_TRUE(our_.expected.empty()); // own operations are not reported
    EXPECT_TRUE(our_.unexpected.empty());
    EXPECT_EQ(ours_->expectation_counters().made, 2U);
}

TEST_F(ExpectKernelTest, EndsWithItsMaster) {
    make(control(), {expectation(control(), 1001)});
    heard();
    ours_->remove(control());
    ours_->flush();
    EXPECT_TRUE(run_until([&] { return others_.unexpected.size() == 1; }));
}

// A connection that came uses an expectation up; made again, it would let in another one.
TEST_F(ExpectKernelTest, UsedUpIsNotMadeAgainUnlessThatWasRead) {
    for (const std::uint16_t zone : {0, 10}) {
        SCOPED_TRACE(zone);
        our_.unexpected.clear();
        state::Flow master = control();
        master.key.zone = zone;
        state::Expectation e = expectation(master, 1001);
        e.zone = state::zone_id(master);
        make(master, {e});
        our_.expected.clear();
        dump(*ours_, our_); // which does not show the zone
        ASSERT_TRUE(run_until([&] { return !our_.expected.empty(); }));
        other_->unexpect(e);
        other_->flush();
        ours_->expect(e, kFtp);
        ours_->flush();
        EXPECT_FALSE(other_->expects(e));
        // Nor if it was asked for before the event was read.
        ours_->expect(e, kFtp);
        ASSERT_TRUE(run_until([&] { return !our_.unexpected.empty(); }));
        ours_->flush();
        EXPECT_FALSE(other_->expects(e));
        // Then it may come back, and likewise with its master.
        ours_->expect(e, kFtp);
        ours_->flush();
        EXPECT_TRUE(other_->expects(e));
        ours_->remove(master);
        ours_->flush();
        make(master, {e});
        EXPECT_TRUE(other_->expects(e));
        ours_->remove(master);
        ours_->flush();
        ASSERT_TRUE(run_until([&] { return our_.unexpected.size() == 3; }));
    }
}

TEST_F(ExpectKernelTest, WhatIsNotMadeIsCounted) {
    // Without a master, and with a master without the helper.
    state::Flow plain = tcp(4001);
    ours_->put(plain, Lifetime::copy);
    ours_->expect(expectation(control(), 1001), kFtp);
    ours_->expect(expectation(plain, 1001), {});
    ours_->flush();
    EXPECT_EQ(ours_->expectation_counters().no_master, 1U);
    EXPECT_EQ(ours_->expectation_counters().no_helper, 1U);
    EXPECT_EQ(ours_->expectation_counters().made, 0U);
    ours_->unexpect(expectation(plain, 1001)); // does not exist: no error
    ours_->flush();
    EXPECT_EQ(ours_->expectation_counters().refused, 0U);
}

TEST_F(ExpectKernelTest, ADumpShowsAgainWhatIsThere) {
    make(control(), {expectation(control(), 1001)});
    dump(*ours_, our_);
    ASSERT_TRUE(run_until([&] { return our_.expected.size() == 1; }));
    EXPECT_FALSE(our_.expected[0].second);
}

TEST_F(ExpectKernelTest, WhatAnOverrunHidDuringADumpIsShownByTheNext) {
    constexpr std::uint16_t all = 400; // more than a dump's first message contains
    std::vector<state::Flow> masters;
    for (std::uint16_t i = 0; i < all; i++) {
        masters.push_back(tcp(static_cast<std::uint16_t>(4000 + i), "10.1.0.2", "192.0.2.80", 21));
        masters[i].extras.helper = kFtp;
        make(masters[i], {expectation(masters[i], static_cast<std::uint16_t>(1001 + i))});
    }
    ASSERT_TRUE(run_until([&] { return others_.expected.size() == all; }));
    // The flows' dump has ended, that of the expectations has begun, and is not read.
    const int before = others_.dumps_ended;
    other_->request_dump();
    ASSERT_TRUE(run_until([&] { return others_.dumps_ended > before; }));
    const state::Expectation changing = expectation(masters[0], 1001);
    for (int n = 0; n < 100; n++) {
        for (int of_batch = 0; of_batch < 100; of_batch++) {
            ours_->unexpect(changing);
            ours_->expect(changing, kFtp);
        }
        ours_->flush();
    }
    const state::Expectation last = expectation(masters[all - 1], 1000 + all);
    ours_->unexpect(last);
    ours_->flush();
    EXPECT_TRUE(run_until([&] {
        return std::any_of(others_.unexpected.begin(), others_.unexpected.end(),
                           [&](const auto& e) { return e.name() == last.name(); });
    }));
    EXPECT_GE(other_->expectation_counters().overruns, 1U);
}

TEST_F(ExpectKernelTest, WhatAnOverrunHidesUntilItsQueueIsReadIsShownByTheDump) {
    constexpr std::uint16_t all = 200; // more than the turns in which the queue is read
    std::vector<state::Expectation> removed;
    for (std::uint16_t i = 0; i < all; i++) {
        state::Flow master =
            tcp(static_cast<std::uint16_t>(5000 + i), "10.1.0.2", "192.0.2.80", 21);
        master.extras.helper = kFtp;
        removed.push_back(expectation(master, static_cast<std::uint16_t>(2001 + i)));
        make(master, {removed.back()});
    }
    const state::Expectation changing = expectation(control(), 1001);
    make(control(), {changing});
    ASSERT_TRUE(run_until([&] { return others_.expected.size() > all; }));
    for (int n = 0; n < 100; n++) {
        for (int of_batch = 0; of_batch < 100; of_batch++) {
            ours_->unexpect(changing);
            ours_->expect(changing, kFtp);
        }
        ours_->flush();
    }
    ASSERT_TRUE(run_until([&] { return other_->expectation_counters().overruns > 0; }));
    for (const state::Expectation& e : removed) { // while what came before the overrun is read
        ours_->unexpect(e);
        ours_->flush();
        io_.poll_one();
    }
    EXPECT_TRUE(run_until([&] {
        return std::ranges::all_of(removed, [&](const auto& gone) {
            return std::ranges::any_of(others_.unexpected,
                                       [&](const auto& e) { return e.name() == gone.name(); });
        });
    }));
}

// ---- reading ---------------------------------------------------------------------------------

TEST(Expect, IsNotFooledByACutAtAnyByte) {
    std::array<std::uint8_t, ctnetlink::kMaxExpectRequest> buffer{};
    const std::size_t whole = ctnetlink::build(buffer, ctnetlink::ExpectRequest::create,
                                               expectation(control(), 1001), kFtp, 1);
    ASSERT_NE(whole, 0U);
    ctnetlink::ExpectEntry e;
    ASSERT_EQ(ctnetlink::parse(Bytes(buffer).first(whole), e), ctnetlink::Fault::none);
    EXPECT_EQ(e.expectation, expectation(control(), 1001));
    for (std::size_t size = 0; size < whole; size++)
        EXPECT_EQ(ctnetlink::parse(Bytes(buffer).first(size), e), ctnetlink::Fault::short_message);
    const auto refused = [&](std::size_t at, std::uint8_t value) {
        std::vector<std::uint8_t> m(buffer.begin(), buffer.begin() + static_cast<long>(whole));
        m[at] = value;
        return ctnetlink::parse(m, e);
    };
    EXPECT_EQ(refused(5, 1), ctnetlink::Fault::not_conntrack);
    EXPECT_EQ(refused(16, 1), ctnetlink::Fault::bad_family);
    EXPECT_EQ(refused(22, 99), ctnetlink::Fault::missing_tuple); // another attribute
    EXPECT_EQ(refused(20, 200), ctnetlink::Fault::bad_attribute);
}

} // namespace
} // namespace encsync::table::test
