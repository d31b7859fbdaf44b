// SPDX-License-Identifier: ISC
// The engine's parts, each only with those below it, a table that records its operations, and peers
// with a fake protocol.
#include "rig.hpp"

#include "sync/bulk.hpp"
#include "sync/orphans.hpp"
#include "sync/ownership.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

// Writes only what it is requested to write.
struct FakeProtocol : PeerProtocol {
    bool hears = true, acknowledges = true, terms = true;
    std::string written; // "full 1, update 2"
    std::size_t fits = 100;
    const Context* ctx = nullptr;

    bool is_sent_changes() const override { return hears; }
    bool reliable() const override { return acknowledges; }
    bool has_terms() const override { return terms; }
    Zones zones() const override { return Zones::each_direction; }
    Duration bulk_retry() const override { return 5s; }
    void on_link_up() override {}
    void on_link_down() override {}
    void on_received() override {}
    void on_received_again() override {}
    void on_promoted() override {}
    void reset() override {}
    void advance() override {}
    Instant deadline() const override { return Instant::max(); }
    void receive(const pfsync::Section*, pfsync::Parser&) override {}
    bool due() const override { return false; }
    std::size_t build(MutableBytes) override { return 0; }
    bool pauses() override { return false; }
    bool write_state(pfsync::Builder&, state::Slot slot, Item::Kind) override {
        return write("full ", slot);
    }
    bool write_update(pfsync::Builder&, state::Slot slot) override {
        return write("update ", slot);
    }
    void sent(const Item&) override {}

    bool write(const char* what, state::Slot slot) {
        if (fits == 0)
            return false;
        fits--;
        written += (written.empty() ? "" : ", ") + std::string(what) +
                   std::to_string(ctx->index.key(slot).orig.sport);
        return true;
    }
};

struct Parts : testing::Test {
    Parts() {
        for (PeerId n = 0; n < 2; n++) {
            auto peer = std::make_unique<Peer>(n, PeerOptions{"peer" + std::to_string(n)});
            auto fake = std::make_unique<FakeProtocol>();
            fakes[n] = fake.get();
            fake->ctx = &ctx;
            peer->encsync = std::move(fake);
            peer->protocol = peer->encsync.get();
            peer->zones = Zones::each_direction;
            peer->link_up = true;
            peer->silent = false;
            peer->creatorid = kPeer + n;
            peers.put(std::move(peer));
        }
        ctx.table_known = true;
        at(Instant(1000s));
    }
    static Options options() {
        Options o;
        o.creatorid = kOurs;
        o.session = 1;
        return o;
    }
    void at(Instant now) {
        ctx.now = now;
        ctx.seconds = static_cast<std::uint32_t>(now.time_since_epoch() / 1s);
    }
    state::Slot add(std::uint16_t port, std::uint8_t owner = kHere) {
        return ownership.add(flow(port), owner);
    }
    std::string send(PeerId peer) {
        std::array<std::uint8_t, 1400> room{};
        pfsync::Builder packet(room);
        fakes[peer]->written.clear();
        outbound.write_queue(peers[peer], packet);
        return fakes[peer]->written;
    }

    RecordingTable table;
    Context ctx{options(), table};
    Peers peers{ctx};
    std::array<FakeProtocol*, 2> fakes{};
    Outbound outbound{ctx, peers};
    Suppression suppression{ctx, peers, outbound};
    Lifecycle lifecycle{ctx, peers};
    Copies copies{ctx, peers, outbound, lifecycle, suppression};
    Ownership ownership{ctx, peers, outbound, lifecycle, copies, suppression};
};

// ---- outbound ------------------------------------------------------------------------------

TEST_F(Parts, OutboundSaysAFlowOnceHoweverOftenItWasAnnounced) {
    const state::Slot slot = add(1);
    outbound.announce(slot, false);
    outbound.announce(slot, false);
    EXPECT_EQ(send(0), "full 1");
    EXPECT_EQ(send(0), "");
    EXPECT_EQ(send(1), "full 1"); // the other peer has an outbox of its own
}

