// SPDX-License-Identifier: ISC
// The names of metrics: those of the answers, none for two things, all in docs/metrics.md.
#include "daemon/metric_families.hpp"

#include "daemon/registry.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <set>

namespace encsync::daemon {
namespace {

using counters::Description;

std::string metric(std::string_view section, std::string_view name, std::string_view label,
                   bool of_peer) {
    std::string found;
    const auto look = [&](const Description& what, std::string_view each, std::uint64_t) {
        if (what.section != section || what.name != name || each != label)
            return;
        const Sample sample = sample_of(what, each, of_peer);
        found = sample_name(sample.family);
        if (!sample.label.empty())
            found += "{" + std::string(sample.label) + "=" + sample.value + "}";
    };
    of_peer ? Registry::each_of_peer(look) : Registry::each_of_node(look);
    return found;
}

TEST(MetricFamilies, CountersHaveTheNamesOfTheAnswers) {
    EXPECT_EQ(metric("table", "events", "", false), "encsync_table_events_total");
    EXPECT_EQ(metric("table", "refused", "table_full", false),
              "encsync_table_refused_total{reason=table_full}");
    EXPECT_EQ(metric("", "ike_in", "", false), "encsync_ike_in_total");
    EXPECT_EQ(metric("", "metrics_refused", "too_many", false),
              "encsync_metrics_refused_total{reason=too_many}");
    EXPECT_EQ(metric("refused", "unknown_spi", "", false),
              "encsync_refused_total{reason=unknown_spi}");
    EXPECT_EQ(metric("traffic", "rx_bytes", "", true), "encsync_peer_rx_bytes_total");
    EXPECT_EQ(metric("bulk", "sent", "", true), "encsync_peer_bulk_sent_total");
    EXPECT_EQ(metric("ike", "failed", "no_answer", true),
              "encsync_peer_ike_failed_total{reason=no_answer}");
    EXPECT_EQ(metric("refused", "refused", "bad_ttl", true),
              "encsync_peer_refused_total{reason=bad_ttl}");
    EXPECT_EQ(metric("refused", "esp_refused", "replayed", true),
              "encsync_peer_refused_total{reason=esp_replayed}");
    EXPECT_EQ(metric("refused_states", "states_refused", "local", true),
              "encsync_peer_refused_states_total{reason=local}");
    EXPECT_EQ(metric("not_sent", "too_big", "", true),
              "encsync_peer_not_sent_total{reason=too_big}");
}

// A family with two helps or units, or a sample that is there twice, would be refused by readers.
TEST(MetricFamilies, NoNameIsForTwoThings) {
    std::set<std::string> samples;
    std::map<std::string, std::string_view> helps;
    bool of_peer = false;
    const auto look = [&](const Description& what, std::string_view label, std::uint64_t) {
        const Sample sample = sample_of(what, label, of_peer);
        EXPECT_TRUE(samples.insert(sample.family.name + "=" + sample.value).second)
            << sample.family.name << " " << sample.value;
        EXPECT_EQ(helps.try_emplace(sample.family.name, sample.family.help).first->second,
                  sample.family.help)
            << sample.family.name;
        EXPECT_EQ(sample.label.empty(), sample.value.empty());
    };
    Registry::each_of_node(look);
    of_peer = true;
    Registry::each_of_peer(look);
    EXPECT_GT(samples.size(), 200u);
    for (const auto& [name, help] : helps) {
        EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789"), name.npos)
            << name;
        EXPECT_EQ(help.find_first_of("\"\\\n"), help.npos) << name; // which one format cannot quote
    }
}

TEST(MetricFamilies, AreDocumented) {
    std::ifstream in(ENCSYNC_SOURCE_DIR "/docs/metrics.md", std::ios::binary);
    const std::string page{std::istreambuf_iterator<char>(in), {}};
    EXPECT_NE(page.find(metrics_as_markdown()), page.npos)
        << "put what metrics_docs prints into docs/metrics.md, in place of its tables";
}

} // namespace
} // namespace encsync::daemon
