// SPDX-License-Identifier: ISC
// The codec: nanoseconds per message, in packets filled to 1,400 bytes, in every dialect. encsync
// nodes use OpenBSD's with a tail.
#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"

#include <array>
#include <benchmark/benchmark.h>
#include <fmt/format.h>

namespace {

using namespace encsync;
using namespace encsync::pfsync;

constexpr std::size_t kPacket = 1400;

state::Flow make() {
    state::Flow f;
    f.key.proto = 6;
    f.key.orig.src.bytes = {10, 0, 0, 2};
    f.key.orig.dst.bytes = {192, 0, 2, 1};
    f.key.orig.sport = 40000;
    f.key.orig.dport = 443;
    f.reply = inverse(f.key);
    f.reply.dst.bytes = {203, 0, 113, 5}; // translated: the slower case
    f.id = {0x1122334455667788, 0x0a0b0c0d};
    f.src_state = f.dst_state = 4;
    return f;
}

struct Spoken {
    Dialect dialect;
    bool tail;
};

std::size_t build_packet(MutableBytes buffer, const state::Flow& flow, Kind kind,
                         Spoken used_dialect, std::size_t& messages) {
    Builder packet(buffer, used_dialect.dialect);
    const std::size_t extra = kind == Kind::insert && used_dialect.tail ? extension::tail::size : 0;
    while (std::uint8_t* m = packet.add(kind, extra)) {
        if (kind == Kind::insert)
            write_state(used_dialect.dialect, m, flow, {.tail = used_dialect.tail});
        else if (kind == Kind::update_c)
            write_upd_c(used_dialect.dialect, m, flow);
        else
            write_id(m, flow.id);
        messages++;
    }
    return packet.finish();
}

bool read_message(const Section& s, Bytes m) {
    switch (s.kind) {
    case Kind::insert: {
        FullState out;
        const bool fine = read(s.layout, m, out) == Fault::none;
        benchmark::DoNotOptimize(out);
        return fine;
    }
    case Kind::update_c: {
        CompressedUpdate out;
        const bool fine = read(s.layout, m, out) == Fault::none;
        benchmark::DoNotOptimize(out);
        return fine;
    }
    case Kind::remove_c:
        return read_id(m).creatorid != 0;
    default:
        return s.kind == Kind::eof;
    }
}

void per_message(benchmark::State& state, std::size_t messages) {
    state.SetItemsProcessed(static_cast<std::int64_t>(messages));
    state.counters["ns_per_message"] =
        benchmark::Counter(static_cast<double>(messages) / 1e9,
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void build(benchmark::State& state, Kind kind, Spoken used_dialect) {
    std::array<std::uint8_t, kPacket> buffer{};
    const state::Flow flow = make();
    std::size_t messages = 0;
    for (auto _ : state)
        benchmark::DoNotOptimize(build_packet(buffer, flow, kind, used_dialect, messages));
    per_message(state, messages);
}

void parse(benchmark::State& state, Kind kind, Spoken used_dialect) {
    std::array<std::uint8_t, kPacket> buffer{};
    std::size_t messages = 0;
    const Bytes packet =
        Bytes(buffer).first(build_packet(buffer, make(), kind, used_dialect, messages));
    messages = 0;
    for (auto _ : state) {
        if (check(packet, used_dialect.dialect) != Fault::none)
            state.SkipWithError("refused");
        Parser parser(packet, used_dialect.dialect);
        while (const Section* s = parser.next()) {
            for (std::uint16_t n = 0; n < s->count; n++)
                if (!read_message(*s, s->message(n)))
                    state.SkipWithError("refused");
            messages += s->kind == Kind::eof ? 0 : s->count;
        }
    }
    per_message(state, messages);
}

void add(std::string_view name, Spoken used_dialect) {
    for (const Kind kind : {Kind::insert, Kind::update_c, Kind::remove_c}) {
        const auto named = [&](const char* what) {
            return fmt::format("{}/{}/{}", what, to_string(kind), name);
        };
        benchmark::RegisterBenchmark(named("build").c_str(), build, kind, used_dialect);
        benchmark::RegisterBenchmark(named("parse").c_str(), parse, kind, used_dialect);
    }
}

} // namespace

int main(int argc, char** argv) {
    add("encsync", {kOwnDialect, true});
    for (const Dialect dialect : kAllDialects)
        add(to_string(dialect), {dialect, false});
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 1;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
