// SPDX-License-Identifier: ISC
// Two real charons that have ML-KEM-768 as an additional key exchange (RFC 9370), by the plugin.
#include "tests/unit/plugin/pair.hpp"

namespace encsync::supervisor::test {
namespace {

constexpr const char* kClassic = "aes256gcm16-prfsha384-curve25519";
constexpr const char* kHybrid = "aes256gcm16-prfsha384-curve25519-ke1_mlkem768";
constexpr const char* kBoth =
    "aes256gcm16-prfsha384-curve25519-ke1_mlkem768,aes256gcm16-prfsha384-curve25519";

// Of the last SA that was taken into use.
std::string used(const Node& node) {
    for (auto event = node.events.rbegin(); event != node.events.rend(); ++event)
        if (event->kind == PeerEventKind::up || event->kind == PeerEventKind::rekeyed)
            return event->key_exchanges;
    return "no SA";
}

class MlKemPair : public Pair {
  protected:
    channel::Peer with(const Node& node, const char* ike) const {
        auto peer = peer_of(node);
        peer.ike = ike;
        return peer;
    }
    void connect_with(const char* one, const char* two) {
        start(mickey, with(mickey, one));
        start(minnie, with(minnie, two));
        ASSERT_TRUE(eventually(
            [&] { return connected() && used(mickey) != "no SA" && used(minnie) != "no SA"; }));
        forget_gaps();
    }
    // Both have others now, made with these.
    bool renewed(std::uint32_t first, const std::string& with) {
        return eventually([&] {
            return connected() && spi_of(mickey.sending()) != first && used(mickey) == with &&
                   used(minnie) == with;
        });
    }
};

TEST_F(MlKemPair, IsUsedIfBothHaveIt) {
    connect_with(kBoth, kBoth);
    EXPECT_EQ(used(mickey), "curve25519-ke1_mlkem768");
    EXPECT_EQ(used(minnie), "curve25519-ke1_mlkem768");
}

TEST_F(MlKemPair, IsUsedIfOneInsists) {
    connect_with(kBoth, kHybrid);
    EXPECT_EQ(used(mickey), "curve25519-ke1_mlkem768");
}

class MlKemFallback : public MlKemPair, public ::testing::WithParamInterface<bool> {};

// Whoever begins.
TEST_P(MlKemFallback, IsNotUsedIfOneHasItNot) {
    connect_with(GetParam() ? kClassic : kBoth, GetParam() ? kBoth : kClassic);
    EXPECT_EQ(used(mickey), "curve25519");
    EXPECT_EQ(used(minnie), "curve25519");
}
INSTANTIATE_TEST_SUITE_P(Ends, MlKemFallback, ::testing::Bool());

TEST_F(MlKemPair, IsRefusedIfOneInsistsAndTheOtherHasItNot) {
    start(mickey, with(mickey, kHybrid));
    start(minnie, with(minnie, kClassic));
    ASSERT_TRUE(eventually([&] {
        return mickey.count(PeerEventKind::no_proposal) && minnie.count(PeerEventKind::no_proposal);
    }));
    EXPECT_NE(minnie.text(PeerEventKind::no_proposal).find("KE1_ML_KEM_768"), std::string::npos)
        << minnie.text(PeerEventKind::no_proposal);
    EXPECT_EQ(mickey.count(PeerEventKind::up) + minnie.count(PeerEventKind::up), 0U);
}

class MlKemRenewal : public MlKemPair, public ::testing::WithParamInterface<bool> {};

// With IKE_FOLLOWUP_KE if rekeyed, with IKE_INTERMEDIATE if reauthenticated.
TEST_P(MlKemRenewal, KeepsItAndLosesNoPacket) {
    connect_with(kBoth, kBoth);
    const auto first = spi_of(mickey.sending());
    mickey.ike.rekey(0, GetParam());
    ASSERT_TRUE(renewed(first, "curve25519-ke1_mlkem768"));
    // Until the old ones are removed: then the IKE SA is another, too.
    ASSERT_TRUE(eventually([&] {
        return mickey.sas_of(esp::Direction::inbound).size() == 1 &&
               minnie.sas_of(esp::Direction::inbound).size() == 1;
    }));
    EXPECT_EQ(gaps(), 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::down) + minnie.count(PeerEventKind::down), 0U);
}
INSTANTIATE_TEST_SUITE_P(Reauthenticate, MlKemRenewal, ::testing::Bool());

} // namespace
} // namespace encsync::supervisor::test
