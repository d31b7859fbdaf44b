// SPDX-License-Identifier: ISC
// A relay with firewalls and gateways of two dialects that send anything: what it sends can be read
// by its receivers, its digests are those of the states it has, and nothing waits that will never
// be sent.
//
// Input: packets, each with a byte for the leg and what happens before it, and two for its length.
#include "pfsync/build.hpp"
#include "relay/relay.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

using namespace encsync;
using namespace encsync::relay;
using pfsync::Dialect;

void demand(bool truth, int line = __builtin_LINE()) {
    if (truth)
        return;
    std::fprintf(stderr, "line %d does not hold\n", line);
    std::abort();
}

struct Peer {
    Side side;
    Dialect dialect;
};
constexpr std::array kPeers = {
    Peer{Side::cable, Dialect::openbsd}, Peer{Side::gateway, Dialect::openbsd},
    Peer{Side::cable, Dialect::freebsd1400}, Peer{Side::gateway, Dialect::freebsd1500}};

struct AnyLink final : sync::Link {
    MutableBytes acquire(PeerId) override { return buffer; }
    void commit(PeerId peer, std::size_t size) override {
        if (size == 0)
            return;
        const Bytes packet = Bytes(buffer).first(size);
        const Peer& to = kPeers[peer];
        const bool own = packet[0] != version_of(to.dialect);
        demand(!own || to.side == Side::gateway);
        demand(pfsync::check(packet, own ? pfsync::kOwnDialect : to.dialect) ==
               pfsync::Fault::none);
    }
    void flush() override {}
    std::array<std::uint8_t, 1400> buffer{};
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    AnyLink link;
    Options options;
    options.session = 1;
    options.creatorid = 0x0a0b0c0d;
    options.ack_near = true;
    Relay relay(link, options);
    sync::Instant now{std::chrono::hours(1)};
    relay.advance(now);
    for (PeerId peer = 0; peer < kPeers.size(); peer++) {
        relay.add(peer, kPeers[peer].side, kPeers[peer].dialect, peer == 0 ? 8 : 0);
        relay.on_up(peer);
    }
    for (Bytes rest(data, size); rest.size() >= 3;) {
        const std::uint8_t what = rest[0];
        const std::size_t length =
            std::min<std::size_t>(load_be<std::uint16_t>(&rest[1]), rest.size() - 3);
        const Bytes packet = rest.subspan(3, length);
        rest = rest.subspan(3 + length);
        const auto peer = static_cast<PeerId>(what % kPeers.size());
        relay.advance(now += std::chrono::milliseconds((what >> 2) * 100));
        if ((what & 0x80) != 0) {
            relay.on_down(peer);
            relay.on_up(peer);
        }
        if ((what & 0xc0) == 0x40)
            relay.set_active((what & 4) != 0);
        // As the policy does.
        if (pfsync::check(packet, relay.expected(peer)) == pfsync::Fault::none)
            relay.on_packet(peer, packet);
        for (int n = 0; n < 100 && relay.flush(); n++) {
        }
    }
    std::array<std::uint64_t, kMaxPeers> counts{}, sums{};
    const StateStore& store = relay.store();
    std::size_t states = 0;
    for (Slot slot = store.next(kNoSlot); slot != kNoSlot; slot = store.next(slot), states++)
        if (const PeerId origin = store.origin(slot); origin != kNoPeer) {
            counts[origin]++;
            sums[origin] += store.check(slot);
        }
    demand(states == store.size());
    for (PeerId peer = 0; peer < kMaxPeers; peer++)
        demand(store.digest(peer).count() == counts[peer] &&
               store.digest(peer).sum(sync::Digest::kRoot) == sums[peer]);
    for (int n = 0; n < 200; n++) {
        relay.advance(now += std::chrono::milliseconds(100));
        while (relay.flush()) {
        }
    }
    for (PeerId peer = 0; peer < kPeers.size(); peer++)
        demand(relay.waiting(peer) == 0);
    return 0;
}
