// SPDX-License-Identifier: ISC
#include "state/index.hpp"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

namespace encsync::state {
namespace {

constexpr Seed kSeed{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

Flow make(std::uint32_t n, Family family = Family::inet) {
    Flow f;
    f.key.family = family;
    f.key.proto = 6;
    const std::size_t size = family == Family::inet ? 4 : 16;
    std::memcpy(&f.key.orig.src.bytes[size - 4], &n, 4);
    f.key.orig.dst.bytes[0] = 192;
    f.key.orig.sport = static_cast<std::uint16_t>(n * 7);
    f.key.orig.dport = 443;
    f.reply = inverse(f.key);
    f.id = {n * 0x100000001ULL + 5, 0x0a0b0c0d};
    f.mark = n ^ 0x55;
    f.src_state = 4;
    f.dst_state = 2;
    f.flags = kSeenReply;
    return f;
}

TEST(Index, EmptyFindsNothing) {
    const Index index(kSeed);
    EXPECT_EQ(index.find(make(1).key), kNoSlot);
    EXPECT_EQ(index.find(make(1).id), kNoSlot);
    EXPECT_EQ(index.next(kNoSlot), kNoSlot);
    EXPECT_EQ(index.size(), 0U);
    EXPECT_FALSE(index.used(0));
    EXPECT_FALSE(index.used(kNoSlot));
}

TEST(Index, GivesBackWhatItWasGiven) {
    for (const Family family : {Family::inet, Family::inet6}) {
        Index index(kSeed);
        Flow f = make(1, family);
        f.key.zone = 12;
        f.reply.dport = 61000;
        f.reply.dst.bytes[0] = 203;
        const auto [slot, fresh] = index.insert(f, 1100, 900);
        ASSERT_TRUE(fresh);
        EXPECT_EQ(index.find(f.key), slot);
        EXPECT_EQ(index.find(f.id), slot);
        EXPECT_EQ(index.key(slot), f.key);
        EXPECT_EQ(index.reply(slot), f.reply);
        f.timeout = 100;
        f.age = 100;
        EXPECT_EQ(index.flow(slot, 1000), f);
        EXPECT_EQ(index.record(slot).term, 0);
        EXPECT_EQ(index.size(), 1U);
    }
}

// A single difference makes another flow.
TEST(Index, TellsKeysApart) {
    for (const Family family : {Family::inet, Family::inet6}) {
        Index index(kSeed);
        const Flow f = make(1, family);
        ASSERT_TRUE(index.insert(f, 0, 0).second);
        std::vector<Key> others(7, f.key);
        others[0].zone++;
        others[1].proto = 17;
        others[2].orig.src.bytes[0] ^= 1;
        others[3].orig.dst.bytes[family == Family::inet ? 3 : 15] ^= 1;
        others[4].orig.sport++;
        others[5].orig.dport++;
        others[6].family = family == Family::inet ? Family::inet6 : Family::inet;
        for (std::size_t n = 0; n < others.size(); n++) {
            EXPECT_EQ(index.find(others[n]), kNoSlot) << n;
            Flow other = f;
            other.key = others[n];
            other.id.id = 1000 + n;
            EXPECT_TRUE(index.insert(other, 0, 0).second) << n;
        }
        EXPECT_EQ(index.find(StateId{f.id.id, f.id.creatorid + 1}), kNoSlot);
        EXPECT_EQ(index.find(StateId{f.id.id + 1, f.id.creatorid}), kNoSlot);
    }
}

TEST(Index, KnowsWhichZonesAreInUse) {
    Index index(kSeed);
    std::vector<Slot> slots;
    for (const std::uint16_t zone : {7, 0, 3, 7}) {
        Flow f = make(static_cast<std::uint32_t>(slots.size() + 1));
        f.key.zone = zone;
        slots.push_back(index.insert(f, 1, 1).first);
        EXPECT_EQ(index.zone(slots.back()), zone);
    }
    EXPECT_EQ(index.zones(), (std::vector<std::uint16_t>{3, 7}));
    index.erase(slots[0]);
    index.erase(slots[2]);
    EXPECT_EQ(index.zones(), std::vector<std::uint16_t>{7});
    index.erase(slots[3]);
    EXPECT_TRUE(index.zones().empty());
}

TEST(Index, WhatStandsInTheWayIsNamedAndStays) {
    Index index(kSeed);
    const Flow a = make(1), b = make(2);
    const Slot slot_a = index.insert(a, 10, 0).first;
    const Slot slot_b = index.insert(b, 10, 0).first;

    Flow same_key = make(3);
    same_key.key = a.key;
    EXPECT_EQ(index.insert(same_key, 99, 99), std::pair(slot_a, false));
    Flow same_id = make(4);
    same_id.id = b.id;
    EXPECT_EQ(index.insert(same_id, 99, 99), std::pair(slot_b, false));
    EXPECT_EQ(index.size(), 2U);
    EXPECT_EQ(index.find(same_key.id), kNoSlot);
    EXPECT_EQ(index.find(same_id.key), kNoSlot);
    EXPECT_EQ(index.record(slot_a).expires, 10U);
    EXPECT_EQ(index.record(slot_a).id, a.id);
}

TEST(Index, RenamesUnlessTheNameIsTaken) {
    Index index(kSeed);
    const Flow a = make(1), b = make(2);
    const Slot slot_a = index.insert(a, 0, 0).first;
    const Slot slot_b = index.insert(b, 0, 0).first;
    EXPECT_FALSE(index.rename(slot_a, b.id));
    EXPECT_EQ(index.find(a.id), slot_a);
    EXPECT_EQ(index.find(b.id), slot_b);
    EXPECT_TRUE(index.rename(slot_a, a.id)); // its own
    EXPECT_EQ(index.find(a.id), slot_a);
    EXPECT_TRUE(index.rename(slot_a, {99, 1}));
    EXPECT_EQ(index.find(a.id), kNoSlot);
    EXPECT_EQ(index.find(StateId{99, 1}), slot_a);
    EXPECT_EQ(index.find(a.key), slot_a);
    EXPECT_TRUE(index.rename(slot_b, a.id)); // the other flow no longer has it
    EXPECT_EQ(index.find(a.id), slot_b);
}

TEST(Index, ReplacesTheReplyOnly) {
    for (const Family family : {Family::inet, Family::inet6}) {
        Index index(kSeed);
        const Flow f = make(1, family);
        const Slot slot = index.insert(f, 0, 0).first;
        Tuple reply = f.reply;
        reply.dport = 1;
        reply.dst.bytes[1] = 9;
        index.set_reply(slot, reply);
        EXPECT_EQ(index.reply(slot), reply);
        EXPECT_EQ(index.key(slot), f.key);
        EXPECT_EQ(index.find(f.key), slot);
    }
}

TEST(Index, RecordsOfALargerTypeKeepTheirPlaces) {
    struct Noted : Record {
        std::uint64_t note = 7;
    };
    IndexOf<Noted> first(kSeed);
    std::vector<Slot> slots; // in several chunks of both families, in turn
    for (std::uint32_t n = 0; n < 3 * kChunkSize; n++) {
        const Flow flow = make(n, n % 2 == 0 ? Family::inet : Family::inet6);
        slots.push_back(first.insert(flow, n, 0).first);
        first.record(slots.back()).note = n;
    }
    const IndexOf<Noted> index = std::move(first);
    for (std::uint32_t n = 0; n < slots.size(); n++) {
        EXPECT_EQ(index.record(slots[n]).note, n);
        EXPECT_EQ(index.record(slots[n]).expires, n);
        EXPECT_EQ(index.record(slots[n]).id, make(n).id);
        EXPECT_EQ(&static_cast<const Index&>(index).record(slots[n]), &index.record(slots[n]));
    }
}

TEST(Index, ErasedSlotsComeBackNewestFirst) {
    struct Noted : Record {
        unsigned note = 7;
    };
    IndexOf<Noted> index(kSeed);
    std::vector<Slot> slots;
    for (std::uint32_t n = 0; n < 5; n++)
        slots.push_back(index.insert(make(n), 0, 0).first);
    for (const Slot slot : slots)
        EXPECT_EQ(index.record(slot).note, 7u);
    index.record(slots[1]).note = 9;
    index.record(slots[1]).term = 1;
    index.record(slots[2]).note = 8;
    index.erase(slots[3]);
    index.erase(slots[1]);
    EXPECT_FALSE(index.used(slots[1]));
    EXPECT_FALSE(index.used(slots[3]));
    EXPECT_EQ(index.find(make(1).key), kNoSlot);
    EXPECT_EQ(index.find(make(1).id), kNoSlot);
    EXPECT_EQ(index.insert(make(10), 0, 0).first, slots[1]);
    EXPECT_EQ(index.record(slots[1]).note, 7u); // nothing of the one before is left
    EXPECT_EQ(index.record(slots[1]).term, 0);
    EXPECT_EQ(index.record(slots[1]).id, make(10).id);
    EXPECT_EQ(index.record(slots[2]).note, 8u);
    EXPECT_EQ(index.insert(make(11), 0, 0).first, slots[3]);
}

TEST(Index, ClockWraps) {
    Index index(kSeed);
    const Slot slot = index.insert(make(1), 5, 0xfffffff0).first;
    EXPECT_EQ(index.flow(slot, 0xfffffffe).timeout, 7U);
    EXPECT_EQ(index.flow(slot, 0xfffffffe).age, 14U);
    EXPECT_EQ(index.flow(slot, 5).timeout, 0U);
    EXPECT_EQ(index.flow(slot, 6).timeout, 0U); // expired, not 136 years left
    EXPECT_EQ(index.flow(slot, 6).age, 22U);
    EXPECT_EQ(index.flow(slot, 0xffffffe0).age, 0U); // not created yet
}

TEST(Index, VisitsEachOnceWhileThingsChangeBehindIt) {
    std::mt19937 random(3);
    Index index(kSeed);
    std::set<std::uint64_t> awaited;
    for (std::uint32_t n = 0; n < 5000; n++) {
        const Flow f = make(n, n % 3 == 0 ? Family::inet6 : Family::inet);
        index.insert(f, 0, 0);
        awaited.insert(f.id.id);
    }
    std::uint32_t fresh = 100000;
    Slot last = 0;
    std::size_t visits = 0;
    for (const Slot s : index.slots()) {
        ASSERT_TRUE(visits++ == 0 || s > last);
        last = s;
        ASSERT_TRUE(index.used(s));
        awaited.erase(index.record(s).id.id);
        if (random() % 4 == 0) {
            index.erase(s); // the current one; a new one may get its slot
            if (random() % 2 == 0)
                index.insert(make(fresh++), 0, 0);
        }
    }
    EXPECT_TRUE(awaited.empty()) << awaited.size();
    EXPECT_LE(visits, 5000U + (fresh - 100000));
}

TEST(Index, WalksInSlices) {
    Index index(kSeed);
    Slot cursor = kNoSlot;
    std::vector<Slot> visited;
    const auto visit = [&](Slot slot) { visited.push_back(slot); };
    EXPECT_TRUE(index.slice(cursor, 5, visit)); // it is empty
    for (std::uint32_t n = 0; n < 10; n++)
        index.insert(make(n), 0, 0);
    EXPECT_FALSE(index.slice(cursor, 4, visit));
    EXPECT_EQ(visited.size(), 4U);
    index.erase(cursor);
    EXPECT_FALSE(index.slice(cursor, 6, visit));
    EXPECT_TRUE(index.slice(cursor, 6, visit)); // starts again
    EXPECT_EQ(visited.size(), 10U);
    EXPECT_FALSE(index.slice(cursor, 9, visit));
    EXPECT_EQ(visited.size(), 19U);
    EXPECT_TRUE(std::equal(visited.begin(), visited.begin() + 3, visited.begin() + 10));
    std::size_t rest = 0;
    for ([[maybe_unused]] const Slot slot : index.slots(visited[4]))
        rest++;
    EXPECT_EQ(rest, 5U);
}

TEST(Index, RecordsDoNotMove) {
    Index index(kSeed);
    const Slot first = index.insert(make(0), 0, 0).first;
    const Record* where = &index.record(first);
    for (std::uint32_t n = 1; n < 20000; n++)
        index.insert(make(n), 0, 0);
    EXPECT_EQ(&index.record(first), where);
}

// Random operations compared with a std::map, on few keys and ids so that they collide.
class Model : public testing::TestWithParam<std::uint32_t> {};

TEST_P(Model, AgreesWithAMap) {
    std::mt19937 random(GetParam());
    const std::uint32_t world = GetParam(); // number of keys and ids
    Index index(kSeed);
    std::map<Key, std::pair<Slot, Flow>> by_key;
    std::map<StateId, Key> by_id;

    const auto family = [](std::uint32_t n) { return n % 2 != 0 ? Family::inet : Family::inet6; };
    const auto id_of = [](std::uint32_t n) { return StateId{n / 2, 1 + n % 2}; };
    const auto expect_same = [&] {
        ASSERT_EQ(index.size(), by_key.size());
        std::size_t seen = 0;
        for (const Slot s : index.slots()) {
            ASSERT_EQ(by_key.at(index.key(s)).first, s);
            seen++;
        }
        ASSERT_EQ(seen, by_key.size());
        for (const auto& [key, entry] : by_key) {
            ASSERT_EQ(index.find(key), entry.first);
            ASSERT_EQ(index.find(entry.second.id), entry.first);
            ASSERT_EQ(index.flow(entry.first, 0), entry.second);
        }
    };

    const std::uint32_t rounds = 150000;
    for (std::uint32_t round = 0; round < rounds; round++) {
        const std::uint32_t n = random() % world;
        Flow f = make(n, family(n));
        f.id = id_of(static_cast<std::uint32_t>(random() % world));
        const auto here = by_key.find(f.key);
        // Phases of growth and of decline, so that every size is passed in both directions.
        const bool growing = round / (rounds / 6) % 2 == 0;
        switch (random() % 8) {
        case 0:
        case 1:
        case 2:
            if (!growing && round % 4 != 0)
                break;
            {
                const auto [slot, fresh] = index.insert(f, 0, 0);
                const auto named = by_id.find(f.id);
                ASSERT_EQ(fresh, here == by_key.end() && named == by_id.end());
                if (fresh) {
                    by_key[f.key] = {slot, f};
                    by_id[f.id] = f.key;
                } else {
                    ASSERT_EQ(slot, here != by_key.end() ? here->second.first
                                                         : by_key.at(named->second).first);
                }
            }
            break;
        case 3:
            ASSERT_EQ(index.find(f.key), here == by_key.end() ? kNoSlot : here->second.first);
            break;
        case 4: {
            const auto named = by_id.find(f.id);
            ASSERT_EQ(index.find(f.id),
                      named == by_id.end() ? kNoSlot : by_key.at(named->second).first);
            break;
        }
        case 5:
            if (here != by_key.end() && (!growing || round % 4 == 0)) {
                index.erase(here->second.first);
                ASSERT_FALSE(index.used(here->second.first));
                by_id.erase(here->second.second.id);
                by_key.erase(here);
            }
            break;
        case 6:
            if (here != by_key.end()) {
                auto& [slot, flow] = here->second;
                const auto named = by_id.find(f.id);
                const bool free = named == by_id.end() || named->second == f.key;
                ASSERT_EQ(index.rename(slot, f.id), free);
                if (free) {
                    by_id.erase(flow.id);
                    flow.id = f.id;
                    by_id[f.id] = f.key;
                }
            }
            break;
        case 7:
            if (here != by_key.end()) {
                auto& [slot, flow] = here->second;
                flow.reply.dport = static_cast<std::uint16_t>(random());
                index.set_reply(slot, flow.reply);
                flow.mark = static_cast<std::uint32_t>(random());
                index.record(slot).mark = flow.mark;
            }
            break;
        }
        if (round % (world < 1000 ? 997 : 9973) == 0)
            expect_same();
    }
    expect_same();
    while (!by_key.empty()) {
        index.erase(by_key.begin()->second.first);
        by_key.erase(by_key.begin());
    }
    EXPECT_EQ(index.size(), 0U);
    EXPECT_EQ(index.next(kNoSlot), kNoSlot);
}

INSTANTIATE_TEST_SUITE_P(Worlds, Model, testing::Values(3U, 40U, 2000U, 30000U));

TEST(Index, MemoryAFlowStaysInBounds) {
    Index index(kSeed);
    double most = 0;
    for (std::uint32_t n = 1; n <= 60000; n++) {
        index.insert(make(n), 0, 0);
        if (n >= 20000)
            most = std::max(most, static_cast<double>(index.memory_bytes()) / n);
    }
    EXPECT_LT(most, 125); // while a hash table grows, both its arrays exist
    EXPECT_GT(most, sizeof(Record));
}

TEST(StateIdOf, DependsOnTheWholeKeyAndTheSecret) {
    const Key key = make(1).key;
    const std::uint64_t id = state_id(key, kSeed);
    EXPECT_EQ(state_id(key, kSeed), id);
    Seed other = kSeed;
    other[15] ^= 1;
    EXPECT_NE(state_id(key, other), id);
    Key another = key;
    another.zone++;
    EXPECT_NE(state_id(another, kSeed), id);
    another = key;
    another.proto++;
    EXPECT_NE(state_id(another, kSeed), id);
    another = key;
    another.orig.dport++;
    EXPECT_NE(state_id(another, kSeed), id);
    another = key;
    another.family = Family::inet6;
    EXPECT_NE(state_id(another, kSeed), id);
}

// Peers know the flow by its id, so a new version of encsync must not change it.
TEST(StateIdOf, StaysWhatItIs) {
    Flow f = make(0x01020304);
    f.key.orig.src.bytes = {10, 0, 0, 2};
    f.key.orig.dst.bytes = {192, 0, 2, 1};
    f.key.orig.sport = 40000;
    // SipHash-2-4 of 0a000002 c0000201 9c40 01bb 0000 06 04, computed by another program.
    EXPECT_EQ(state_id(f.key, kSeed), 0x4bceecbbff6b3ce7U);
}

} // namespace
} // namespace encsync::state
