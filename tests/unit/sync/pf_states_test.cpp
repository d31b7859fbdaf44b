// SPDX-License-Identifier: ISC
// What is kept of a pf firewall's states and sent back: windows, which update is stale, and the two
// states that pf has for a forwarded flow.
#include "pf_rig.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::sync::test {
namespace {

using pfsync::Dialect;
using pfsync::Kind;
namespace peer_block = pfsync::common::peer;

// ---- windows -------------------------------------------------------------------------------

TEST(Windows, ComeBackAsTheyWere) {
    for (const Dialect d : kAllDialects) {
        PfRig rig({d});
        rig.send(0, Kind::insert, {flow(1, kPeer), window(1000), window(2000)});
        rig.send_id(0, Kind::request, flow(1, kPeer).id);
        rig.flush();
        const auto full = rig.messages(0, Kind::update);
        ASSERT_EQ(full.size(), 1u) << to_string(d);
        EXPECT_EQ(rig.sent_to(0), "upd 1 4:4 1000/2000");
        pfsync::FullState back;
        ASSERT_EQ(pfsync::read(d, full[0], back), pfsync::Fault::none);
        Block src = window(1000), dst = window(2000);
        src[peer_block::state] = dst[peer_block::state] = 4;
        EXPECT_TRUE(std::equal(src.begin(), src.end(), back.src.bytes.begin())) << to_string(d);
        EXPECT_TRUE(std::equal(dst.begin(), dst.end(), back.dst.bytes.begin())) << to_string(d);
        // After traffic here the windows are unknown: sent as they were, and sloppy.
        rig.engine->on_updated(flow(1, 0, 7, 4));
        rig.flush();
        const auto update = rig.messages(0, Kind::update);
        EXPECT_EQ(rig.sent_to(0), "upd 1 7:4 1000/2000 sloppy");
        ASSERT_EQ(update.size(), 1u);
        ASSERT_EQ(pfsync::read(d, update[0], back), pfsync::Fault::none);
        src[peer_block::state] = 7;
        EXPECT_TRUE(std::equal(src.begin(), src.end(), back.src.bytes.begin())) << to_string(d);
        EXPECT_TRUE(std::equal(dst.begin(), dst.end(), back.dst.bytes.begin())) << to_string(d);
        rig.engine->on_updated(flow(1, 0, 9, 7));
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), "upd_c 1 9:7 1000/2000");
    }
}

TEST(Windows, WhoNeverHadThemIsSloppy) { // control
    for (const Dialect d : kAllDialects) {
        PfRig rig({d});
        rig.engine->on_created(flow(1));
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), "ins 1 4:4 sloppy") << to_string(d);
        // The values that pf derives from zeros are no windows either.
        state::Flow f = flow(1, 0, 7, 4);
        f.id = rig.id(1);
        rig.send(0, Kind::update_c, {f, window(5), window(6)});
        rig.send_id(0, Kind::request, f.id);
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), "upd 1 7:4 sloppy") << to_string(d);
        rig.send(0, Kind::insert, {flow(2, kPeer)});
        rig.send_id(0, Kind::request, flow(2, kPeer).id);
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), "upd 2 4:4 sloppy") << to_string(d);
    }
}

TEST(Windows, ALateUpdateNeverRollsThemBack) {
    for (const Dialect d : kAllDialects)
        for (const std::uint32_t base : {1000u, 0xffffff00u}) { // and across 2^32
            PfRig rig({d});
            rig.send(0, Kind::insert, {flow(1, kPeer), window(base), window(base)});
            rig.send(0, Kind::update_c, {flow(1, kPeer), window(base + 500), window(base + 600)});
            rig.flush();
            EXPECT_EQ(rig.sent_to(0), "") << to_string(d);
            const std::string ours =
                "upd_c 1 4:4 " + std::to_string(base + 500) + "/" + std::to_string(base + 600);
            // Both sides stale; one side stale, and the other is accepted.
            rig.send(0, Kind::update_c, {flow(1, kPeer), window(base + 100), window(base + 100)});
            rig.flush();
            EXPECT_EQ(rig.sent_to(0), ours) << to_string(d);
            rig.send(0, Kind::update_c, {flow(1, kPeer), window(base + 499), window(base + 700)});
            rig.flush();
            EXPECT_EQ(rig.sent_to(0), "upd_c 1 4:4 " + std::to_string(base + 500) + "/" +
                                          std::to_string(base + 700));
            rig.send(0, Kind::update_c, {flow(1, kPeer), window(base + 800), window(base + 699)});
            rig.flush();
            EXPECT_EQ(rig.sent_to(0), "upd_c 1 4:4 " + std::to_string(base + 800) + "/" +
                                          std::to_string(base + 700));
            EXPECT_EQ(rig.engine->session(0).counters.stale, 3u);
        }
}

