// SPDX-License-Identifier: ISC
// Two real charons: negotiations, refusals, the end of trust, and recovery from failures.
#include "tests/unit/plugin/pair.hpp"

#include <algorithm>
#include <csignal>
#include <fstream>

namespace encsync::supervisor::test {
namespace {

using ike::CredentialKind;
using std::chrono::milliseconds;

std::vector<std::uint8_t> bytes_of(std::string_view text) {
    return {text.begin(), text.end()};
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

// How often charon has these bytes in its memory.
std::size_t found_in(pid_t charon, Bytes wanted) {
    const std::string proc = "/proc/" + std::to_string(charon);
    std::ifstream maps(proc + "/maps"), memory(proc + "/mem", std::ios::binary);
    std::size_t found = 0;
    std::vector<std::uint8_t> area;
    for (std::string line; std::getline(maps, line);) {
        unsigned long begin = 0, end = 0;
        char mode[5] = "";
        if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, mode) != 3 || mode[1] != 'w')
            continue;
        area.resize(end - begin);
        memory.clear();
        memory.seekg(static_cast<std::streamoff>(begin));
        memory.read(reinterpret_cast<char*>(area.data()),
                    static_cast<std::streamsize>(area.size()));
        const auto last = area.begin() + memory.gcount();
        for (auto at = area.begin();
             (at = std::search(at, last, wanted.begin(), wanted.end())) != last; ++at)
            found++;
    }
    return found;
}

// ---- start ---------------------------------------------------------------------------------

TEST_F(Pair, ComesUpWithMatchingSas) {
    start();
    ASSERT_TRUE(eventually([&] { return connected(); }));
    EXPECT_EQ(mickey.version, ENCSYNC_CHARON_VERSION);
    const auto out = mickey.sending();
    ASSERT_TRUE(out);
    EXPECT_EQ(out->cipher, esp::Cipher::aes256gcm16);
    EXPECT_EQ(out->keymat_size, 36);
    EXPECT_TRUE(out->esn);
    EXPECT_EQ(out->peer, 0);
    EXPECT_EQ(out->replay_window, 4096);
    EXPECT_EQ(out->inner_src, peer_of(mickey).inner_left);
    EXPECT_EQ(out->inner_dst, peer_of(mickey).inner_right);
    EXPECT_GE(out->spi, 256U);
    // The two directions have different keys.
    EXPECT_NE(out->keymat, minnie.sending()->keymat);
    EXPECT_TRUE(eventually([&] {
        return mickey.count(PeerEventKind::up) == 1 && minnie.count(PeerEventKind::up) == 1;
    }));
}

TEST_F(Pair, NoEspKeyStaysInCharon) {
    start();
    ASSERT_TRUE(eventually([&] { return connected(); }));
    EXPECT_GT(found_in(mickey.ike.pid(), bytes_of("mickey")), 0U); // control
    // It may not have come to that yet.
    const auto gone = [&](Node& node, const channel::AddSa& sa) {
        return eventually([&] { return found_in(node.ike.pid(), Bytes(sa.keymat).first(16)) == 0; },
                          std::chrono::seconds(5));
    };
    for (Node* node : {&mickey, &minnie})
        for (const channel::AddSa& sa : std::vector(node->sas))
            EXPECT_TRUE(gone(*node, sa))
                << (sa.direction == esp::Direction::inbound ? "inbound" : "outbound");
}

TEST_F(Pair, OneEndMayOnlyWait) {
    auto waiting = peer_of(mickey);
    waiting.initiate = false; // so the one whose id sorts last has to initiate
    start(mickey, waiting);
    start(minnie, peer_of(minnie));
    EXPECT_TRUE(eventually([&] { return connected(); }));
    EXPECT_EQ(mickey.count(PeerEventKind::connecting), 0U);
    EXPECT_GE(minnie.count(PeerEventKind::connecting), 1U);
}

TEST_F(Pair, NobodyInitiatesUntilTold) {
    auto one = peer_of(mickey), two = peer_of(minnie);
    one.initiate = two.initiate = false;
    start(mickey, one);
    start(minnie, two);
    ASSERT_TRUE(eventually([&] { return mickey.ups && minnie.ups; }));
    go_on(milliseconds(3000));
    EXPECT_EQ(mickey.datagrams + minnie.datagrams, 0U);
    mickey.ike.initiate(0);
    EXPECT_TRUE(eventually([&] { return connected(); }));
}

// Each of the four datagrams of either negotiation arrives while the other end waits for its own.
TEST_F(Pair, OfTwoIkeSasThatCrossedOneStays) {
    auto one = peer_of(mickey), two = peer_of(minnie);
    one.initiate = two.initiate = false;
    start(mickey, one);
    start(minnie, two);
    ASSERT_TRUE(eventually([&] { return mickey.ups && minnie.ups; }));
    wire = false;
    std::vector<channel::IkeOut> from_mickey, from_minnie;
    mickey.seen = [&](const channel::IkeOut& m) { from_mickey.push_back(m); };
    minnie.seen = [&](const channel::IkeOut& m) { from_minnie.push_back(m); };
    mickey.ike.initiate(0);
    minnie.ike.initiate(0);
    for (int exchanged = 0; exchanged < 4; exchanged++) {
        ASSERT_TRUE(eventually([&] { return !from_mickey.empty() && !from_minnie.empty(); }));
        const channel::IkeOut out = from_mickey.back(), back = from_minnie.back();
        from_mickey.clear();
        from_minnie.clear();
        minnie.ike.ike_in(out.from, out.to, out.datagram);
        mickey.ike.ike_in(back.from, back.to, back.datagram);
    }
    mickey.seen = minnie.seen = nullptr;
    wire = true;
    const auto each_has = [&](std::size_t sas) {
        return connected() && mickey.sas_of(esp::Direction::inbound).size() == sas &&
               minnie.sas_of(esp::Direction::inbound).size() == sas;
    };
    ASSERT_TRUE(eventually([&] { return each_has(2); }));
    forget_gaps();
    EXPECT_TRUE(eventually([&] { return each_has(1); }, std::chrono::seconds(60)));
    EXPECT_EQ(gaps(), 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::down) + minnie.count(PeerEventKind::down), 0U);
}

