// SPDX-License-Identifier: ISC
#include "sync/aged_queue.hpp"

#include <deque>
#include <gtest/gtest.h>
#include <random>

namespace encsync::sync {
namespace {

using namespace std::chrono_literals;

const Instant kBegan = Instant() + 1h;

TEST(AgedQueue, RemembersSinceWhenEachEntryWaits) {
    AgedQueue<int> queue;
    EXPECT_EQ(queue.oldest(), Instant::max());
    queue.push(1, kBegan);
    queue.push(2, kBegan);
    queue.push(3, kBegan + 1s);
    queue.push(4, kBegan - 1s); // one that comes back
    EXPECT_EQ(queue.size(), 4u);
    EXPECT_EQ(queue.oldest(), kBegan - 1s);
    EXPECT_EQ(queue.front(), 1);
    EXPECT_EQ(queue.pop(), kBegan);
    EXPECT_EQ(queue.pop(), kBegan);
    EXPECT_EQ(queue.pop(), kBegan + 1s);
    EXPECT_EQ(queue.front(), 4);
    EXPECT_EQ(queue.pop(), kBegan - 1s);
    EXPECT_TRUE(queue.empty());
    EXPECT_EQ(queue.oldest(), Instant::max());
}

TEST(AgedQueue, IsBackdatedOnlyToWhatIsEarlier) {
    AgedQueue<int> queue;
    queue.backdate(kBegan); // empty: there is nothing that waits
    EXPECT_EQ(queue.oldest(), Instant::max());
    queue.push(1, kBegan);
    queue.backdate(kBegan + 1s);
    EXPECT_EQ(queue.oldest(), kBegan);
    queue.backdate(kBegan - 1s);
    EXPECT_EQ(queue.oldest(), kBegan - 1s);
}

TEST(AgedQueue, KeepsTheAgeOfWhatIsLeft) {
    AgedQueue<int> queue;
    for (int n = 0; n < 10; n++)
        queue.push(n, kBegan + n * 1s);
    queue.erase_if([](int n) { return n % 2 == 0; });
    EXPECT_EQ(queue.size(), 5u);
    for (int n = 1; n < 10; n += 2) {
        EXPECT_EQ(queue.front(), n);
        EXPECT_LE(queue.pop(), kBegan + n * 1s); // never younger than it is
    }
    EXPECT_EQ(queue.oldest(), Instant::max());
}

// More instants than there are marks: nothing is taken for younger than it is, and the oldest, of
// which the user is told, is right as long as nothing has left.
TEST(AgedQueue, ErrsOnlyTowardsOlder) {
    std::mt19937 random(7);
    AgedQueue<int> queue;
    std::deque<Instant> truth;
    Instant now = kBegan, first = Instant::max();
    for (int n = 0; n < 20'000; n++) {
        now += std::chrono::milliseconds(random() % 3);
        const Instant since = random() % 20 == 0 ? now - 50ms : now;
        queue.push(n, since);
        truth.push_back(since);
        if (n < 1000) {
            first = std::min(first, since);
            ASSERT_EQ(queue.oldest(), first);
        } else if (random() % 2 == 0) {
            ASSERT_LE(queue.oldest(), *std::ranges::min_element(truth)) << n;
            ASSERT_LE(queue.pop(), truth.front()) << n;
            truth.pop_front();
        }
        if (truth.size() > 1500) {
            for (; truth.size() > 10; truth.pop_front())
                ASSERT_LE(queue.pop(), truth.front()) << n;
        }
    }
    EXPECT_EQ(queue.size(), truth.size());
}

} // namespace
} // namespace encsync::sync
