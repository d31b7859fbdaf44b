// SPDX-License-Identifier: ISC
// The hash table by itself, where the test can choose the hashes.
#include "state/hash_table.hpp"

#include <gtest/gtest.h>
#include <map>
#include <random>
#include <vector>

namespace encsync::state {
namespace {

// A table and its model: the hash of each slot.
struct Pair {
    HashTable table;
    std::map<Slot, std::uint32_t> model;

    void insert(std::uint32_t hash, Slot slot) {
        table.insert(hash, slot);
        model[slot] = hash;
    }
    void erase(Slot slot) {
        table.erase(model.at(slot), slot);
        model.erase(slot);
    }
    bool found(std::uint32_t hash, Slot slot) const {
        return table.find(hash, [&](Slot s) { return s == slot; }) == slot;
    }
    // Every slot is found by its hash, and by no other; and there are no other slots.
    void expect_same() const {
        ASSERT_TRUE(table.consistent());
        ASSERT_EQ(table.size(), model.size());
        for (const auto& [slot, hash] : model) {
            ASSERT_TRUE(found(hash, slot)) << slot;
            ASSERT_FALSE(found(hash ^ 0x10001, slot)) << slot;
        }
    }
};

TEST(HashTable, EmptyFindsNothing) {
    HashTable table;
    EXPECT_EQ(table.find(0, [](Slot) { return true; }), kNoSlot);
    EXPECT_EQ(table.memory_bytes(), 0U);
    EXPECT_TRUE(table.consistent());
}

// Hashes of few bits: long runs, at the front, in the middle, and around the end of the array.
TEST(HashTable, KeepsToItsModelThroughCollisions) {
    for (const std::uint32_t mask : {0x00000000U, 0x00000003U, 0xc0000000U, 0xff000000U}) {
        std::mt19937 random(mask + 1);
        Pair pair;
        Slot next = 0;
        for (int round = 0; round < 2000; round++) {
            if (pair.model.empty() || random() % 5 < (round < 900 ? 4U : 2U)) {
                // Half at the very end, so that runs wrap around.
                const std::uint32_t hash = (random() & mask) | (random() % 2 != 0 ? ~mask : 0);
                pair.insert(hash, next++);
            } else {
                pair.erase(
                    std::next(pair.model.begin(), static_cast<long>(random() % pair.model.size()))
                        ->first);
            }
            if (round % 41 == 0)
                pair.expect_same();
        }
        pair.expect_same();
        while (!pair.model.empty())
            pair.erase(pair.model.begin()->first);
        pair.expect_same();
    }
}

TEST(HashTable, FindsEverythingAtEverySizeWhileGrowing) {
    std::mt19937 random(7);
    Pair pair;
    int grown = 0;
    bool was_growing = false;
    for (Slot slot = 0; slot < 3000; slot++) {
        pair.insert(static_cast<std::uint32_t>(random()), slot);
        grown += pair.table.growing() && !was_growing ? 1 : 0;
        was_growing = pair.table.growing();
        if (slot < 600 || was_growing || slot % 50 == 0)
            pair.expect_same();
    }
    EXPECT_GE(grown, 4);
}

// Erases slots that are still in the old array, slots that were moved, and moves some by erasing.
TEST(HashTable, ErasesInTheMiddleOfGrowing) {
    std::mt19937 random(11);
    for (int round = 0; round < 20; round++) {
        Pair pair;
        Slot slot = 0;
        while (slot < 1000 || !pair.table.growing())
            pair.insert(static_cast<std::uint32_t>(random()), slot++);
        for (int n = 0; n < round * 4; n++)
            pair.insert(static_cast<std::uint32_t>(random()), slot++);
        pair.expect_same();
        int during = 0;
        while (!pair.model.empty()) {
            const auto it =
                std::next(pair.model.begin(), static_cast<long>(random() % pair.model.size()));
            during += pair.table.growing() ? 1 : 0;
            pair.erase(it->first);
            if (pair.table.growing() || pair.model.size() % 200 == 0)
                pair.expect_same();
        }
        EXPECT_TRUE(round > 10 || during > 10) << round;
        EXPECT_FALSE(pair.table.growing());
    }
}

TEST(HashTable, StaysTheSameSizeUnderChurn) {
    std::mt19937 random(13);
    Pair pair;
    std::vector<Slot> slots;
    for (Slot slot = 0; slot < 5000; slot++) {
        pair.insert(static_cast<std::uint32_t>(random()), slot);
        slots.push_back(slot);
    }
    const std::size_t before = pair.table.memory_bytes();
    for (int n = 0; n < 100000; n++) {
        const Slot slot = slots[random() % slots.size()];
        pair.erase(slot);
        pair.insert(static_cast<std::uint32_t>(random()), slot);
    }
    pair.expect_same();
    EXPECT_LE(pair.table.memory_bytes(), before);
}

} // namespace
} // namespace encsync::state
