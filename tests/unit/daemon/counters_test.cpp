// SPDX-License-Identifier: ISC
// Every counter is declared correctly, and shown under the names that scripts rely on.
#include "daemon/registry.hpp"
#include "table/conntrack/conntrack.hpp"

#include <gtest/gtest.h>
#include <numeric>
#include <set>

namespace encsync::daemon {
namespace {

namespace json = boost::json;
using counters::Description;

std::string names(std::string_view section, bool of_peer) {
    std::string out;
    const auto note = [&](const Description& what, std::string_view label, std::uint64_t) {
        if (what.section != section || what.shape == counters::Shape::object)
            return;
        out.append(out.empty() ? "" : " ");
        out.append(label.empty() ? what.name : what.prefix).append(label);
    };
    of_peer ? Registry::each_of_peer(note) : Registry::each_of_node(note);
    return out;
}

TEST(Counters, EachIsDeclaredWell) {
    std::set<std::string> seen;
    std::string scope;
    const Description* last = nullptr;
    const auto look = [&](const Description& what, std::string_view label, std::uint64_t) {
        const std::string name =
            scope + "." + std::string(what.section) + "." + std::string(what.name);
        EXPECT_EQ(label.empty(), what.label.empty()) << name;
        if (std::exchange(last, &what) == &what)
            return; // another label of it
        EXPECT_TRUE(seen.insert(name).second) << name << " is there twice";
        EXPECT_FALSE(what.name.empty()) << name;
        EXPECT_FALSE(what.unit.empty()) << name;
        ASSERT_FALSE(what.help.empty()) << name;
        EXPECT_NE(what.help.back(), '.') << name;
        EXPECT_EQ(what.label.empty(), what.shape == counters::Shape::single) << name;
        EXPECT_TRUE(what.prefix.empty() || what.shape == counters::Shape::flat) << name;
    };
    scope = "node";
    Registry::each_of_node(look);
    scope = "peer";
    Registry::each_of_peer(look);
}

// The names that scripts rely on: docs/operation.md.
TEST(Counters, NamesAreThoseOfTheAnswers) {
    EXPECT_EQ(names("table", false),
              "events refreshed adopted dropped_unclaimed leases_over address_lost put_back "
              "made_room clashes "
              "relaxed refused_table_full refused_clash refused_invalid refused_other own_echoes "
              "overruns removed_by_others dumps dump_failures created updated replaced deleted "
              "lost_answers without_helper without_labels");
    EXPECT_EQ(names("defer", false), "held acknowledged timed_out over_limit unconfirmed packets");
    EXPECT_EQ(names("expectations", false),
              "ambiguous_master without_master over_limit not_taken events overruns made removed "
              "no_master no_helper no_room refused");
    EXPECT_EQ(names("charon", false), "restarts");
    EXPECT_EQ(names("traffic", true), "rx_packets tx_packets rx_bytes tx_bytes");
    EXPECT_EQ(names("messages", true),
              "zone_suppressed modulated rx_messages tx_messages collapsed stale late lost");
    EXPECT_EQ(names("bulk", true), "sent received swept");
    EXPECT_EQ(names("check", true), "checks repairs differing removed");
    EXPECT_EQ(names("path", true), "lowered raised probes refused");
    EXPECT_EQ(names("ike", true), "established rekeyed lost");
    EXPECT_EQ(names("not_sent", true), "no_sa sequence_exhausted too_big unreachable other");
}

template<class Struct, std::size_t kSize>
json::object shown(const std::array<counters::Counter<Struct>, kSize>& table,
                   const Struct& counters, std::string_view section) {
    json::object out;
    counters::each(table, counters, [&](const Description& what, auto label, auto value) {
        if (what.section == section)
            show(out, what, label, value);
    });
    return out;
}

void expect_faults(const json::value& faults, std::uint64_t first) {
    using table::ctnetlink::Fault;
    for (int n = 1; n < table::ctnetlink::kFaults; n++)
        EXPECT_EQ(faults.at(to_string(static_cast<Fault>(n))).to_number<std::uint64_t>(),
                  first + static_cast<unsigned>(n));
    EXPECT_EQ(faults.as_object().size(), table::ctnetlink::kFaults - 1U); // 0 is none
}

TEST(Counters, ThoseOfTheTableShowEveryReason) {
    table::ConntrackCounters conntrack;
    table::WriterCounters writer;
    table::ExpectationCounters expectations;
    std::iota(conntrack.faults.begin(), conntrack.faults.end(), 100);
    std::iota(conntrack.ignored.begin(), conntrack.ignored.end(), 10);
    std::iota(writer.faults.begin(), writer.faults.end(), 200);
    std::iota(expectations.faults.begin(), expectations.faults.end(), 300);
    const json::object out = shown(table::kConntrackCounters, conntrack, "table");
    expect_faults(out.at("faults"), 100);
    expect_faults(shown(table::kWriterCounters, writer, "table").at("answer_faults"), 200);
    expect_faults(shown(table::kExpectationCounters, expectations, "expectations").at("faults"),
                  300);
    const json::object& ignored = out.at("ignored").as_object();
    EXPECT_EQ(ignored.size(), conntrack.ignored.size());
    for (int n = 0; n < table::kIgnored; n++)
        EXPECT_EQ(ignored.at(to_string(static_cast<table::Ignored>(n))).to_number<int>(), 10 + n);
}

// Reasons that never happened are left out, and those of several peers are summed.
TEST(Counters, RefusalsAreShownWhereThereAreAny) {
    link::PeerStats stats;
    stats.refused[static_cast<std::size_t>(esp::Verdict::bad_tag)] = 3;
    json::object out;
    for (int peer = 0; peer < 2; peer++)
        counters::each(link::kPeerCounters, stats,
                       [&](const Description& what, auto label, auto value) {
                           if (what.section == "refused")
                               show(out, what, label, value);
                       });
    EXPECT_EQ(json::serialize(out), R"({"esp_bad_tag":6})");

    policy::Verdict verdict({}, 1);
    verdict.refuse(policy::Reason::bad_ttl);
    verdict.refuse(policy::Reason::not_owner);
    verdict.refuse(policy::Reason::state_local);
    EXPECT_EQ(json::serialize(shown(policy::kVerdictCounters, verdict.counters(), "refused")),
              R"({"bad_ttl":1,"not_owner":1})");
    EXPECT_EQ(
        json::serialize(shown(policy::kVerdictCounters, verdict.counters(), "refused_states")),
        R"({"local":1})");
}

} // namespace
} // namespace encsync::daemon
