// SPDX-License-Identifier: ISC
// Two engines and nothing between them: state changes a second from one table's event to the
// other table's order, both ends' work together, without IPsec and without a kernel.
//
//     sync_bench [--benchmark_filter=Churn]
#include "sync/engine.hpp"

#include <benchmark/benchmark.h>
#include <cstring>
#include <memory>
#include <vector>

namespace {

using namespace encsync;
using namespace std::chrono_literals;

class NullTable : public table::Table {
  public:
    std::uint64_t orders = 0;
    void put(const state::Flow&, table::Lifetime) override { orders++; }
    void refresh(const state::Flow&, table::Lifetime) override { orders++; }
    void remove(const state::Flow&) override { orders++; }
    void flush() override {}
    void request_dump() override {}
    std::uint32_t natural_timeout(const state::Flow&) const override { return 600; }
};

// What is committed waits to be taken to the other side.
class Wire : public link::Link {
  public:
    std::vector<std::vector<std::uint8_t>> packets;
    std::size_t used = 0;
    std::uint64_t bytes = 0;

    MutableBytes acquire(PeerId) override {
        if (used == packets.size())
            packets.emplace_back();
        packets[used].resize(1400);
        return packets[used];
    }
    void commit(PeerId, std::size_t size) override {
        packets[used].resize(size);
        bytes += size;
        used += size != 0;
    }
    void flush() override {}
};

struct Node {
    NullTable table;
    Wire wire;
    std::unique_ptr<sync::Engine> engine;

    explicit Node(std::uint32_t creatorid) {
        sync::Options options;
        options.creatorid = creatorid;
        options.session = creatorid;
        options.peers = {{"other", true, pfsync::Dialect::openbsd}};
        engine = std::make_unique<sync::Engine>(options, table, wire);
        engine->on_dump_begin();
        engine->on_dump_end();
    }
};

struct Pair {
    Node a{1}, b{2};
    sync::Instant now = 1000s;

    Pair() {
        step();
        a.engine->on_link_up(0);
        b.engine->on_link_up(0);
        settle();
    }
    static void carry(Node& from, Node& to) {
        for (std::size_t n = 0; n < from.wire.used; n++)
            to.engine->on_packet(0, from.wire.packets[n]);
        from.wire.used = 0;
    }
    void step() {
        now += 50us;
        a.engine->advance(now);
        b.engine->advance(now);
        a.engine->flush();
        carry(a, b);
        b.engine->flush();
        carry(b, a);
    }
    // Until all that was to be said has arrived.
    void settle() {
        for (int n = 0; n < 20; n++) {
            now += 25ms;
            step();
        }
    }
};

state::Flow flow(std::uint32_t n) {
    state::Flow f;
    f.key.proto = 6;
    std::memcpy(f.key.orig.src.bytes.data(), &n, 4);
    f.key.orig.dst.bytes = {192, 0, 2, 1};
    f.key.orig.sport = static_cast<std::uint16_t>(n * 7);
    f.key.orig.dport = 443;
    f.reply = inverse(f.key);
    f.src_state = 2;
    f.timeout = 120;
    return f;
}

constexpr std::uint32_t kBatch = 64; // events that a daemon reads in one go

// A flow's whole life as conntrack tells it: new, two updates, destroyed.
void Churn(benchmark::State& state) {
    Pair pair;
    const auto standing = static_cast<std::uint32_t>(state.range(0));
    for (std::uint32_t n = 0; n < standing; n++) {
        pair.a.engine->on_created(flow(n));
        if (n % kBatch == 0)
            pair.step();
    }
    pair.settle();
    const std::uint64_t orders = pair.b.table.orders, bytes = pair.a.wire.bytes;
    std::uint32_t next = standing;
    std::uint64_t changes = 0;
    const auto each = [&](auto&& event) {
        for (std::uint32_t n = 0; n < kBatch; n++)
            event(flow(next + n));
        changes += kBatch;
        pair.step();
    };
    for (auto _ : state) {
        each([&](state::Flow f) { pair.a.engine->on_created(f); });
        each([&](state::Flow f) {
            f.src_state = 4, f.dst_state = 2;
            pair.a.engine->on_updated(f);
        });
        each([&](state::Flow f) {
            f.src_state = f.dst_state = 4;
            pair.a.engine->on_updated(f);
        });
        each([&](const state::Flow& f) { pair.a.engine->on_destroyed(f); });
        next += kBatch;
    }
    pair.settle();
    state.SetItemsProcessed(static_cast<std::int64_t>(changes));
    // All that happened at one end was ordered at the other.
    state.counters["arrived"] =
        static_cast<double>(pair.b.table.orders - orders) / static_cast<double>(changes);
    state.counters["bytes_per_change"] =
        static_cast<double>(pair.a.wire.bytes - bytes) / static_cast<double>(changes);
}
BENCHMARK(Churn)->Arg(0)->Arg(200'000);

// A bulk update of a whole table.
void Bulk(benchmark::State& state) {
    const auto flows = static_cast<std::uint32_t>(state.range(0));
    Pair pair;
    for (std::uint32_t n = 0; n < flows; n++) {
        pair.a.engine->on_created(flow(n));
        if (n % kBatch == 0)
            pair.step();
    }
    pair.settle();
    for (auto _ : state) {
        const std::uint64_t before = pair.b.engine->session(0).counters.bulks_received;
        pair.b.engine->request_bulk(0);
        do
            pair.step();
        while (pair.b.engine->session(0).counters.bulks_received == before);
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * flows);
}
BENCHMARK(Bulk)->Arg(200'000)->Unit(benchmark::kMillisecond);

} // namespace

BENCHMARK_MAIN();
