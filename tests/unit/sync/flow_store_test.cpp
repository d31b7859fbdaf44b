// SPDX-License-Identifier: ISC
// Digests and counts are right after any changes of flows, in any order.
#include "sync/flow_store.hpp"

#include "sync/record.hpp"

#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <random>

namespace encsync::sync::test {
namespace {

using state::kNoSlot;
using state::Slot;

state::Flow make(std::uint16_t port) {
    state::Flow flow;
    flow.key.proto = 17;
    flow.key.orig = {{}, {}, port, 53};
    flow.reply = state::inverse(flow.key);
    flow.id = {port, 1};
    return flow;
}

state::Expectation expectation(std::uint16_t port) {
    state::Expectation out;
    out.tuple.dport = port;
    out.timeout = 100;
    return out;
}

struct Flows : testing::Test {
    FlowStore flows{state::Seed{}};
    Flows() { flows.begin_digests(); }

    Slot insert(std::uint16_t port) { return flows.insert(make(port), 0, 0).first; }
    std::uint64_t live_sum() const { return flows.live_digest().sum(Digest::kRoot); }
    const Record& record(Slot slot) const { return flows.index().record(slot); }
};

TEST_F(Flows, ComeAndGo) {
    const Slot slot = insert(1);
    EXPECT_EQ(flows.live(), 1U);
    EXPECT_EQ(flows.live_digest().count(), 1U);
    EXPECT_NE(live_sum(), 0U);
    EXPECT_FALSE(flows.insert(make(1), 0, 0).second); // it exists already
    EXPECT_TRUE(flows.holds());
    flows.erase(slot);
    EXPECT_EQ(flows.live(), 0U);
    EXPECT_EQ(live_sum(), 0U);
    EXPECT_TRUE(flows.holds());
}

TEST_F(Flows, ChangeHands) {
    const Slot slot = insert(1);
    flows.set_suppressed(slot, bit(2));
    EXPECT_EQ(flows.suppressed(2), 1U);
    EXPECT_EQ(flows.suppressed_digest(2).count(), 1U);
    flows.set_owner(slot, 3);
    EXPECT_EQ(flows.live(), 0U);
    EXPECT_EQ(flows.suppressed(2), 0U); // of live flows
    EXPECT_EQ(flows.copies(3), 1U);
    EXPECT_EQ(flows.copies_digest(3).count(), 1U);
    flows.set_missing(slot, Missing::clash);
    flows.set_refused(slot, table::Ignored::loopback);
    EXPECT_EQ(flows.missing(3, Missing::clash), 1U);
    EXPECT_EQ(flows.refused(3), 1U);
    flows.set_owner(slot, kGone); // whose flows are counted but not in a digest
    EXPECT_EQ(flows.copies(kGone), 1U);
    EXPECT_EQ(flows.missing(3, Missing::clash), 0U);
    EXPECT_EQ(flows.missing(kGone, Missing::clash), 1U);
    EXPECT_EQ(flows.copies_digest(3).count(), 0U);
    EXPECT_TRUE(flows.holds());
}

TEST_F(Flows, MarksAreInNoSum) {
    const Slot slot = insert(1);
    const std::uint64_t before = live_sum();
    flows.set_expires(slot, 5);
    flows.local(slot) = {
        .known = 1, .queued = 2, .full = 3, .is = {.delayed = true}, .liberal = true};
    EXPECT_EQ(live_sum(), before);
    EXPECT_TRUE(flows.holds());
    EXPECT_EQ(record(slot).known, 1);
}

TEST_F(Flows, EditsMayBeNested) {
    const Slot a = insert(1), b = insert(2);
    const std::uint64_t before = live_sum();
    {
        FlowStore::Change outer(flows, a);
        outer.progress().mark = 7;
        {
            const FlowStore::Change other(flows, b);
            FlowStore::Change again(flows, a);
            again.progress().term = 3;
            flows.set_owner(a, 2);
        }
        EXPECT_EQ(flows.live_digest().count(), 1U); // only b was added again
        EXPECT_EQ(flows.copies(2), 1U);             // counts are updated at once
        flows.set_owner(a, kHere);
    }
    EXPECT_TRUE(flows.holds());
    EXPECT_NE(live_sum(), before);
    FlowStore::Change(flows, a).progress() = {};
    EXPECT_EQ(live_sum(), before);
}

TEST_F(Flows, EndWhileTheyAreEdited) {
    const Slot a = insert(1);
    {
        const FlowStore::Change outer(flows, a), inner(flows, a);
        flows.erase(a);
        ASSERT_EQ(insert(2), a); // another one in its slot has its own sum
        const FlowStore::Change fresh(flows, a);
    }
    EXPECT_EQ(flows.live_digest().count(), 1U);
    EXPECT_TRUE(flows.holds());
}

TEST_F(Flows, WhatIsExpectedIsSummed) {
    const Slot slot = insert(1);
    const std::uint64_t before = live_sum();
    EXPECT_EQ(FlowStore::Change(flows, slot).expect(expectation(9), 100),
              ExpectationBook::Added::fresh);
    EXPECT_NE(live_sum(), before);
    EXPECT_TRUE(FlowStore::Change(flows, slot).unexpect(expectation(9)));
    EXPECT_EQ(live_sum(), before);
    FlowStore::Change(flows, slot).expect(expectation(9), 100);
    flows.erase(slot);
    EXPECT_EQ(flows.expectations().size(), 0U);
    EXPECT_TRUE(flows.holds());
}

TEST(FlowStore, SumsUpWhatIsThereAlready) {
    FlowStore flows{state::Seed{}};
    const Slot slot = flows.insert(make(1), 0, 0).first;
    flows.set_owner(slot, 1);
    EXPECT_EQ(flows.copies_digest(1).count(), 0U);
    EXPECT_TRUE(flows.holds());
    flows.begin_digests();
    EXPECT_EQ(flows.copies_digest(1).count(), 1U);
    EXPECT_TRUE(flows.holds());
}

// ---- any sequence --------------------------------------------------------------------------

class Sequences : public testing::TestWithParam<unsigned> {
  protected:
    static constexpr std::uint16_t kPorts = 40;
    static constexpr std::uint8_t kOwners[] = {kHere, kHere, 0, 1, 14, kUnclaimed, kGone};

