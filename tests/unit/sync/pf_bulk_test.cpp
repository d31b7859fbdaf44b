// SPDX-License-Identifier: ISC
// Requests of a pf firewall and their answers: single states, bulk updates, CLR, acknowledgements;
// and refusals.
#include "pf_rig.hpp"

#include <gtest/gtest.h>

namespace encsync::sync::test {
namespace {

using pfsync::Dialect;
using pfsync::Kind;

// ---- requests ------------------------------------------------------------------------------

TEST(PfRequests, AreAskedOnceAndAgainIfLost) {
    PfRig rig({Dialect::freebsd1400});
    const auto speaks = [&] {
        rig.send(0, Kind::update_c, {flow(1, kPeer)});
        rig.flush();
        return rig.sent_to(0);
    };
    EXPECT_EQ(speaks(), "upd_req 1");
    EXPECT_EQ(speaks(), "");
    rig.pass(1s);
    EXPECT_EQ(speaks(), "");
    rig.pass(4s);
    EXPECT_EQ(speaks(), "upd_req 1");
    rig.send(0, Kind::update, {flow(1, kPeer), window(1), window(2)}); // state unknown: an insert
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(speaks(), "");
    rig.send_id(0, Kind::remove_c, flow(1, kPeer).id);
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(speaks(), "upd_req 1"); // the former request was answered
}

TEST(PfRequests, AreAnsweredWithUpdSoManyASecond) {
    PfRig rig({Dialect::openbsd});
    rig.engine->on_created(flow(1));
    rig.flush();
    rig.sent_to(0);
    unsigned answered = 0;
    for (unsigned n = 0; n < 10'010; n++) {
        rig.send_id(0, Kind::request, rig.id(1));
        rig.flush();
        answered += rig.sent_to(0) == "upd 1 4:4 sloppy";
    }
    EXPECT_EQ(answered, 10'000u);
    EXPECT_EQ(rig.refused(Reason::request_rate), 10u);
    rig.pass(1s);
    rig.sent_to(0);
    rig.send_id(0, Kind::request, rig.id(1));
    rig.flush();
    EXPECT_EQ(rig.sent_to(0), "upd 1 4:4 sloppy");
}

TEST(PfRequests, UpdateOfTheUnknownGoesThroughTheSameChecks) {
    for (const Dialect d : kAllDialects)
        for (const Kind kind : {Kind::insert, Kind::update}) {
            PfRig rig({d});
            state::Flow bad = flow(1, kPeer);
            bad.src_state = 13;
            rig.send(0, kind, {bad});
            EXPECT_EQ(rig.fault(pfsync::Fault::bad_peer_state), 1u) << to_string(d);
            EXPECT_EQ(rig.owner(1), "unknown");
        }
}

// ---- bulk updates --------------------------------------------------------------------------

TEST(PfBulk, AnEmptyTableIsAStartAndAnEnd) { // OpenBSD ignores an end without a start
    for (const Dialect d : kAllDialects) {
        PfRig rig({d});
        rig.send_id(0, Kind::request, {});
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), "bus start, bus end") << to_string(d);
        rig.engine->on_created(flow(1));
        rig.flush();
        rig.sent_to(0);
        rig.pass(2s);
        rig.sent_to(0);
        rig.send_id(0, Kind::request, {});
        rig.flush();
        rig.pass(5ms);
        EXPECT_EQ(rig.sent_to(0), "bus start, upd 1 4:4 sloppy, bus end") << to_string(d);
    }
}

TEST(PfBulk, IsSentOnceAtATimeAndNotWithoutRest) {
    PfRig rig({Dialect::openbsd});
    for (std::uint16_t n = 1; n <= 30; n++)
        rig.engine->on_created(flow(n));
    rig.flush();
    rig.sent_to(0);
    rig.send_id(0, Kind::request, {});
    rig.flush();
    rig.send_id(0, Kind::request, {}); // while one is in progress: ignored
    rig.pass(100ms);
    const std::string all = rig.sent_to(0);
    EXPECT_EQ(all.find("bus start"), all.rfind("bus start")) << all;
    EXPECT_EQ(rig.refused(Reason::too_often), 0u);
    rig.send_id(0, Kind::request, {});
    rig.pass(100ms);
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.refused(Reason::too_often), 1u);
    rig.pass(1s);
    rig.send_id(0, Kind::request, {});
    rig.pass(100ms);
    EXPECT_NE(rig.sent_to(0), "");
}

