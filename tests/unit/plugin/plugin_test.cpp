// SPDX-License-Identifier: GPL-2.0-or-later
//
// The plugin's own decisions: when an SA is sent on, when a peer is up, when to initiate.
#include "ipsec/plugin/strongswan/sa_table.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

namespace encsync::plugin {
namespace {

using namespace std::chrono_literals;
using ike::CredentialKind;

constexpr encsync_address_t kLeft{{192, 168, 1, 100}, false};
constexpr encsync_address_t kRight{{192, 168, 1, 101}, false};

channel::Peer minnie() {
    channel::Peer peer;
    peer.id = 2;
    peer.name = "minnie";
    peer.leftid = "mickey";
    peer.rightid = "minnie";
    peer.left = {{{192, 168, 1, 100}}, 500};
    peer.right = {{{192, 168, 1, 101}}, 500};
    peer.auth.add(CredentialKind::trusted, std::vector<std::uint8_t>(32, 1));
    return peer;
}

Sa sa(std::uint32_t spi, bool outbound, std::uint32_t hold_for = 0) {
    Sa out;
    out.params.spi = spi;
    out.params.peer = 2;
    out.params.direction = outbound ? esp::Direction::outbound : esp::Direction::inbound;
    out.params.keymat.fill(9);
    out.dst = outbound ? kRight : kLeft;
    out.hold_for = hold_for;
    return out;
}

// Reports as one line: "+o1 up" is an outbound SA with SPI 1 added, and the peer being up.
std::string line(const std::vector<Report>& reports) {
    std::string out;
    for (const Report& report : reports) {
        if (!out.empty())
            out += ' ';
        if (const auto* add = std::get_if<channel::AddSa>(&report)) {
            EXPECT_EQ(add->keymat[0], 9);
            out += fmt::format("+{}{}", add->direction == esp::Direction::outbound ? 'o' : 'i',
                               add->spi);
        } else if (const auto* gone = std::get_if<channel::DeleteSa>(&report)) {
            out += fmt::format("-{}{}", gone->direction == esp::Direction::outbound ? 'o' : 'i',
                               gone->spi);
        } else {
            switch (std::get<channel::PeerEvent>(report).kind) {
            case channel::PeerEventKind::up:
                out += "up";
                break;
            case channel::PeerEventKind::down:
                out += "down";
                if (const auto& why = std::get<channel::PeerEvent>(report).text; !why.empty())
                    out += fmt::format("({})", why);
                break;
            case channel::PeerEventKind::rekeyed:
                out += "rekeyed";
                break;
            case channel::PeerEventKind::peer_deleted:
                out += "deleted";
                break;
            default:
                out += "?";
            }
        }
    }
    return out;
}

class Table : public ::testing::Test {
  protected:
    Table() { peers.set(minnie()); }
    Peers peers;
    SaTable sas;
};

TEST_F(Table, FirstOutboundSaIsUpAndTheLastIsDown) {
    EXPECT_EQ(line(sas.add(sa(1, false), peers)), "+i1");
    EXPECT_EQ(line(sas.add(sa(2, true), peers)), "+o2 up");
    EXPECT_EQ(line(sas.add(sa(3, true), peers)), "+o3 rekeyed");
    EXPECT_EQ(line(sas.remove(2, kRight, peers)), "-o2");
    EXPECT_EQ(line(sas.remove(3, kRight, peers)), "down -o3");
    EXPECT_EQ(line(sas.remove(1, kLeft, peers)), "-i1");
    EXPECT_EQ(line(sas.remove(1, kLeft, peers)), "");
}

TEST_F(Table, EachSaPutToUseIsARenewal) {
    EXPECT_EQ(peers.renewals(2), 0U);
    sas.add(sa(1, false), peers);
    sas.add(sa(2, true, 7), peers);
    EXPECT_EQ(peers.renewals(2), 0U);
    sas.release(7, peers);
    sas.add(sa(3, true), peers);
    EXPECT_EQ(peers.renewals(2), 2U);
    EXPECT_EQ(peers.renewals(3), 0U);
}

TEST_F(Table, AHeldSaWaitsForItsIkeSa) {
    EXPECT_EQ(line(sas.add(sa(2, true, 7), peers)), "");
    EXPECT_EQ(line(sas.release(8, peers)), "");
    EXPECT_EQ(line(sas.release(0, peers)), "");
    EXPECT_EQ(line(sas.release(7, peers)), "+o2 up");
    EXPECT_EQ(line(sas.release(7, peers)), "");
}

TEST_F(Table, AHeldSaThatIsRefusedWasNeverThere) {
    EXPECT_EQ(line(sas.add(sa(2, true, 7), peers)), "");
    EXPECT_EQ(line(sas.remove(2, kRight, peers)), "");
    EXPECT_EQ(line(sas.release(7, peers)), "");
}

TEST_F(Table, TheOldestHeldSaTakesOverFromTheLastInUse) {
    sas.add(sa(2, true), peers);
    sas.add(sa(3, true, 7), peers);
    sas.add(sa(4, true, 8), peers);
    EXPECT_EQ(line(sas.remove(2, kRight, peers)), "+o3 rekeyed -o2");
    EXPECT_EQ(line(sas.release(8, peers)), "+o4 rekeyed");
}

TEST_F(Table, AHeldSaTakesOverWhenThePeerClosesTheOldOne) {
    sas.add(sa(3, true, 7), peers);
    EXPECT_EQ(line(sas.closed_by_peer(2, 2, peers)), ""); // no SA is in use that it could replace
    sas.add(sa(2, true), peers);
    EXPECT_EQ(line(sas.closed_by_peer(1, 2, peers)), "");
    EXPECT_EQ(line(sas.closed_by_peer(2, 2, peers)), "+o3 rekeyed");
    EXPECT_EQ(line(sas.closed_by_peer(2, 2, peers)), "");
    EXPECT_EQ(line(sas.remove(2, kRight, peers)), "-o2");
}

TEST_F(Table, WhoClosedItIsSaidOnlyForTheLast) {
    sas.add(sa(2, true), peers);
    sas.add(sa(3, true), peers);
    sas.closed_by_peer(2, 2, peers);
    EXPECT_EQ(line(sas.remove(2, kRight, peers)), "-o2");
    EXPECT_EQ(line(sas.remove(3, kRight, peers)), "down -o3"); // for another reason, later
    sas.add(sa(4, true), peers);
    sas.closed_by_peer(2, 4, peers);
    EXPECT_EQ(line(sas.remove(4, kRight, peers)), "deleted down(the peer closed its SAs) -o4");
    // Both ends had initiated: the peer deletes both SAs, before the first is removed.
    sas.add(sa(5, true), peers);
    sas.add(sa(6, true), peers);
    sas.closed_by_peer(2, 5, peers);
    sas.closed_by_peer(2, 6, peers);
    EXPECT_EQ(line(sas.remove(5, kRight, peers)), "-o5");
    EXPECT_EQ(line(sas.remove(6, kRight, peers)), "deleted down(the peer closed its SAs) -o6");
    // Likewise, in the other order, and the second was held back until then.
    sas.add(sa(7, true), peers);
    sas.add(sa(8, true, 7), peers);
    sas.closed_by_peer(2, 8, peers);
    EXPECT_EQ(line(sas.closed_by_peer(2, 7, peers)), "");
    EXPECT_EQ(line(sas.remove(7, kRight, peers)), "-o7");
    EXPECT_EQ(line(sas.remove(8, kRight, peers)), "deleted down(the peer closed its SAs) -o8");
}

TEST_F(Table, ThatItDoesNotAnswerIsSaidOnlyForTheLast) {
    const std::string dead = "down(it does not answer (dead peer detection)) ";
    sas.add(sa(2, true), peers);
    peers.unanswered(2);
    EXPECT_EQ(line(sas.remove(2, kRight, peers)), dead + "-o2");
    // An attempt that failed before it came up, and one whose successor failed.
    peers.unanswered(2);
    sas.add(sa(3, true), peers);
    EXPECT_EQ(line(sas.remove(3, kRight, peers)), "down -o3");
    sas.add(sa(4, true), peers);
    peers.unanswered(2);
    sas.add(sa(5, true), peers);
    sas.remove(4, kRight, peers);
    EXPECT_EQ(line(sas.remove(5, kRight, peers)), "down -o5");
}

TEST_F(Table, TheSameSpiEachWayIsTwoSas) {
    sas.add(sa(5, false), peers);
    sas.add(sa(5, true), peers);
    EXPECT_EQ(line(sas.remove(5, kRight, peers)), "down -o5");
    encsync_address_t dst{};
    EXPECT_TRUE(sas.inbound(5, dst));
    EXPECT_EQ(line(sas.remove(5, kLeft, peers)), "-i5");
    EXPECT_FALSE(sas.inbound(5, dst));
}

TEST_F(Table, AnSpiIsOursUntilItsSaIsGone) {
    EXPECT_TRUE(sas.reserve(9));
    EXPECT_FALSE(sas.reserve(9));
    sas.remove(9, kLeft, peers); // never became an SA
    EXPECT_TRUE(sas.reserve(9));
    sas.add(sa(9, false), peers);
    EXPECT_FALSE(sas.reserve(9));
    sas.remove(9, kLeft, peers);
    EXPECT_TRUE(sas.reserve(9));
}

// ---- peers ---------------------------------------------------------------------------------

TEST(Peers, TheLesserIdGoesFirst) {
    const auto now = Clock::now() + 1s;
    Peers peers;
    peers.set(minnie());
    EXPECT_TRUE(peers.due(2, false, false, now));
    EXPECT_FALSE(peers.due(2, false, false, now));
    EXPECT_TRUE(peers.goes_first(2));

    Peers other;
    channel::Peer mickey = minnie();
    std::swap(mickey.leftid, mickey.rightid);
    other.set(mickey);
    EXPECT_FALSE(other.due(2, false, false, now));
    EXPECT_TRUE(other.due(2, false, false, now + 2s));
    EXPECT_FALSE(other.goes_first(2));
}

TEST(Peers, TriesForEverWithShortPauses) {
    Peers peers;
    peers.set(minnie());
    auto now = Clock::now();
    int tries = 0;
    for (int i = 0; i < 3600; i++, now += 1s)
        tries += peers.due(2, false, false, now);
    EXPECT_GE(tries, 3600 / 3 - 1);
    EXPECT_LE(tries, 3600 / 3 + 3);
}

TEST(Peers, NotWhileConnectingOrUpOrNotAsked) {
    const auto now = Clock::now() + 10s;
    Peers peers;
    peers.set(minnie());
    EXPECT_FALSE(peers.due(2, true, false, now));
    peers.up(2);
    EXPECT_FALSE(peers.due(2, false, true, now));
    peers.down(2, now);
    EXPECT_TRUE(peers.due(2, false, false, now));
    channel::Peer waiting = minnie();
    waiting.initiate = false;
    peers.set(waiting);
    EXPECT_FALSE(peers.due(2, false, false, now + 60s));
    EXPECT_FALSE(peers.due(3, false, false, now));
    peers.set(minnie());
    peers.remove(2);
    EXPECT_FALSE(peers.due(2, false, false, now + 60s));
}

TEST(Peers, AnIkeSaWithoutChildIsGivenAMoment) {
    auto now = Clock::now() + 10s;
    Peers peers;
    peers.set(minnie());
    EXPECT_FALSE(peers.due(2, false, true, now));
    EXPECT_FALSE(peers.due(2, false, true, now + 2s));
    EXPECT_TRUE(peers.due(2, false, true, now + 4s));
}

TEST(Peers, ChangesThatEndSasAndChangesThatDoNot) {
    Peers peers;
    EXPECT_TRUE(peers.set(minnie()).old_name.empty());
    EXPECT_FALSE(peers.set(minnie()).restart);

    auto changed = minnie();
    changed.lifetime = 99s;
    changed.auth.add(CredentialKind::trusted, std::vector<std::uint8_t>(32));
    auto change = peers.set(changed);
    EXPECT_FALSE(change.restart);
    EXPECT_FALSE(change.withdrawn);

    change = peers.set(minnie()); // one key fewer
    EXPECT_FALSE(change.restart);
    EXPECT_TRUE(change.withdrawn);

    changed = minnie();
    changed.auth.remove(CredentialKind::trusted);
    EXPECT_TRUE(peers.set(changed).restart);
    peers.set(minnie());
    changed = minnie();
    changed.right.address.bytes[3] = 77;
    EXPECT_TRUE(peers.set(changed).restart);
    peers.set(minnie());
    changed = minnie();
    changed.rightid = "daisy";
    EXPECT_TRUE(peers.set(changed).restart);
}

TEST(Peers, AreFoundByNameAndAddress) {
    Peers peers;
    peers.set(minnie());
    EXPECT_EQ(peers.by_name("minnie"), 2);
    EXPECT_EQ(peers.by_name("minni"), kNoPeer);
    EXPECT_EQ(peers.by_address(kRight), 2);
    EXPECT_EQ(peers.by_address(kLeft), kNoPeer);
    // A removed one can be reached until another one uses its address.
    peers.remove(2);
    EXPECT_EQ(peers.by_address(kRight), 2);
    auto heir = minnie();
    heir.id = 4;
    heir.name = "daisy";
    peers.set(heir);
    EXPECT_EQ(peers.by_address(kRight), 4);
}

TEST(Peers, TheSameIsNewsOnce) {
    Peers peers;
    peers.set(minnie());
    const auto now = Clock::now();
    channel::PeerEvent event{2, channel::PeerEventKind::unreachable, "no answer", {}, {}};
    channel::PeerEvent trying{2, channel::PeerEventKind::connecting, {}, {}, {}};
    EXPECT_TRUE(peers.worth_reporting(trying, now));
    EXPECT_TRUE(peers.worth_reporting(event, now));
    EXPECT_FALSE(peers.worth_reporting(trying, now + 1s));
    EXPECT_FALSE(peers.worth_reporting(event, now + 5s));
    event.text = "no route";
    EXPECT_TRUE(peers.worth_reporting(event, now + 6s));
    EXPECT_TRUE(peers.worth_reporting(event, now + 70s));
    peers.up(2);
    EXPECT_TRUE(peers.worth_reporting(event, now + 71s));
    event.peer = kNoPeer;
    EXPECT_TRUE(peers.worth_reporting(event, now + 71s));
}

} // namespace
} // namespace encsync::plugin
