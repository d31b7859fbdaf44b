// SPDX-License-Identifier: ISC
// Two real charons that are up: their SAs and identities are renewed, and no packet is lost.
#include "tests/unit/plugin/pair.hpp"

#include <algorithm>

namespace encsync::supervisor::test {
namespace {

using ike::CredentialKind;
using std::chrono::milliseconds;

// In an IKE header: the exchange, and the one that carries AUTH.
constexpr std::size_t kExchange = 18;
constexpr std::uint8_t kIkeAuth = 35;

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

// ---- rekeying ------------------------------------------------------------------------------

class Rekeying : public Pair, public ::testing::WithParamInterface<int> {};

// By either end, and by both at once.
TEST_P(Rekeying, LosesNoPacket) {
    connect();
    const auto first = spi_of(mickey.sending()), back = spi_of(minnie.sending());
    if (GetParam() & 1)
        mickey.ike.rekey(0, false);
    if (GetParam() & 2)
        minnie.ike.rekey(0, false);
    ASSERT_TRUE(eventually([&] {
        return connected() && spi_of(mickey.sending()) != first && spi_of(minnie.sending()) != back;
    }));
    // Until the old ones are removed.
    ASSERT_TRUE(eventually([&] {
        return mickey.sas_of(esp::Direction::inbound).size() == 1 &&
               minnie.sas_of(esp::Direction::inbound).size() == 1;
    }));
    EXPECT_TRUE(connected());
    EXPECT_EQ(gaps(), 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::down) + minnie.count(PeerEventKind::down), 0U);
    EXPECT_GE(mickey.count(PeerEventKind::rekeyed), 1U);
    EXPECT_GE(minnie.count(PeerEventKind::rekeyed), 1U);
}
INSTANTIATE_TEST_SUITE_P(Ends, Rekeying, ::testing::Values(1, 2, 3));

class Reauthenticating : public Pair, public ::testing::WithParamInterface<int> {};

TEST_P(Reauthenticating, LosesNoPacket) {
    connect();
    const auto first = spi_of(mickey.sending());
    // SAs are reported before the event.
    ASSERT_TRUE(eventually([&] { return mickey.count(PeerEventKind::up) != 0; }));
    const std::string old_ike = mickey.events.back().ike_spi_i;
    ASSERT_EQ(old_ike.size(), 16U);
    (GetParam() ? mickey : minnie).ike.rekey(0, true);
    ASSERT_TRUE(eventually([&] { return connected() && spi_of(mickey.sending()) != first; }));
    ASSERT_TRUE(eventually([&] {
        return mickey.sas_of(esp::Direction::inbound).size() == 1 &&
               minnie.sas_of(esp::Direction::inbound).size() == 1;
    }));
    EXPECT_TRUE(connected());
    EXPECT_EQ(gaps(), 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::down) + minnie.count(PeerEventKind::down), 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::peer_deleted), 0U);
    EXPECT_TRUE(eventually([&] { return mickey.events.back().ike_spi_i != old_ike; }));
}
INSTANTIATE_TEST_SUITE_P(Ends, Reauthenticating, ::testing::Values(0, 1));

// Which is kept for five seconds to receive; charon by itself would try again after up to 15.
TEST_F(Pair, AReauthenticationDoesNotWaitUntilARekeyedSaIsGone) {
    connect();
    const auto kept = mickey.sas_of(esp::Direction::inbound).front().spi;
    const auto is_kept = [&] {
        const auto in = mickey.sas_of(esp::Direction::inbound);
        return std::ranges::any_of(in, [&](const auto& sa) { return sa.spi == kept; });
    };
    const auto first = spi_of(mickey.sending()), back = spi_of(minnie.sending());
    mickey.ike.rekey(0, false);
    ASSERT_TRUE(eventually([&] {
        return connected() && spi_of(mickey.sending()) != first && spi_of(minnie.sending()) != back;
    }));
    ASSERT_TRUE(is_kept());
    std::optional<bool> kept_meanwhile;
    mickey.seen = [&](const channel::IkeOut& out) {
        if (out.datagram[kExchange] == kIkeAuth && !kept_meanwhile)
            kept_meanwhile = is_kept();
    };
    const auto second = spi_of(mickey.sending());
    mickey.ike.rekey(0, true);
    ASSERT_TRUE(eventually([&] { return connected() && spi_of(mickey.sending()) != second; }));
    EXPECT_EQ(kept_meanwhile, true);
    EXPECT_EQ(gaps(), 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::down) + minnie.count(PeerEventKind::down), 0U);
}

