// SPDX-License-Identifier: ISC
// How far a peer is behind: the age of the oldest change that it has not acknowledged.
#include "rig.hpp"

#include <gtest/gtest.h>
#include <numeric>

namespace encsync::sync::test {
namespace {

struct Lag : Rig {
    Lag() {
        start();
        greet(0);
        acknowledge(0);
        pass(1s);
        acknowledge(0);
    }
    Duration lag() { return engine->lag(0, now).value_or(-1s); }
    std::uint64_t observed(std::size_t from = 0) {
        const auto& counts = engine->acknowledge_latency(0).counts();
        return std::accumulate(counts.begin() + static_cast<long>(from), counts.end(),
                               std::uint64_t{0});
    }
};

TEST(Lag, IsNoneWithoutChanges) {
    Lag rig;
    EXPECT_EQ(rig.lag(), 0s);
    rig.pass(2s); // hello and digests are sent, and are no changes
    EXPECT_EQ(rig.lag(), 0s);
    EXPECT_EQ(rig.observed(), 0u);
    EXPECT_EQ(rig.engine->lag(1, rig.now), std::nullopt); // a pf firewall acknowledges nothing
}

TEST(Lag, GrowsUntilTheAcknowledgement) {
    Lag rig;
    rig.engine->on_created(flow(1));
    rig.flush();
    rig.pass(100ms);
    EXPECT_EQ(rig.lag(), 100ms);
    rig.engine->on_created(flow(2)); // a newer one changes nothing
    rig.flush();
    rig.pass(20ms);
    EXPECT_EQ(rig.lag(), 120ms);
    rig.acknowledge(0);
    EXPECT_EQ(rig.lag(), 0s);
    EXPECT_EQ(rig.observed(), 2u); // two packets
    EXPECT_EQ(rig.engine->acknowledge_latency(0).sum(), 140ms);
}

TEST(Lag, CountsFromTheFirstTimeAlsoWhatWasLost) {
    Lag rig;
    rig.engine->on_created(flow(1));
    rig.flush();
    rig.pass(2s); // it was sent again in between
    EXPECT_GT(rig.engine->session(0).counters.tx_messages, 1u);
    EXPECT_EQ(rig.lag(), 2s);
    rig.acknowledge(0);
    EXPECT_EQ(rig.lag(), 0s);
    EXPECT_EQ(rig.engine->acknowledge_latency(0).sum(), 2s);
}

TEST(Lag, IsOfRemovalsAndOfWhatWaits) {
    Lag rig;
    rig.engine->on_created(flow(1));
    rig.acknowledge(0);
    rig.engine->on_updated(flow(1, 0, 7, 4)); // may wait for another change (maxupd)
    rig.pass(10ms);
    EXPECT_EQ(rig.lag(), 10ms);
    rig.pass(30ms);
    rig.acknowledge(0);
    EXPECT_EQ(rig.lag(), 0s);
    rig.engine->on_destroyed(flow(1));
    rig.flush();
    rig.pass(50ms);
    EXPECT_EQ(rig.lag(), 50ms);
    rig.acknowledge(0);
    EXPECT_EQ(rig.lag(), 0s);
}

TEST(Lag, GrowsWhileTheLinkTakesNothing) {
    Lag rig;
    rig.link.writable = false;
    rig.engine->on_created(flow(1));
    rig.flush();
    rig.pass(300ms);
    EXPECT_EQ(rig.lag(), 300ms);
    rig.link.writable = true;
    rig.pass(10ms);
    rig.acknowledge(0);
    EXPECT_EQ(rig.lag(), 0s);
}

} // namespace
} // namespace encsync::sync::test
