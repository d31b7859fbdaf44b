// SPDX-License-Identifier: ISC
#include "relay/relay.hpp"

#include "../pfsync/describe.hpp"
#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>

namespace encsync::relay {
namespace {

using pfsync::Dialect;
using Data = std::vector<std::uint8_t>;

constexpr PeerId kCable = 0, kGateway = 1, kThird = 2, kSecondCable = 3;

// A link whose legs take `room` bytes a packet, and as many packets as `free` says.
struct FakeLink final : sync::Link {
    MutableBytes acquire(PeerId peer) override {
        if (free[peer] == 0)
            return {};
        buffer.assign(room[peer], 0xee); // a builder must not rely on zeros
        return buffer;
    }
    void commit(PeerId peer, std::size_t size) override {
        if (size == 0)
            return;
        free[peer]--;
        sent[peer].emplace_back(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(size));
    }
    void flush() override {}

    std::array<std::size_t, kMaxPeers> room, free;
    std::map<PeerId, std::vector<Data>> sent;
    Data buffer;
    FakeLink() {
        room.fill(1400);
        free.fill(1'000'000);
    }
};

struct Sent {
    std::uint8_t action;
    Data bytes;
    bool operator==(const Sent&) const = default;
};

std::vector<Sent> messages(Bytes packet, Dialect dialect) {
    std::vector<Sent> out;
    pfsync::Parser parser(packet, dialect);
    while (const pfsync::Section* s = parser.next())
        for (std::uint16_t n = 0; n < s->count && s->stride != 0; n++)
            out.push_back({s->action, Data(s->message(n).begin(), s->message(n).end())});
    return out;
}

bool of_another_release(Bytes packet, Dialect dialect) {
    pfsync::Parser parser(packet, dialect);
    while (const pfsync::Section* s = parser.next())
        if (s->layout != dialect)
            return true;
    return false;
}

// A site with a firewall, and the gateways of two others.
struct Rig {
    explicit Rig(Dialect d = Dialect::openbsd, Options options = {})
        : dialect(d), relay(link, options) {
        relay.advance(now);
        relay.add(kCable, Side::cable, d, 0);
        relay.add(kGateway, Side::gateway, d, 0);
        relay.add(kThird, Side::gateway, d, 0);
        for (const PeerId peer : {kCable, kGateway, kThird})
            relay.on_up(peer);
        flush();
        for (const PeerId peer : {kGateway, kThird})
            receive(peer, bus_end()); // they have no states
        link.sent.clear();            // the requests for bulk updates
    }
    void flush() {
        while (relay.flush()) {
        }
    }
    void receive(PeerId from, Bytes packet) {
        relay.on_packet(from, packet);
        flush();
    }
    void pass(sync::Duration time) {
        relay.advance(now += time);
        flush();
    }
    Data bus_end() const {
        Data buffer(512);
        pfsync::Builder packet(buffer, dialect);
        pfsync::write_bus(packet.add(pfsync::Kind::bulk), 99, 0, true);
        buffer.resize(packet.finish());
        return buffer;
    }
    std::vector<Sent> to(PeerId peer) {
        std::vector<Sent> out;
        for (const Data& packet : link.sent[peer]) {
            EXPECT_EQ(pfsync::check(packet, dialect), pfsync::Fault::none);
            for (Sent& each : messages(packet, dialect))
                // Not what gateways compare, nor what they say of themselves.
                if (each.action < pfsync::extension::kFirst && !is_name(each))
                    out.push_back(std::move(each));
        }
        return out;
    }
    bool is_name(const Sent& each) const {
        return pfsync::kind(dialect, each.action) == pfsync::Kind::insert_ack &&
               pfsync::read_id(each.bytes).creatorid == pfsync::extension::kGatewayName;
    }
    // A packet of `count` messages DEL_C, numbered from `first`.
    Data ends(std::uint32_t first, std::size_t count) const {
        Data buffer(1400);
        pfsync::Builder packet(buffer, dialect);
        for (std::size_t n = 0; n < count; n++)
            pfsync::write_id(packet.add(pfsync::Kind::remove_c),
                             {first + static_cast<std::uint32_t>(n), 77});
        buffer.resize(packet.finish());
        return buffer;
    }

