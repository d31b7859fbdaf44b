// SPDX-License-Identifier: ISC
// Two nodes compare their flows by digests, and find the differences.
#include "rig.hpp"

#include "sync/digest.hpp"

#include <gtest/gtest.h>
#include <set>

namespace encsync::sync::test {
namespace {

using pfsync::Kind;
using Node = Digest::Node;

// A peer's flows, with their sums computed as the peer would.
struct Book {
    state::Index index{state::Seed{}};
    ExpectationBook expectations;
    Digest digest;

    void add(const state::Flow& f, std::uint8_t term = 0,
             const std::vector<state::Expectation>& expected = {}) {
        const state::Slot slot = index.insert(f, 0, 0).first;
        index.record(slot).term = term;
        for (const state::Expectation& e : expected)
            expectations.add(slot, e, 0);
        digest.add(leaf_of(f.id), check(f));
    }
    std::uint64_t check(const state::Flow& f) const {
        return check_of(index, expectations, index.find(f.id));
    }
    std::uint64_t sum() const { return digest.sum(Digest::kRoot); }
};

// Minnie owns flows 1 and 2, and the last change of a role was some time ago.
struct Holding : Rig {
    Book book;
    Holding() {
        start();
        greet(0, {.flags = pfsync::extension::hello::kInStep}, {flow(1, kPeer), flow(2, kPeer)});
        for (const std::uint16_t port : {1, 2})
            book.add(flow(port, kPeer));
        later(4s);
    }
    void later(Duration span) {
        for (; span > 0s; span -= 1s) {
            pass(1s);
            hello(0, {.flags = pfsync::extension::hello::kInStep});
            acknowledge(0);
        }
        sent_to(0);
    }
    void root() {
        send(0, [&](Packet& p) { p.root(UINT64_MAX, book.sum(), book.digest.count()); });
        flush();
    }
    std::string root_and_heard() {
        root();
        return sent_to(0);
    }
    const PeerCounters& counters() const { return engine->session(0).counters; }
    const Checks& checks() const { return engine->session(0).checks; }
    // Answers requests as the peer would, until there are none; returns which were received.
    std::string answer() {
        std::string all;
        for (int n = 0; n < 10; n++) {
            flush();
            const std::string said = sent_to(0);
            if (said.empty())
                break;
            all += (all.empty() ? "" : ", ") + said;
            for (std::size_t at = said.find("ASK "); at != std::string::npos;
                 at = said.find("ASK ", at + 1))
                answer(static_cast<Node>(std::stoul(said.substr(at + 4))));
        }
        return all;
    }
    void answer(Node node) {
        if (!Digest::is_leaf(node)) {
            send(0, [&](Packet& p) { p.sums(node, book.digest.children(node)); });
            return;
        }
        std::vector<std::pair<state::StateId, std::uint64_t>> flows;
        for (state::Slot s = book.index.next(state::kNoSlot); s != state::kNoSlot;
             s = book.index.next(s))
            if (const state::StateId id = book.index.record(s).id; leaf_of(id) == node)
                flows.emplace_back(id, check_of(book.index, book.expectations, s));
        send(0, [&](Packet& p) { p.list(node, 0, true, flows); });
    }
};

TEST(Digest, SumsEveryLevelAndForgetsNothing) {
    Digest digest, empty;
    const Node leaf = Digest::kFirstLeaf + 0x1234;
    digest.add(leaf, 5);
    digest.add(leaf, 7);
    EXPECT_EQ(digest.count(), 2u);
    unsigned levels = 0;
    for (Node node = leaf;; node = (node - 1) / Digest::kFanOut, levels++) {
        EXPECT_EQ(digest.sum(node), 12u);
        if (node == Digest::kRoot)
            break;
        const Node parent = (node - 1) / Digest::kFanOut;
        EXPECT_EQ(digest.children(parent)[node - Digest::first_child(parent)], 12u);
    }
    EXPECT_EQ(levels, 4u);
    EXPECT_EQ(digest.sum(leaf + 1), 0u);
    EXPECT_FALSE(digest == empty);
    digest.subtract(leaf, 7);
    digest.subtract(leaf, 5);
    EXPECT_TRUE(digest == empty);
}

TEST(Digest, CheckDependsOnAllThatNodesMustAgreeOn) {
    const auto check = [](const state::Flow& f, std::uint8_t term = 0) {
        Book book;
        book.add(f, term);
        return book.check(f);
    };
    const state::Flow f = flow(1, kPeer, 4, 2);
    const std::uint64_t same = check(f);
    std::set<std::uint64_t> all{same, check(f, 1)};
    const auto other = [&](auto&& change) {
        state::Flow g = f;
        change(g);
        EXPECT_TRUE(all.insert(check(g)).second);
    };
    other([](state::Flow& g) { g.id.id++; });
    other([](state::Flow& g) { g.id.creatorid++; });
    other([](state::Flow& g) { g.src_state = 5; });
    other([](state::Flow& g) { g.dst_state = 3; });
    other([](state::Flow& g) { g.flags = state::kAssured; });
    other([](state::Flow& g) { g.mark = 1; });
    other([](state::Flow& g) { g.key.zone = 1; });
    other([](state::Flow& g) { g.key.proto = 132; });
    other([](state::Flow& g) { g.key.orig.src.bytes[3]++; });
    other([](state::Flow& g) { g.key.orig.dst.bytes[0]++; });
    other([](state::Flow& g) { g.reply.src.bytes[3]++; });
    other([](state::Flow& g) { g.reply.dport++; });
    other([](state::Flow& g) { g.extras.labels[15] = 1; });
    other([](state::Flow& g) { g.extras.helper = *state::Name::of("ftp"); });
    other([](state::Flow& g) { g.extras.lifetime = 72000; });
    // Not on fields that each node has for itself.
    state::Flow g = f;
    g.timeout = g.age = 17;
    g.flags |= state::kSeenReply; // follows from the progress
    EXPECT_EQ(check(g), same);
}

TEST(Digest, CheckDependsOnWhatIsExpected) {
    const auto check = [](const std::vector<state::Expectation>& expected) {
        Book book;
        book.add(flow(1, kPeer), 0, expected);
        return book.check(flow(1, kPeer));
    };
    const state::Expectation e = expectation(1, 1001), f = expectation(1, 1002);
    const std::uint64_t same = check({e});
    std::set<std::uint64_t> all{same, check({}), check({f}), check({e, f})};
    EXPECT_EQ(all.size(), 4u);
    const auto other = [&](auto&& change) {
        state::Expectation g = e;
        change(g);
        EXPECT_TRUE(all.insert(check({g})).second);
    };
    other([](state::Expectation& g) { g.tuple.src.bytes[3]++; });
    other([](state::Expectation& g) { g.tuple.dst.bytes[0]++; });
    other([](state::Expectation& g) { g.mask.bytes[3] = 0; });
    other([](state::Expectation& g) { g.mask_port = 7; });
    other([](state::Expectation& g) { g.proto = 17; });
    other([](state::Expectation& g) { g.flags = state::Expectation::kPermanent; });
    other([](state::Expectation& g) { g.policy_class = 1; });
    other([](state::Expectation& g) { g.has_nat = true; });
    other([](state::Expectation& g) { g.has_nat = g.nat_reply = true; });
    other([](state::Expectation& g) { g.function = *state::FunctionName::of("nat"); });
    // Not on their order, nor on the time left.
    EXPECT_EQ(check({e, f}), check({f, e}));
    state::Expectation g = e;
    g.timeout = 17;
    EXPECT_EQ(check({g}), same);
}

TEST(Check, WhatIsTheSameIsFoundTheSame) {
    Holding rig;
    EXPECT_EQ(rig.checks().equal, kNever);
    EXPECT_EQ(rig.root_and_heard(), "");
    EXPECT_EQ(rig.checks().equal, rig.now);
    EXPECT_EQ(rig.counters().checks, 1u);
    // The peer is heard.
    rig.pass(2s);
    const std::string all = rig.sent_to(0, true);
    EXPECT_NE(all.find("HELLO checked 1"), std::string::npos) << all;
}

TEST(Check, OneDifferenceMayBeOnItsWay) {
    Holding rig;
    rig.book.add(flow(3, kPeer));
    EXPECT_EQ(rig.root_and_heard(), "");
    EXPECT_EQ(rig.checks().differing, 1u);
    rig.send(0, [](Packet& p) { p.full(flow(3, kPeer)); });
    EXPECT_EQ(rig.root_and_heard(), "");
    EXPECT_EQ(rig.counters().repairs, 0u);
    EXPECT_EQ(rig.checks().differing, 0u);
}

TEST(Check, WhatIsMissingIsAskedFor) {
    Holding rig;
    rig.book.add(flow(3, kPeer));
    rig.root();
    EXPECT_EQ(rig.root_and_heard(), "ASK 0");
    rig.answer(0);
    const std::string questions = rig.answer();
    EXPECT_NE(questions.find("UPD_REQ ?"), std::string::npos) << questions;
    EXPECT_EQ(rig.counters().differing, 1u);
    rig.send(0, [](Packet& p) { p.full(flow(3, kPeer), {}, false); });
    EXPECT_EQ(rig.root_and_heard(), "");
    EXPECT_EQ(rig.checks().equal, rig.now);
}

TEST(Check, WhatDiffersIsAskedForAndNothingElse) {
    Holding rig;
    rig.book = {};
    rig.book.add(flow(1, kPeer));
    rig.book.add(flow(2, kPeer, 7, 7));
    rig.root(), rig.root();
    rig.answer(0);
    const std::string questions = rig.answer();
    EXPECT_NE(questions.find("UPD_REQ 2"), std::string::npos) << questions;
    EXPECT_EQ(questions.find("UPD_REQ 1"), std::string::npos) << questions;
}

TEST(Check, AnExpectationThatIsMissingIsFound) {
    Holding rig;
    rig.book = {};
    rig.book.add(flow(1, kPeer));
    rig.book.add(flow(2, kPeer), 0, {expectation(2, 1001)});
    rig.root(), rig.root();
    rig.answer(0);
    const std::string questions = rig.answer();
    EXPECT_NE(questions.find("UPD_REQ 2"), std::string::npos) << questions;
    EXPECT_EQ(questions.find("UPD_REQ 1"), std::string::npos) << questions;
    rig.send(0, [](Packet& p) {
        const state::Flow f = flow(2, kPeer);
        p.full(f, {.expectations = 1}, false).expect(f.id, 0, 1, expectation(2, 1001));
    });
    EXPECT_EQ(rig.root_and_heard(), "");
    EXPECT_EQ(rig.checks().equal, rig.now);
    EXPECT_TRUE(rig.engine->digests_hold());
    // And one flow too many.
    rig.book = {};
    rig.book.add(flow(1, kPeer));
    rig.book.add(flow(2, kPeer));
    rig.later(2s);
    rig.root(), rig.root();
    rig.answer(0);
    EXPECT_NE(rig.answer().find("UPD_REQ 2"), std::string::npos);
    rig.send(0, [](Packet& p) { p.full(flow(2, kPeer), {}, false); });
    EXPECT_EQ(rig.root_and_heard(), "");
    EXPECT_EQ(rig.checks().equal, rig.now);
    EXPECT_EQ(rig.engine->expectations().size(), 0u);
}

TEST(Check, WhatThePeerNoLongerHasIsRemovedOnItsWord) {
    Holding rig;
    rig.book = {};
    rig.book.add(flow(1, kPeer));
    rig.root(), rig.root();
    rig.answer(0);
    const std::string questions = rig.answer();
    EXPECT_NE(questions.find("UPD_REQ 2"), std::string::npos) << questions;
    EXPECT_EQ(rig.owner(2), "peer 0 term 0");
    rig.table.take();
    rig.send(0, [](Packet& p) { p.absent({0xabc0000u + 2, kPeer}, UINT64_MAX); });
    EXPECT_EQ(rig.owner(2), "unknown");
    EXPECT_EQ(rig.table.take(), "remove 2");
    EXPECT_EQ(rig.counters().removed, 1u);
    EXPECT_EQ(rig.root_and_heard(), "");
    EXPECT_EQ(rig.checks().equal, rig.now);
}

TEST(Check, AbsentIsNoWordAboutOthersFlowsNorBeforeAllIsHeard) {
    Holding rig;
    rig.engine->on_created(flow(9));
    rig.send(0, [&](Packet& p) { p.absent(rig.id(9), UINT64_MAX); });
    EXPECT_EQ(rig.owner(9), "here term 0");
    rig.lose(0); // a packet that does not arrive
    rig.send(0, [](Packet& p) { p.absent({0xabc0000u + 2, kPeer}, 1); });
    EXPECT_EQ(rig.owner(2), "peer 0 term 0");
}

TEST(Check, IsNotMadeAfterALossUntilItWasSaidAgain) {
    Holding rig;
    rig.lose(0);
    rig.send(0, [&](Packet& p) { p.root(1, rig.book.sum(), 2); });
    EXPECT_EQ(rig.counters().checks, 0u);
    rig.root(); // which shows that nothing else is pending
    EXPECT_EQ(rig.counters().checks, 1u);
}

TEST(Check, AnswersThatNobodyAskedForAreRefused) {
    Holding rig;
    rig.send(0, [](Packet& p) { p.sums(0, {}); });
    rig.send(0, [](Packet& p) { p.list(Digest::kFirstLeaf, 0, true, {}); });
    rig.send(0, [](Packet& p) { p.sums(Digest::kNodes + 1, {}); });
    EXPECT_EQ(rig.refused(Reason::unasked), 3u);
    rig.send(0, [](Packet& p) { p.ask(Digest::kNodes); });
    EXPECT_EQ(rig.refused(Reason::bad_ask), 1u);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    // Digests outside of a session are refused, too.
    const auto before = rig.refused(Reason::foreign_session);
    rig.send_plain(0, [](Packet& p) { p.ask(0); });
    EXPECT_EQ(rig.refused(Reason::foreign_session), before + 1);
}

TEST(Check, QuestionsAreAnsweredFromWhatIsLiveHere) {
    Holding rig;
    rig.engine->on_created(flow(9));
    rig.acknowledge(0);
    rig.sent_to(0);
    const state::StateId id = rig.id(9);
    rig.send(0, [](Packet& p) { p.ask(0); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "SUMS 0");
    rig.send(0, [&](Packet& p) { p.ask(leaf_of(id)); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "LIST of 1");
    rig.acknowledge(0);
    rig.send(0, [&](Packet& p) { p.ask(leaf_of(id) ^ 1); });
    rig.pass(300ms); // the index is not walked more often
    EXPECT_EQ(rig.sent_to(0), "LIST of 0");
    rig.send(0, [&](Packet& p) { p.id(Kind::request, {1234, kPeer}); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "ABSENT ?");
}

TEST(Check, QuestionsAndAnswersThatAreLostComeAgain) {
    Holding rig;
    rig.book.add(flow(3, kPeer));
    rig.root();
    EXPECT_EQ(rig.root_and_heard(), "ASK 0");
    rig.pass(500ms); // no acknowledgement was received
    EXPECT_NE(rig.sent_to(0).find("ASK 0"), std::string::npos);
    rig.acknowledge(0);
    rig.send(0, [](Packet& p) { p.ask(0); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "SUMS 0");
    rig.pass(500ms);
    EXPECT_NE(rig.sent_to(0).find("SUMS 0"), std::string::npos);
}

TEST(Check, NobodySearchesWhileRolesChange) {
    Holding rig;
    rig.engine->set_role(Role::active);
    rig.book.add(flow(3, kPeer));
    rig.root(), rig.root();
    EXPECT_EQ(rig.counters().checks, 0u);
    rig.later(4s);
    rig.root();
    EXPECT_EQ(rig.counters().checks, 1u);
}

TEST(Check, WhatIsAlmostAllMissingComesInBulk) {
    Holding rig;
    rig.send(0, [](Packet& p) { p.root(UINT64_MAX, 1, 1'000'000); });
    rig.send(0, [](Packet& p) { p.root(UINT64_MAX, 1, 1'000'000); });
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "UPD_REQ all");
}

TEST(Check, ADifferenceThatStaysIsSearchedForEverLessOften) {
    Holding rig;
    for (int n = 0; n < 120; n++) { // a peer whose sums and answers contradict each other
        rig.send(0, [](Packet& p) { p.root(UINT64_MAX, 4711, 2); });
        rig.flush();
        rig.answer();
        rig.later(1s);
    }
    EXPECT_GE(rig.counters().repairs, 5u);
    EXPECT_LE(rig.counters().repairs, 9u);
    EXPECT_EQ(rig.counters().differing, 0u);
}

} // namespace
} // namespace encsync::sync::test
