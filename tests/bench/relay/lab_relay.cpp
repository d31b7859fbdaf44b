// SPDX-License-Identifier: ISC
// A firewall that sends, one that counts, and the bare relay between them with which a gateway is
// compared. In network namespaces; tests/bench/lab/relay.py says which.
//
//     lab_relay offer FROM-NETNS TO-NETNS --kind insert|update --flows N [--messages N]
//         [--first N] [--version N] [--rate PER-SECOND] [--per-packet N] [--settle SECONDS]
//     lab_relay bare INTERFACE FIREWALL SITE OTHER-SITE
//
// offer sends INS of each flow, or UPD_C of random ones, and prints what arrived as a JSON object.
// Each message has a number in a field that a relay leaves as it is: the flow's version, counted
// from --version on. A flow is stale if its last version has not arrived --settle seconds after
// the last message that did. The two ends are processes with shared memory.
#include "pfsync/build.hpp"
#include "relay/leg.hpp"
#include "tests/bench/lab/load.hpp"
#include "tests/bench/relay/bare.hpp"
#include "util/counters.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/sock_diag.h>
#include <new>
#include <optional>
#include <random>
#include <sched.h>
#include <span>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <thread>
#include <vector>

namespace encsync::bench {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using pfsync::Dialect;
using pfsync::Kind;

constexpr Dialect kDialect = Dialect::openbsd;
constexpr std::uint32_t kCreator = 0x0a0b0c0d;
constexpr int kBufferSize = 64 << 20; // the counter must not be what loses
const Cable kFrom{"cable", "172.16.0.1"}, kTo{"cable", "172.16.0.1"};

struct Options {
    std::string from_netns, to_netns;
    Kind kind = Kind::insert;
    std::uint64_t flows = 0, messages = 0, first = 0, version = 0, per_packet = 0;
    double rate = 0, settle = 1;
};

struct Known {
    std::atomic<std::uint32_t> sent{0}, seen{0}; // versions; 0: none
    std::atomic<std::uint64_t> sent_ns{0};
};

struct Shared {
    std::atomic<bool> ready{false}, done{false};
    std::atomic<std::uint64_t> arrived{0}, last_ns{0};
    std::atomic<std::uint64_t> disordered{0}, late{0}; // late: of before
    std::atomic<std::uint64_t> samples{0}, dropped{0};
};

// In memory of both processes.
struct Both {
    Shared& shared;
    std::span<Known> flows;
    std::span<std::uint32_t> latencies; // us, in tenths
};

std::uint64_t now_ns() {
    return static_cast<std::uint64_t>(Clock::now().time_since_epoch() / 1ns);
}

void enter(const std::string& netns) {
    const Fd fd(open(("/run/netns/" + netns).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd || setns(fd.get(), CLONE_NEWNET) != 0)
        fail("no network namespace " + netns);
}

// ---- messages ------------------------------------------------------------------------------

state::Flow flow(std::uint64_t number) {
    const auto n = static_cast<std::uint32_t>(number);
    state::Flow f;
    f.id = {number + 1, kCreator};
    f.key.proto = 6;
    store_be(f.key.orig.src.bytes.data(), 0x0a000000 + n);
    f.key.orig.dst.bytes = {192, 0, 2, 1};
    f.key.orig.sport = static_cast<std::uint16_t>(n);
    f.key.orig.dport = 443;
    f.reply = state::inverse(f.key);
    f.src_state = f.dst_state = state::tcp::kEstablished;
    f.timeout = 86400;
    return f;
}

void write(std::uint8_t* m, Kind kind, std::uint64_t number, std::uint32_t version) {
    std::array<std::uint8_t, pfsync::common::peer::size> src{}, dst{};
    store_be(&src[pfsync::common::peer::seqlo], version);
    src[pfsync::common::peer::state] = dst[pfsync::common::peer::state] = state::tcp::kEstablished;
    const state::Flow f = flow(number);
    if (kind == Kind::insert) {
        pfsync::StateOptions options;
        options.src = src;
        options.dst = dst;
        pfsync::write_state(kDialect, m, f, options);
    } else {
        pfsync::write_upd_c(kDialect, m, f, src, dst);
    }
}

struct Seen {
    state::StateId id;
    std::uint32_t version = 0;
};

std::optional<Seen> read(const pfsync::Section& section, Bytes m) {
    if (section.kind == Kind::update_c) {
        pfsync::CompressedUpdate update;
        if (pfsync::read(kDialect, m, update) == pfsync::Fault::none)
            return Seen{update.id, update.src.seqlo()};
    } else if (section.kind == Kind::insert || section.kind == Kind::update) {
        pfsync::FullState full;
        if (pfsync::read(section.layout, m, full) == pfsync::Fault::none)
            return Seen{full.flow.id, full.src.seqlo()};
    }
    return std::nullopt;
}

// ---- the counter ---------------------------------------------------------------------------

void count(const Options& options, const Both& both, const Seen& seen, std::uint64_t now) {
    const std::uint64_t index = seen.id.id - 1 - options.first;
    if (seen.id.creatorid != kCreator || index >= both.flows.size())
        return;
    if (seen.version <= options.version) {
        both.shared.late++;
        return;
    }
    Known& known = both.flows[index];
    if (seen.version < known.seen)
        both.shared.disordered++;
    known.seen = std::max<std::uint32_t>(known.seen, seen.version);
    // When an earlier version was sent is not known any more.
    if (seen.version == known.sent && both.shared.samples < both.latencies.size())
        both.latencies[both.shared.samples++] =
            static_cast<std::uint32_t>((now - known.sent_ns) / 100);
    both.shared.last_ns = now;
    both.shared.arrived++;
}

std::uint32_t dropped_by(int fd) {
    std::array<std::uint32_t, SK_MEMINFO_VARS> info{};
    socklen_t size = sizeof info;
    getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info.data(), &size);
    return info[SK_MEMINFO_DROPS];
}

[[noreturn]] void run_counter(const Options& options, const Both& both) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    enter(options.to_netns);
    const Fd fd = open_pfsync(kTo, kBufferSize);
    const timeval patience{0, 50'000};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    Batch batch;
    both.shared.ready = true;
    while (!both.shared.done) {
        const std::size_t packets = batch.receive(fd.get(), MSG_WAITFORONE);
        const std::uint64_t now = now_ns();
        for (std::size_t i = 0; i < packets; i++) {
            pfsync::Parser parser(batch.packet(i).subspan(kIpHeader), kDialect);
            while (const pfsync::Section* section = parser.next())
                for (std::uint16_t n = 0; n < section->count; n++)
                    if (const auto seen = read(*section, section->message(n)))
                        count(options, both, *seen, now);
        }
    }
    both.shared.dropped = dropped_by(fd.get());
    std::_Exit(0);
}

// ---- the firewall that sends ---------------------------------------------------------------

class Source {
  public:
    Source(const Options& options, const Both& both)
        : options_(options), both_(both), random_(options.version + 1) {}