TEST_F(Parts, OutboundKeepsWhatDidNotFit) {
    outbound.announce(add(1), false);
    outbound.announce(add(2), false);
    fakes[0]->fits = 1;
    EXPECT_EQ(send(0), "full 1");
    fakes[0]->fits = 9;
    EXPECT_EQ(send(0), "full 2");
}

TEST_F(Parts, OutboundTellsNothingToWhoHearsNoChanges) {
    fakes[0]->hears = false;
    outbound.announce(add(1), false);
    EXPECT_EQ(send(0), "");
    EXPECT_EQ(send(1), "full 1");
}

TEST_F(Parts, OutboundGivesUpOnRemovalsThatAReliablePeerCannotTake) {
    const state::Slot slot = add(1);
    for (int n = 0; n < 500'000; n++)
        outbound.retract(peers[0], slot);
    EXPECT_FALSE(peers[0].outbox.overflowed());
    outbound.retract(peers[0], slot);
    EXPECT_TRUE(peers[0].outbox.overflowed());
    fakes[1]->acknowledges = false; // without acknowledgements the oldest are dropped
    for (int n = 0; n < 500'002; n++)
        outbound.retract(peers[1], slot);
    EXPECT_FALSE(peers[1].outbox.overflowed());
    EXPECT_EQ(peers[1].outbox.removals(), 500'000u);
}

// ---- suppression ---------------------------------------------------------------------------

TEST_F(Parts, SuppressionTakesBackWhatThePeerIsNoLongerToHear) {
    const state::Slot slot = add(1);
    outbound.announce(slot, false);
    send(0);
    ctx.flows.local(slot).known = bit(0);
    ctx.flows.local(slot).is.delayed = true; // for all peers
    suppression.update(slot);
    EXPECT_EQ(ctx.record(slot).suppressed, peers.mask());
    EXPECT_EQ(peers[0].outbox.removals(), 1u);
    EXPECT_EQ(peers[1].outbox.removals(), 0u); // it never knew the flow
    ctx.flows.local(slot).is.delayed = false;
    suppression.update(slot);
    EXPECT_EQ(send(0), "full 1");
    EXPECT_TRUE(ctx.flows.holds());
}

// ---- lifecycle -----------------------------------------------------------------------------

TEST_F(Parts, LifecycleNeverGivesANameTwice) {
    const state::StateId first = ctx.record(add(1)).id;
    lifecycle.erase(ctx.index.find(first));
    EXPECT_NE(ctx.record(add(1)).id, first);
}

TEST_F(Parts, LifecycleBeginsInALaterTermThanAnEarlierFlowThatChangedOwners) {
    state::Slot slot = add(1, 0);
    ownership.take(slot);
    const std::uint8_t term = ctx.record(slot).term;
    lifecycle.erase(slot);
    EXPECT_EQ(ctx.record(add(1)).term, next_term(term));
    EXPECT_EQ(ctx.record(add(2)).term, 0); // and no other
    lifecycle.erase(ctx.index.find(flow(1).key));
    at(Instant(1011s));
    lifecycle.advance();
    EXPECT_EQ(ctx.record(add(1)).term, 0);
}

// ---- copies --------------------------------------------------------------------------------

TEST_F(Parts, CopiesAreRearmedBeforeTheyRunOut) {
    const state::Slot slot = add(1, 0);
    copies.put(slot);
    EXPECT_EQ(table.take(), "put 1 copy 4:4");
    copies.advance();
    EXPECT_EQ(table.take(), "");
    at(Instant(1000s) + std::chrono::seconds(table::kCopyExtra / 2 + 1));
    copies.advance();
    EXPECT_EQ(table.take(), "refresh 1 copy 4:4");
}

TEST_F(Parts, CopiesOfAnOwnerThatIsGoneAreNot) {
    const state::Slot slot = add(1, 0);
    copies.put(slot);
    table.take();
    peers[0].silent = true;
    at(Instant(1000s) + std::chrono::seconds(table::kCopyExtra / 2 + 1));
    copies.advance();
    EXPECT_EQ(table.take(), "");
}

// ---- ownership -----------------------------------------------------------------------------

TEST_F(Parts, OwnershipGoesByTermThenByCreatorid) {
    const state::Slot slot = add(1);
    EXPECT_TRUE(ownership.claim_holds(peers[0], ctx.record(slot), 1));
    EXPECT_FALSE(ownership.claim_holds(peers[0], ctx.record(slot), 0)); // ours is smaller
    ownership.set_owner(slot, 1);
    EXPECT_TRUE(ownership.claim_holds(peers[0], ctx.record(slot), 0));
    peers[0].creatorid = kPeer + 2;
    EXPECT_FALSE(ownership.claim_holds(peers[0], ctx.record(slot), 0));
    peers[1].silent = true; // and so its owner is gone
    EXPECT_TRUE(ownership.claim_holds(peers[0], ctx.record(slot), 0));
    EXPECT_TRUE(ctx.flows.holds());
}

TEST_F(Parts, OwnershipAsksNoTermOfWhoTellsNone) {
    fakes[0]->terms = false;
    EXPECT_TRUE(ownership.claim_holds(peers[0], ctx.record(add(1)), 0));
}

TEST_F(Parts, OwnershipOfAVanishedNodeIsTheOneActiveNodes) {
    const state::Slot slot = add(1, 0);
    peers[0].silent = true;
    ownership.reconcile();
    EXPECT_EQ(ctx.record(slot).owner, 0); // no node is active
    ctx.options.role = Role::active;
    ownership.reconcile();
    EXPECT_EQ(ctx.record(slot).owner, kHere);
    EXPECT_EQ(ctx.counters.adopted, 1u);
    EXPECT_TRUE(ctx.flows.holds());
}

TEST_F(Parts, OwnershipStaysWhereTwoAreActive) {
    const state::Slot slot = add(1, 0);
    peers[0].silent = true;
    peers[1].role = ctx.options.role = Role::active;
    ownership.reconcile();
    EXPECT_EQ(ctx.record(slot).owner, 0);
}

// ---- orphans -------------------------------------------------------------------------------

TEST_F(Parts, OrphansAreLookedForEverLessOften) {
    Orphans orphans(ctx, peers);
    add(1, 0);
    orphans.watch();
    EXPECT_FALSE(orphans.watching()); // its owner is reachable
    peers[0].silent = true;
    orphans.watch();
    at(Instant(1005s));
    orphans.advance();
    EXPECT_EQ(table.dumps, 1u);
    EXPECT_EQ(orphans.deadline(), Instant(1015s));
    ctx.options.role = Role::active; // which says whose they are
    at(Instant(1015s));
    orphans.advance();
    EXPECT_EQ(table.dumps, 1u);
}

// ---- bulk updates --------------------------------------------------------------------------

TEST_F(Parts, BulkUpdatesEndWhenAllHasArrived) {
    BulkUpdates bulk(ctx, lifecycle, ownership);
    add(1);
    add(2, 1);
    std::array<std::uint8_t, 1400> room{};
    pfsync::Builder packet(room);
    bulk.start(peers[0]);
    EXPECT_TRUE(bulk.write_start(peers[0], packet, 0));
    EXPECT_TRUE(bulk.write_states(peers[0], packet));
    EXPECT_EQ(fakes[0]->written, "full 1, full 2");
    EXPECT_TRUE(bulk.write_end(peers[0], packet, 0, false));
    EXPECT_TRUE(peers[0].bulk.sending); // part of it is in flight
    EXPECT_TRUE(bulk.write_end(peers[0], packet, 0, true));
    EXPECT_FALSE(peers[0].bulk.sending);
    EXPECT_EQ(peers[0].counters.bulks_sent, 1u);
}

} // namespace
} // namespace encsync::sync::test
