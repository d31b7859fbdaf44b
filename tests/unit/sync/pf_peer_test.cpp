// SPDX-License-Identifier: ISC
// pf firewalls as peers: their windows, their timers, what is asked and answered, and what goes on
// from one to another.
#include "pf_rig.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::sync::test {
namespace {

using pfsync::Dialect;
using pfsync::Kind;
namespace peer_block = pfsync::common::peer;

constexpr Dialect kAll[] = {Dialect::openbsd, Dialect::freebsd1301, Dialect::freebsd1400,
                            Dialect::freebsd1500};

state::Flow udp(std::uint16_t port, std::uint32_t creator = 0, std::uint8_t src = 2,
                std::uint8_t dst = 2) {
    state::Flow f = flow(port, creator, src, dst);
    f.key.proto = IPPROTO_UDP;
    f.reply = inverse(f.key);
    f.flags = dst == 2 ? state::kSeenReply | state::kAssured : 0;
    return f;
}

std::string owner(const Rig& rig, const state::Flow& f) {
    const state::Slot slot = rig.engine->index().find(f.key);
    if (slot == state::kNoSlot)
        return "unknown";
    const std::uint8_t by = rig.engine->index().record(slot).sync.owner;
    return by == 0xff ? "here" : "peer " + std::to_string(by);
}

// ---- windows -------------------------------------------------------------------------------

TEST(Windows, ComeBackAsTheyWere) {
    for (const Dialect d : kAll) {
        PfRig rig({d});
        rig.say(0, Kind::insert, {flow(1, kPeer), window(1000), window(2000)});
        rig.say_id(0, Kind::request, flow(1, kPeer).id);
        rig.flush();
        const auto full = rig.messages(0, Kind::update);
        ASSERT_EQ(full.size(), 1u) << to_string(d);
        EXPECT_EQ(rig.told(0), "upd 1 4:4 1000/2000");
        pfsync::FullState back;
        ASSERT_EQ(pfsync::read(d, full[0], back), pfsync::Fault::none);
        Block src = window(1000), dst = window(2000);
        src[peer_block::state] = dst[peer_block::state] = 4;
        EXPECT_TRUE(std::equal(src.begin(), src.end(), back.src.bytes.begin())) << to_string(d);
        EXPECT_TRUE(std::equal(dst.begin(), dst.end(), back.dst.bytes.begin())) << to_string(d);
        // Once traffic has passed here nobody knows them any more: as they were, and sloppy.
        rig.engine->on_updated(flow(1, 0, 7, 4));
        rig.flush();
        const auto update = rig.messages(0, Kind::update);
        EXPECT_EQ(rig.told(0), "upd 1 7:4 1000/2000 sloppy");
        ASSERT_EQ(update.size(), 1u);
        ASSERT_EQ(pfsync::read(d, update[0], back), pfsync::Fault::none);
        src[peer_block::state] = 7;
        EXPECT_TRUE(std::equal(src.begin(), src.end(), back.src.bytes.begin())) << to_string(d);
        EXPECT_TRUE(std::equal(dst.begin(), dst.end(), back.dst.bytes.begin())) << to_string(d);
        rig.engine->on_updated(flow(1, 0, 9, 7));
        rig.flush();
        EXPECT_EQ(rig.told(0), "upd_c 1 9:7 1000/2000");
    }
}

TEST(Windows, WhoNeverHadThemIsSloppy) { // the twin
    for (const Dialect d : kAll) {
        PfRig rig({d});
        rig.engine->on_created(flow(1));
        rig.flush();
        EXPECT_EQ(rig.told(0), "ins 1 4:4 sloppy") << to_string(d);
        // What pf makes of zeros is no window either.
        state::Flow f = flow(1, 0, 7, 4);
        f.id = rig.id(1);
        rig.say(0, Kind::update_c, {f, window(5), window(6)});
        rig.say_id(0, Kind::request, f.id);
        rig.flush();
        EXPECT_EQ(rig.told(0), "upd 1 7:4 sloppy") << to_string(d);
        rig.say(0, Kind::insert, {flow(2, kPeer)});
        rig.say_id(0, Kind::request, flow(2, kPeer).id);
        rig.flush();
        EXPECT_EQ(rig.told(0), "upd 2 4:4 sloppy") << to_string(d);
    }
}

TEST(Windows, ALateUpdateNeverRollsThemBack) {
    for (const Dialect d : kAll)
        for (const std::uint32_t base : {1000u, 0xffffff00u}) { // and across 2^32
            PfRig rig({d});
            rig.say(0, Kind::insert, {flow(1, kPeer), window(base), window(base)});
            rig.say(0, Kind::update_c, {flow(1, kPeer), window(base + 500), window(base + 600)});
            rig.flush();
            EXPECT_EQ(rig.told(0), "") << to_string(d);
            const std::string ours =
                "upd_c 1 4:4 " + std::to_string(base + 500) + "/" + std::to_string(base + 600);
            // Both sides behind; one side behind, and the other is taken.
            rig.say(0, Kind::update_c, {flow(1, kPeer), window(base + 100), window(base + 100)});
            rig.flush();
            EXPECT_EQ(rig.told(0), ours) << to_string(d);
            rig.say(0, Kind::update_c, {flow(1, kPeer), window(base + 499), window(base + 700)});
            rig.flush();
            EXPECT_EQ(rig.told(0), "upd_c 1 4:4 " + std::to_string(base + 500) + "/" +
                                       std::to_string(base + 700));
            rig.say(0, Kind::update_c, {flow(1, kPeer), window(base + 800), window(base + 699)});
            rig.flush();
            EXPECT_EQ(rig.told(0), "upd_c 1 4:4 " + std::to_string(base + 800) + "/" +
                                       std::to_string(base + 700));
            EXPECT_EQ(rig.engine->session(0).counters.stale, 3u);
        }
}

TEST(Windows, AFreebsdIsNeverToldAnOlderDst) {
    for (const Dialect d : kAll) {
        PfRig rig({d});
        rig.say(0, Kind::insert, {flow(1, kPeer, 4, 4), window(100), window(100)});
        rig.engine->on_updated(flow(1, 0, 7, 7)); // conntrack has seen more
        rig.flush();
        rig.told(0);
        rig.say(0, Kind::update_c, {flow(1, kPeer, 4, 4), window(200), window(300)});
        rig.flush();
        EXPECT_EQ(rig.told(0), is_freebsd(d) ? "upd_c 1 7:7 100/300" : "upd_c 1 7:7 100/100")
            << to_string(d);
    }
}

TEST(Windows, OfAnotherLifeOfTheFlowAreOthers) {
    PfRig rig({Dialect::openbsd});
    rig.say(0, Kind::insert, {flow(1, kPeer, 9, 9), window(90'000), window(90'000)});
    state::Flow again = flow(1, kPeer, 2, 0);
    again.id.id++;
    rig.say(0, Kind::insert, {again, window(500), window(0)});
    EXPECT_EQ(rig.id(1), again.id);
    rig.say_id(0, Kind::request, again.id);
    rig.flush();
    EXPECT_EQ(rig.told(0), "upd 1 2:0 500/0");
}

TEST(Stale, NonTcpGoesByState) {
    for (const Dialect d : kAll) {
        PfRig rig({d});
        rig.say(0, Kind::insert, {udp(1, kPeer, 2, 1)});
        rig.say(0, Kind::update_c, {udp(1, kPeer, 1, 2)});
        rig.flush();
        EXPECT_EQ(rig.told(0), "upd_c 1 2:2") << to_string(d);
        EXPECT_EQ(rig.engine->session(0).counters.stale, 1u);
        rig.say(0, Kind::update_c, {udp(1, kPeer, 2, 2)});
        rig.flush();
        EXPECT_EQ(rig.told(0), "");
    }
}

TEST(Stale, WhatADialectCannotSayIsNoNews) {
    for (const Dialect d : {Dialect::freebsd1301, Dialect::freebsd1500}) {
        PfRig rig({d});
        state::Flow dccp = flow(1, kPeer, 4, 4);
        dccp.key.proto = IPPROTO_DCCP;
        dccp.reply = inverse(dccp.key);
        rig.say(0, Kind::insert, {dccp});
        state::Flow closing = dccp;
        closing.id = {};
        closing.src_state = 7;
        rig.engine->on_updated(closing);
        rig.flush();
        rig.told(0);
        rig.say(0, Kind::update_c, {dccp}); // still "answered", as closing is
        rig.flush();
        EXPECT_EQ(rig.told(0), "") << to_string(d);
        EXPECT_EQ(rig.engine->session(0).counters.stale, 0u);
    }
}

// ---- requests ------------------------------------------------------------------------------

TEST(PfRequests, AreAskedOnceAndAgainIfLost) {
    PfRig rig({Dialect::freebsd1400});
    const auto speaks = [&] {
        rig.say(0, Kind::update_c, {flow(1, kPeer)});
        rig.flush();
        return rig.told(0);
    };
    EXPECT_EQ(speaks(), "upd_req 1");
    EXPECT_EQ(speaks(), "");
    rig.pass(1s);
    EXPECT_EQ(speaks(), "");
    rig.pass(4s);
    EXPECT_EQ(speaks(), "upd_req 1");
    rig.say(0, Kind::update, {flow(1, kPeer), window(1), window(2)}); // of the unknown: an insert
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    EXPECT_EQ(speaks(), "");
    rig.say_id(0, Kind::remove_c, flow(1, kPeer).id);
    EXPECT_EQ(rig.owner(1), "unknown");
    EXPECT_EQ(speaks(), "upd_req 1"); // it was answered meanwhile
}

TEST(PfRequests, AreAnsweredWithUpdSoManyASecond) {
    PfRig rig({Dialect::openbsd});
    rig.engine->on_created(flow(1));
    rig.flush();
    rig.told(0);
    unsigned answered = 0;
    for (unsigned n = 0; n < 5010; n++) {
        rig.say_id(0, Kind::request, rig.id(1));
        rig.flush();
        answered += rig.told(0) == "upd 1 4:4 sloppy";
    }
    EXPECT_EQ(answered, 5000u);
    EXPECT_EQ(rig.refused(Refused::too_often), 10u);
    rig.pass(1s);
    rig.told(0);
    rig.say_id(0, Kind::request, rig.id(1));
    rig.flush();
    EXPECT_EQ(rig.told(0), "upd 1 4:4 sloppy");
}

TEST(PfRequests, UpdateOfTheUnknownGoesThroughTheSameChecks) {
    for (const Dialect d : kAll)
        for (const Kind kind : {Kind::insert, Kind::update}) {
            PfRig rig({d});
            state::Flow bad = flow(1, kPeer);
            bad.src_state = 13;
            rig.say(0, kind, {bad});
            EXPECT_EQ(rig.fault(pfsync::Fault::bad_peer_state), 1u) << to_string(d);
            EXPECT_EQ(rig.owner(1), "unknown");
        }
}

// ---- bulk updates --------------------------------------------------------------------------

TEST(PfBulk, AnEmptyTableOfAnOpenbsdIsItsEndOnly) {
    for (const Dialect d : kAll) {
        PfRig rig({d});
        rig.say_id(0, Kind::request, {});
        rig.flush();
        EXPECT_EQ(rig.told(0), is_freebsd(d) ? "bus start, bus end" : "bus end") << to_string(d);
        rig.engine->on_created(flow(1));
        rig.flush();
        rig.told(0);
        rig.pass(2s);
        rig.told(0);
        rig.say_id(0, Kind::request, {});
        rig.flush();
        rig.pass(5ms);
        EXPECT_EQ(rig.told(0), "bus start, upd 1 4:4 sloppy, bus end") << to_string(d);
    }
}

TEST(PfBulk, IsSentOnceAtATimeAndNotWithoutRest) {
    PfRig rig({Dialect::openbsd});
    for (std::uint16_t n = 1; n <= 30; n++)
        rig.engine->on_created(flow(n));
    rig.flush();
    rig.told(0);
    rig.say_id(0, Kind::request, {});
    rig.flush();
    rig.say_id(0, Kind::request, {}); // while it is under way: ignored
    rig.pass(100ms);
    const std::string all = rig.told(0);
    EXPECT_EQ(all.find("bus start"), all.rfind("bus start")) << all;
    EXPECT_EQ(rig.refused(Refused::too_often), 0u);
    rig.say_id(0, Kind::request, {});
    rig.pass(100ms);
    EXPECT_EQ(rig.told(0), "");
    EXPECT_EQ(rig.refused(Refused::too_often), 1u);
    rig.pass(1s);
    rig.say_id(0, Kind::request, {});
    rig.pass(100ms);
    EXPECT_NE(rig.told(0), "");
}

TEST(PfBulk, AFreebsdHearsHowLongItTook) {
    PfRig rig({Dialect::freebsd1500});
    rig.engine->on_created(flow(1));
    rig.flush();
    rig.pass(20s);
    rig.told(0);
    rig.say_id(0, Kind::request, {});
    rig.link.writable = false;
    rig.pass(3s);
    rig.link.writable = true;
    rig.pass(100ms);
    EXPECT_EQ(rig.told(0), "bus start 3, upd 1 4:4 sloppy, bus end 3");
}

struct Joining : PfRig { // asks for everything
    explicit Joining(Dialect d) : PfRig({d}) {
        engine->on_link_down(0);
        engine->on_link_up(0);
        flush();
        told(0);
    }
    bool in_step() const { return engine->session(0).in_step; }
};

TEST(PfBulk, AFreebsdsEndMustBeOfOurRequest) {
    Joining rig(Dialect::freebsd1400);
    rig.say_bulk(0, false);
    rig.say_bulk(0, true, 30); // began before we asked
    EXPECT_FALSE(rig.in_step());
    EXPECT_EQ(rig.refused(Refused::foreign_bulk), 1u);
    rig.pass(2s);
    rig.say_bulk(0, true, 2);
    EXPECT_TRUE(rig.in_step());
    Joining other(Dialect::openbsd); // which says 0 always
    other.say_bulk(0, true, 30);
    EXPECT_TRUE(other.in_step());
}

TEST(PfBulk, AnEndThatIsLostIsAskedForAgain) {
    for (const Dialect d : kAll) {
        Joining rig(d);
        const Instant retry = is_freebsd(d) ? 5s : 2s;
        rig.say_bulk(0, false);
        rig.pass(3900ms);
        EXPECT_EQ(rig.told(0), "") << to_string(d);
        rig.say(0, Kind::update, {flow(1, kPeer)}); // each state gives it time
        rig.pass(3900ms);
        EXPECT_EQ(rig.told(0), "") << to_string(d);
        rig.pass(100ms);
        EXPECT_EQ(rig.told(0), "upd_req all") << to_string(d);
        rig.pass(retry - 10ms);
        EXPECT_EQ(rig.told(0), "") << to_string(d);
        rig.pass(10ms);
        EXPECT_EQ(rig.told(0), "upd_req all") << to_string(d);
        rig.say_bulk(0, false);
        rig.say_bulk(0, true);
        EXPECT_TRUE(rig.in_step());
        rig.pass(60s);
        EXPECT_EQ(rig.told(0), "") << to_string(d);
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
    rig.say_bulk(0, false);
    rig.say(0, Kind::update, {flow(1, kPeer)});
    rig.say_bulk(0, true);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    // What was not named may have been lost on the way: its timer decides.
    EXPECT_EQ(rig.owner(2), "unclaimed");
    EXPECT_EQ(rig.table.take(), "put 1 copy 4:4");
}

// ---- CLR -----------------------------------------------------------------------------------

TEST(PfClear, ByCreatorAndInterface) {
    for (const Dialect d : kAll) {
        PfRig rig({d, d});
        const auto fill = [&] {
            rig.say(0, Kind::insert, {.flow = flow(1, kPeer), .ifname = "em0"});
            rig.say(0, Kind::insert, {.flow = flow(2, kPeer), .ifname = "em1"});
            rig.say(0, Kind::insert, {.flow = flow(3, kPeer)});
            rig.say(0, Kind::insert, {.flow = flow(4, 0x7777), .ifname = "em0"});
        };
        const auto left = [&] {
            std::string out;
            for (std::uint16_t n = 1; n <= 5; n++)
                out += rig.owner(n) == "unknown" ? "" : std::to_string(n);
            return out;
        };
        rig.engine->on_created(flow(5));
        fill();
        rig.say_clear(0, kOurs);
        EXPECT_EQ(rig.refused(Refused::own_creatorid), 1u);
        EXPECT_EQ(left(), "12345") << to_string(d);
        rig.say_clear(0, kPeer, "em0");
        EXPECT_EQ(left(), "2345") << to_string(d);
        rig.say_clear(0, kPeer, "all");
        EXPECT_EQ(left(), "245") << to_string(d);
        rig.say_clear(0, kPeer, "em7");
        EXPECT_EQ(left(), "245") << to_string(d);
        fill();
        rig.say_clear(1, kPeer); // of one that hears it all, too
        EXPECT_EQ(left(), "45") << to_string(d);
    }
}

TEST(PfClear, AFlushOfOursIsDeletions) {
    PfRig rig({Dialect::openbsd});
    rig.engine->on_created(flow(1));
    rig.engine->on_created(flow(2));
    rig.flush();
    rig.told(0);
    rig.engine->on_destroyed(flow(1)); // as conntrack -F tells it
    rig.engine->on_destroyed(flow(2));
    const auto removals = [&] {
        rig.flush();
        return rig.messages(0, Kind::remove_c).size();
    };
    EXPECT_EQ(removals(), 2u);
}

// ---- no-sync, acks, what is refused --------------------------------------------------------

TEST(PfNoSync, IsKeptAndNeverSentOn) {
    PfRig rig({Dialect::openbsd, Dialect::freebsd1400});
    rig.say(0, Kind::insert, {.flow = flow(1, kPeer), .flags = pfsync::common::kFlagNoSync});
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.say_id(0, Kind::request, flow(1, kPeer).id);
    EXPECT_EQ(rig.refused(Refused::no_sync), 1u);
    rig.engine->on_updated(flow(1, 0, 7, 7));
    rig.say_id(0, Kind::remove_c, flow(1, kPeer).id); // it lives here, but that is not told
    rig.say_id(1, Kind::request, {});
    rig.pass(100ms);
    rig.engine->on_destroyed(flow(1));
    rig.pass(1s);
    EXPECT_EQ(rig.told(0), "");
    EXPECT_EQ(rig.told(1), "bus start, bus end");
}

TEST(PfAck, OnlyForWhatIsHere) {
    for (const Dialect d : kAll) {
        PfRig rig({d});
        rig.say(0, Kind::insert, {.flow = flow(1, kPeer), .wants_ack = true});
        rig.flush();
        EXPECT_EQ(rig.told(0), "ins_ack 1") << to_string(d);
        state::Flow clash = flow(2, kPeer);
        clash.id = flow(1, kPeer).id;
        rig.say(0, Kind::insert, {.flow = clash, .wants_ack = true});
        rig.flush();
        EXPECT_EQ(rig.told(0), "") << to_string(d);
        EXPECT_EQ(rig.refused(Refused::id_clash), 1u);
    }
}

// ---- timers --------------------------------------------------------------------------------

// How often a flow that is live here and does not change is announced in `span`, and the longest
// time without.
std::pair<unsigned, Instant> announced(PfRig& rig, Instant span) {
    unsigned times = 0;
    Instant last = rig.now, longest{0};
    for (const Instant end = rig.now + span; rig.now < end;) {
        rig.pass(1s);
        if (rig.told(0).empty())
            continue;
        times++;
        longest = std::max(longest, rig.now - last);
        last = rig.now;
    }
    return {times, std::max(longest, rig.now - last)};
}

TEST(PfTimers, WhatIsLiveHereIsAnnouncedInTime) {
    struct Row {
        state::Flow flow;
        Instant timeout;
    };
    state::Flow ping = flow(7, 0, 0, 0);
    ping.key.proto = IPPROTO_ICMP;
    ping.reply = inverse(ping.key);
    for (const Row& row : {Row{udp(1), 60s}, Row{udp(2, 0, 1, 0), 60s}, Row{udp(3, 0, 2, 1), 30s},
                           Row{flow(4, 0, 2, 0), 120s}, Row{flow(5, 0, 4, 2), 30s},
                           Row{flow(6, 0, 7, 4), 900s}, Row{ping, 20s}, Row{flow(8), 86'400s}}) {
        PfRig rig({Dialect::freebsd1400});
        for (std::uint16_t other = 100; other < 130; other++) // whatever its slot
            rig.engine->on_created(flow(other, 0, 9, 9));
        rig.engine->on_created(row.flow);
        for (std::uint16_t other = 100; other < 130; other++)
            rig.engine->on_destroyed(flow(other, 0, 9, 9));
        rig.flush();
        rig.told(0);
        const auto [times, longest] = announced(rig, std::min<Instant>(2 * row.timeout, 30min));
        EXPECT_LE(longest, row.timeout / 2 - 1s) << to_string(row.flow);
        EXPECT_GE(times, 2u) << to_string(row.flow);
        EXPECT_LE(times, 12u) << to_string(row.flow);
    }
}

TEST(PfTimers, ANodeOfOursNeedsNoAnnouncements) { // the twin
    Rig rig;
    rig.start();
    rig.greet(0);
    rig.engine->on_created(udp(1));
    rig.acknowledge(0);
    rig.heard(0);
    for (int n = 0; n < 40; n++) {
        rig.pass(1s);
        rig.hello(0, {});
    }
    EXPECT_EQ(rig.heard(0), "");
}

TEST(PfTimers, ACopyLivesAsItsPeerSays) {
    for (const Dialect d : kAll) {
        PfRig rig({d});
        rig.say(0, Kind::insert, {.flow = udp(1, kPeer), .expire = 40});
        rig.table.take();
        rig.pass(45s);
        EXPECT_EQ(owner(rig, udp(1)), "peer 0") << to_string(d);
        rig.say(0, Kind::update_c, {.flow = udp(1, kPeer), .timeout = 8}); // 60 s from now
        rig.pass(65s);
        EXPECT_EQ(owner(rig, udp(1)), "peer 0") << to_string(d);
        EXPECT_EQ(rig.engine->counters().leases_over, 0u);
        rig.pass(15s);
        EXPECT_EQ(owner(rig, udp(1)), "unknown") << to_string(d);
        EXPECT_EQ(rig.engine->counters().leases_over, 1u);
        EXPECT_EQ(rig.table.take(), "remove 1");
        EXPECT_EQ(rig.told(0), ""); // that is no news to it
    }
}

TEST(PfTimers, LongerOnesAreLearned) {
    PfRig rig({Dialect::openbsd});
    rig.say(0, Kind::insert, {.flow = udp(2, kPeer), .expire = 900}); // set timeout udp.multiple
    rig.say(0, Kind::insert, {.flow = udp(1, kPeer), .expire = 900});
    rig.say(0, Kind::update_c, {.flow = udp(1, kPeer)});
    rig.pass(890s);
    EXPECT_EQ(owner(rig, udp(1)), "peer 0");
    rig.pass(30s);
    EXPECT_EQ(owner(rig, udp(1)), "unknown");
}

TEST(PfTimers, StandStillWhileThePeerIsOutOfReach) {
    PfRig rig({Dialect::openbsd});
    rig.say(0, Kind::insert, {.flow = udp(1, kPeer), .expire = 40});
    rig.engine->on_link_down(0);
    rig.pass(120s);
    EXPECT_EQ(owner(rig, udp(1)), "peer 0"); // its timer in the table decides
    rig.engine->on_link_up(0);
    rig.say_bulk(0, false);
    rig.pass(20s);
    EXPECT_EQ(owner(rig, udp(1)), "peer 0");
    rig.say_bulk(0, true);
    rig.pass(80s);
    EXPECT_EQ(owner(rig, udp(1)), "unknown");
}

TEST(PfTimers, ADeletionOfWhatIsLiveHereIsAnsweredWithIt) {
    PfRig rig({Dialect::openbsd});
    rig.say(0, Kind::insert, {flow(1, kPeer), window(1), window(2)});
    rig.say_id(0, Kind::remove_c, flow(1, kPeer).id); // of its own: it ends
    EXPECT_EQ(rig.owner(1), "unknown");
    rig.engine->on_created(flow(2));
    rig.flush();
    rig.told(0);
    rig.say_id(0, Kind::remove_c, rig.id(2));
    rig.flush();
    EXPECT_EQ(rig.told(0), "ins 2 4:4 sloppy");
    EXPECT_EQ(rig.owner(2), "here term 0");
}

// ---- whose it is ---------------------------------------------------------------------------

TEST(PfOwner, AnEchoOfWhatWeSaidClaimsNothing) {
    PfRig rig({Dialect::openbsd});
    rig.engine->on_created(udp(1, 0, 1, 0));
    rig.engine->on_updated(udp(1));
    rig.flush();
    state::Flow f = udp(1);
    f.id = rig.engine->index().record(rig.engine->index().find(f.key)).id;
    rig.say(0, Kind::update_c, {f}); // its answer to an update that came late
    EXPECT_EQ(owner(rig, f), "here");
    rig.pass(3s);
    rig.say(0, Kind::update_c, {f}); // nothing new was said since: packets pass there
    EXPECT_EQ(owner(rig, f), "peer 0");
}

TEST(PfOwner, WhatIsBehindOnBothSidesClaimsNothing) {
    PfRig rig({Dialect::openbsd});
    rig.engine->on_created(udp(1));
    rig.flush();
    rig.pass(20s);
    rig.told(0);
    state::Flow f = udp(1, 0, 1, 0);
    f.id = rig.engine->index().record(rig.engine->index().find(f.key)).id;
    rig.say(0, Kind::update_c, {f});
    rig.flush();
    EXPECT_EQ(owner(rig, f), "here");
    EXPECT_EQ(rig.told(0), "upd_c 1 2:2");
}

TEST(PfOwner, ProgressClaimsAtOnce) {
    PfRig rig({Dialect::openbsd});
    rig.engine->on_created(flow(1, 0, 2, 0));
    rig.flush();
    state::Flow f = flow(1);
    f.id = rig.id(1);
    rig.say(0, Kind::update_c, {f});
    EXPECT_EQ(rig.owner(1), "peer 0 term 1");
}

TEST(PfOwner, WhoBecomesActiveTakesAllOfIt) {
    PfRig rig({Dialect::openbsd});
    rig.say(0, Kind::insert, {flow(1, kPeer), window(10), window(20)});
    rig.say(0, Kind::insert, {udp(2, kPeer)});
    rig.engine->set_role(Role::standby);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.engine->set_role(Role::active);
    EXPECT_EQ(rig.owner(1), "here term 1");
    rig.pass(20s);
    rig.say(0, Kind::update_c, {udp(2, kPeer)}); // no evidence that packets pass there
    EXPECT_EQ(owner(rig, udp(2)), "here");
    rig.say(0, Kind::update_c, {flow(1, kPeer), window(11), window(20)}); // this is
    EXPECT_EQ(rig.owner(1), "peer 0 term 2");
    // The flows here are announced, so that they do not time out there.
    rig.told(0);
    rig.pass(30s);
    EXPECT_NE(rig.told(0).find("upd_c 2 2:2"), std::string::npos);
}

TEST(PfOwner, OneThatIsActiveOwnsWhatAPeerOnlyKeeps) {
    for (const Role role : {Role::automatic, Role::active}) {
        PfRig rig({Dialect::openbsd});
        rig.engine->set_role(role);
        rig.engine->on_link_down(0);
        rig.engine->on_link_up(0);
        rig.say_bulk(0, false);
        rig.say(0, Kind::update, {flow(1, kPeer)});
        rig.say_bulk(0, true);
        EXPECT_EQ(rig.owner(1), role == Role::active ? "here term 1" : "peer 0 term 0");
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
    rig.say(0, Kind::insert, {in, window(10), window(20)});
    rig.say(0, Kind::insert, {.flow = out, .src = window(10), .dst = window(20), .outgoing = true});
    EXPECT_EQ(rig.engine->index().size(), 1u);
    EXPECT_EQ(rig.id(1), in.id);
    const auto reply = [&] { return rig.engine->index().reply(rig.engine->index().find(in.key)); };
    EXPECT_EQ(reply(), out.reply); // the one that knows of the NAT
    for (int n = 0; n < 3; n++) {  // neither is asked for, and neither displaces the other
        rig.say(0, Kind::update_c, {in, window(10), window(20)});
        rig.say(0, Kind::update_c, {out, window(10), window(20)});
        rig.say(0, Kind::update, {in, window(10), window(20)});
    }
    rig.flush();
    EXPECT_EQ(rig.told(0), "");
    EXPECT_EQ(reply(), out.reply);
    // It ends with the second of them.
    rig.say_id(0, Kind::remove_c, in.id);
    EXPECT_EQ(rig.id(1), out.id);
    rig.say_id(0, Kind::remove_c, in.id);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
    rig.say_id(0, Kind::remove_c, out.id);
    EXPECT_EQ(rig.owner(1), "unknown");
}

TEST(PfNames, TheSecondOneEndsAlone) {
    PfRig rig({Dialect::freebsd1400});
    const state::Flow in = flow(1, kPeer);
    state::Flow out = in;
    out.id.id++;
    rig.say(0, Kind::insert, {in});
    rig.say(0, Kind::insert, {.flow = out, .outgoing = true});
    rig.say_id(0, Kind::remove_c, out.id);
    EXPECT_EQ(rig.id(1), in.id);
    rig.say(0, Kind::update_c, {out}); // and is unknown then
    rig.flush();
    EXPECT_EQ(rig.messages(0, Kind::request).size(), 1u);
    rig.say_id(0, Kind::remove_c, in.id);
    EXPECT_EQ(rig.owner(1), "unknown");
}

TEST(PfNames, InTheSameDirectionItIsAnotherLife) { // the twin
    PfRig rig({Dialect::openbsd});
    state::Flow again = flow(1, kPeer);
    again.id.id++;
    rig.say(0, Kind::insert, {flow(1, kPeer)});
    rig.say(0, Kind::insert, {again});
    EXPECT_EQ(rig.id(1), again.id);
    rig.say_id(0, Kind::remove_c, flow(1, kPeer).id);
    EXPECT_EQ(rig.owner(1), "peer 0 term 0");
}

// ---- from one to another -------------------------------------------------------------------

TEST(PassingOn, GoesToThoseWhoCannotHearIt) {
    PfRig rig({Dialect::openbsd, Dialect::freebsd1400, Dialect::openbsd, Dialect::freebsd1500});
    const auto told = [&] {
        rig.flush();
        return rig.told(0) + "|" + rig.told(1) + "|" + rig.told(2) + "|" + rig.told(3);
    };
    const state::Flow f = flow(1, kPeer, 2, 0);
    rig.say(0, Kind::insert, {f, window(100), window(0)});
    EXPECT_EQ(told(), "|ins 1 2:0 100/0||ins 1 2:0 100/0");
    rig.say(0, Kind::insert, {f, window(100), window(0)}); // nothing new
    EXPECT_EQ(told(), "|||");
    rig.say(0, Kind::update_c, {flow(1, kPeer), window(101), window(900)});
    EXPECT_EQ(told(), "|upd_c 1 4:4 101/900||upd_c 1 4:4 101/900");
    rig.say(0, Kind::update_c, {flow(1, kPeer), window(101), window(900)});
    EXPECT_EQ(told(), "|||");
    rig.say(0, Kind::update_c, {flow(1, kPeer), window(150), window(900)});
    EXPECT_EQ(told(), "|upd_c 1 4:4 150/900||upd_c 1 4:4 150/900");
    // What the other end answers comes to rest here.
    rig.say(1, Kind::update_c, {flow(1, kPeer), window(150), window(900)});
    EXPECT_EQ(told(), "|||");
    rig.say(0, Kind::update_c, {flow(1, kPeer, 9, 9), window(150), window(900)});
    EXPECT_EQ(told(), "|upd_c 1 9:9 150/900||upd_c 1 9:9 150/900");
    rig.say_id(0, Kind::remove_c, f.id);
    EXPECT_EQ(told(), "|del_c 1||del_c 1");
}

TEST(PassingOn, IsKeptAliveAsLongAsItsOwnerSpeaksOfIt) {
    PfRig rig({Dialect::openbsd, Dialect::freebsd1400});
    rig.say(0, Kind::insert, {.flow = udp(1, kPeer), .expire = 60});
    rig.flush();
    rig.told(1);
    unsigned announced = 0;
    for (int n = 0; n < 12; n++) {
        rig.say(0, Kind::update_c, {udp(1, kPeer)}); // packets pass there, and nothing changes
        rig.pass(10s);
        announced += rig.told(1) == "upd_c 1 2:2";
        EXPECT_EQ(rig.told(0), "");
    }
    EXPECT_GE(announced, 5u);
    rig.pass(100s);
    EXPECT_EQ(owner(rig, udp(1)), "unknown");
}

TEST(PassingOn, TheOtherMayTakeItOver) {
    PfRig rig({Dialect::openbsd, Dialect::freebsd1400});
    rig.say(0, Kind::insert, {flow(1, kPeer), window(100), window(100)});
    rig.flush();
    rig.told(0);
    rig.say(1, Kind::update_c, {flow(1, kPeer), window(200), window(300)});
    rig.flush();
    EXPECT_EQ(rig.owner(1), "peer 1 term 1");
    EXPECT_EQ(rig.told(0), "upd_c 1 4:4 200/300");
}

} // namespace
} // namespace encsync::sync::test