TEST(PfBulk, AFreebsdHearsHowLongItTook) {
    PfRig rig({Dialect::freebsd1500});
    rig.engine->on_created(flow(1));
    rig.flush();
    rig.pass(20s);
    rig.sent_to(0);
    rig.send_id(0, Kind::request, {});
    rig.link.writable = false;
    rig.pass(3s);
    rig.link.writable = true;
    rig.pass(100ms);
    EXPECT_EQ(rig.sent_to(0), "bus start 3, upd 1 4:4 sloppy, bus end 3");
}

struct Joining : PfRig { // requests a bulk update
    explicit Joining(Dialect d) : PfRig({d}) {
        engine->on_link_down(0);
        engine->on_link_up(0);
        flush();
        sent_to(0);
    }
    bool in_step() const { return engine->session(0).in_step; }
};

TEST(PfBulk, AFreebsdsEndMustBeOfOurRequest) {
    Joining rig(Dialect::freebsd1400);
    rig.send_bulk(0, false);
    rig.send_bulk(0, true, 30); // began before we asked
    EXPECT_FALSE(rig.in_step());
    EXPECT_EQ(rig.refused(Reason::foreign_bulk), 1u);
    rig.pass(2s);
    rig.send_bulk(0, true, 2);
    EXPECT_TRUE(rig.in_step());
    Joining other(Dialect::openbsd); // which always sends 0
    other.send_bulk(0, true, 30);
    EXPECT_TRUE(other.in_step());
}

TEST(PfBulk, AnEndThatIsLostIsAskedForAgain) {
    for (const Dialect d : kAllDialects) {
        Joining rig(d);
        const Duration retry = traits(d).bulk.retry;
        rig.send_bulk(0, false);
        rig.pass(3900ms);
        EXPECT_EQ(rig.sent_to(0), "") << to_string(d);
        rig.send(0, Kind::update, {flow(1, kPeer)}); // each state extends the time limit
        rig.pass(3900ms);
        EXPECT_EQ(rig.sent_to(0), "") << to_string(d);
        rig.pass(100ms);
        EXPECT_EQ(rig.sent_to(0), "upd_req all") << to_string(d);
        rig.pass(retry - 10ms);
        EXPECT_EQ(rig.sent_to(0), "") << to_string(d);
        rig.pass(10ms);
        EXPECT_EQ(rig.sent_to(0), "upd_req all") << to_string(d);
        rig.send_bulk(0, false);
        rig.send_bulk(0, true);
        EXPECT_TRUE(rig.in_step());
        rig.pass(60s);
        EXPECT_EQ(rig.sent_to(0), "") << to_string(d);
    }
}

TEST(PfBulk, ClaimsTheCopiesThatARestartHasFound) {
    PfRig rig({Dialect::openbsd});
    rig.engine = nullptr;
    rig.options.role = Role::standby;
    rig.options.table_kept = true;
    rig.start(false);
    rig.engine->on_dump_begin();
    rig.engine->on_dump_entry(flow(1), true);
    rig.engine->on_dump_entry(flow(2), true);
    rig.engine->on_dump_end();
    rig.engine->on_link_up(0);
    rig.send_bulk(0, false);
    rig.send(0, Kind::update, {flow(1, kPeer)});
    rig.send_bulk(0, true);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    // States that were not named may have been lost on the way: their timers decide.
    EXPECT_EQ(rig.owner(2), "unclaimed");
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:4");
}

