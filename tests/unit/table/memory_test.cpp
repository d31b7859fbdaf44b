// SPDX-License-Identifier: ISC
#include "flows.hpp"
#include "netns.hpp" // Recorder

#include "table/memory/memory.hpp"

#include <gtest/gtest.h>

namespace encsync::table::test {
namespace {

class MemoryTest : public testing::Test {
  protected:
    void SetUp() override {
        table_.start(seen_);
        table_.advance(100);
    }
    Memory table_{MemoryOptions{3}};
    Recorder seen_;
};

TEST_F(MemoryTest, ReportsTrafficAndNotItself) {
    EXPECT_EQ(seen_.dumps_ended, 1);
    table_.put(tcp(1), Lifetime::copy);
    table_.refresh(tcp(1), Lifetime::copy);
    table_.remove(tcp(1));
    EXPECT_TRUE(seen_.created.empty() && seen_.updated.empty() && seen_.destroyed.empty());
    state::Flow f = tcp(2);
    f.src_state = 2, f.dst_state = 0, f.flags = 0;
    EXPECT_TRUE(table_.packet(f));
    EXPECT_TRUE(table_.packet(tcp(2)));
    EXPECT_TRUE(table_.packet(tcp(2))); // established: no event
    table_.destroy(tcp(2).key);
    EXPECT_EQ(seen_.created.size(), 1U);
    EXPECT_EQ(seen_.updated.size(), 1U);
    EXPECT_EQ(seen_.destroyed.size(), 1U);
}

TEST_F(MemoryTest, EntriesLiveAsLongAsTheyWerePutFor) {
    table_.put(udp(1), Lifetime::natural);
    table_.put(udp(2), Lifetime::copy);
    EXPECT_EQ(table_.find(udp(1).key)->timeout, 120U);
    EXPECT_EQ(table_.find(udp(2).key)->timeout, 120U + kCopyExtra);
    EXPECT_TRUE(table_.is_untouched(udp(2).key));
    EXPECT_FALSE(table_.is_untouched(udp(1).key));
    table_.advance(219);
    EXPECT_EQ(table_.size(), 2U);
    table_.advance(220);
    ASSERT_EQ(seen_.destroyed.size(), 1U);
    EXPECT_EQ(seen_.destroyed[0].key, udp(1).key);
    table_.packet(udp(2)); // a packet makes it live
    EXPECT_FALSE(table_.is_untouched(udp(2).key));
    EXPECT_EQ(table_.find(udp(2).key)->timeout, 120U);
    table_.refresh(udp(2), Lifetime::copy);
    EXPECT_EQ(table_.find(udp(2).key)->timeout, 120U + kCopyExtra);
    table_.advance(10000);
    EXPECT_EQ(table_.size(), 0U);
    table_.refresh(udp(2), Lifetime::copy);
    EXPECT_EQ(table_.size(), 1U);
}

TEST_F(MemoryTest, AFullTableRefusesAtTheFlush) {
    for (std::uint16_t i = 0; i < 4; i++)
        table_.put(tcp(i), Lifetime::copy);
    EXPECT_TRUE(seen_.refused.empty());
    table_.flush();
    ASSERT_EQ(seen_.refused.size(), 1U);
    EXPECT_EQ(seen_.refused[0], std::pair(tcp(3).key, Refusal::table_full));
    EXPECT_FALSE(table_.packet(tcp(9)));
    table_.put(tcp(0), Lifetime::copy); // an existing entry can be updated
    table_.flush();
    EXPECT_EQ(seen_.refused.size(), 1U);
}

TEST_F(MemoryTest, ATakenReplyIsAClashAndOtherNatReplaces) {
    const state::Flow f = snat(tcp(1), "198.51.100.1", 40000);
    table_.put(f, Lifetime::copy);
    table_.put(snat(tcp(2), "198.51.100.1", 40000), Lifetime::copy);
    table_.flush();
    ASSERT_EQ(seen_.refused.size(), 1U);
    EXPECT_EQ(seen_.refused[0].second, Refusal::clash);
    EXPECT_EQ(seen_.holders, (std::vector{tcp(1).key}));
    table_.put(tcp(1), Lifetime::copy);
    EXPECT_EQ(table_.find(tcp(1).key)->reply, tcp(1).reply);
    table_.put(snat(tcp(2), "198.51.100.1", 40000), Lifetime::copy); // free again
    EXPECT_EQ(table_.size(), 2U);
}

TEST_F(MemoryTest, LostEventsAreFollowedByADump) {
    table_.lose_events(true);
    table_.packet(tcp(1));
    EXPECT_TRUE(seen_.created.empty());
    table_.advance(101);
    EXPECT_EQ(seen_.dumps_ended, 1);
    table_.lose_events(false);
    table_.advance(102);
    EXPECT_EQ(seen_.dumps_ended, 2);
    EXPECT_EQ(seen_.dump.size(), 1U);
    table_.lose_events(true); // no event occurs, so none is lost
    table_.lose_events(false);
    table_.advance(103);
    EXPECT_EQ(seen_.dumps_ended, 2);
}

TEST_F(MemoryTest, APowerCutTellsNobody) {
    table_.packet(tcp(1));
    table_.wipe();
    EXPECT_EQ(table_.size(), 0U);
    EXPECT_TRUE(seen_.destroyed.empty());
    EXPECT_TRUE(table_.packet(tcp(1)));
}

} // namespace
} // namespace encsync::table::test
