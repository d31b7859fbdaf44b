// SPDX-License-Identifier: ISC
#include "sync/timer_queue.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

using namespace std::chrono_literals;
using state::Slot;

struct Queue : testing::Test {
    state::Index index{state::Seed{}};
    TimerQueue queue;

    Slot insert(std::uint16_t port, std::uint64_t life = 1) {
        state::Flow flow;
        flow.key.proto = 17;
        flow.key.orig.sport = port;
        flow.id = {life << 16 | port, 1};
        return index.insert(flow, 0, 0).first;
    }
};

TEST_F(Queue, GivesEachOnceWhenItIsDue) {
    EXPECT_EQ(queue.next(), Instant::max());
    EXPECT_EQ(queue.take(Instant::max(), index), std::nullopt);
    const Slot a = insert(1), b = insert(2);
    queue.add(Instant(5s), index, a);
    queue.add(Instant(7s), index, b);
    EXPECT_EQ(queue.next(), Instant(5s));
    EXPECT_EQ(queue.take(Instant(4s), index), std::nullopt);
    EXPECT_EQ(queue.take(Instant(6s), index), a);
    EXPECT_EQ(queue.next(), Instant(7s));
    EXPECT_EQ(queue.take(Instant(6s), index), std::nullopt);
    EXPECT_EQ(queue.take(Instant(7s), index), b);
    EXPECT_TRUE(queue.empty());
}

TEST_F(Queue, PassesOverWhatHasEnded) {
    const Slot a = insert(1), b = insert(2), c = insert(3), d = insert(4);
    for (const Slot slot : {a, b, c, d})
        queue.add(Instant(1s), index, slot);
    index.erase(a);
    index.erase(b);
    ASSERT_EQ(insert(5), b); // another flow in its slot
    index.erase(c);
    ASSERT_EQ(insert(3, 2), c); // another life of it
    EXPECT_EQ(queue.take(Instant(1s), index), d);
    EXPECT_EQ(queue.take(Instant(1s), index), std::nullopt);
    EXPECT_TRUE(queue.empty());
}

// Another id is another flow; whoever changes the id must also set the timers.
TEST_F(Queue, PassesOverWhatHasAnotherName) {
    const Slot a = insert(1);
    queue.add(Instant(1s), index, a);
    index.rename(a, {99, 2});
    EXPECT_EQ(queue.take(Instant(1s), index), std::nullopt);
}

TEST_F(Queue, KeepsNoPlacesOfManyThatHaveEnded) {
    const Slot lasting = insert(1);
    queue.add(Instant(1s), index, lasting);
    for (std::uint64_t life = 1; life < 5000; life++) {
        const Slot slot = insert(2, life);
        queue.add(Instant(1s), index, slot);
        index.erase(slot);
        EXPECT_LE(queue.size(), 1100U);
    }
    EXPECT_EQ(queue.take(Instant(1s), index), lasting);
    EXPECT_EQ(queue.take(Instant(1s), index), std::nullopt);
}

} // namespace
} // namespace encsync::sync::test