TEST_F(Pair, OverIpv6WithChaCha20) {
    auto one = peer_of(mickey), two = peer_of(minnie);
    for (auto* p : {&one, &two}) {
        for (auto* a : {&p->left.address, &p->right.address}) {
            a->family = net::Family::inet6;
            a->bytes = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a->bytes[3]};
        }
        p->inner_left = p->left.address;
        p->inner_right = p->right.address;
        p->esp = "chacha20poly1305-curve25519";
    }
    start(mickey, one);
    start(minnie, two);
    ASSERT_TRUE(eventually([&] { return connected(); }));
    EXPECT_EQ(mickey.sending()->cipher, esp::Cipher::chacha20poly1305);
    EXPECT_FALSE(mickey.sending()->esn);
    EXPECT_EQ(mickey.sending()->inner_dst, one.inner_right);
}

TEST_F(Pair, OurIdMayBeAnotherThanOurName) {
    ASSERT_TRUE(mickey.ike.set_identity({"host1", {seed(1)}}));
    ASSERT_TRUE(mickey.ike.set_peer(peer_of(mickey))); // leftid mickey
    ASSERT_TRUE(mickey.ike.start());
    start(minnie, peer_of(minnie));
    ASSERT_TRUE(eventually([&] { return connected(); }));
    // Also after the key has changed.
    auto trusting = peer_of(minnie);
    trusting.auth.add(CredentialKind::trusted, public_key(seed(7)));
    ASSERT_TRUE(minnie.ike.set_peer(trusting));
    ASSERT_TRUE(mickey.ike.set_identity({"host1", {seed(7)}}));
    const auto first = spi_of(mickey.sending());
    mickey.ike.rekey(0, true);
    EXPECT_TRUE(eventually([&] { return connected() && spi_of(mickey.sending()) != first; }));
}