    unsigned dice(unsigned sides) { return static_cast<unsigned>(random_()) % sides; }
    std::optional<Slot> any() {
        const Slot slot = flows_.index().find(make(static_cast<std::uint16_t>(dice(kPorts))).key);
        return slot == kNoSlot ? std::nullopt : std::optional(slot);
    }

    void mutate(FlowStore::Change& change) {
        const auto small = static_cast<std::uint8_t>(dice(4));
        switch (dice(8)) {
        case 0:
            change.progress().src_state = small;
            break;
        case 1:
            change.progress().flags = small;
            break;
        case 2:
            change.progress().mark = small;
            break;
        case 3:
            change.progress().term = small;
            break;
        case 4:
            change.rename({1000 + dice(kPorts), 2});
            break;
        case 5:
            change.set_reply({{}, {}, 53, small});
            break;
        case 6: {
            state::Extras extras;
            extras.lifetime = small;
            change.set_extras(extras);
            break;
        }
        case 7:
            if (dice(2) == 0)
                change.expect(expectation(small), small);
            else
                change.unexpect_all();
            break;
        }
    }

    // Changes that are possible at any time, also during a Change of other flows.
    void step(unsigned depth = 0) {
        const auto slot = any();
        if (!slot) {
            flows_.insert(make(static_cast<std::uint16_t>(dice(kPorts))), 0, 0,
                          static_cast<std::uint8_t>(dice(3)));
            return;
        }
        switch (dice(8)) {
        case 0:
            flows_.set_owner(*slot, kOwners[dice(std::size(kOwners))]);
            break;
        case 1:
            flows_.set_suppressed(*slot, static_cast<std::uint16_t>(dice(1U << kMaxPeers)));
            break;
        case 2:
            flows_.set_missing(*slot, static_cast<Missing>(dice(kMissingReasons)));
            break;
        case 3:
            flows_.set_refused(*slot, dice(4) == 0 ? std::nullopt
                                                   : std::optional(static_cast<table::Ignored>(
                                                         dice(table::kIgnored))));
            break;
        case 4:
            flows_.erase(*slot);
            break;
        case 5:
            flows_.set_expires(*slot, dice(9));
            flows_.local(*slot) = {.known = 1, .is = {}};
            break;
        default: {
            FlowStore::Change some(flows_, *slot);
            mutate(some);
            for (unsigned more = depth < 4 ? dice(4) : 0; more > 0; more--)
                step(depth + 1);
        }
        }
    }

    // A new store with only the current flows.
    std::unique_ptr<FlowStore> twin() const {
        auto out = std::make_unique<FlowStore>(state::Seed{1});
        const FlowIndex& index = flows_.index();
        for (const Slot from : index.slots()) {
            const Record& record = index.record(from);
            const Slot slot = out->insert(index.flow(from, 0), 0, 0, record.term).first;
            for (const auto& entry : flows_.expectations().of(from))
                FlowStore::Change(*out, slot).expect(entry.expectation, entry.expires);
            out->set_refused(slot, record.refused());
            out->set_missing(slot, record.missing);
            out->set_suppressed(slot, record.suppressed);
            out->set_owner(slot, record.owner);
        }
        out->begin_digests();
        return out;
    }

    void expect_same(const FlowStore& other) const {
        EXPECT_EQ(flows_.live(), other.live());
        EXPECT_TRUE(flows_.live_digest() == other.live_digest());
        for (PeerId peer = 0; peer < kMaxPeers; peer++) {
            EXPECT_EQ(flows_.suppressed(peer), other.suppressed(peer));
            EXPECT_TRUE(flows_.suppressed_digest(peer) == other.suppressed_digest(peer));
            EXPECT_TRUE(flows_.copies_digest(peer) == other.copies_digest(peer));
        }
        for (const std::uint8_t owner : kOwners) {
            EXPECT_EQ(flows_.copies(owner), other.copies(owner));
            EXPECT_EQ(flows_.refused(owner), other.refused(owner));
            for (int why = 0; why < kMissingReasons; why++)
                EXPECT_EQ(flows_.missing(owner, static_cast<Missing>(why)),
                          other.missing(owner, static_cast<Missing>(why)));
        }
    }

    FlowStore flows_{state::Seed{}};

  private:
    std::mt19937 random_{GetParam()};
};

TEST_P(Sequences, LeaveNoSumAndNoCountWrong) {
    if (GetParam() % 2 == 0)
        flows_.begin_digests();
    for (int n = 0; n < 2000 && !HasFailure(); n++) {
        step();
        if (n == 100)
            flows_.begin_digests();
        if (n % 400 != 0)
            continue;
        ASSERT_TRUE(flows_.holds());
        if (n >= 100)
            expect_same(*twin());
    }
    // A store with one difference is detected.
    const auto other = twin();
    const Slot slot = other->insert(make(kPorts), 0, 0).first;
    EXPECT_FALSE(flows_.live_digest() == other->live_digest());
    other->erase(slot);
    expect_same(*other);
}

INSTANTIATE_TEST_SUITE_P(Random, Sequences, testing::Range(1U, 7U));

} // namespace
} // namespace encsync::sync::test
