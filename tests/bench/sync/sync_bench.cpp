// SPDX-License-Identifier: ISC
// Two engines with a direct link: state changes a second from one table's event to the other
// table's operation, including the work of both ends, without IPsec and without a kernel. Also the
// cost of finding and repairing differences, and of maintaining the digests.
//
//     sync_bench [--benchmark_filter=Churn]
#include "pfsync/dialects/openbsd.hpp"
#include "pfsync/extension.hpp"
#include "sync/digest.hpp"
#include "sync/engine.hpp"

#include <benchmark/benchmark.h>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace {

using namespace encsync;
using namespace std::chrono_literals;

class NullTable : public table::Table {
  public:
    std::uint64_t orders = 0;
    void start(table::Listener&) override {}
    void put(const state::Flow&, table::Lifetime) override { orders++; }
    void refresh(const state::Flow&, table::Lifetime) override { orders++; }
    void relax(const state::Flow&) override { orders++; }
    void remove(const state::Flow&) override { orders++; }
    void flush() override {}
    void request_dump() override {}
    std::uint32_t natural_timeout(const state::Flow&) const override { return 600; }
};

// Committed packets wait until they are moved to the other side.
class Wire : public sync::Link {
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
        options.peers = {{"other", true, pfsync::kOwnDialect}};
        engine = std::make_unique<sync::Engine>(options, table, wire);
        engine->on_dump_begin();
        engine->on_dump_end();
    }
};

struct Pair {
    Node a{1}, b{2};
    sync::Instant now{1000s};
    std::function<void(MutableBytes)> fault; // b's, with what it is told