TEST_F(Pair, OnOtherPorts) {
    std::vector<std::uint16_t> ports;
    auto one = peer_of(mickey), two = peer_of(minnie);
    for (auto* p : {&one, &two}) {
        p->left.port = p->right.port = 1500;
        p->natport = 14500;
    }
    mickey.seen = [&](const channel::IkeOut& m) {
        ports.insert(ports.end(), {m.from.port, m.to.port});
    };
    start(mickey, one);
    start(minnie, two);
    ASSERT_TRUE(eventually([&] { return connected(); }));
    EXPECT_TRUE(std::all_of(ports.begin(), ports.end(),
                            [](auto port) { return port == 1500 || port == 14500; }));
    EXPECT_EQ(ports.front(), 1500);
    EXPECT_EQ(ports.back(), 14500);
}

// ---- refusals ------------------------------------------------------------------------------

TEST_F(Pair, ResponderRefusesAWrongKey) {
    auto wary = peer_of(minnie);
    wary.auth.remove(CredentialKind::trusted);
    wary.auth.add(CredentialKind::trusted, public_key(seed(9)));
    start(mickey, peer_of(mickey));
    start(minnie, wary);
    ASSERT_TRUE(eventually([&] {
        return minnie.count(PeerEventKind::auth_failed) && mickey.count(PeerEventKind::auth_failed);
    }));
    const std::string text = minnie.text(PeerEventKind::auth_failed);
    EXPECT_TRUE(contains(text, "a caller from 192.168.1.100 as 'mickey': no trusted key matches "
                               "the one it signed with (trusted: SHA256:"))
        << text;
    EXPECT_TRUE(contains(mickey.text(PeerEventKind::auth_failed), "minnie refused us"));
    go_on(milliseconds(3000));
    EXPECT_EQ(mickey.outbound_added + minnie.outbound_added, 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::up) + minnie.count(PeerEventKind::up), 0U);
}

TEST_F(Pair, InitiatorRefusesAWrongKey) {
    auto wary = peer_of(mickey);
    wary.auth.remove(CredentialKind::trusted);
    wary.auth.add(CredentialKind::trusted, public_key(seed(9)));
    start(mickey, wary);
    start(minnie, peer_of(minnie));
    ASSERT_TRUE(eventually([&] {
        return minnie.count(PeerEventKind::auth_failed) && mickey.count(PeerEventKind::auth_failed);
    }));
    EXPECT_TRUE(contains(mickey.text(PeerEventKind::auth_failed),
                         "minnie, called by us at 192.168.1.101: no trusted key matches"));
    EXPECT_TRUE(contains(minnie.text(PeerEventKind::auth_failed), "mickey refused us"));
    go_on(milliseconds(3000));
    // minnie had accepted mickey, but does not send before mickey has accepted minnie.
    EXPECT_EQ(mickey.outbound_added + minnie.outbound_added, 0U);
    EXPECT_EQ(mickey.count(PeerEventKind::up) + minnie.count(PeerEventKind::up), 0U);
}

TEST_F(Pair, NoTrustedKeyIsRefusedUntilThereIsOne) {
    auto wary = peer_of(minnie);
    wary.auth.remove(CredentialKind::trusted);
    start(mickey, peer_of(mickey));
    start(minnie, wary);
    ASSERT_TRUE(eventually([&] { return minnie.count(PeerEventKind::auth_failed); }));
    EXPECT_TRUE(contains(minnie.text(PeerEventKind::auth_failed),
                         "'mickey': no key of it is trusted here"));
    EXPECT_EQ(mickey.outbound_added + minnie.outbound_added, 0U);
    ASSERT_TRUE(minnie.ike.set_peer(peer_of(minnie)));
    EXPECT_TRUE(eventually([&] { return connected(); }));
}

TEST_F(Pair, PresharedKeysThatAgree) {
    auto one = peer_of(mickey), two = peer_of(minnie);
    for (auto* p : {&one, &two}) {
        p->auth.remove(CredentialKind::trusted);
        p->auth.add(CredentialKind::psk, bytes_of("a key that both know"));
    }
    start(mickey, one);
    start(minnie, two);
    ASSERT_TRUE(eventually([&] { return connected(); }));
    forget_gaps();
    ASSERT_TRUE(mickey.ike.set_peer(one)); // unchanged: nothing happens
    go_on(milliseconds(1000));
    EXPECT_TRUE(connected());
    EXPECT_EQ(gaps(), 0U);
}

