// The codec: nanoseconds a message, in packets filled to 1,400 bytes.
#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"

#include <array>
#include <benchmark/benchmark.h>

namespace {

using namespace encsync;
using namespace encsync::pfsync;
using openbsd::Action;

constexpr std::size_t kPacket = 1400;
constexpr std::size_t kTailed = openbsd::kStateSize + extension::tail::size;

state::Flow make() {
    state::Flow f;
    f.key.proto = 6;
    f.key.orig.src.bytes = {10, 0, 0, 2};
    f.key.orig.dst.bytes = {192, 0, 2, 1};
    f.key.orig.sport = 40000;
    f.key.orig.dport = 443;
    f.reply = inverse(f.key);
    f.reply.dst.bytes = {203, 0, 113, 5}; // translated: the longer way
    f.id = {0x1122334455667788, 0x0a0b0c0d};
    f.src_state = f.dst_state = 4;
    return f;
}

void ins(std::uint8_t* m, const state::Flow& f) {
    write_state(m, f, {.tail = true});
}
void upd_c(std::uint8_t* m, const state::Flow& f) {
    write_upd_c(m, f);
}
void del_c(std::uint8_t* m, const state::Flow& f) {
    write_id(m, f.id);
}
bool read_ins(Bytes m) {
    FullState out;
    const bool fine = read(m, out) == Fault::none;
    benchmark::DoNotOptimize(out);
    return fine;
}
bool read_upd_c(Bytes m) {
    CompressedUpdate out;
    const bool fine = read(m, out) == Fault::none;
    benchmark::DoNotOptimize(out);
    return fine;
}
bool read_del_c(Bytes m) {
    return read_id(m).creatorid != 0;
}

template<Action action, std::size_t size, auto write>
std::size_t build_packet(MutableBytes buffer, const state::Flow& flow, std::size_t& messages) {
    Builder packet(buffer);
    while (std::uint8_t* m = packet.add(action, size)) {
        write(m, flow);
        messages++;
    }
    return packet.finish();
}

void per_message(benchmark::State& state, std::size_t messages) {
    state.counters["ns_per_message"] =
        benchmark::Counter(static_cast<double>(messages) / 1e9,
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

template<Action action, std::size_t size, auto write>
void build(benchmark::State& state) {
    std::array<std::uint8_t, kPacket> buffer{};
    const state::Flow flow = make();
    std::size_t messages = 0;
    for (auto _ : state)
        benchmark::DoNotOptimize(build_packet<action, size, write>(buffer, flow, messages));
    per_message(state, messages);
}

template<Action action, std::size_t size, auto write, auto read_one>
void parse(benchmark::State& state) {
    std::array<std::uint8_t, kPacket> buffer{};
    std::size_t messages = 0;
    const Bytes packet =
        Bytes(buffer).first(build_packet<action, size, write>(buffer, make(), messages));
    messages = 0;
    for (auto _ : state) {
        if (check(packet) != Fault::none)
            state.SkipWithError("refused");
        Parser parser(packet);
        while (const Section* s = parser.next())
            for (std::uint16_t n = 0; n < s->count; n++, messages++)
                if (!read_one(s->message(n)))
                    state.SkipWithError("refused");
    }
    per_message(state, messages);
}

BENCHMARK(build<Action::ins, kTailed, ins>)->Name("build/ins");
BENCHMARK(build<Action::upd_c, openbsd::kUpdCSize, upd_c>)->Name("build/upd_c");
BENCHMARK(build<Action::del_c, openbsd::kIdSize, del_c>)->Name("build/del_c");
BENCHMARK(parse<Action::ins, kTailed, ins, read_ins>)->Name("parse/ins");
BENCHMARK(parse<Action::upd_c, openbsd::kUpdCSize, upd_c, read_upd_c>)->Name("parse/upd_c");
BENCHMARK(parse<Action::del_c, openbsd::kIdSize, del_c, read_del_c>)->Name("parse/del_c");

} // namespace

BENCHMARK_MAIN();
