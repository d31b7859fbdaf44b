// SPDX-License-Identifier: ISC
// The index at a million flows: nanoseconds an operation, bytes a flow.
//
//     state_bench [--benchmark_filter=find]
//
// Keys are used in another order than that of their insertion, so that the caches help no more than
// on a firewall.
#include "state/index.hpp"

#include <algorithm>
#include <array>
#include <benchmark/benchmark.h>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

namespace {

using namespace encsync::state;

constexpr std::uint32_t kFlows = 1'000'000;
constexpr Seed kSeed{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

Flow make(std::uint32_t n, Family family) {
    Flow f;
    f.key.family = family;
    f.key.proto = 6;
    std::memcpy(&f.key.orig.src.bytes[family == Family::inet ? 0 : 12], &n, 4);
    f.key.orig.dst.bytes[0] = 192;
    f.key.orig.sport = static_cast<std::uint16_t>(n * 7);
    f.key.orig.dport = 443;
    f.reply = inverse(f.key);
    f.id = {n * 0x9e3779b97f4a7c15ULL, 0x0a0b0c0d};
    return f;
}

const std::vector<std::uint32_t>& order() {
    static const auto shuffled = [] {
        std::vector<std::uint32_t> out(kFlows);
        std::iota(out.begin(), out.end(), 0);
        std::shuffle(out.begin(), out.end(), std::mt19937(1));
        return out;
    }();
    return shuffled;
}

// As many bytes beside each flow as the engine keeps there.
struct Marked : Record {
    std::array<std::uint32_t, 4> marks{};
};
using Flows = IndexOf<Marked>;

Flows fill(Family family) {
    Flows index(kSeed);
    for (std::uint32_t n = 0; n < kFlows; n++)
        index.insert(make(n, family), 0, 0);
    return index;
}

const Flows& filled(Family family) {
    static const Flows inet = fill(Family::inet);
    static const Flows inet6 = fill(Family::inet6);
    return family == Family::inet ? inet : inet6;
}

Family family_of(const benchmark::State& state) {
    return state.range(0) == 4 ? Family::inet : Family::inet6;
}

// The reference: one read at a random place of as much memory as the index has, each address
// known only from the read before. An operation of the index takes at least two or three of them.
void memory_read(benchmark::State& state) {
    struct alignas(64) Line {
        std::uint32_t next;
    };
    std::vector<Line> lines(100'000'000 / sizeof(Line));
    std::vector<std::uint32_t> way(lines.size());
    std::iota(way.begin(), way.end(), 0);
    std::shuffle(way.begin(), way.end(), std::mt19937(2));
    for (std::size_t n = 0; n < way.size(); n++)
        lines[way[n]].next = way[(n + 1) % way.size()];
    std::uint32_t at = 0;
    for (auto _ : state)
        benchmark::DoNotOptimize(at = lines[at].next);
}
BENCHMARK(memory_read);

// From empty to a million flows, including all growing.
void insert(benchmark::State& state) {
    double bytes = 0;
    for (auto _ : state) {
        const Flows index = fill(family_of(state));
        bytes = static_cast<double>(index.memory_bytes()) / kFlows;
        state.PauseTiming(); // freeing it is not part of it
        { const Flows gone = std::move(const_cast<Flows&>(index)); }
        state.ResumeTiming();
    }
    state.SetItemsProcessed(state.iterations() * kFlows);
    state.counters["bytes_per_flow"] = bytes;
    state.counters["ns_per_flow"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * kFlows / 1e9,
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(insert)->Arg(4)->Arg(6)->ArgName("inet")->Unit(benchmark::kMillisecond);

template<class Make, class Do>
void each(benchmark::State& state, Make&& query, Do&& look) {
    const Flows& index = filled(family_of(state));
    std::vector<decltype(query(Flow{}))> queries;
    for (std::uint32_t n : order())
        queries.push_back(query(make(n, family_of(state))));
    std::size_t at = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(look(index, queries[at]));
        at = at + 1 == queries.size() ? 0 : at + 1;
    }
    state.counters["bytes_per_flow"] = static_cast<double>(index.memory_bytes()) / kFlows;
}

void find_key(benchmark::State& state) {
    each(
        state, [](const Flow& f) { return f.key; },
        [](const Flows& index, const Key& key) { return index.find(key); });
}
BENCHMARK(find_key)->Arg(4)->Arg(6)->ArgName("inet");

void find_key_unknown(benchmark::State& state) {
    each(
        state,
        [](const Flow& f) {
            Key key = f.key;
            key.zone = 1;
            return key;
        },
        [](const Flows& index, const Key& key) { return index.find(key); });
}
BENCHMARK(find_key_unknown)->Arg(4)->Arg(6)->ArgName("inet");

void find_id(benchmark::State& state) {
    each(
        state, [](const Flow& f) { return f.id; },
        [](const Flows& index, StateId id) { return index.find(id); });
}
BENCHMARK(find_id)->Arg(4)->ArgName("inet");

void erase_and_insert(benchmark::State& state) {
    Flows index = fill(family_of(state));
    std::size_t at = 0;
    for (auto _ : state) {
        const Flow f = make(order()[at], family_of(state));
        index.erase(index.find(f.key));
        index.insert(f, 0, 0);
        at = at + 1 == kFlows ? 0 : at + 1;
    }
}
BENCHMARK(erase_and_insert)->Arg(4)->Arg(6)->ArgName("inet");

void iterate(benchmark::State& state) {
    const Flows& index = filled(family_of(state));
    for (auto _ : state) {
        std::uint64_t sum = 0;
        for (const Slot s : index.slots())
            sum += index.record(s).mark;
        benchmark::DoNotOptimize(sum);
    }
    state.SetItemsProcessed(state.iterations() * kFlows);
}
BENCHMARK(iterate)->Arg(4)->ArgName("inet")->Unit(benchmark::kMillisecond);

} // namespace

BENCHMARK_MAIN();