TEST_F(Pair, PresharedKeysThatDiffer) {
    auto one = peer_of(mickey), two = peer_of(minnie);
    for (auto* p : {&one, &two})
        p->auth.remove(CredentialKind::trusted);
    one.auth.add(CredentialKind::psk, bytes_of("a key"));
    two.auth.add(CredentialKind::psk, bytes_of("another key"));
    start(mickey, one);
    start(minnie, two);
    ASSERT_TRUE(eventually([&] { return minnie.count(PeerEventKind::auth_failed); }));
    EXPECT_TRUE(contains(minnie.text(PeerEventKind::auth_failed), "'mickey': its preshared key"))
        << minnie.text(PeerEventKind::auth_failed);
    EXPECT_EQ(mickey.outbound_added + minnie.outbound_added, 0U);
}

// As a raw public key is rotated (TheNextKeyIsTriedBesideTheTunnel).
TEST_F(Pair, TheNextPresharedKeyIsTriedBesideTheTunnel) {
    const auto with = [](channel::Peer peer, const std::vector<std::string>& keys) {
        peer.auth.remove(CredentialKind::trusted);
        for (const std::string& key : keys)
            peer.auth.add(CredentialKind::psk, bytes_of(key));
        return peer;
    };
    const std::string older = "the older one", next = "the next one";
    start(mickey, with(peer_of(mickey), {older}));
    start(minnie, with(peer_of(minnie), {older}));
    ASSERT_TRUE(eventually([&] { return connected(); }));
    ASSERT_TRUE(eventually([&] { return mickey.used().has_value(); }));
    forget_gaps();
    const auto first = mickey.used();
    // minnie does not have it: nothing changes.
    ASSERT_TRUE(mickey.ike.set_peer(with(peer_of(mickey), {next, older})));
    ASSERT_TRUE(eventually([&] { return mickey.count(PeerEventKind::auth_failed) != 0; }));
    ASSERT_TRUE(mickey.ike.set_peer(with(peer_of(mickey), {older, next})));
    go_on(milliseconds(1500));
    EXPECT_EQ(mickey.count(PeerEventKind::auth_failed), 1U);
    EXPECT_EQ(mickey.used(), first);
    // minnie has both, and answers with the next one.
    ASSERT_TRUE(minnie.ike.set_peer(with(peer_of(minnie), {older, next})));
    ASSERT_TRUE(mickey.ike.set_peer(with(peer_of(mickey), {next, older})));
    ASSERT_TRUE(eventually([&] { return mickey.used() != first; }));
    const auto second = mickey.used();
    ASSERT_TRUE(eventually([&] { return minnie.used() == second; }));
    // A caller that has the next one only is answered with that, by one who would call with the
    // older one.
    ASSERT_TRUE(mickey.ike.set_peer(with(peer_of(mickey), {older, next})));
    ASSERT_TRUE(eventually([&] { return minnie.used() == first; }));
    ASSERT_TRUE(minnie.ike.set_peer(with(peer_of(minnie), {next})));
    minnie.ike.rekey(0, true);
    ASSERT_TRUE(eventually([&] { return minnie.used() == second; }));
    EXPECT_EQ(gaps(), 0U);
}

TEST_F(Pair, UnknownIdIsRefused) {
    auto stranger = peer_of(mickey);
    stranger.leftid = "goofy";
    ASSERT_TRUE(mickey.ike.set_identity({"goofy", {seed(1)}}));
    ASSERT_TRUE(mickey.ike.set_peer(stranger));
    ASSERT_TRUE(mickey.ike.start());
    start(minnie, peer_of(minnie));
    ASSERT_TRUE(eventually([&] { return minnie.count(PeerEventKind::auth_failed); }));
    EXPECT_TRUE(contains(minnie.text(PeerEventKind::auth_failed),
                         "a caller from 192.168.1.100 as 'goofy': no conn with its address has "
                         "that rightid"))
        << minnie.text(PeerEventKind::auth_failed);
    EXPECT_EQ(mickey.outbound_added + minnie.outbound_added, 0U);
}