    bool finished() const { return sent_ == options_.messages; }
    std::uint64_t sent() const { return sent_; }

    std::size_t packet(MutableBytes room) {
        pfsync::Builder packet(room, kDialect);
        for (std::uint64_t n = 0; n < options_.per_packet && !finished(); n++) {
            std::uint8_t* m = packet.add(options_.kind);
            if (m == nullptr)
                fail("a packet does not hold so many messages");
            const std::uint64_t index = options_.kind == Kind::insert
                                            ? sent_ % both_.flows.size()
                                            : random_() % both_.flows.size();
            Known& known = both_.flows[index];
            const std::uint32_t version =
                std::max(known.sent.load(), static_cast<std::uint32_t>(options_.version)) + 1;
            known.sent_ns = now_ns();
            known.sent = version;
            write(m, options_.kind, options_.first + index, version);
            sent_++;
        }
        return packet.finish();
    }

  private:
    const Options& options_;
    const Both& both_;
    std::mt19937_64 random_;
    std::uint64_t sent_ = 0;
};

std::uint64_t stale(const Both& both) {
    return static_cast<std::uint64_t>(std::ranges::count_if(
        both.flows, [](const Known& known) { return known.sent != known.seen; }));
}

// Until everything has arrived, or nothing more does.
void settle(const Options& options, const Both& both) {
    std::uint64_t before = UINT64_MAX;
    auto changed = Clock::now();
    while (both.shared.arrived < options.messages) {
        std::this_thread::sleep_for(20ms);
        const std::uint64_t arrived = both.shared.arrived;
        if (std::exchange(before, arrived) != arrived)
            changed = Clock::now();
        else if (stale(both) == 0 ||
                 Clock::now() - changed > std::chrono::duration<double>(options.settle))
            return;
    }
}

double percentile(std::span<std::uint32_t> sorted, double part) {
    if (sorted.empty())
        return 0;
    return sorted[static_cast<std::size_t>(part * static_cast<double>(sorted.size() - 1))] / 10.0;
}

void offer(const Options& options, const Both& both, pid_t counter) {
    enter(options.from_netns);
    const Fd fd = open_pfsync(kFrom, 1 << 20);
    Source source(options, both);
    Pacer pacer(options.rate / static_cast<double>(options.per_packet));
    Batch batch;
    std::uint64_t packets = 0;
    const std::uint64_t began = now_ns();
    while (!source.finished()) {
        const std::uint64_t due = pacer.due(kBatch);
        std::size_t made = 0;
        for (; made < due && !source.finished(); made++)
            batch.put(made, 0, source.packet(MutableBytes(batch.buffers[made]).first(kPayload)));
        batch.send(fd.get(), made);
        packets += made;
    }
    const std::uint64_t sent = now_ns();
    settle(options, both);
    both.shared.done = true;
    int status = 0;
    waitpid(counter, &status, 0);
    if (status != 0)
        fail("the counter failed");

    const auto seconds = [&](std::uint64_t until) {
        return static_cast<double>(until - began) / 1e9;
    };
    const auto latencies = both.latencies.first(both.shared.samples);
    std::ranges::sort(latencies);
    fmt::print("{{\"messages\": {}, \"packets\": {}, \"arrived\": {}, \"stale\": {}, "
               "\"disordered\": {}, \"late\": {}, \"dropped_by_counter\": {}, "
               "\"offered_per_second\": {:.0f}, \"sent_seconds\": {:.4f}, \"seconds\": {:.4f}, "
               "\"samples\": {}, \"latency_p50_us\": {:.1f}, \"latency_p99_us\": {:.1f}, "
               "\"pace\": {}, \"pace_burst\": {}}}\n",
               source.sent(), packets, both.shared.arrived.load(), stale(both),
               both.shared.disordered.load(), both.shared.late.load(), both.shared.dropped.load(),
               static_cast<double>(source.sent()) / seconds(sent), seconds(sent),
               both.shared.last_ns == 0 ? 0 : seconds(both.shared.last_ns), latencies.size(),
               percentile(latencies, 0.5), percentile(latencies, 0.99), relay::kCableRate,
               relay::kCableBurst);
}

template<class T>
std::span<T> share(std::size_t count) {
    void* memory =
        mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("no memory");
    T* first = static_cast<T*>(memory);
    std::uninitialized_default_construct_n(first, count);
    return {first, count};
}

void run_offer(const Options& options) {
    const Both both{share<Shared>(1)[0], share<Known>(options.flows),
                    share<std::uint32_t>(options.messages)};
    const pid_t counter = fork();
    if (counter == 0)
        run_counter(options, both);
    while (!both.shared.ready) {
        if (waitpid(counter, nullptr, WNOHANG) != 0)
            fail("the counter failed");
        std::this_thread::sleep_for(1ms);
    }
    offer(options, both, counter);
}

// ---- the command line ----------------------------------------------------------------------

constexpr const char* kUsage =
    "usage: lab_relay offer FROM-NETNS TO-NETNS --kind insert|update --flows N [--messages N] "
    "[--first N] [--version N] [--rate PER-SECOND] [--per-packet N] [--settle SECONDS]\n"
    "       lab_relay bare INTERFACE FIREWALL SITE OTHER-SITE";

template<class Number>
void parse(std::string_view text, Number& number) {
    const auto [end, error] = std::from_chars(text.begin(), text.end(), number);
    if (error != std::errc() || end != text.end())
        fail(fmt::format("{} is no number", text));
}

Options offer_options(std::span<char*> words) {
    Options options;
    options.from_netns = words[0];
    options.to_netns = words[1];
    for (std::size_t i = 2; i + 1 < words.size(); i += 2) {
        const std::string_view name = words[i], value = words[i + 1];
        if (name == "--kind" && (value == "insert" || value == "update"))
            options.kind = value == "insert" ? Kind::insert : Kind::update_c;
        else if (name == "--flows")
            parse(value, options.flows);
        else if (name == "--messages")
            parse(value, options.messages);
        else if (name == "--first")
            parse(value, options.first);
        else if (name == "--version")
            parse(value, options.version);
        else if (name == "--rate")
            parse(value, options.rate);
        else if (name == "--per-packet")
            parse(value, options.per_packet);
        else if (name == "--settle")
            parse(value, options.settle);
        else
            fail(kUsage);
    }
    if (words.size() % 2 != 0 || options.flows == 0)
        fail(kUsage);
    if (options.messages == 0)
        options.messages = options.flows;
    if (options.per_packet == 0) // as many as a packet holds
        options.per_packet =
            (kPayload - pfsync::common::kHeaderSize - pfsync::common::kSubheaderSize) /
            (options.kind == Kind::insert ? pfsync::state_size(kDialect)
                                          : pfsync::common::kUpdCSize);
    return options;
}

} // namespace
} // namespace encsync::bench

int main(int argc, char** argv) {
    using namespace encsync::bench;
    const std::span words(argv, static_cast<std::size_t>(argc));
    const std::string_view verb = argc > 1 ? argv[1] : "";
    if (verb == "offer" && argc >= 4)
        run_offer(offer_options(words.subspan(2)));
    else if (verb == "bare" && argc == 6)
        run_bare({{argv[2], argv[3]}, argv[4], argv[5]});
    else
        fail(kUsage);
    return 0;
}