    Pair() {
        step();
        a.engine->on_link_up(0);
        b.engine->on_link_up(0);
        settle();
    }
    void carry(Node& from, Node& to) const {
        for (std::size_t n = 0; n < from.wire.used; n++) {
            if (fault && &to == &b)
                fault(from.wire.packets[n]);
            to.engine->on_packet(0, from.wire.packets[n]);
        }
        from.wire.used = 0;
    }
    void step(sync::Duration span = 50us) {
        now += span;
        a.engine->advance(now);
        b.engine->advance(now);
        a.engine->flush();
        carry(a, b);
        b.engine->flush();
        carry(b, a);
    }
    // Until all messages have arrived.
    void settle() {
        for (int n = 0; n < 20; n++)
            step(25ms);
    }
    const sync::Peer& of_a() const { return a.engine->session(0); }
    const sync::Peer& of_b() const { return b.engine->session(0); }
    // Bytes sent by both.
    std::uint64_t bytes() const { return a.wire.bytes + b.wire.bytes; }
    std::uint64_t messages() const {
        return of_a().counters.tx_messages + of_b().counters.tx_messages;
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

constexpr std::uint32_t kBatch = 64; // events that a daemon reads in one turn

// A flow's whole life as conntrack reports it: new, two updates, destroyed.
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
    // Every event at one end became an operation at the other.
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

// Runs until b's digests show that it has what a has. False: that does not happen.
bool found_equal(Pair& pair) {
    const sync::Instant began = pair.now;
    while (pair.of_b().checks.equal < began && pair.now < began + 300s)
        pair.step(1ms);
    return pair.of_b().checks.equal >= began;
}

// A fault of b: it acknowledges messages that it does not process.
void forget(MutableBytes packet) {
    namespace common = pfsync::common;
    using pfsync::openbsd::Action;
    for (std::size_t at = common::kHeaderSize; at + common::kSubheaderSize <= packet.size();) {
        std::uint8_t* section = &packet[at];
        std::uint8_t& action = section[common::subheader::action];
        at +=
            common::kSubheaderSize + std::size_t{section[common::subheader::words]} * 4 *
                                         load_be<std::uint16_t>(section + common::subheader::count);
        for (const Action forgotten : {Action::ins, Action::upd, Action::upd_c, Action::del_c})
            if (action == static_cast<std::uint8_t>(forgotten))
                action = 0x7e; // an unknown action
    }
}

// 100 differences in a whole table, found and repaired: 25 flows that b lacks, 25 that have
// progressed, 25 with another mark, 25 that have ended. For comparison, the cost of a bulk update.
void Repair(benchmark::State& state) {
    const auto flows = static_cast<std::uint32_t>(state.range(0));
    Pair pair;
    for (std::uint32_t n = 0; n < flows; n++) {
        pair.a.engine->on_created(flow(n));
        if (n % kBatch == 0)
            pair.step();
    }
    pair.settle();
    if (!found_equal(pair))
        return state.SkipWithError("they are not the same to begin with");
    for (auto _ : state) {
        pair.fault = forget;
        for (std::uint32_t n = 0; n < 25; n++) {
            pair.a.engine->on_created(flow(flows + n));
            state::Flow other = flow(100 + n);
            other.src_state = other.dst_state = 4;
            pair.a.engine->on_updated(other);
            other = flow(200 + n);
            other.mark = 7;
            pair.a.engine->on_updated(other);
            pair.a.engine->on_destroyed(flow(300 + n));
        }
        pair.settle();
        pair.fault = nullptr;
        const std::uint64_t bytes = pair.bytes(), messages = pair.messages();
        const sync::PeerCounters before = pair.of_b().counters;
        const sync::Instant began = pair.now;
        if (!found_equal(pair))
            return state.SkipWithError("not repaired");
        const sync::PeerCounters& after = pair.of_b().counters;
        state.counters["seconds"] = std::chrono::duration<double>(pair.now - began).count();
        state.counters["bytes"] = static_cast<double>(pair.bytes() - bytes);
        state.counters["messages"] = static_cast<double>(pair.messages() - messages);
        state.counters["asked_for"] = static_cast<double>(after.differing - before.differing);
        state.counters["bulks"] = static_cast<double>(after.bulks_received - before.bulks_received);
    }
    const std::uint64_t bytes = pair.bytes(), messages = pair.messages();
    const std::uint64_t before = pair.of_b().counters.bulks_received;
    pair.b.engine->request_bulk(0);
    do
        pair.step();
    while (pair.of_b().counters.bulks_received == before);
    state.counters["bulk_bytes"] = static_cast<double>(pair.bytes() - bytes);
    state.counters["bulk_messages"] = static_cast<double>(pair.messages() - messages);
}
BENCHMARK(Repair)->Arg(1'000'000)->Iterations(1)->Unit(benchmark::kMillisecond);

// An orderly takeover of a whole table: from the change of the roles until each entry of the node
// that is now standby has been written as a copy, ready for traffic that returns.
void Handover(benchmark::State& state) {
    const auto flows = static_cast<std::uint32_t>(state.range(0));
    Pair pair;
    pair.a.engine->set_role(sync::Role::active);
    pair.b.engine->set_role(sync::Role::standby);
    for (std::uint32_t n = 0; n < flows; n++) {
        state::Flow f = flow(n);
        f.src_state = f.dst_state = 4;
        pair.a.engine->on_created(f);
        if (n % kBatch == 0)
            pair.step();
    }
    pair.settle();
    for (auto _ : state) {
        const std::uint64_t orders = pair.a.table.orders, messages = pair.messages();
        const sync::Instant began = pair.now;
        pair.a.engine->set_role(sync::Role::standby);
        pair.b.engine->set_role(sync::Role::active);
        while (pair.a.table.orders - orders < flows && pair.now < began + 60s)
            pair.step(1ms);
        if (pair.a.engine->live() != 0)
            return state.SkipWithError("not handed over");
        state.counters["seconds"] = std::chrono::duration<double>(pair.now - began).count();
        state.counters["messages"] = static_cast<double>(pair.messages() - messages);
        state.counters["orders"] = static_cast<double>(pair.a.table.orders - orders);
    }
}
BENCHMARK(Handover)->Arg(1'000'000)->Iterations(1)->Unit(benchmark::kMillisecond);

// The cost of the digests for one change of a state: its old contents are subtracted, its new ones
// added. Each change costs this at both ends.
void Sums(benchmark::State& state) {
    const auto flows = static_cast<std::uint32_t>(state.range(0));
    state::Index index{state::Seed{}};
    const sync::ExpectationBook book;
    sync::Digest digest;
    for (std::uint32_t n = 0; n < flows; n++) {
        state::Flow f = flow(n);
        f.id = {n, 1};
        const state::Slot slot = index.insert(f, 0, 0).first;
        digest.add(sync::leaf_of(f.id), sync::check_of(index, book, slot));
    }
    state::Slot slot = state::kNoSlot;
    for (auto _ : state) {
        if (slot = index.next(slot); slot == state::kNoSlot)
            slot = index.next(slot);
        state::Record& record = index.record(slot);
        const sync::Digest::Node leaf = sync::leaf_of(record.id);
        digest.subtract(leaf, sync::check_of(index, book, slot));
        record.src_state = static_cast<std::uint8_t>(record.src_state ^ 6);
        digest.add(leaf, sync::check_of(index, book, slot));
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()));
}
BENCHMARK(Sums)->Arg(1000)->Arg(1'000'000);

// What the verdict costs of receiving new states: the same packets read with it and without, and
// received as a whole, which has it in it. ESP comes on top of that.
class Inserts {
  public:
    static constexpr std::uint32_t kStates = 5;