TEST_F(Pair, NoCommonIkeProposal) {
    auto other = peer_of(minnie);
    other.ike = "aes128gcm16-prfsha256-ecp256";
    start(mickey, peer_of(mickey));
    start(minnie, other);
    ASSERT_TRUE(eventually([&] {
        return mickey.count(PeerEventKind::no_proposal) && minnie.count(PeerEventKind::no_proposal);
    }));
    EXPECT_TRUE(contains(mickey.text(PeerEventKind::no_proposal),
                         "minnie accepts none of our ike proposals"));
    EXPECT_TRUE(contains(minnie.text(PeerEventKind::no_proposal), "AES_GCM_16_256"))
        << minnie.text(PeerEventKind::no_proposal);
    EXPECT_EQ(mickey.outbound_added + minnie.outbound_added, 0U);
}

TEST_F(Pair, NoCommonEspProposal) {
    auto other = peer_of(minnie);
    other.esp = "aes128gcm16-curve25519";
    start(mickey, peer_of(mickey));
    start(minnie, other);
    ASSERT_TRUE(eventually([&] {
        return mickey.count(PeerEventKind::no_proposal) && minnie.count(PeerEventKind::no_proposal);
    }));
    EXPECT_TRUE(contains(minnie.text(PeerEventKind::no_proposal), "for esp"))
        << minnie.text(PeerEventKind::no_proposal);
    EXPECT_EQ(mickey.outbound_added + minnie.outbound_added, 0U);
}

TEST_F(Pair, OtherInnerAddressesAreRefused) {
    auto other = peer_of(minnie);
    other.inner_left.bytes[3] = 77;
    start(mickey, peer_of(mickey));
    start(minnie, other);
    ASSERT_TRUE(eventually([&] { return minnie.count(PeerEventKind::no_proposal); }));
    EXPECT_TRUE(contains(minnie.text(PeerEventKind::no_proposal), "other addresses"));
    EXPECT_EQ(mickey.outbound_added + minnie.outbound_added, 0U);
}

// ---- the end of trust ----------------------------------------------------------------------

TEST_F(Pair, AForgottenPeerIsCutOff) {
    connect();
    auto nobody = peer_of(minnie);
    nobody.auth.remove(CredentialKind::trusted);
    ASSERT_TRUE(minnie.ike.set_peer(nobody));
    ASSERT_TRUE(eventually([&] { return !minnie.sending() && !mickey.sending(); }));
    ASSERT_TRUE(eventually([&] { return minnie.count(PeerEventKind::auth_failed); }));
    EXPECT_FALSE(minnie.sending());
}

TEST_F(Pair, ARemovedPeerIsToldAndGone) {
    connect();
    minnie.ike.remove_peer(0);
    ASSERT_TRUE(eventually([&] { return !minnie.sending() && !mickey.sending(); }));
    EXPECT_EQ(mickey.count(PeerEventKind::peer_deleted), 1U);
    EXPECT_EQ(mickey.count(PeerEventKind::down), 1U);
    EXPECT_EQ(mickey.text(PeerEventKind::down), "the peer closed its SAs");
    EXPECT_EQ(minnie.text(PeerEventKind::down), ""); // closed by us
    go_on(milliseconds(3000));
    EXPECT_FALSE(minnie.sending());
    EXPECT_FALSE(mickey.sending());
}

// A refusal is reported each time: the receiver counts them.
TEST_F(Pair, EachRefusalIsTold) {
    auto wary = peer_of(minnie);
    wary.auth.remove(CredentialKind::trusted);
    wary.auth.add(CredentialKind::trusted, public_key(seed(9)));
    wary.initiate = false;
    start(mickey, peer_of(mickey));
    start(minnie, wary);
    EXPECT_TRUE(eventually([&] { return minnie.count(PeerEventKind::auth_failed) >= 3; }));
    EXPECT_EQ(minnie.count(PeerEventKind::connecting), 0U);
}

