// SPDX-License-Identifier: ISC
#include "ipsec/plugin/strongswan/half_open.hpp"

#include <gtest/gtest.h>

namespace encsync::plugin {
namespace {

constexpr std::size_t kPlaces = HalfOpen::kPlaces;

TEST(HalfOpen, HasSoManyPlacesForEachPeer) {
    HalfOpen half_open;
    for (std::uint64_t n = 0; n < kPlaces; n++)
        for (PeerId peer = 0; peer < kMaxPeers; peer++)
            EXPECT_FALSE(half_open.begin(peer, {n, peer}, 7));
    EXPECT_EQ(half_open.count(3), kPlaces);
    EXPECT_LT(kPlaces * kMaxPeers, 1000U); // charon's limit
}

TEST(HalfOpen, ANewOneTakesAnyPlace) {
    HalfOpen half_open;
    for (std::uint64_t n = 0; n < kPlaces; n++)
        half_open.begin(1, {n, 1}, 0);
    EXPECT_EQ(half_open.begin(1, {100, 1}, 5), (IkeSpis{5, 1}));
    EXPECT_EQ(half_open.begin(1, {101, 1}, 5 + 3 * kPlaces), (IkeSpis{100, 1}));
    EXPECT_EQ(half_open.begin(1, {102, 1}, kPlaces - 1), (IkeSpis{kPlaces - 1, 1}));
    EXPECT_EQ(half_open.count(1), kPlaces);
    EXPECT_FALSE(half_open.begin(2, {5, 2}, 5)); // another peer's places are its own
}

TEST(HalfOpen, OneThatIsEstablishedOrGoneMakesRoom) {
    HalfOpen half_open;
    for (std::uint64_t n = 0; n < kPlaces; n++)
        half_open.begin(1, {n, 1}, 0);
    half_open.end({7, 1});
    half_open.end({7, 2}); // never begun
    EXPECT_EQ(half_open.count(1), kPlaces - 1);
    EXPECT_FALSE(half_open.begin(1, {100, 1}, 3));
    EXPECT_TRUE(half_open.begin(1, {101, 1}, 3));
}

} // namespace
} // namespace encsync::plugin
