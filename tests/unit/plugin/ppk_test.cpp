// SPDX-License-Identifier: ISC
// Two real charons with post-quantum preshared keys (RFC 8784).
#include "tests/unit/plugin/pair.hpp"

#include <string_view>

namespace encsync::supervisor::test {
namespace {

using ike::CredentialKind;
using ike::PpkUse;

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

// The id is part of what the secret is.
std::vector<std::uint8_t> ppk(std::uint8_t fill) {
    std::vector<std::uint8_t> data(48, fill);
    std::fill(data.begin() + 16, data.end(), static_cast<std::uint8_t>(fill + 100));
    return data;
}

std::string id(std::uint8_t fill) {
    std::string text;
    for (int n = 0; n < 16; n++)
        text += fmt::format("{:02x}", fill);
    return text;
}

// Of the last SA that was taken into use.
std::string used(const Node& node) {
    for (auto event = node.events.rbegin(); event != node.events.rend(); ++event)
        if (event->kind == PeerEventKind::up || event->kind == PeerEventKind::rekeyed)
            return event->ppk;
    return "no SA";
}

class PpkPair : public Pair {
  protected:
    channel::Peer with(const Node& node, std::initializer_list<std::uint8_t> ppks,
                       PpkUse use = PpkUse::optional) const {
        auto peer = peer_of(node);
        peer.ppk = use;
        for (const std::uint8_t each : ppks)
            peer.auth.add(CredentialKind::ppk, ppk(each));
        return peer;
    }
    void connect_with(const channel::Peer& one, const channel::Peer& two) {
        start(mickey, one);
        start(minnie, two);
        ASSERT_TRUE(eventually(
            [&] { return connected() && used(mickey) != "no SA" && used(minnie) != "no SA"; }));
        forget_gaps();
    }
    // The error is on the node that called or was called, whichever.
    void refused(const Node& node, std::string_view part) {
        EXPECT_TRUE(eventually([&] {
            return std::ranges::any_of(node.events, [&](const channel::PeerEvent& event) {
                return event.kind == PeerEventKind::auth_failed && contains(event.text, part);
            });
        })) << part;
        EXPECT_EQ(mickey.count(PeerEventKind::up) + minnie.count(PeerEventKind::up), 0U);
    }
};

TEST_F(PpkPair, IsUsedIfBothHaveIt) {
    connect_with(with(mickey, {1}, PpkUse::required), with(minnie, {1}, PpkUse::required));
    EXPECT_EQ(used(mickey), id(1));
    EXPECT_EQ(used(minnie), id(1));
    // Nor is that forgotten when the SAs are rekeyed.
    const auto first = spi_of(mickey.sending());
    mickey.ike.rekey(0, false);
    ASSERT_TRUE(eventually([&] { return connected() && spi_of(mickey.sending()) != first; }));
    EXPECT_TRUE(eventually([&] { return minnie.count(PeerEventKind::rekeyed) > 0; }));
    EXPECT_EQ(used(mickey), id(1));
    EXPECT_EQ(used(minnie), id(1));
    EXPECT_EQ(gaps(), 0U);
}

TEST_F(PpkPair, OneThatIsOptionalAndNotInCommonIsNotUsed) {
    connect_with(with(mickey, {1}), with(minnie, {2}));
    EXPECT_EQ(used(mickey), "");
    EXPECT_EQ(used(minnie), "");
}

TEST_F(PpkPair, OnlyOneHasIt) {
    connect_with(with(mickey, {}), with(minnie, {2}));
    EXPECT_EQ(used(mickey), "");
}

// Of two, each offers another one, and both accept either.
TEST_F(PpkPair, ChangesWithoutAGap) {
    connect_with(with(mickey, {1, 2}, PpkUse::required), with(minnie, {2, 1}, PpkUse::required));
    EXPECT_EQ(used(mickey), id(1));
    auto first = spi_of(mickey.sending());
    minnie.ike.rekey(0, true); // it has not begun the IKE_SA, and now offers its own
    ASSERT_TRUE(eventually([&] { return connected() && spi_of(mickey.sending()) != first; }));
    ASSERT_TRUE(eventually([&] { return used(mickey) == id(2) && used(minnie) == id(2); }));
    // mickey goes over to 2, and the older one is erased.
    ASSERT_TRUE(mickey.ike.set_peer(with(mickey, {2}, PpkUse::required)));
    ASSERT_TRUE(minnie.ike.set_peer(with(minnie, {2}, PpkUse::required)));
    first = spi_of(mickey.sending());
    mickey.ike.rekey(0, true);
    ASSERT_TRUE(eventually([&] { return connected() && spi_of(mickey.sending()) != first; }));
    EXPECT_TRUE(eventually([&] { return used(mickey) == id(2) && used(minnie) == id(2); }));
    EXPECT_EQ(gaps(), 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::down) + minnie.count(PeerEventKind::down), 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::auth_failed) + minnie.count(PeerEventKind::auth_failed),
              0U);
}

