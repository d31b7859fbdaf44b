// SPDX-License-Identifier: ISC
// Packets of 1,400 bytes from one network namespace to another, as fast as possible without a loss:
// the sender keeps at most WINDOW packets in flight.
//
//     lab_tunnel esp|plain FROM-NETNS TO-NETNS FROM-ADDRESS TO-ADDRESS PACKETS WINDOW [REKEYS]
//
// esp sends through our own link, plain sends UDP that the kernel routes into a tunnel. Prints a
// JSON object. The two processes see each other's counters in shared memory, so neither needs
// packets for acknowledgements.
#include "tests/bench/tunnel/way.hpp"
#include "util/fd.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/core.h>
#include <fstream>
#include <new>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

namespace encsync::bench {

void fail(const std::string& why) {
    fmt::print(stderr, "lab_tunnel: {}\n", why);
    std::exit(1);
}

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
    std::string way, from_netns, to_netns, from, to;
    std::uint64_t packets, window, rekeys;
};

void enter(const std::string& netns) {
    const Fd fd(open(("/run/netns/" + netns).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd || setns(fd.get(), CLONE_NEWNET) != 0)
        fail("no network namespace " + netns);
}

std::int64_t resident(pid_t pid) {
    std::ifstream in(fmt::format("/proc/{}/statm", pid));
    std::int64_t all = 0, pages = 0;
    in >> all >> pages;
    return pages * 4096;
}

double cpu_seconds(int who) {
    rusage usage{};
    getrusage(who, &usage);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// The receiver; runs until told to end.
[[noreturn]] void receive(const Options& options, Shared& shared) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    enter(options.to_netns);
    if (options.way == "esp")
        esp_receiver(shared, options.to, options.from);
    else
        plain_receiver(shared, options.to);
    std::_Exit(0);
}

struct Outcome {
    double seconds = 0;
    std::uint64_t sent = 0, lost = 0, rekeys = 0;
    std::int64_t own_memory = 0, receiver_memory = 0; // after a tenth of the packets
};

Outcome send(const Options& options, Shared& shared, pid_t receiver) {
    enter(options.from_netns);
    const auto sender = options.way == "esp" ? esp_sender(shared, options.from, options.to)
                                             : plain_sender(options.from, options.to);
    const std::uint64_t rekey_every =
        options.rekeys == 0 ? UINT64_MAX : options.packets / (options.rekeys + 1);
    Outcome out;
    const auto begin = Clock::now();
    auto last_change = begin;
    std::uint64_t last_seen = 0;
    while (shared.received.load(std::memory_order_acquire) + out.lost < options.packets) {
        const std::uint64_t arrived = shared.received + out.lost;
        if (arrived != last_seen) {
            last_seen = arrived;
            last_change = Clock::now();
        }
        if (out.own_memory == 0 && arrived >= options.packets / 10) {
            out.own_memory = resident(getpid());
            out.receiver_memory = resident(receiver);
        }
        // Whole batches only, so that a window that opens slightly does not make small ones.
        const std::uint64_t batch =
            std::min({std::uint64_t{kBatch}, options.window, options.packets - out.sent});
        if (batch > 0 && out.sent - arrived + batch <= options.window) {
            const std::uint64_t before = out.sent / rekey_every;
            out.sent += sender->send(out.sent, batch);
            if (out.sent / rekey_every != before && out.rekeys < options.rekeys) {
                sender->rekey();
                out.rekeys++;
            }
            continue;
        }
        sender->idle();
        // Packets that have not arrived by now are lost.
        if (out.sent > arrived && Clock::now() - last_change > std::chrono::seconds(1)) {
            out.lost += out.sent - arrived;
            last_change = Clock::now();
        }
    }
    out.seconds = std::chrono::duration<double>(last_change - begin).count();
    return out;
}

int run(const Options& options) {
    void* memory =
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("no memory");
    Shared& shared = *new (memory) Shared;
    const pid_t child = fork();
    if (child == 0)
        receive(options, shared);
    while (!shared.ready) {
        if (waitpid(child, nullptr, WNOHANG) != 0)
            return 1;
        sched_yield();
    }
    const Outcome out = send(options, shared, child);
    const std::int64_t own_growth = resident(getpid()) - out.own_memory,
                       receiver_growth = resident(child) - out.receiver_memory;
    shared.done = true;
    int status = 0;
    waitpid(child, &status, 0);
    const double delivered = static_cast<double>(options.packets - out.lost);
    fmt::print("{{\"packets\": {}, \"seconds\": {:.4f}, \"packets_per_second\": {:.0f}, "
               "\"lost\": {}, \"disordered\": {}, \"rekeys\": {}, \"generations\": {}, "
               "\"cpu_us_sender\": {:.3f}, \"cpu_us_receiver\": {:.3f}, "
               "\"sender_growth\": {}, \"receiver_growth\": {}}}\n",
               options.packets, out.seconds, delivered / out.seconds, out.lost,
               shared.disordered.load(), out.rekeys, shared.installed.load(),
               cpu_seconds(RUSAGE_SELF) / delivered * 1e6,
               cpu_seconds(RUSAGE_CHILDREN) / delivered * 1e6, own_growth, receiver_growth);
    return status;
}

} // namespace
} // namespace encsync::bench

int main(int argc, char** argv) {
    using namespace encsync::bench;
    if (argc < 8 || (std::string(argv[1]) != "esp" && std::string(argv[1]) != "plain"))
        fail("usage: lab_tunnel esp|plain FROM-NETNS TO-NETNS FROM-ADDRESS TO-ADDRESS PACKETS "
             "WINDOW [REKEYS]");
    const auto number = [&](int i) {
        return i < argc ? std::strtoull(argv[i], nullptr, 10) : 0ULL;
    };
    const Options options{argv[1], argv[2],   argv[3],   argv[4],
                          argv[5], number(6), number(7), number(8)};
    if (options.packets == 0 || options.window == 0)
        fail("PACKETS and WINDOW must be numbers above 0");
    return run(options);
}
