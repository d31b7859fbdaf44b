// SPDX-License-Identifier: ISC
// lab_tables: compares the conntrack tables in the kernels of two network namespaces.
//
//     lab_tables /run/netns/mickey /run/netns/minnie [--since NS]
//
// Prints one JSON object about the first one's entries (with --since: those created at or after
// that time, CLOCK_REALTIME in ns):
//     flows         their number
//     lost          how many of them the second one lacks
//     extra         entries of the second one that the first lacks (always of the whole tables)
//     first_ns      when the first of them was created in the first namespace
//     last_ns       when the last of them was created in the second namespace
//     latency_us    from the creation of an entry to that of its copy: p50, p90, p99, max
// The times are the kernel's own (net.netfilter.nf_conntrack_timestamp=1 in both namespaces), so
// measuring does not affect the systems: there is no additional listener to events.
#include "ct_dump.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <limits>
#include <string_view>

namespace {

using encsync::bench::Entry;

struct Comparison {
    std::size_t flows = 0;
    std::size_t lost = 0;
    std::size_t extra = 0;
    std::uint64_t first_ns = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t last_ns = 0;
    std::vector<double> latencies_us;
};

Comparison compare(const std::vector<Entry>& ours, const std::vector<Entry>& theirs,
                   std::uint64_t since) {
    Comparison result;
    auto their = theirs.begin();
    for (const Entry& our : ours) {
        for (; their != theirs.end() && their->key < our.key; ++their)
            ++result.extra;
        const bool there = their != theirs.end() && their->key == our.key;
        if (our.start_ns >= since) {
            ++result.flows;
            result.first_ns = std::min(result.first_ns, our.start_ns);
            if (there) {
                result.last_ns = std::max(result.last_ns, their->start_ns);
                // Signed: an entry that is older in the copy's kernel must be shown as such.
                result.latencies_us.push_back(
                    static_cast<double>(static_cast<std::int64_t>(their->start_ns - our.start_ns)) /
                    1000.0);
            } else {
                ++result.lost;
            }
        }
        if (there)
            ++their;
    }
    result.extra += static_cast<std::size_t>(theirs.end() - their);
    std::sort(result.latencies_us.begin(), result.latencies_us.end());
    return result;
}

// Nearest rank: the smallest value that at least `share` of all do not exceed.
double percentile(const std::vector<double>& sorted, double share) {
    const double rank = std::ceil(share * static_cast<double>(sorted.size()));
    return sorted[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

encsync::Result<std::vector<Entry>> sorted_dump(const char* netns) {
    auto entries = encsync::bench::dump(netns);
    if (entries)
        std::sort(entries->begin(), entries->end(),
                  [](const Entry& a, const Entry& b) { return a.key < b.key; });
    return entries;
}

} // namespace

int main(int argc, char** argv) {
    std::uint64_t since = 0;
    bool good = argc == 3 || (argc == 5 && std::string_view(argv[3]) == "--since");
    if (argc == 5) {
        const std::string_view text = argv[4];
        const auto [end, error] = std::from_chars(text.begin(), text.end(), since);
        good = good && error == std::errc() && end == text.end();
    }
    if (!good) {
        fmt::print(stderr, "usage: lab_tables NETNS_PATH NETNS_PATH [--since NS]\n");
        return 2;
    }

    const auto ours = sorted_dump(argv[1]);
    const auto theirs = sorted_dump(argv[2]);
    for (const auto* table : {&ours, &theirs}) {
        if (!*table) {
            fmt::print(stderr, "lab_tables: {}\n", table->error().text);
            return 1;
        }
    }

    const Comparison result = compare(*ours, *theirs, since);
    fmt::print("{{\"flows\": {}, \"lost\": {}, \"extra\": {}", result.flows, result.lost,
               result.extra);
    if (!result.latencies_us.empty()) {
        fmt::print(", \"first_ns\": {}, \"last_ns\": {}, \"latency_us\": {{\"p50\": {:.1f}, "
                   "\"p90\": {:.1f}, \"p99\": {:.1f}, \"max\": {:.1f}}}",
                   result.first_ns, result.last_ns, percentile(result.latencies_us, 0.5),
                   percentile(result.latencies_us, 0.9), percentile(result.latencies_us, 0.99),
                   result.latencies_us.back());
    }
    fmt::print("}}\n");
    return 0;
}