TEST(Windows, WhoCopiesAStaleDstIsNeverToldAnOlderOne) {
    for (const Dialect d : kAllDialects) {
        PfRig rig({d});
        rig.send(0, Kind::insert, {flow(1, kPeer, 4, 4), window(100), window(100)});
        rig.engine->on_updated(flow(1, 0, 7, 7)); // conntrack has a later state
        rig.flush();
        rig.sent_to(0);
        rig.send(0, Kind::update_c, {flow(1, kPeer, 4, 4), window(200), window(300)});
        rig.flush();
        EXPECT_EQ(rig.sent_to(0),
                  traits(d).copies_stale_dst ? "upd_c 1 7:7 100/300" : "upd_c 1 7:7 100/100")
            << to_string(d);
    }
}

// A side that has sent nothing has seqlo 0, which is before all sequence numbers.
TEST(Windows, OfASideThatHasSentNothingAreNeverTheLatest) {
    for (const Dialect d : kAllDialects)
        for (const std::uint32_t first : {0x10000000u, 0x90000000u}) {
            PfRig rig({d});
            rig.send(0, Kind::insert, {flow(1, kPeer, 2, 0), window(100), window(0)});
            rig.send(0, Kind::update_c, {flow(1, kPeer, 4, 2), window(200), window(first)});
            rig.engine->on_updated(flow(1, 0, 4, 4));
            rig.flush();
            EXPECT_EQ(rig.sent_to(0), "upd 1 4:4 200/" + std::to_string(first) + " sloppy")
                << to_string(d);
            // The answer to the SYN has passed here, and its number is learned too late.
            rig.send(0, Kind::insert, {flow(2, kPeer, 2, 0), window(100), window(0)});
            rig.engine->on_updated(flow(2, 0, 4, 4));
            rig.flush();
            rig.sent_to(0);
            rig.send(0, Kind::update_c, {flow(2, kPeer, 4, 2), window(200), window(first)});
            rig.flush();
            const std::uint32_t dst = traits(d).copies_stale_dst ? first : 0;
            EXPECT_EQ(rig.sent_to(0), "upd_c 2 4:4 200/" + std::to_string(dst)) << to_string(d);
        }
}

TEST(Windows, ANumberIsNewsWhereThereWasNone) {
    for (const Dialect d : kAllDialects)
        for (const std::uint32_t first : {0x10000000u, 0x90000000u}) {
            PfRig rig({d});
            rig.send(0, Kind::insert, {flow(1, kPeer, 2, 0), window(100), window(0)});
            rig.engine->on_updated(flow(1, 0, 4, 2)); // the answer to the SYN has passed here
            rig.flush();
            EXPECT_EQ(rig.sent_to(0), "upd 1 4:2 100/0 sloppy") << to_string(d);
            // The second of them has lost it again.
            for (const std::uint32_t dst : {first, 0u}) {
                rig.send(0, Kind::update_c, {flow(1, kPeer, 4, 2), window(200), window(dst)});
                rig.flush();
                EXPECT_EQ(rig.sent_to(0), "") << to_string(d);
                const state::Slot slot = rig.engine->index().find(rig.id(1));
                const Windows* kept = rig.engine->pf_states().windows(slot);
                ASSERT_NE(kept, nullptr);
                EXPECT_EQ(Windows::seqlo(kept->dst), first) << to_string(d);
            }
            EXPECT_EQ(rig.engine->session(0).counters.stale, 0u);
        }
}

TEST(Windows, OfAnotherLifeOfTheFlowAreOthers) {
    PfRig rig({Dialect::openbsd});
    rig.send(0, Kind::insert, {flow(1, kPeer, 9, 9), window(90'000), window(90'000)});
    state::Flow again = flow(1, kPeer, 2, 0);
    again.id.id++;
    rig.send(0, Kind::insert, {again, window(500), window(0)});
    EXPECT_EQ(rig.id(1), again.id);
    rig.send_id(0, Kind::request, again.id);
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "upd 1 2:0 500/0");
}

TEST(Stale, NonTcpGoesByState) {
    for (const Dialect d : kAllDialects) {
        PfRig rig({d});
        rig.send(0, Kind::insert, {udp(1, kPeer, 2, 1)});
        rig.send(0, Kind::update_c, {udp(1, kPeer, 1, 2)});
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), "upd_c 1 2:2") << to_string(d);
        EXPECT_EQ(rig.engine->session(0).counters.stale, 1u);
        rig.send(0, Kind::update_c, {udp(1, kPeer, 2, 2)});
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), "");
    }
}

