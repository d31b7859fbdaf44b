// SPDX-License-Identifier: ISC
// Who peer number N is while peers come and go.
#include "daemon/directory.hpp"

#include <gtest/gtest.h>

namespace encsync::daemon {
namespace {

config::Conn conn(const std::string& name, std::uint8_t last) {
    config::Conn conn;
    conn.name = name;
    conn.left.ip = {{192, 0, 2, 1}};
    conn.right.ip = {{192, 0, 2, last}};
    return conn;
}

TEST(Directory, NumbersAreThePlacesOfTheConfiguration) {
    const Directory directory({conn("minnie", 2), conn("goofy", 3)});
    EXPECT_EQ(directory.all(), (std::vector<PeerId>{0, 1}));
    EXPECT_EQ(directory.name(1), "goofy");
    EXPECT_EQ(directory.find("goofy"), PeerId{1});
    EXPECT_EQ(directory.find("daisy"), std::nullopt);
    EXPECT_EQ(directory.find(""), std::nullopt);
    EXPECT_TRUE(directory.used(1));
    EXPECT_FALSE(directory.used(2));
    EXPECT_FALSE(directory.used(kNoPeer));
    EXPECT_EQ(directory.selectors(1).sources.at(0).bytes[3], 3);
    EXPECT_EQ(directory.selectors(1).destination.bytes[3], 1);
}

TEST(Directory, ARemovedPeerLeavesItsPlaceFree) {
    Directory directory({conn("minnie", 2), conn("goofy", 3), conn("daisy", 4)});
    directory.remove(1);
    EXPECT_EQ(directory.all(), (std::vector<PeerId>{0, 2}));
    EXPECT_FALSE(directory.used(1));
    EXPECT_EQ(directory.find("goofy"), std::nullopt);
    EXPECT_EQ(directory.conns().size(), 2U);
    directory.put(1, conn("donald", 5));
    EXPECT_EQ(directory.find("donald"), PeerId{1});
    EXPECT_EQ(directory.selectors(1).sources.at(0).bytes[3], 5);
    directory.put(7, conn("goofy", 3));
    EXPECT_EQ(directory.all(), (std::vector<PeerId>{0, 1, 2, 7}));
    EXPECT_FALSE(directory.used(6));
}

TEST(Directory, ThePlaceThatWasLeftLastIsTakenLast) {
    Directory directory({conn("minnie", 2), conn("goofy", 3), conn("daisy", 4)});
    EXPECT_EQ(directory.free_places().front(), 3);
    EXPECT_EQ(directory.free_places().size(), kMaxPeers - 3U);
    directory.remove(1);
    EXPECT_EQ(directory.free_places().front(), 3);
    EXPECT_EQ(directory.free_places().back(), 1);
    directory.put(3, conn("goofy", 3));
    directory.remove(2);
    EXPECT_EQ(directory.free_places().back(), 2);
}

} // namespace
} // namespace encsync::daemon
