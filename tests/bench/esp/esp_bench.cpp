// SPDX-License-Identifier: ISC
// The cost of one packet: seal and open, by cipher and inner size.
#include "ipsec/esp/sa.hpp"

#include <benchmark/benchmark.h>
#include <cstring>
#include <vector>

using namespace encsync;
using namespace encsync::esp;

namespace {

SaParams make_params(benchmark::State& state, Direction direction) {
    SaParams params;
    params.spi = 0x1000;
    params.direction = direction;
    params.cipher = static_cast<Cipher>(state.range(0));
    params.esn = true;
    params.keymat_size = static_cast<std::uint8_t>(key_size(params.cipher) + kSaltSize);
    return params;
}

void finish(benchmark::State& state) {
    constexpr const char* kNames[] = {"", "aes128gcm16", "aes256gcm16", "chacha20poly1305"};
    state.SetLabel(kNames[state.range(0)]);
    state.SetItemsProcessed(state.iterations());
    state.SetBytesProcessed(state.iterations() * state.range(1));
}

void BM_Seal(benchmark::State& state) {
    auto sa = OutboundSa::create(make_params(state, Direction::outbound));
    const auto size = static_cast<std::size_t>(state.range(1));
    std::vector<std::uint8_t> buffer(sealed_size(size));
    for (auto _ : state)
        benchmark::DoNotOptimize(sa->seal(buffer, size));
    finish(state);
}

// Includes a copy of the sealed packet, and a new SA for each round of the window: a packet opens
// only once.
void BM_Open(benchmark::State& state) {
    auto out = OutboundSa::create(make_params(state, Direction::outbound));
    const auto size = static_cast<std::size_t>(state.range(1));
    constexpr std::size_t kPackets = 4096;
    std::vector<std::vector<std::uint8_t>> packets(kPackets);
    for (auto& packet : packets) {
        packet.resize(sealed_size(size));
        out->seal(packet, size);
    }
    auto in = InboundSa::create(make_params(state, Direction::inbound));
    std::vector<std::uint8_t> work(sealed_size(size));
    std::size_t next = 0;
    for (auto _ : state) {
        if (next == kPackets) {
            in = InboundSa::create(make_params(state, Direction::inbound));
            next = 0;
        }
        std::memcpy(work.data(), packets[next++].data(), work.size());
        if (in->open(work).verdict != Verdict::ok)
            state.SkipWithError("does not open");
    }
    finish(state);
}

BENCHMARK(BM_Seal)->ArgsProduct({{1, 2, 3}, {100, 1400}});
BENCHMARK(BM_Open)->ArgsProduct({{1, 2, 3}, {100, 1400}});

} // namespace

BENCHMARK_MAIN();