TEST_F(PpkPair, IsPutToUseByReauthentication) {
    connect_with(with(mickey, {}), with(minnie, {}));
    EXPECT_EQ(used(mickey), "");
    ASSERT_TRUE(mickey.ike.set_peer(with(mickey, {1})));
    ASSERT_TRUE(minnie.ike.set_peer(with(minnie, {1})));
    minnie.ike.rekey(0, true);
    ASSERT_TRUE(eventually([&] { return used(mickey) == id(1) && used(minnie) == id(1); }));
    EXPECT_EQ(gaps(), 0U);
}

TEST_F(PpkPair, ThatIsRequiredAndNotInCommonIsRefusedByName) {
    start(mickey, with(mickey, {1}, PpkUse::required));
    start(minnie, with(minnie, {2}, PpkUse::required));
    refused(minnie, "'mickey': its post-quantum preshared key (ppk." + id(1) + ") is not here");
    refused(mickey, "minnie refused us: has it our post-quantum preshared key (ppk." + id(1));
}

TEST_F(PpkPair, ThatIsRequiredAndNotThereIsRefusedByName) {
    start(mickey, with(mickey, {1}, PpkUse::required));
    start(minnie, with(minnie, {}));
    refused(mickey, "it has not got our post-quantum preshared key (ppk.01");
    refused(minnie, "does it require a post-quantum preshared key? None was used");
}

// The one that calls needs none.
TEST_F(PpkPair, ThatIsRequiredOfACallerIsRefusedByName) {
    start(mickey, with(mickey, {2}));
    start(minnie, with(minnie, {1}, PpkUse::required));
    refused(minnie, "'mickey': its post-quantum preshared key (ppk." + id(2) + ") is not here");
    refused(mickey, "does it require a post-quantum preshared key? None was used");
}

TEST_F(PpkPair, ThatIsRequiredOfACallerWithoutIsRefusedByName) {
    start(mickey, with(mickey, {}));
    start(minnie, with(minnie, {1}, PpkUse::required));
    refused(minnie, "'mickey': it uses no post-quantum preshared key, and one is required here");
    refused(mickey, "does it require a post-quantum preshared key? None was used");
}

TEST_F(PpkPair, ThatIsRequiredAndNotHereIsNamed) {
    start(mickey, with(mickey, {}, PpkUse::required));
    start(minnie, with(minnie, {}));
    refused(mickey, "there is no post-quantum preshared key with it here, and one is required");
    refused(minnie, "does it require a post-quantum preshared key?");
}

// Control: it is refused as long as it must be.
TEST_F(PpkPair, ComesUpAsSoonAsItIsThere) {
    start(mickey, with(mickey, {1}, PpkUse::required));
    start(minnie, with(minnie, {}));
    refused(mickey, "one is required");
    ASSERT_TRUE(minnie.ike.set_peer(with(minnie, {1})));
    ASSERT_TRUE(eventually([&] { return connected(); }));
    EXPECT_TRUE(eventually([&] { return used(mickey) == id(1) && used(minnie) == id(1); }));
}

// The same id, but another secret: that is no mistake, and refused like a wrong signature.
TEST_F(PpkPair, AForgedIdIsOfNoUse) {
    auto forged = peer_of(minnie);
    auto data = ppk(1);
    data.back() ^= 1;
    forged.auth.add(CredentialKind::ppk, data);
    start(mickey, with(mickey, {1}));
    start(minnie, forged);
    refused(minnie, "no trusted key matches the one it signed with");
}

} // namespace
} // namespace encsync::supervisor::test
