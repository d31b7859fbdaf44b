// SPDX-License-Identifier: ISC
#include "sync/reliability.hpp"

#include "pfsync/extension.hpp"

#include <gtest/gtest.h>

namespace encsync::sync {
namespace {

using namespace std::chrono_literals;
namespace ext = pfsync::extension;

// The items of a packet are its number, so that the result shows which packets were lost.
struct Sender {
    Outstanding out;
    std::vector<std::uint64_t> lost;
    std::vector<Instant> lost_since;
    Instant now;

    std::uint64_t send(Item::Kind kind = Item::Kind::removal) {
        const std::uint64_t number = out.open(now);
        out.note({.kind = kind, .id = {number, 1}});
        return number;
    }
    Outstanding::Lost collect() {
        return [this](const Item& item, Instant since) {
            lost.push_back(item.id.id);
            lost_since.push_back(since);
        };
    }
    bool ack(std::uint64_t highest, const std::vector<std::uint8_t>& bitmap) {
        return out.acknowledge(highest, bitmap, now, collect());
    }
};

std::vector<std::uint8_t> ack_of(Inbox& inbox, std::uint64_t session = 9) {
    std::vector<std::uint8_t> m(inbox.ack_size());
    inbox.write_ack(m.data(), session);
    EXPECT_EQ(load_be<std::uint64_t>(&m[ext::ack::session]), session);
    return {m.begin() + ext::ack::bitmap, m.end()};
}

TEST(Outstanding, WhatIsNotInTheBitmapIsLost) {
    Sender s;
    for (int n = 0; n < 5; n++)
        s.send();
    // Highest 5; of 4, 3, 2, 1 the second and the fourth have arrived.
    EXPECT_TRUE(s.ack(5, {0b1010, 0, 0, 0}));
    EXPECT_EQ(s.lost, (std::vector<std::uint64_t>{2, 4}));
    EXPECT_EQ(s.out.lost_packets(), 2u);
    EXPECT_TRUE(s.out.empty());
}

TEST(Outstanding, WhatIsNewerThanTheAckStaysOut) {
    Sender s;
    for (int n = 0; n < 5; n++)
        s.send();
    EXPECT_TRUE(s.ack(3, {0b11, 0, 0, 0}));
    EXPECT_TRUE(s.lost.empty());
    EXPECT_FALSE(s.out.empty());
    EXPECT_TRUE(s.ack(3, {0, 0, 0, 0})); // the same again, or an old one: no effect
    EXPECT_TRUE(s.ack(1, {0, 0, 0, 0}));
    EXPECT_TRUE(s.lost.empty());
    EXPECT_TRUE(s.ack(5, {0b1, 0, 0, 0}));
    EXPECT_TRUE(s.lost.empty());
    EXPECT_TRUE(s.out.empty());
}

TEST(Outstanding, AnAckOfWhatWasNeverSentIsALie) {
    Sender s;
    EXPECT_FALSE(s.ack(1, {0xff, 0xff, 0xff, 0xff}));
    s.send();
    EXPECT_FALSE(s.ack(2, {0xff, 0xff, 0xff, 0xff}));
    EXPECT_FALSE(s.ack(UINT64_MAX, {0xff, 0xff, 0xff, 0xff}));
    EXPECT_FALSE(s.out.empty());
    EXPECT_TRUE(s.lost.empty());
    EXPECT_TRUE(s.ack(1, {}));
    EXPECT_TRUE(s.out.empty());
}

TEST(Outstanding, BeyondTheBitmapIsLost) {
    for (const std::uint64_t count : {33u, 34u, 1024u, 1025u, 1026u}) {
        Sender s;
        for (std::uint64_t n = 0; n < count; n++)
            s.send();
        EXPECT_TRUE(s.ack(count, std::vector<std::uint8_t>(4, 0xff)));
        EXPECT_EQ(s.lost.size(), count - 33); // 32 bits and the highest itself
        if (count > 33) {
            EXPECT_EQ(s.lost.front(), 1u);
            EXPECT_EQ(s.lost.back(), count - 33);
        }
    }
}

TEST(Outstanding, ExpireTakesAllForLostInOrder) {
    Sender s;
    EXPECT_EQ(s.out.deadline(), Instant::max());
    for (int n = 0; n < 3; n++)
        s.send();
    const Instant first = s.out.deadline();
    const Duration wait = first - s.now;
    EXPECT_GE(wait, 80ms);
    s.out.expire(s.collect());
    EXPECT_EQ(s.lost, (std::vector<std::uint64_t>{1, 2, 3}));
    EXPECT_TRUE(s.out.empty());
    // It waits longer after each attempt, up to four times as long; an answer resets that.
    s.send();
    EXPECT_EQ(s.out.deadline(), s.now + wait * 2);
    for (int n = 0; n < 9; n++) {
        s.out.expire(s.collect());
        s.send();
    }
    EXPECT_EQ(s.out.deadline(), s.now + wait * 4);
    EXPECT_TRUE(s.ack(13, {}));
    EXPECT_EQ(s.send(), 14u);
    EXPECT_LE(s.out.deadline(), first);
    s.out.expire(s.collect());
    s.out.resume(s.collect());
    s.send();
    EXPECT_LE(s.out.deadline(), first);
}

TEST(Outstanding, ForgetTellsNobodyAndKeepsCounting) {
    Sender s;
    s.send(Item::Kind::bulk);
    EXPECT_EQ(s.out.bulk_items(), 1u);
    s.out.forget();
    EXPECT_TRUE(s.lost.empty());
    EXPECT_TRUE(s.out.empty());
    EXPECT_EQ(s.out.bulk_items(), 0u);
    EXPECT_EQ(s.send(), 2u);
}

TEST(Outstanding, BulkItemsAreCountedUntilTheyArriveOrAreLost) {
    Sender s;
    s.send(Item::Kind::bulk_start);
    s.send(Item::Kind::bulk);
    s.send(Item::Kind::full);
    s.send(Item::Kind::bulk);
    EXPECT_EQ(s.out.bulk_items(), 3u);
    EXPECT_TRUE(s.ack(3, {0b01, 0, 0, 0})); // the second arrived, the first did not
    EXPECT_EQ(s.out.bulk_items(), 1u);
    EXPECT_EQ(s.lost, (std::vector<std::uint64_t>{1}));
}

TEST(Outstanding, TheWindowShrinksOnceAWindowAndGrowsAgain) {
    Sender s;
    std::uint64_t sent = 0;
    while (s.out.room())
        sent = s.send();
    EXPECT_EQ(sent, 256u);
    EXPECT_TRUE(s.ack(sent, std::vector<std::uint8_t>(128, 0))); // all but the last lost
    std::uint64_t room = 0;
    while (s.out.room() && room < 2000) {
        sent = s.send();
        room++;
    }
    EXPECT_EQ(room, 192u); // three quarters at once, not step by step
    EXPECT_TRUE(s.ack(sent, std::vector<std::uint8_t>(128, 0xff)));
    room = 0;
    while (s.out.room() && room < 2000) {
        s.send();
        room++;
    }
    EXPECT_EQ(room, 192u + 192u);
}

TEST(Outstanding, KnowsSinceWhenTheOldestChangeWaits) {
    Sender s;
    const Instant began = s.now;
    EXPECT_EQ(s.out.oldest_change(), Instant::max());
    s.send();
    EXPECT_EQ(s.out.oldest_change(), Instant::max()); // it carries no change
    s.send();
    s.out.carries(began + 30ms);
    s.out.carries(began + 10ms);
    s.out.carries(began + 20ms);
    s.send();
    s.out.carries(began + 5ms);
    EXPECT_EQ(s.out.oldest_change(), began + 5ms);
    EXPECT_TRUE(s.ack(3, {0, 0, 0, 0})); // only the third arrived
    EXPECT_EQ(s.out.oldest_change(), Instant::max());
    EXPECT_EQ(s.lost_since, (std::vector<Instant>{Instant::max(), began + 10ms}));
}

TEST(Outstanding, MeasuresFromTheOldestChangeToTheAck) {
    Sender s;
    const Instant began = s.now;
    const auto observed = [&](std::size_t bucket) { return s.out.latency().counts()[bucket]; };
    s.send();
    s.out.carries(began);
    s.send(); // lost
    s.out.carries(began);
    s.send();      // without a change
    s.now += 10ms; // a bound, which is included
    EXPECT_TRUE(s.ack(3, {0b10, 0, 0, 0}));
    EXPECT_EQ(observed(1), 1u);
    EXPECT_EQ(s.out.latency().sum(), 10ms);
    s.send();
    s.out.carries(s.now);
    s.now += 1min;
    EXPECT_TRUE(s.ack(4, {0b11, 0, 0, 0}));
    EXPECT_EQ(observed(Histogram::kBounds.size()), 1u); // above all bounds
    EXPECT_EQ(s.out.latency().sum(), 60'010ms);
    s.send();
    s.out.carries(s.now);
    s.out.forget(); // a new session: nobody will ever acknowledge it
    EXPECT_EQ(s.out.oldest_change(), Instant::max());
    EXPECT_EQ(s.out.latency().sum(), 60'010ms);
}

// Which packets of a sequence arrive, and the resulting ACK: the sender must learn exactly that.
TEST(Inbox, TheAckSaysWhatArrived) {
    for (const std::uint64_t gap : {1u, 2u, 31u, 32u, 33u, 63u, 64u, 65u, 127u, 1022u, 1023u}) {
        Sender s;
        Inbox inbox;
        for (std::uint64_t n = 1; n <= gap + 2; n++) {
            s.send();
            if (n == 1 || n == gap + 1 || n == gap + 2) {
                EXPECT_TRUE(inbox.take(n));
            }
        }
        EXPECT_TRUE(s.ack(inbox.highest(), ack_of(inbox)));
        std::vector<std::uint64_t> lost;
        for (std::uint64_t n = 2; n <= gap; n++)
            lost.push_back(n);
        EXPECT_EQ(s.lost, lost) << gap;
    }
}

TEST(Inbox, BeyondItsBitsAllIsLost) {
    for (const std::uint64_t jump : {1024u, 1025u, 1026u, 2000u}) {
        Inbox inbox;
        EXPECT_TRUE(inbox.take(1));
        EXPECT_TRUE(inbox.take(1 + jump));
        const auto bitmap = ack_of(inbox);
        ASSERT_EQ(bitmap.size(), ext::ack::max_bitmap);
        // Bit n is packet highest - 1 - n, so packet 1 is bit jump - 1.
        EXPECT_EQ(bitmap.back() >> 7, jump == 1024 ? 1 : 0) << jump;
        for (std::size_t n = 0; n + 1 < bitmap.size(); n++)
            EXPECT_EQ(bitmap[n], 0) << jump << " " << n;
    }
}

TEST(Inbox, LateAndRepeatedPacketsAreNotTaken) {
    Inbox inbox;
    EXPECT_FALSE(inbox.take(0)); // numbers begin at 1
    EXPECT_TRUE(inbox.take(1));
    EXPECT_FALSE(inbox.take(1));
    EXPECT_TRUE(inbox.take(5));
    EXPECT_FALSE(inbox.take(3));
    EXPECT_FALSE(inbox.take(5));
    EXPECT_TRUE(inbox.take(6));
    EXPECT_EQ(inbox.highest(), 6u);
    EXPECT_EQ(inbox.unacknowledged(), 3u);
    EXPECT_EQ(ack_of(inbox)[0], 0b10001); // 5 and 1 of 5, 4, 3, 2, 1
    EXPECT_EQ(inbox.unacknowledged(), 0u);
}

TEST(Inbox, OneLostAckCostsNothing) {
    Sender s;
    Inbox inbox;
    std::vector<std::uint8_t> last;
    for (std::uint64_t n = 1; n <= 120; n++) {
        s.send();
        if (n % 7 != 0) {
            EXPECT_TRUE(inbox.take(n));
        }
        if (n % 40 == 0) {
            last = ack_of(inbox);
            if (n != 40) { // the first is lost
                EXPECT_TRUE(s.ack(inbox.highest(), last));
            }
        }
    }
    std::vector<std::uint64_t> lost;
    for (std::uint64_t n = 7; n < 120; n += 7)
        lost.push_back(n);
    EXPECT_EQ(s.lost, lost);
}

TEST(Inbox, AckSizesAreWholeWords) {
    Inbox inbox;
    for (std::uint64_t n = 1; n <= 3000; n += 37) {
        EXPECT_TRUE(inbox.take(n));
        EXPECT_EQ(inbox.ack_size() % 4, 0u);
        EXPECT_GE(inbox.ack_size(), ext::ack::bitmap + 4);
        EXPECT_LE(inbox.ack_size(), ext::ack::bitmap + ext::ack::max_bitmap);
    }
}

} // namespace
} // namespace encsync::sync