// ---- CLR -----------------------------------------------------------------------------------

TEST(PfClear, ByCreatorAndInterface) {
    for (const Dialect d : kAllDialects) {
        PfRig rig({d, d});
        const auto fill = [&] {
            rig.send(0, Kind::insert, {.flow = flow(1, kPeer), .ifname = "em0"});
            rig.send(0, Kind::insert, {.flow = flow(2, kPeer), .ifname = "em1"});
            rig.send(0, Kind::insert, {.flow = flow(3, kPeer)});
            rig.send(0, Kind::insert, {.flow = flow(4, 0x7777), .ifname = "em0"});
        };
        const auto left = [&] {
            std::string out;
            for (std::uint16_t n = 1; n <= 5; n++)
                out += rig.owner(n) == "unknown" ? "" : std::to_string(n);
            return out;
        };
        rig.engine->on_created(flow(5));
        fill();
        rig.send_clear(0, kOurs);
        EXPECT_EQ(rig.refused(Reason::own_creatorid), 1u);
        EXPECT_EQ(left(), "12345") << to_string(d);
        rig.send_clear(0, kPeer, "em0");
        EXPECT_EQ(left(), "2345") << to_string(d);
        rig.send_clear(0, kPeer, "all");
        EXPECT_EQ(left(), "245") << to_string(d);
        rig.send_clear(0, kPeer, "em7");
        EXPECT_EQ(left(), "245") << to_string(d);
        fill();
        rig.send_clear(1, kPeer); // also from one that receives everything
        EXPECT_EQ(left(), "45") << to_string(d);
    }
}

TEST(PfClear, AFlushOfOursIsDeletions) {
    PfRig rig({Dialect::openbsd});
    rig.engine->on_created(flow(1));
    rig.engine->on_created(flow(2));
    rig.flush();
    rig.sent_to(0);
    rig.engine->on_destroyed(flow(1)); // as conntrack reports it after conntrack -F
    rig.engine->on_destroyed(flow(2));
    const auto removals = [&] {
        rig.flush();
        return rig.messages(0, Kind::remove_c).size();
    };
    EXPECT_EQ(removals(), 2u);
}

// ---- no-sync, acknowledgements, refusals ---------------------------------------------------

TEST(PfNoSync, IsKeptAndNeverSentOn) {
    PfRig rig({Dialect::openbsd, Dialect::freebsd1400});
    rig.send(0, Kind::insert, {.flow = flow(1, kPeer), .flags = pfsync::common::kFlagNoSync});
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.send_id(0, Kind::request, flow(1, kPeer).id);
    EXPECT_EQ(rig.refused(Reason::no_sync), 1u);
    rig.engine->on_updated(flow(1, 0, 7, 7));
    rig.send_id(0, Kind::remove_c, flow(1, kPeer).id); // it is live here, but that is not sent
    rig.send_id(1, Kind::request, {});
    rig.pass(100ms);
    rig.engine->on_destroyed(flow(1));
    rig.pass(1s);
    EXPECT_EQ(rig.sent_to(0), "");
    EXPECT_EQ(rig.sent_to(1), "bus start, bus end");
}

TEST(PfAck, OnlyForWhatIsHere) {
    for (const Dialect d : kAllDialects) {
        PfRig rig({d});
        rig.send(0, Kind::insert, {.flow = flow(1, kPeer), .wants_ack = true});
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), "ins_ack 1") << to_string(d);
        state::Flow clash = flow(2, kPeer);
        clash.id = flow(1, kPeer).id;
        rig.send(0, Kind::insert, {.flow = clash, .wants_ack = true});
        rig.flush();
        EXPECT_EQ(rig.sent_to(0), "") << to_string(d);
        EXPECT_EQ(rig.refused(Reason::id_clash), 1u);
    }
}

} // namespace
} // namespace encsync::sync::test