    explicit Inserts(std::uint32_t count) : packets_(count) {
        std::uint32_t n = 0;
        for (auto& packet : packets_) {
            packet.resize(1500);
            const MutableBytes payload = MutableBytes(packet).subspan(kIp);
            pfsync::Builder builder(payload);
            for (std::uint32_t each = 0; each < kStates; each++, n++) {
                state::Flow f = flow(n);
                f.id = {n + 1, 1};
                pfsync::write_state(pfsync::kOwnDialect, builder.add(pfsync::Kind::insert), f, {});
            }
            packet.resize(kIp + builder.finish());
            packet[0] = 0x45, packet[8] = 255, packet[9] = 240, packet[15] = 1, packet[19] = 2;
            store_be(&packet[2], static_cast<std::uint16_t>(packet.size()));
        }
    }
    // Seconds that f takes for all of them.
    template<class F>
    double time(const F& f) const {
        const auto began = std::chrono::steady_clock::now();
        for (const auto& packet : packets_)
            f(Bytes(packet));
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    }
    static constexpr std::size_t kIp = 20;

  private:
    std::vector<std::vector<std::uint8_t>> packets_;
};

// Every state of a packet that take(section, message, full) has read.
template<class Section, class Read>
void read_all(Bytes payload, const Section& section, const Read& read) {
    pfsync::FullState full;
    pfsync::Parser parser(payload);
    while (const pfsync::Section* s = parser.next())
        if (section(*s))
            for (std::uint16_t n = 0; n < s->count; n++) {
                read(s->layout, s->message(n), full);
                benchmark::DoNotOptimize(full);
            }
}

void VerdictCost(benchmark::State& state) {
    const Inserts inserts(20'000);
    const policy::Selectors selectors{{net::Address{{0, 0, 0, 1}}}, {{0, 0, 0, 2}}};
    const NullTable table;
    double with = 0, without = 0, whole = 0;
    for (auto _ : state) {
        policy::Rules rules;
        rules.max_packets = rules.max_inserts = 100'000'000;
        rules.creators = {1, 2, 3};
        rules.refuse = state::NoSync(std::vector{state::NoSyncRule{.proto = 132}});
        policy::Verdict verdict(rules, 7);
        const sync::Instant now{1000s};
        with += inserts.time([&](Bytes packet) {
            const auto checked = verdict.packet(packet, selectors, pfsync::kOwnDialect, now);
            read_all(
                checked.payload, [&](const auto& s) { return verdict.section(s); },
                [&](auto layout, Bytes m, auto& full) {
                    if (verdict.read(layout, m, full) && verdict.insert(0, now))
                        benchmark::DoNotOptimize(
                            verdict.state(full.flow, table.refuses(full.flow)));
                });
        });
        without += inserts.time([&](Bytes packet) {
            read_all(
                packet.subspan(Inserts::kIp), [](const auto&) { return true; },
                [](auto layout, Bytes m, auto& full) {
                    benchmark::DoNotOptimize(pfsync::read(layout, m, full));
                });
        });
        NullTable receiving;
        Wire wire;
        sync::Options options;
        options.creatorid = options.session = 2;
        options.peers = {{"pf", false, pfsync::kOwnDialect, {}, 1, rules}};
        sync::Engine engine(options, receiving, wire);
        engine.advance(now);
        engine.on_dump_begin();
        engine.on_dump_end();
        engine.on_link_up(0);
        whole += inserts.time([&](Bytes packet) {
            const auto checked =
                engine.verdict(0).packet(packet, selectors, pfsync::kOwnDialect, now);
            engine.on_packet(0, checked.payload);
        });
        if (receiving.orders != 20'000 * Inserts::kStates)
            return state.SkipWithError("not all were received");
    }
    const double states = static_cast<double>(state.iterations()) * 20'000 * Inserts::kStates;
    state.SetItemsProcessed(static_cast<std::int64_t>(states));
    state.counters["ns_a_state"] = (with - without) / states * 1e9;
    state.counters["received_ns"] = whole / states * 1e9;
    state.counters["percent"] = (with - without) / whole * 100;
}
BENCHMARK(VerdictCost)->Unit(benchmark::kMillisecond);

} // namespace

BENCHMARK_MAIN();