TEST_F(Pair, ShortLivesRekeyByThemselves) {
    auto one = peer_of(mickey), two = peer_of(minnie);
    for (auto* p : {&one, &two}) {
        p->lifetime = std::chrono::seconds(6);
        p->ikelifetime = std::chrono::seconds(10);
        p->margintime = std::chrono::seconds(3);
    }
    start(mickey, one);
    start(minnie, two);
    ASSERT_TRUE(eventually([&] { return connected(); }));
    forget_gaps();
    EXPECT_TRUE(eventually([&] { return mickey.count(PeerEventKind::rekeyed) >= 6; }));
    EXPECT_EQ(gaps(), 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::down) + minnie.count(PeerEventKind::down), 0U);
}

TEST_F(Pair, AnSaThatSentEnoughIsRekeyed) {
    connect();
    const auto first = spi_of(mickey.sending());
    mickey.ike.expire(0x12345678); // no such SA: nothing happens
    mickey.ike.expire(mickey.sas_of(esp::Direction::inbound).front().spi);
    EXPECT_TRUE(eventually([&] { return connected() && spi_of(mickey.sending()) != first; }));
    EXPECT_EQ(gaps(), 0U);
}

// ---- rotation of the identity --------------------------------------------------------------

TEST_F(Pair, IdentityIsRotatedWithoutAGap) {
    connect();
    const auto fresh = seed(7);
    // mickey has a new key next to the old one, and still signs with the old.
    ASSERT_TRUE(mickey.ike.set_identity({"mickey", {seed(1), fresh}}));
    auto first = spi_of(mickey.sending());
    mickey.ike.rekey(0, true);
    ASSERT_TRUE(eventually([&] { return connected() && spi_of(mickey.sending()) != first; }));

    // minnie trusts both; then mickey retires the old one.
    auto both = peer_of(minnie);
    both.auth.add(CredentialKind::trusted, public_key(fresh));
    ASSERT_TRUE(minnie.ike.set_peer(both));
    ASSERT_TRUE(mickey.ike.set_identity({"mickey", {fresh}}));
    first = spi_of(mickey.sending());
    ASSERT_TRUE(eventually([&] { return connected() && spi_of(mickey.sending()) != first; }));
    ASSERT_TRUE(eventually([&] { return minnie.shown() == public_key(fresh); }));

    // minnie no longer trusts the old one, which no SA depends on any more.
    auto only = peer_of(minnie);
    only.auth.remove(CredentialKind::trusted);
    only.auth.add(CredentialKind::trusted, public_key(fresh));
    first = spi_of(mickey.sending());
    ASSERT_TRUE(minnie.ike.set_peer(only));
    go_on(std::chrono::milliseconds(1500));
    EXPECT_EQ(spi_of(mickey.sending()), first);
    EXPECT_EQ(gaps(), 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::auth_failed) + minnie.count(PeerEventKind::auth_failed),
              0U);
}

TEST_F(Pair, OneReauthenticationShowsTheNewKeysOfBoth) {
    connect();
    const auto his = seed(7), hers = seed(8);
    auto to_mickey = peer_of(minnie), to_minnie = peer_of(mickey);
    to_mickey.auth.add(CredentialKind::trusted, public_key(his));
    to_minnie.auth.add(CredentialKind::trusted, public_key(hers));
    ASSERT_TRUE(minnie.ike.set_peer(to_mickey));
    ASSERT_TRUE(mickey.ike.set_peer(to_minnie));
    const std::size_t before = mickey.outbound_added;
    // Nothing arrives at first, so that either would begin if it did not let the other go first.
    wire = false;
    std::vector<channel::IkeOut> from_mickey, from_minnie;
    const auto begins = [](std::vector<channel::IkeOut>& all) {
        return [&all](const channel::IkeOut& m) {
            if (m.datagram.size() > 18 && m.datagram[18] == 34) // IKE_SA_INIT
                all.push_back(m);
        };
    };
    mickey.seen = begins(from_mickey);
    minnie.seen = begins(from_minnie);
    ASSERT_TRUE(mickey.ike.set_identity({"mickey", {his}}));
    ASSERT_TRUE(minnie.ike.set_identity({"minnie", {hers}}));
    ASSERT_TRUE(eventually([&] { return !from_mickey.empty() || !from_minnie.empty(); }));
    go_on(std::chrono::milliseconds(1500));
    EXPECT_NE(from_mickey.empty(), from_minnie.empty());
    mickey.seen = minnie.seen = nullptr;
    wire = true;
    for (const channel::IkeOut& m : from_mickey)
        minnie.ike.ike_in(m.from, m.to, m.datagram);
    for (const channel::IkeOut& m : from_minnie)
        mickey.ike.ike_in(m.from, m.to, m.datagram);
    ASSERT_TRUE(eventually([&] {
        return connected() && mickey.shown() == public_key(hers) &&
               minnie.shown() == public_key(his);
    }));
    go_on(std::chrono::seconds(4)); // the turn of the one that lets the other go first
    EXPECT_EQ(mickey.outbound_added, before + 1);
    EXPECT_EQ(gaps(), 0U);
}

