// SPDX-License-Identifier: ISC
// Flows that are not accepted from a peer: of this machine itself, or by a rule of its conn.
#include "rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

using pfsync::Kind;
using table::Ignored;

state::Flow peers(PeerId peer, std::uint16_t port, std::uint32_t mark = 0) {
    state::Flow f = flow(port, kPeer + peer);
    f.mark = mark;
    return f;
}

// Port 22 is this machine's own; flows of minnie (0) with mark 0x10 are not accepted.
struct WithRule : Rig {
    explicit WithRule(Role role = Role::automatic) {
        table.local = {22};
        options.role = role;
        options.peers[0].rules.refuse = state::NoSync({{.mark = state::MarkMatch{0x10, 0xff}}});
        start();
        greet(0), greet(1);
        flush();
        sent_to(0), sent_to(1);
    }
    void tell(PeerId peer, const state::Flow& f, Tail tail = {}) {
        send(peer, [&](Packet& p) { p.full(f, tail, false); });
    }
    std::uint64_t count(Ignored why, PeerId peer = 0) const {
        return engine->session(peer).verdict.counters().refused[policy::index_of(
            policy::reason_of(why))];
    }
    // The peer sends the digest of these flows twice, and our copies are the same.
    bool in_agreement(PeerId peer, const std::vector<state::Flow>& flows) {
        state::Index theirs{state::Seed{}};
        const ExpectationBook none;
        Digest digest;
        for (const state::Flow& f : flows)
            digest.add(leaf_of(f.id), check_of(theirs, none, theirs.insert(f, 0, 0).first));
        pass(3500ms); // after the last change of a role
        const auto before = engine->session(peer).counters.checks;
        for (int n = 0; n < 2; n++)
            send(peer,
                 [&](Packet& p) { p.root(UINT64_MAX, digest.sum(Digest::kRoot), digest.count()); });
        return engine->session(peer).counters.checks == before + 2 &&
               engine->session(peer).checks.differing == 0;
    }
};

TEST(Refused, WhatNoRuleOfAcceptMatches) {
    Rig rig;
    rig.options.peers[0].rules.accept = state::NoSync({{.mark = state::MarkMatch{0x10, 0xff}}});
    rig.start();
    rig.greet(0), rig.greet(1);
    rig.table.take();
    const auto tell = [&](PeerId peer, std::uint16_t port, std::uint32_t mark) {
        rig.send(peer, [&](Packet& p) { p.full(peers(peer, port, mark), {}, false); });
    };
    tell(0, 1, 0), tell(0, 2, 0x10), tell(1, 3, 0);
    EXPECT_EQ(rig.table.take(), "put 2 copy 4:4, put 3 copy 4:4");
    EXPECT_EQ(rig.refused(Reason::state_not_accepted), 1u);
    tell(0, 1, 0x10); // by its mark it is now
    EXPECT_NE(rig.table.take(), "");
    EXPECT_EQ(rig.engine->refused_of(0), 0u);
}

TEST(Refused, WhatIsThisMachinesOwnIsNotPutIntoTheTable) {
    WithRule rig;
    rig.tell(0, peers(0, 22));
    rig.tell(0, peers(0, 80));
    EXPECT_EQ(rig.table.take(), "put 80 copy 4:4"); // control
    EXPECT_EQ(rig.count(Ignored::local), 1u);
    EXPECT_EQ(rig.engine->refused_of(0), 1u);
    EXPECT_EQ(rig.engine->copies_of(0), 2u);
    // No later message puts it there, and its end removes nothing.
    rig.send(0, [&](Packet& p) { p.update(peers(0, 22)); });
    rig.send(0, [&](Packet& p) { p.full(peers(0, 22), {.expectations = 1}, false); });
    rig.send(0, [&](Packet& p) { p.expect(peers(0, 22).id, 0, 1, expectation(22, 2222)); });
    rig.pass(700s);
    EXPECT_EQ(rig.table.take().find("22"), std::string::npos);
    rig.send(0, [&](Packet& p) { p.removal(peers(0, 22).id); });
    EXPECT_EQ(rig.owner(22), "unknown");
    EXPECT_EQ(rig.table.take(), "");
    EXPECT_EQ(rig.engine->refused_of(0), 0u);
}

TEST(Refused, BothSidesAgreeAllTheSame) {
    WithRule rig;
    rig.tell(0, peers(0, 22));
    rig.tell(0, peers(0, 80, 0x10));
    rig.tell(0, peers(0, 81));
    EXPECT_TRUE(rig.in_agreement(0, {peers(0, 22), peers(0, 80, 0x10), peers(0, 81)}));
    EXPECT_TRUE(rig.engine->digests_hold());
    std::string why;
    EXPECT_TRUE(rig.engine->ready(&why)) << why;
    EXPECT_TRUE(rig.engine->holds_all_of(0));
}

