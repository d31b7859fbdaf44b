// SPDX-License-Identifier: ISC
// What a message costs on its way through a gateway, without IPsec and without a kernel: from a
// packet of a cable to a packet for a gateway. Bare is the rival: it copies each packet and looks
// at nothing, as a relay of datagrams would. Memory is that of the states that are kept.
//
//     relay_bench [--benchmark_filter=Update]
#include "pfsync/build.hpp"
#include "relay/relay.hpp"

#include <benchmark/benchmark.h>
#include <cstring>
#include <vector>

namespace {

using namespace encsync;
using namespace encsync::relay;
using pfsync::Dialect;
using pfsync::Kind;
using Packet = std::vector<std::uint8_t>;

constexpr PeerId kCable = 0, kGateway = 1;
constexpr std::uint32_t kCreator = 0x0a0b0c0d;

struct NullLink final : sync::Link {
    MutableBytes acquire(PeerId) override { return buffer; }
    void commit(PeerId, std::size_t size) override { bytes += size; }
    void flush() override {}
    std::array<std::uint8_t, 1400> buffer{};
    std::uint64_t bytes = 0;
};

struct Gateway {
    explicit Gateway(Dialect far) : relay(link, {.creatorid = 1, .session = 1, .seed = {}}) {
        relay.advance(now);
        relay.add(kCable, Side::cable, Dialect::openbsd, 0);
        relay.add(kGateway, Side::gateway, far, 0);
        relay.on_up(kCable);
        relay.on_up(kGateway);
        flush();
    }
    void flush() {
        while (relay.flush()) {
        }
    }
    void receive(const Packet& packet) {
        relay.on_packet(kCable, packet);
        flush();
    }

    NullLink link;
    sync::Instant now{std::chrono::hours(1)};
    Relay relay;
};

state::Flow flow(std::uint32_t n) {
    state::Flow f;
    f.id = {n + 1, kCreator};
    f.key.proto = 6;
    store_be(f.key.orig.src.bytes.data(), n);
    f.key.orig.dst.bytes = {192, 0, 2, 1};
    f.key.orig.sport = static_cast<std::uint16_t>(n);
    f.key.orig.dport = 443;
    f.reply = state::inverse(f.key);
    f.src_state = f.dst_state = state::tcp::kEstablished;
    f.timeout = 86400;
    return f;
}

// As many messages of this kind as a packet holds, for flows from `first` on, round `flows`.
Packet packet_of(Kind kind, std::uint32_t first, std::uint32_t flows, std::size_t* count) {
    Packet buffer(1400);
    pfsync::Builder packet(buffer, Dialect::openbsd);
    for (*count = 0;; ++*count) {
        std::uint8_t* m = packet.add(kind);
        if (m == nullptr)
            break;
        const state::Flow f = flow((first + static_cast<std::uint32_t>(*count)) % flows);
        if (kind == Kind::update_c)
            pfsync::write_upd_c(m, f);
        else
            pfsync::write_state(m, f, {});
    }
    buffer.resize(packet.finish());
    return buffer;
}

std::vector<Packet> packets_of(Kind kind, std::uint32_t flows, std::size_t* messages) {
    std::vector<Packet> out;
    for (std::uint32_t n = 0; n < flows;) {
        std::size_t count = 0;
        out.push_back(packet_of(kind, n, flows, &count));
        n += static_cast<std::uint32_t>(count);
        *messages += count;
    }
    return out;
}

void Bare(benchmark::State& state, Kind kind) {
    NullLink link;
    std::size_t messages = 0;
    const std::vector<Packet> packets = packets_of(kind, 10'000, &messages);
    for (auto _ : state)
        for (const Packet& packet : packets) {
            std::memcpy(link.acquire(kGateway).data(), packet.data(), packet.size());
            link.commit(kGateway, packet.size());
            benchmark::ClobberMemory();
        }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * messages));
}
BENCHMARK_CAPTURE(Bare, insert, Kind::insert);
BENCHMARK_CAPTURE(Bare, update_c, Kind::update_c);

// New states, until there are so many.
void Insert(benchmark::State& state, Dialect far) {
    const auto flows = static_cast<std::uint32_t>(state.range(0));
    std::size_t messages = 0;
    const std::vector<Packet> packets = packets_of(Kind::insert, flows, &messages);
    std::size_t memory = 0, kept = 1;
    for (auto _ : state) {
        state.PauseTiming();
        auto gateway = std::make_unique<Gateway>(far);
        state.ResumeTiming();
        for (const Packet& packet : packets)
            gateway->receive(packet);
        state.PauseTiming();
        memory = gateway->relay.store().memory_bytes();
        kept = gateway->relay.store().size();
        gateway.reset();
        state.ResumeTiming();
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * messages));
    state.counters["bytes_a_state"] = static_cast<double>(memory) / static_cast<double>(kept);
}
BENCHMARK_CAPTURE(Insert, same_dialect, Dialect::openbsd)->Arg(10'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(Insert, translated, Dialect::freebsd1400)->Arg(10'000);

void Update(benchmark::State& state, Dialect far) {
    const auto flows = static_cast<std::uint32_t>(state.range(0));
    Gateway gateway(far);
    std::size_t messages = 0;
    for (const Packet& packet : packets_of(Kind::insert, flows, &messages))
        gateway.receive(packet);
    messages = 0;
    const std::vector<Packet> packets = packets_of(Kind::update_c, flows, &messages);
    for (auto _ : state)
        for (const Packet& packet : packets)
            gateway.receive(packet);
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * messages));
}
BENCHMARK_CAPTURE(Update, same_dialect, Dialect::openbsd)->Arg(10'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(Update, translated, Dialect::freebsd1400)->Arg(10'000);

// A gateway that has forgotten everything gets all states.
void Answer(benchmark::State& state) {
    const auto flows = static_cast<std::uint32_t>(state.range(0));
    Gateway gateway(Dialect::openbsd);
    std::size_t messages = 0;
    for (const Packet& packet : packets_of(Kind::insert, flows, &messages))
        gateway.receive(packet);
    Packet request(512);
    pfsync::Builder packet(request);
    pfsync::write_id(packet.add(Kind::request), {});
    request.resize(packet.finish());
    for (auto _ : state) {
        gateway.relay.on_packet(kGateway, request);
        gateway.flush();
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * flows);
}
BENCHMARK(Answer)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

} // namespace

BENCHMARK_MAIN();