    Dialect dialect;
    FakeLink link;
    sync::Instant now{std::chrono::hours(1)};
    Relay relay;
};

// Every packet of the published layouts, over the smallest and largest packets.
TEST(Relay, EveryMessageArrivesByteForByte) {
    for (const Dialect dialect : pfsync::kAllDialects)
        for (const std::size_t room : {std::size_t{512}, std::size_t{1400}, std::size_t{8980}}) {
            Rig rig(dialect);
            rig.link.room.fill(room);
            std::vector<Sent> expected;
            std::size_t received = 0;
            for (const pfsync::Vector& v : pfsync::load_vectors(dialect)) {
                if (pfsync::check(v.packet, dialect) != pfsync::Fault::none)
                    continue; // the policy refuses it
                if (of_another_release(v.packet, dialect))
                    continue; // its states are translated
                for (Sent& each : messages(v.packet, dialect)) {
                    received++;
                    // The gateway's own affair: a bulk update's frame, and what is asked for.
                    const pfsync::Kind kind = pfsync::kind(dialect, each.action);
                    if (kind != pfsync::Kind::bulk && kind != pfsync::Kind::request)
                        expected.push_back(std::move(each));
                }
                rig.receive(kCable, v.packet);
                rig.receive(kCable, rig.bus_end()); // it may have begun one
                received++;
            }
            ASSERT_GT(expected.size(), 60U);
            const auto is_request = [dialect](const Sent& each) {
                return pfsync::kind(dialect, each.action) == pfsync::Kind::request;
            };
            for (const PeerId peer : {kGateway, kThird}) {
                std::vector<Sent> sent = rig.to(peer);
                std::erase_if(sent, is_request); // of states that are not known here
                EXPECT_EQ(sent, expected);
            }
            for (const Data& packet : rig.link.sent[kGateway])
                EXPECT_LE(packet.size(), room);
            EXPECT_EQ(rig.relay.counters(kCable).received, received);
            EXPECT_GE(rig.relay.counters(kGateway).relayed + rig.relay.counters(kGateway).too_large,
                      expected.size());
        }
}

TEST(Relay, SendsNothingBackNorOnToAnotherGateway) {
    Rig rig;
    rig.relay.add(kSecondCable, Side::cable, rig.dialect, 0);
    rig.relay.on_up(kSecondCable);
    rig.flush();
    rig.link.sent.clear();
    rig.receive(kGateway, rig.ends(1, 3));
    EXPECT_EQ(rig.to(kCable).size(), 3U);
    EXPECT_EQ(rig.to(kSecondCable).size(), 3U);
    EXPECT_TRUE(rig.to(kGateway).empty());
    EXPECT_TRUE(rig.to(kThird).empty());
    rig.link.sent.clear();
    rig.receive(kCable, rig.ends(1, 3));
    EXPECT_TRUE(rig.to(kCable).empty());
    EXPECT_TRUE(rig.to(kSecondCable).empty());
    EXPECT_EQ(rig.to(kGateway).size(), 3U);
    EXPECT_EQ(rig.to(kThird).size(), 3U);
}

TEST(Relay, WhatALegCannotTakeWaitsInOrder) {
    Rig rig;
    rig.link.free[kGateway] = 1;
    for (std::uint32_t n = 0; n < 10; n++)
        rig.receive(kCable, rig.ends(n * 100, 100));
    EXPECT_EQ(rig.link.sent[kGateway].size(), 1U);
    EXPECT_EQ(rig.to(kThird).size(), 1000U) << "a slow leg delays no other";
    EXPECT_GT(rig.relay.waiting(kGateway), 0U);
    rig.link.free[kGateway] = 1000;
    rig.flush();
    EXPECT_EQ(rig.to(kGateway), rig.to(kThird));
    EXPECT_EQ(rig.relay.waiting(kGateway), 0U);
    EXPECT_LT(rig.link.sent[kGateway].size(), 12U) << "in full packets";
}

TEST(Relay, WhatWaitsHasALimitAndWhatIsLostIsCounted) {
    Rig rig;
    rig.link.free[kGateway] = 0;
    const Data packet = rig.ends(1, 100);
    std::size_t received = 0;
    while (rig.relay.counters(kGateway).queue_full == 0) {
        rig.receive(kCable, packet);
        received += 100;
        ASSERT_LT(received, 3'000'000U);
    }
    EXPECT_LE(rig.relay.waiting(kGateway), kMaxWaiting);
    rig.link.free[kGateway] = 1'000'000;
    rig.flush();
    EXPECT_EQ(rig.to(kGateway).size() + rig.relay.counters(kGateway).queue_full, received);
    // And then everything passes again.
    rig.link.sent.clear();
    rig.receive(kCable, packet);
    EXPECT_EQ(rig.to(kGateway).size(), 100U);
}

TEST(Relay, ALegThatIsDownGetsNothingLateAndEverythingWhenItIsBack) {
    Rig rig;
    rig.relay.on_down(kGateway);
    rig.receive(kCable, rig.ends(1, 5));
    EXPECT_EQ(rig.relay.counters(kGateway).leg_down, 5U);
    EXPECT_TRUE(rig.to(kGateway).empty());
    rig.link.sent.clear();
    rig.relay.on_up(kGateway);
    rig.flush();
    const Sent request{5, Data(12)}; // UPD_REQ of no state in particular
    EXPECT_EQ(rig.to(kGateway), std::vector{request}) << "nothing of it is here";
    EXPECT_TRUE(rig.to(kCable).empty());
    EXPECT_TRUE(rig.to(kThird).empty());
    // A firewall that is back is asked for its states.
    rig.relay.on_down(kCable);
    rig.link.sent.clear();
    rig.relay.on_up(kCable);
    rig.flush();
    EXPECT_EQ(rig.to(kCable), std::vector{request});
    EXPECT_TRUE(rig.to(kGateway).empty());
}

TEST(Relay, IsReadyWithAllCablesAndAGateway) {
    Rig rig;
    EXPECT_FALSE(rig.relay.unready());
    rig.relay.on_down(kGateway);
    EXPECT_FALSE(rig.relay.unready());
    rig.relay.on_down(kThird);
    ASSERT_TRUE(rig.relay.unready());
    EXPECT_EQ(rig.relay.unready()->peer, kNoPeer);
    rig.relay.on_up(kThird);
    ASSERT_TRUE(rig.relay.unready());
    EXPECT_EQ(rig.relay.unready()->why, Relay::Unready::Why::filling);
    rig.receive(kThird, rig.bus_end());
    EXPECT_FALSE(rig.relay.unready());
    rig.relay.on_down(kCable);
    ASSERT_TRUE(rig.relay.unready());
    EXPECT_EQ(rig.relay.unready()->peer, kCable);
    rig.relay.remove(kCable);
    EXPECT_FALSE(rig.relay.unready());
}

// Of a later version, in version 6: a message whose number and size we do not know, and one that is
// longer than the one we know.
TEST(Relay, PassesOnWhatItDoesNotKnow) {
    Rig rig;
    Data buffer(1400);
    pfsync::Builder packet(buffer);
    std::fill_n(packet.add(std::uint8_t{200}, 48), 48, 0xab);
    std::fill_n(packet.add(std::uint8_t{6}, 300), 300, 0xcd);
    // Ours between gateways: from a cable it would be believed there.
    std::fill_n(packet.add(std::uint8_t{0xe9}, 24), 24, 0xef);
    buffer.resize(packet.finish());
    rig.receive(kCable, buffer);
    EXPECT_EQ(rig.to(kGateway), (std::vector<Sent>{{200, Data(48, 0xab)}, {6, Data(300, 0xcd)}}));
    EXPECT_EQ(rig.relay.counters(kCable).refused, 1U);
}

// Full states of the firewall's own system in another release. They are the same connections.
TEST(Relay, StatesOfAnotherReleaseAreTranslatedAndNamed) {
    Rig rig(Dialect::freebsd1301);
    const auto state = pfsync::load_vector("ours-ins-tcp", Dialect::freebsd1400);
    const auto expected = pfsync::load_vector("ours-ins-tcp", Dialect::freebsd1301);
    rig.receive(kCable, state.packet);
    EXPECT_EQ(rig.to(kGateway), messages(expected.packet, Dialect::freebsd1301));
    EXPECT_EQ(rig.relay.other_wire(kCable), Dialect::freebsd1400);
    EXPECT_EQ(rig.relay.counters(kCable).other_wire, 1U);
    EXPECT_FALSE(rig.relay.unready());
    rig.receive(kCable, rig.ends(1, 3)); // of every release
    EXPECT_EQ(rig.relay.other_wire(kCable), Dialect::freebsd1400);
    rig.receive(kCable, expected.packet);
    EXPECT_EQ(rig.relay.other_wire(kCable), std::nullopt);
    EXPECT_EQ(rig.relay.counters(kCable).other_wire, 1U);
}

TEST(Relay, AGatewayThatSpeaksAnotherVersionIsNamed) {
    for (const auto& [ours, theirs] : {std::pair(Dialect::openbsd, Dialect::freebsd1400),
                                       std::pair(Dialect::freebsd1400, Dialect::openbsd)}) {
        Rig rig(ours);
        rig.receive(kGateway, pfsync::load_vector("ours-ins-tcp", theirs).packet);
        EXPECT_TRUE(rig.to(kCable).empty());
        EXPECT_EQ(rig.relay.other_wire(kGateway), theirs);
        EXPECT_EQ(rig.relay.counters(kGateway).other_wire, 1U);
        EXPECT_EQ(rig.relay.counters(kGateway).refused, 1U);
        EXPECT_EQ(rig.relay.other_wire(kThird), std::nullopt);
    }
}

TEST(Relay, IsNotReadyWhileAFirewallIsNotUnderstood) {
    Rig rig;
    rig.pass(std::chrono::seconds(60));
    rig.relay.on_packet_refused(kGateway, "not of a cable");
    EXPECT_FALSE(rig.relay.unready());
    rig.receive(kCable, rig.ends(1, 1));
    rig.relay.on_packet_refused(kCable, "an accident");
    EXPECT_FALSE(rig.relay.unready());
    rig.pass(std::chrono::seconds(6));
    ASSERT_TRUE(rig.relay.unready());
    EXPECT_EQ(rig.relay.unready()->why, Relay::Unready::Why::misunderstood);
    EXPECT_EQ(rig.relay.unready()->peer, kCable);
    EXPECT_EQ(rig.relay.misunderstood(kCable), "an accident");
    rig.receive(kCable, rig.ends(1, 1));
    EXPECT_FALSE(rig.relay.unready());
    rig.pass(std::chrono::seconds(6));
    EXPECT_EQ(rig.relay.misunderstood(kCable), "") << "silence is no fault";
}

TEST(Relay, AStandbyHasNothingToDoEachMillisecond) {
    Rig rig;
    rig.relay.set_active(false);
    rig.pass(std::chrono::seconds(60));
    EXPECT_GE(rig.relay.deadline() - rig.now, std::chrono::milliseconds(500));
    rig.relay.set_active(true);
    rig.pass(std::chrono::seconds(60));
    rig.pass(std::chrono::seconds(1));
    EXPECT_GE(rig.relay.deadline() - rig.now, std::chrono::milliseconds(500));
}

TEST(Relay, WhatNoPacketHoldsIsCounted) {
    Rig rig;
    rig.link.room[kGateway] = 512;
    Data buffer(1400);
    pfsync::Builder packet(buffer);
    packet.add(std::uint8_t{200}, 800);
    pfsync::write_id(packet.add(pfsync::Kind::remove_c), {1, 77});
    buffer.resize(packet.finish());
    rig.receive(kCable, buffer);
    EXPECT_EQ(rig.to(kThird).size(), 2U);
    EXPECT_EQ(rig.to(kGateway).size(), 1U) << "what follows it passes";
    EXPECT_EQ(rig.relay.counters(kGateway).too_large, 1U);
}

} // namespace
} // namespace encsync::relay
