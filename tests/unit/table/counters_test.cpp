// SPDX-License-Identifier: ISC
// That no refusal of the kernel's table goes unseen: every one has its name and its number.
#include "table/conntrack/counters.hpp"

#include "table/conntrack/conntrack.hpp"

#include <gtest/gtest.h>
#include <map>
#include <numeric>

namespace encsync::table {
namespace {

using ctnetlink::Fault;
using ctnetlink::kFaults;

std::map<std::string, std::uint64_t> by_name(const Counters& counters) {
    const std::map<std::string, std::uint64_t> out(counters.begin(), counters.end());
    EXPECT_EQ(out.size(), counters.size()) << "a name is there twice";
    return out;
}

TEST(Counters, NameEveryFault) {
    ConntrackCounters conntrack;
    WriterCounters writer;
    ExpectationCounters expectations;
    std::iota(conntrack.faults.begin(), conntrack.faults.end(), 100);
    std::iota(writer.faults.begin(), writer.faults.end(), 200);
    std::iota(expectations.faults.begin(), expectations.faults.end(), 300);
    const auto named = by_name(name_counters(conntrack, writer, expectations));
    for (unsigned n = 1; n < kFaults; n++) {
        const std::string name = to_string(static_cast<Fault>(n));
        EXPECT_EQ(named.at("faults." + name), 100 + n);
        EXPECT_EQ(named.at("answer_faults." + name), 200 + n);
        EXPECT_EQ(named.at("expectations.faults." + name), 300 + n);
    }
}

TEST(Counters, NameEveryReasonToIgnoreAFlow) {
    ConntrackCounters conntrack;
    std::iota(conntrack.ignored.begin(), conntrack.ignored.end(), 10);
    const auto named = by_name(name_counters(conntrack, {}, {}));
    for (unsigned n = 0; n < kIgnored; n++)
        EXPECT_EQ(named.at(std::string("ignored.") + to_string(static_cast<Ignored>(n))), 10 + n);
}

} // namespace
} // namespace encsync::table