TEST(Stale, WhatADialectCannotSayIsNoNews) {
    for (const Dialect d : {Dialect::freebsd1301, Dialect::freebsd1500}) {
        PfRig rig({d});
        state::Flow dccp = flow(1, kPeer, 4, 4);
        dccp.key.proto = IPPROTO_DCCP;
        dccp.reply = inverse(dccp.key);
        rig.send(0, Kind::insert, {dccp});
        state::Flow closing = dccp;
        closing.id = {};
        closing.src_state = 7;
        rig.engine->on_updated(closing);
        rig.flush();
        rig.sent_to(0);
        rig.send(0, Kind::update_c, {dccp}); // still "answered", although closing
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), "") << to_string(d);
        EXPECT_EQ(rig.engine->session(0).counters.stale, 0u);
    }
}

// ---- two states of one flow ----------------------------------------------------------------

TEST(PfNames, AFlowThatPfForwardsHasTwo) {
    PfRig rig({Dialect::openbsd});
    const state::Flow in = flow(1, kPeer);
    state::Flow out = in;
    out.id.id++;
    out.reply.dst.bytes = {203, 0, 113, 1}; // nat-to on the way out
    out.reply.dport = 50'000;
    rig.send(0, Kind::insert, {in, window(10), window(20)});
    rig.send(0, Kind::insert,
             {.flow = out, .src = window(10), .dst = window(20), .outgoing = true});
    EXPECT_EQ(rig.engine->index().size(), 1u);
    EXPECT_EQ(rig.id(1), in.id);
    const auto reply = [&] { return rig.engine->index().reply(rig.engine->index().find(in.key)); };
    EXPECT_EQ(reply(), out.reply); // that of the state with NAT
    for (int n = 0; n < 3; n++) {  // none is requested, and neither replaces the other
        rig.send(0, Kind::update_c, {in, window(10), window(20)});
        rig.send(0, Kind::update_c, {out, window(10), window(20)});
        rig.send(0, Kind::update, {in, window(10), window(20)});
    }
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(reply(), out.reply);
    // It ends with the second of them.
    rig.send_id(0, Kind::remove_c, in.id);
    EXPECT_EQ(rig.id(1), out.id);
    rig.send_id(0, Kind::remove_c, in.id);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.send_id(0, Kind::remove_c, out.id);
    EXPECT_EQ(rig.owner(1), "unknown");
}

TEST(PfNames, BothEndWithTheFlow) {
    PfRig rig({Dialect::openbsd});
    state::Flow out = flow(1, kPeer);
    out.id.id++;
    rig.send(0, Kind::insert, {flow(1, kPeer)});
    rig.send(0, Kind::insert, {.flow = out, .outgoing = true});
    rig.engine->on_updated(flow(1, 0, 7, 4)); // its packets pass here now
    rig.flush();
    rig.sent_to(0);
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    const auto removed = rig.messages(0, Kind::remove_c);
    ASSERT_EQ(removed.size(), 2u);
    EXPECT_EQ(pfsync::read_id(removed[0]), flow(1, kPeer).id);
    EXPECT_EQ(pfsync::read_id(removed[1]), out.id);
}

TEST(PfNames, TheSecondOfWhatIsLiveHereEndsWithAClear) {
    PfRig rig({Dialect::openbsd});
    state::Flow out = flow(1, kPeer);
    out.id.id++;
    rig.send(0, Kind::insert, {flow(1, kPeer)});
    rig.send(0, Kind::insert, {.flow = out, .outgoing = true});
    rig.engine->on_updated(flow(1, 0, 7, 4)); // its packets pass here now
    rig.send_clear(0, out.id.creatorid);
    EXPECT_EQ(rig.id(1), flow(1, kPeer).id);
    EXPECT_EQ(rig.engine->pf_states().find(out.id), state::kNoSlot);
}

// rdr-to on the way in: the state on the way out has the real destination on both sides.
struct Redirected {
    Redirected() {
        in = flow(1, kPeer);
        in.reply.src.bytes = {10, 9, 9, 9};
        out = in;
        out.id.id++;
        out.key.orig.dst = in.reply.src;
    }
    state::Flow in, out;
    PfState full_in() const { return {in, window(10), window(20)}; }
    PfState full_out() const {
        return {.flow = out, .src = window(10), .dst = window(20), .outgoing = true};
    }
};

