// SPDX-License-Identifier: ISC
#include "ipsec/link/sa_table.hpp"
#include "tests/unit/link/params.hpp"

#include <gtest/gtest.h>

namespace encsync::link {
namespace {

using esp::Direction;
using std::chrono::seconds;
const Clock::time_point kStart{seconds(1000)};

std::string text(const Result<void>& result) {
    return result ? "ok" : result.error().text;
}

TEST(SaTable, SendsWithTheNewest) {
    SaTable table;
    EXPECT_EQ(nullptr, table.outbound(0));
    ASSERT_TRUE(table.add(make_params(Direction::outbound, 0x1001), kStart));
    EXPECT_EQ(0x1001u, table.outbound(0)->sa.spi());
    ASSERT_TRUE(table.add(make_params(Direction::outbound, 0x1002), kStart));
    EXPECT_EQ(0x1002u, table.outbound(0)->sa.spi());
    EXPECT_EQ(nullptr, table.outbound(1));
    // Of two simultaneous rekeys, the redundant SA is removed; the older is the newest again.
    EXPECT_TRUE(table.remove(0, 0x1002, Direction::outbound, kStart, seconds(5)));
    EXPECT_EQ(0x1001u, table.outbound(0)->sa.spi());
    EXPECT_FALSE(table.remove(0, 0x1002, Direction::outbound, kStart, seconds(5)));
    EXPECT_FALSE(table.remove(1, 0x1001, Direction::outbound, kStart, seconds(5)));
    EXPECT_TRUE(table.remove(0, 0x1001, Direction::outbound, kStart, seconds(5)));
    EXPECT_EQ(nullptr, table.outbound(0));
}

TEST(SaTable, ADeletedOneReceivesForAGrace) {
    SaTable table;
    ASSERT_TRUE(table.add(make_params(Direction::inbound, 0x1001), kStart));
    EXPECT_EQ(std::nullopt, table.expire(kStart + seconds(100)));
    EXPECT_EQ(0x1001u, table.newest_inbound(0));
    EXPECT_FALSE(table.remove(1, 0x1001, Direction::inbound, kStart, seconds(5)));
    EXPECT_TRUE(table.remove(0, 0x1001, Direction::inbound, kStart, seconds(5)));
    EXPECT_FALSE(table.remove(0, 0x1001, Direction::inbound, kStart, seconds(5)));
    EXPECT_EQ(0u, table.newest_inbound(0));
    EXPECT_NE(nullptr, table.inbound(0x1001));
    EXPECT_TRUE(table.list(kStart).at(0).retiring);
    EXPECT_EQ(kStart + seconds(5), table.expire(kStart + seconds(4)));
    EXPECT_NE(nullptr, table.inbound(0x1001));
    EXPECT_EQ(std::nullopt, table.expire(kStart + seconds(5)));
    EXPECT_EQ(nullptr, table.inbound(0x1001));
}

TEST(SaTable, DropLeavesNothing) {
    SaTable table;
    const auto fill = [&] {
        std::uint32_t spi = 0x1001;
        for (const PeerId peer : {0, 1})
            for (const Direction direction : {Direction::inbound, Direction::outbound})
                ASSERT_TRUE(table.add(make_params(direction, spi++, peer), kStart));
    };
    fill();
    table.remove(0, 0x1001, Direction::inbound, kStart, seconds(5));
    table.drop(0);
    EXPECT_EQ(nullptr, table.inbound(0x1001)) << "a retiring one survived";
    EXPECT_EQ(nullptr, table.outbound(0));
    EXPECT_EQ(2u, table.list(kStart).size());
    table.drop_all();
    EXPECT_TRUE(table.list(kStart).empty());
    fill();
}

TEST(SaTable, RefusesByName) {
    SaTable table;
    ASSERT_TRUE(table.add(make_params(Direction::inbound, 0x1001), kStart));
    ASSERT_TRUE(table.add(make_params(Direction::outbound, 0x1001), kStart)); // the peer's SPI
    EXPECT_EQ("SA 00001001: inbound SPI in use",
              text(table.add(make_params(Direction::inbound, 0x1001, 1), kStart)));
    EXPECT_EQ("SA 00001001: outbound SPI in use for this peer",
              text(table.add(make_params(Direction::outbound, 0x1001), kStart)));
    EXPECT_EQ("ok", text(table.add(make_params(Direction::outbound, 0x1001, 1), kStart)));
    EXPECT_EQ("SA 00001002: no peer has number 255",
              text(table.add(make_params(Direction::inbound, 0x1002, kNoPeer), kStart)));
    auto broken = make_params(Direction::inbound, 0x1002);
    broken.keymat_size = 3;
    EXPECT_EQ("SA 00001002: 3 bytes of key material, but AES-256-GCM takes 36",
              text(table.add(broken, kStart)));
    EXPECT_EQ(nullptr, table.inbound(0x1002));
    EXPECT_EQ(3u, table.list(kStart).size());
}

TEST(SaTable, ListsForAPerson) {
    SaTable table;
    ASSERT_TRUE(table.add(make_params(Direction::outbound, 0x1001), kStart));
    ASSERT_TRUE(table.add(make_params(Direction::outbound, 0x1002), kStart + seconds(60)));
    const auto list = table.list(kStart + seconds(100));
    ASSERT_EQ(2u, list.size());
    EXPECT_EQ(0x1002u, list[0].spi);
    EXPECT_EQ(40u, list[0].age);
    EXPECT_TRUE(list[0].sending);
    EXPECT_EQ(100u, list[1].age);
    EXPECT_FALSE(list[1].sending);
}

} // namespace
} // namespace encsync::link
