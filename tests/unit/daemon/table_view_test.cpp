// SPDX-License-Identifier: ISC
// That no refusal of the table goes unseen: every one has its name and its number in the view.
#include "daemon/table_view.hpp"

#include <gtest/gtest.h>
#include <numeric>
#include <set>

namespace encsync::daemon {
namespace {

namespace json = boost::json;
using table::ctnetlink::Fault;
using table::ctnetlink::kFaults;

void expect_all(const json::value& shown, std::uint64_t first) {
    std::set<std::string> names;
    for (int n = 1; n < kFaults; n++) {
        const std::string name = to_string(static_cast<Fault>(n));
        EXPECT_TRUE(names.insert(name).second) << name << " is there twice";
        const auto* value = shown.as_object().if_contains(name);
        ASSERT_NE(value, nullptr) << name;
        EXPECT_EQ(value->to_number<std::uint64_t>(), first + static_cast<unsigned>(n)) << name;
    }
    EXPECT_EQ(shown.as_object().size(), names.size());
}

TEST(TableView, ShowsEveryFaultByItsName) {
    table::ConntrackCounters conntrack;
    table::WriterCounters writer;
    table::ExpectationCounters expectations;
    std::iota(conntrack.faults.begin(), conntrack.faults.end(), 100);
    std::iota(writer.faults.begin(), writer.faults.end(), 200);
    std::iota(expectations.faults.begin(), expectations.faults.end(), 300);
    const json::object shown = describe(conntrack, writer, expectations);
    expect_all(shown.at("faults"), 100);
    expect_all(shown.at("answer_faults"), 200);
    expect_all(shown.at("expectations").at("faults"), 300);
}

TEST(TableView, ShowsEveryReasonToIgnoreAFlow) {
    table::ConntrackCounters conntrack;
    std::iota(conntrack.ignored.begin(), conntrack.ignored.end(), 10);
    const json::object shown = describe(conntrack, {}, {});
    const json::object& ignored = shown.at("ignored").as_object();
    EXPECT_EQ(ignored.size(), conntrack.ignored.size());
    for (int n = 0; n < table::kIgnored; n++)
        EXPECT_EQ(ignored.at(to_string(static_cast<table::Ignored>(n))).to_number<int>(), 10 + n);
}

} // namespace
} // namespace encsync::daemon