TEST(PfNames, OfDestinationNatTheyAreOneFlowWhicheverComesFirst) {
    for (const bool in_first : {true, false}) {
        PfRig rig({Dialect::openbsd});
        const Redirected r;
        rig.send(0, Kind::insert, in_first ? r.full_in() : r.full_out());
        rig.send(0, Kind::insert, in_first ? r.full_out() : r.full_in());
        const auto& index = rig.engine->index();
        EXPECT_EQ(index.size(), 1u);
        ASSERT_NE(index.find(r.in.key), state::kNoSlot);
        EXPECT_EQ(index.reply(index.find(r.in.key)), r.in.reply);
        rig.flush();
        rig.sent_to(0);
        for (int n = 0; n < 3; n++) { // none is requested, refused, or replaces the other
            rig.send(0, Kind::update_c, r.full_in());
            rig.send(0, Kind::update_c, r.full_out());
            rig.send(0, Kind::update, r.full_in());
            rig.send(0, Kind::update, r.full_out());
        }
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), "");
        EXPECT_EQ(index.size(), 1u);
        EXPECT_EQ(index.reply(index.find(r.in.key)), r.in.reply);
        rig.send_id(0, Kind::remove_c, r.out.id);
        EXPECT_EQ(index.size(), 1u);
        rig.send_id(0, Kind::remove_c, r.in.id);
        EXPECT_EQ(index.size(), 0u);
    }
}

TEST(PfNames, OfBothKindsOfNatEachStateKnowsAPart) {
    for (const bool in_first : {true, false}) {
        PfRig rig({Dialect::openbsd});
        Redirected r;
        r.out.reply.dst.bytes = {10, 9, 9, 1}; // nat-to on the way out
        rig.send(0, Kind::insert, in_first ? r.full_in() : r.full_out());
        rig.send(0, Kind::insert, in_first ? r.full_out() : r.full_in());
        const auto& index = rig.engine->index();
        EXPECT_EQ(index.reply(index.find(r.in.key)), r.out.reply);
        rig.send(0, Kind::update, r.full_in());
        EXPECT_EQ(index.size(), 1u);
        EXPECT_EQ(index.reply(index.find(r.in.key)), r.out.reply);
    }
}

// Its packets pass pf by now, which makes the state on the way out by rule.
TEST(PfNames, OfARedirectedFlowThatBeganHereTheWayOutIsAPart) {
    for (const bool snat : {false, true}) {
        PfRig rig({Dialect::openbsd});
        Redirected r;
        if (snat)
            r.in.reply.dst.bytes = r.out.reply.dst.bytes = {10, 9, 9, 1};
        state::Flow here = r.in;
        here.id = {};
        rig.engine->on_created(here);
        rig.flush();
        rig.send(0, Kind::insert, r.full_out());
        EXPECT_EQ(rig.engine->index().size(), 1u);
        EXPECT_EQ(rig.engine->index().reply(rig.engine->index().find(r.in.key)), r.in.reply);
    }
}

// pf has both if its own is bound to an interface.
TEST(PfNames, OursIsTakenBackIfPfHasAnother) {
    for (const Dialect d : kAllDialects) {
        PfRig rig({d});
        rig.engine->on_created(flow(1));
        rig.flush();
        const state::StateId ours = rig.id(1);
        rig.send(0, Kind::insert, {flow(1, kPeer)});
        rig.flush();
        EXPECT_EQ(rig.id(1), flow(1, kPeer).id);
        const auto removed = rig.messages(0, Kind::remove_c);
        ASSERT_EQ(removed.size(), 1u) << to_string(d);
        EXPECT_EQ(pfsync::read_id(removed[0]), ours);
    }
}

TEST(PfNames, AStateToAnotherDestinationIsAFlowOfItsOwn) { // control
    PfRig rig({Dialect::openbsd});
    Redirected r;
    r.out.key.orig.dst.bytes[3]++;
    r.out.reply = inverse(r.out.key);
    rig.send(0, Kind::insert, r.full_in());
    rig.send(0, Kind::insert, r.full_out());
    EXPECT_EQ(rig.engine->index().size(), 2u);
}

TEST(PfNames, TheSecondOneEndsAlone) {
    PfRig rig({Dialect::freebsd1400});
    const state::Flow in = flow(1, kPeer);
    state::Flow out = in;
    out.id.id++;
    rig.send(0, Kind::insert, {in});
    rig.send(0, Kind::insert, {.flow = out, .outgoing = true});
    rig.send_id(0, Kind::remove_c, out.id);
    EXPECT_EQ(rig.id(1), in.id);
    rig.send(0, Kind::update_c, {out}); // and is unknown then
    rig.flush();
    EXPECT_EQ(rig.messages(0, Kind::request).size(), 1u);
    rig.send_id(0, Kind::remove_c, in.id);
    EXPECT_EQ(rig.owner(1), "unknown");
}

TEST(PfNames, InTheSameDirectionItIsAnotherLife) { // control
    PfRig rig({Dialect::openbsd});
    state::Flow again = flow(1, kPeer);
    again.id.id++;
    rig.send(0, Kind::insert, {flow(1, kPeer)});
    rig.send(0, Kind::insert, {again});
    EXPECT_EQ(rig.id(1), again.id);
    rig.send_id(0, Kind::remove_c, flow(1, kPeer).id);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

} // namespace
} // namespace encsync::sync::test