// charon's own log, which is passed on only here.
struct Debug {
    Debug() { ::setenv("ENCSYNC_TEST_DEBUG", "1", 1); }
};
class Talkative : private Debug, public Pair {
  protected:
    Talkative() { ::unsetenv("ENCSYNC_TEST_DEBUG"); }
};

TEST_F(Talkative, LinesSayOnceWhoseTheyAre) {
    connect();
    EXPECT_TRUE(std::ranges::any_of(mickey.log, [](const std::string& line) {
        return line.starts_with("charon: minnie: initiating IKE_SA minnie[");
    }));
    EXPECT_TRUE(std::ranges::none_of(
        mickey.log, [](const std::string& line) { return contains(line, "charon IKE"); }));
}

TEST_F(Pair, LinesAreNotPassedOn) {
    connect();
    EXPECT_TRUE(std::ranges::none_of(
        mickey.log, [](const std::string& line) { return contains(line, "IKE_SA"); }));
}

// ---- failures ------------------------------------------------------------------------------

TEST_F(Pair, SilentPeerIsNoticedAndComesBack) {
    connect();
    wire = false;
    ASSERT_TRUE(eventually(
        [&] { return mickey.count(PeerEventKind::down) && minnie.count(PeerEventKind::down); }));
    EXPECT_TRUE(eventually([&] { return mickey.sas.empty() && minnie.sas.empty(); }));
    EXPECT_TRUE(contains(mickey.text(PeerEventKind::unreachable), "minnie"));
    EXPECT_TRUE(contains(mickey.text(PeerEventKind::unreachable), "does not answer"));
    EXPECT_EQ(mickey.count(PeerEventKind::peer_deleted), 0U);
    EXPECT_EQ(mickey.text(PeerEventKind::down), "it does not answer (dead peer detection)");
    // Long enough for several tries to fail.
    const auto sent = mickey.datagrams;
    ASSERT_TRUE(eventually([&] { return mickey.datagrams > sent + 8; }));
    wire = true;
    EXPECT_TRUE(eventually([&] { return connected(); }));
    EXPECT_TRUE(eventually([&] { return mickey.count(PeerEventKind::up) == 2; }));
}

TEST_F(Pair, KilledCharonComesBack) {
    connect();
    const auto first = spi_of(mickey.sending());
    const pid_t old = mickey.ike.pid();
    ASSERT_EQ(::kill(old, SIGKILL), 0);
    ASSERT_TRUE(eventually([&] { return !mickey.losses.empty(); }));
    EXPECT_TRUE(contains(mickey.losses.front(), "signal 9"));
    EXPECT_TRUE(eventually([&] { return connected() && spi_of(mickey.sending()) != first; }));
    EXPECT_NE(mickey.ike.pid(), old);
    EXPECT_EQ(mickey.ike.counters().restarts, 1U);
    EXPECT_EQ(mickey.ups, 2U);
}

TEST_F(Pair, BothKilledAtOnceComeBack) {
    connect();
    ASSERT_EQ(::kill(mickey.ike.pid(), SIGKILL), 0);
    ASSERT_EQ(::kill(minnie.ike.pid(), SIGKILL), 0);
    ASSERT_TRUE(eventually([&] { return mickey.losses.size() && minnie.losses.size(); }));
    EXPECT_TRUE(eventually([&] { return connected(); }));
}

TEST_F(Pair, StopTellsThePeer) {
    connect();
    const pid_t pid = minnie.ike.pid();
    bool done = false;
    minnie.ike.stop([&] { done = true; });
    ASSERT_TRUE(eventually([&] { return done; }));
    EXPECT_NE(::kill(pid, 0), 0); // reaped
    EXPECT_EQ(minnie.ike.pid(), -1);
    EXPECT_EQ(minnie.losses.size(), 1U);
    EXPECT_TRUE(eventually([&] { return mickey.count(PeerEventKind::peer_deleted) == 1; }));
    EXPECT_FALSE(mickey.sending());
    EXPECT_EQ(minnie.ike.counters().restarts, 0U);
    // And once more.
    ASSERT_TRUE(minnie.ike.start());
    EXPECT_TRUE(eventually([&] { return connected(); }));
}

} // namespace
} // namespace encsync::supervisor::test