TEST_F(Pair, TheNextKeyIsTriedBesideTheTunnel) {
    connect();
    const auto fresh = seed(7);
    ASSERT_TRUE(mickey.ike.set_identity({"mickey", {seed(1), fresh}}));
    ASSERT_TRUE(eventually([&] { return mickey.used() == public_key(seed(1)); }));
    const auto first = spi_of(mickey.sending());
    // minnie does not trust it: nothing changes.
    auto tried = peer_of(mickey);
    tried.next_key = true;
    ASSERT_TRUE(mickey.ike.set_peer(tried));
    ASSERT_TRUE(eventually([&] { return mickey.count(PeerEventKind::auth_failed) != 0; }));
    ASSERT_TRUE(mickey.ike.set_peer(peer_of(mickey)));
    go_on(std::chrono::milliseconds(1500));
    EXPECT_EQ(spi_of(mickey.sending()), first);
    EXPECT_EQ(mickey.count(PeerEventKind::auth_failed), 1U);
    EXPECT_EQ(mickey.used(), public_key(seed(1)));
    // minnie trusts both.
    auto both = peer_of(minnie);
    both.auth.add(CredentialKind::trusted, public_key(fresh));
    ASSERT_TRUE(minnie.ike.set_peer(both));
    ASSERT_TRUE(mickey.ike.set_peer(tried));
    ASSERT_TRUE(eventually([&] { return connected() && spi_of(mickey.sending()) != first; }));
    ASSERT_TRUE(eventually([&] { return minnie.shown() == public_key(fresh); }));
    EXPECT_TRUE(eventually([&] { return mickey.used() == public_key(fresh); }));
    // The SAs stay when it is the only one.
    const auto second = spi_of(mickey.sending());
    ASSERT_TRUE(mickey.ike.set_identity({"mickey", {fresh}}));
    go_on(std::chrono::milliseconds(1500));
    EXPECT_EQ(spi_of(mickey.sending()), second);
    EXPECT_EQ(gaps(), 0U);
}

// What is being negotiated at that moment has been signed with the older one.
TEST_F(Pair, AKeyThatChangesDuringAReauthenticationIsShownSoon) {
    connect();
    auto both = peer_of(minnie);
    both.auth.add(CredentialKind::trusted, public_key(seed(7)));
    ASSERT_TRUE(minnie.ike.set_peer(both));
    bool changed = false;
    mickey.seen = [&](const channel::IkeOut& out) {
        if (out.datagram[kExchange] == kIkeAuth && !std::exchange(changed, true)) {
            EXPECT_TRUE(mickey.ike.set_identity({"mickey", {seed(7)}}));
        }
    };
    const auto first = spi_of(mickey.sending());
    mickey.ike.rekey(0, true);
    ASSERT_TRUE(eventually([&] { return changed && spi_of(mickey.sending()) != first; }));
    const auto began = std::chrono::steady_clock::now();
    ASSERT_TRUE(eventually([&] { return minnie.shown() == public_key(seed(7)); }));
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(15));
    EXPECT_EQ(gaps(), 0U);
}

// Control: SAs do depend on it.
TEST_F(Pair, ARetiredKeyEndsWhatRestsOnIt) {
    connect();
    auto both = peer_of(minnie);
    both.auth.add(CredentialKind::trusted, public_key(seed(7)));
    ASSERT_TRUE(minnie.ike.set_peer(both));
    const auto first = spi_of(minnie.sending());
    ASSERT_TRUE(eventually([&] { return minnie.shown() == public_key(seed(1)); }));
    auto only = peer_of(minnie);
    only.auth.remove(CredentialKind::trusted);
    only.auth.add(CredentialKind::trusted, public_key(seed(7)));
    ASSERT_TRUE(minnie.ike.set_peer(only));
    ASSERT_TRUE(eventually([&] { return minnie.sas.empty() && mickey.sas.empty(); }));
    ASSERT_TRUE(eventually([&] { return minnie.count(PeerEventKind::auth_failed); }));
    ASSERT_TRUE(mickey.ike.set_identity({"mickey", {seed(7)}}));
    ASSERT_TRUE(eventually([&] { return connected(); }));
    EXPECT_NE(spi_of(minnie.sending()), first);
}

TEST_F(Pair, RotationToAKeyNobodyTrustsIsRefused) {
    connect();
    const auto first = spi_of(mickey.sending());
    ASSERT_TRUE(mickey.ike.set_identity({"mickey", {seed(7)}}));
    ASSERT_TRUE(eventually([&] { return minnie.count(PeerEventKind::auth_failed); }));
    EXPECT_TRUE(contains(minnie.text(PeerEventKind::auth_failed), "no trusted key matches"));
    // The existing SAs stay.
    EXPECT_EQ(spi_of(mickey.sending()), first);
    EXPECT_EQ(gaps(), 0U);
}

} // namespace
} // namespace encsync::supervisor::test