TEST(Refused, NobodyIsToldOfIt) {
    WithRule rig;
    rig.tell(0, peers(0, 22));
    rig.send(1, [&](Packet& p) { p.id(Kind::request, peers(0, 22).id); });
    rig.send(1, [&](Packet& p) { p.id(Kind::request, {}); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(1), "BUS start, ABSENT 22");
}

TEST(Refused, ARuleIsOnePeersAndFollowsTheMark) {
    WithRule rig;
    rig.tell(0, peers(0, 80, 0x10));
    rig.tell(1, peers(1, 81, 0x10));
    EXPECT_EQ(rig.table.take(), "put 81 copy 4:4");
    EXPECT_EQ(rig.count(Ignored::refuse), 1u);
    rig.tell(0, peers(0, 80, 0));
    EXPECT_EQ(rig.engine->refused_of(0), 0u);
    EXPECT_NE(rig.table.take().find("put 80 copy 4:4"), std::string::npos);
    rig.tell(0, peers(0, 80, 0x10));
    EXPECT_EQ(rig.table.take(), "remove 80");
    EXPECT_EQ(rig.count(Ignored::refuse), 2u);
    // The other peer becomes its owner, and may send it.
    rig.tell(1, peers(0, 80, 0x10), {.term = 1});
    EXPECT_EQ(rig.owner(80), "peer 1 term 1");
    EXPECT_NE(rig.table.take().find("put 80 copy 4:4"), std::string::npos);
    EXPECT_EQ(rig.engine->refused_of(0), 0u);
}

TEST(Refused, ATakeoverDoesNotTakeIt) {
    WithRule rig(Role::standby);
    rig.hello(0, {.role = 1});
    rig.tell(0, peers(0, 22));
    rig.tell(0, peers(0, 80));
    rig.table.take();
    rig.engine->on_link_down(0);
    rig.engine->set_role(Role::active);
    EXPECT_EQ(rig.owner(80), "here term 1");
    EXPECT_EQ(rig.owner(22), "peer 0 term 0");
    rig.pass(1000s);
    EXPECT_EQ(rig.owner(22), "unknown"); // it has timed out
    EXPECT_EQ(rig.table.take().find("22"), std::string::npos);
}

TEST(Refused, AStandbysWordIsNotClaimedByTheActiveNode) {
    WithRule rig(Role::active);
    rig.hello(0, {.role = 2});
    rig.tell(0, peers(0, 22));
    rig.tell(0, peers(0, 80));
    EXPECT_EQ(rig.owner(80), "here term 1");
    EXPECT_EQ(rig.owner(22), "peer 0 term 0");
    rig.tell(0, peers(0, 22), {.live = false}); // the peer gives it to us, but we do not own it
    EXPECT_EQ(rig.owner(22), "unknown");
}

TEST(Refused, AnEntryOfOurOwnTrafficStays) {
    WithRule rig;
    state::Flow ours = flow(80);
    ours.mark = 0x10;
    rig.engine->on_created(ours);
    rig.flush();
    state::Flow claimed = ours;
    claimed.id = rig.id(80);
    rig.table.take();
    rig.tell(0, claimed, {.term = 3});
    EXPECT_EQ(rig.owner(80), "peer 0 term 3");
    rig.send(0, [&](Packet& p) { p.removal(claimed.id, 3); });
    EXPECT_EQ(rig.table.take(), "");
    // Control: without the mark it becomes the peer's, and ends with it.
    ours = flow(81);
    rig.engine->on_created(ours);
    claimed = ours;
    claimed.id = rig.id(81);
    rig.tell(0, claimed, {.term = 3});
    rig.send(0, [&](Packet& p) { p.removal(claimed.id, 3); });
    EXPECT_EQ(rig.table.take(), "put 81 copy 4:4, remove 81");
}

TEST(Refused, AnAddressThatComesTakesCopiesAway) {
    WithRule rig(Role::standby);
    rig.hello(0, {.role = 1});
    rig.tell(0, peers(0, 2222));
    rig.tell(0, peers(0, 80));
    rig.engine->on_link_down(0);
    rig.engine->set_role(Role::active);
    rig.tell(1, peers(1, 2223));
    rig.pass(1s);
    rig.table.take();
    rig.table.local = {22, 2222, 2223};
    rig.engine->on_addresses_changed();
    rig.pass(100ms);
    EXPECT_EQ(rig.owner(2222), "unknown"); // taken over meanwhile
    EXPECT_EQ(rig.owner(80), "here term 1");
    EXPECT_EQ(rig.engine->refused_of(1), 1u);
    const std::string done = rig.table.take();
    EXPECT_NE(done.find("remove 2222"), std::string::npos) << done;
    EXPECT_NE(done.find("remove 2223"), std::string::npos) << done;
    EXPECT_EQ(done.find("80"), std::string::npos) << done;
}

TEST(Refused, ARemovedPeerTakesItWithIt) {
    WithRule rig;
    rig.tell(0, peers(0, 22));
    rig.tell(0, peers(0, 80));
    rig.engine->remove_peer(0);
    EXPECT_EQ(rig.owner(22), "unknown");
    EXPECT_EQ(rig.owner(80), "gone");
    // A rule added by a reload: matching flows are removed from the table when the peer names them.
    rig.table.take();
    PeerOptions options = rig.options.peers[0];
    options.rules.refuse = state::NoSync({{.ports = net::PortRange{443, 443}}});
    rig.engine->add_peer(0, options);
    rig.greet(0, {.session = 99}, {});
    rig.tell(0, peers(0, 80));
    EXPECT_EQ(rig.table.take(), "remove 80");
    EXPECT_EQ(rig.engine->refused_of(0), 1u);
}

TEST(Refused, OfAPfPeerLikewise) {
    Rig rig;
    rig.table.local = {22};
    rig.options.peers = {{"pf", false, pfsync::Dialect::openbsd}};
    rig.start();
    rig.engine->on_link_up(0);
    rig.send_plain(0, [&](Packet& p) { p.full(peers(0, 22), {.tail = false}); });
    rig.send_plain(0, [&](Packet& p) { p.full(peers(0, 80), {.tail = false}); });
    EXPECT_EQ(rig.table.take(), "put 80 copy 4:4");
    EXPECT_EQ(rig.engine->refused_of(0), 1u);
    rig.engine->set_role(Role::active);
    EXPECT_EQ(rig.owner(22), "unknown");
    EXPECT_EQ(rig.owner(80), "here term 1");
}

} // namespace
} // namespace encsync::sync::test
