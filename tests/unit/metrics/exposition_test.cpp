// SPDX-License-Identifier: ISC
// What is written. Whether other programs read it so is tested by tests/lab/test_metrics.py.
#include "metrics/exposition.hpp"

#include <gtest/gtest.h>

namespace encsync::metrics {
namespace {

using namespace std::chrono_literals;

const Family kBytes{"peer_rx_bytes", Type::counter, "bytes", "Inner bytes"};
const Family kReady{"ready", Type::gauge, "", "Whether it is"};

TEST(Exposition, WritesBothFormats) {
    Exposition out;
    out.add(kBytes, {{"peer", "minnie"}}, std::uint64_t{7});
    out.add(kReady, {}, std::uint64_t{1});
    out.add(kBytes, {{"peer", "goofy"}, {"way", "in"}}, UINT64_MAX); // beside the first
    EXPECT_EQ(out.text(Format::openmetrics),
              "# TYPE encsync_peer_rx_bytes counter\n"
              "# UNIT encsync_peer_rx_bytes bytes\n"
              "# HELP encsync_peer_rx_bytes Inner bytes\n"
              "encsync_peer_rx_bytes_total{peer=\"minnie\"} 7\n"
              "encsync_peer_rx_bytes_total{peer=\"goofy\",way=\"in\"} 18446744073709551615\n"
              "# TYPE encsync_ready gauge\n"
              "# HELP encsync_ready Whether it is\n"
              "encsync_ready 1\n"
              "# EOF\n");
    EXPECT_EQ(out.text(Format::prometheus),
              "# TYPE encsync_peer_rx_bytes_total counter\n"
              "# HELP encsync_peer_rx_bytes_total Inner bytes\n"
              "encsync_peer_rx_bytes_total{peer=\"minnie\"} 7\n"
              "encsync_peer_rx_bytes_total{peer=\"goofy\",way=\"in\"} 18446744073709551615\n"
              "# TYPE encsync_ready gauge\n"
              "# HELP encsync_ready Whether it is\n"
              "encsync_ready 1\n");
}

TEST(Exposition, EscapesLabels) {
    Exposition out;
    out.add(kReady, {{"file", "a\"b\\c\nd\xc3\xa9"}}, 0.25);
    EXPECT_NE(out.text(Format::prometheus)
                  .find("\nencsync_ready{file=\"a\\\"b\\\\c\\nd\xc3\xa9\"} 0.25\n"),
              std::string::npos);
}

TEST(Exposition, SaysNoUnitThatIsNotInTheName) {
    for (const char* name : {"packets", "rxpackets", "packets_rx"}) {
        Exposition out;
        out.add({name, Type::counter, "packets", ""}, {}, std::uint64_t{0});
        EXPECT_EQ(out.text(Format::openmetrics).find("UNIT"), std::string::npos) << name;
    }
}

TEST(Exposition, AHistogramIsCumulative) {
    Histogram histogram;
    histogram.observe(0ns);
    histogram.observe(10ms);
    histogram.observe(10ms + 1ns);
    histogram.observe(1h);
    Exposition out;
    out.add({"wait_seconds", Type::histogram, "seconds", "It"}, {{"peer", "p"}}, histogram);
    EXPECT_EQ(out.text(Format::openmetrics),
              "# TYPE encsync_wait_seconds histogram\n"
              "# UNIT encsync_wait_seconds seconds\n"
              "# HELP encsync_wait_seconds It\n"
              "encsync_wait_seconds_bucket{peer=\"p\",le=\"0.005\"} 1\n"
              "encsync_wait_seconds_bucket{peer=\"p\",le=\"0.01\"} 2\n"
              "encsync_wait_seconds_bucket{peer=\"p\",le=\"0.025\"} 3\n"
              "encsync_wait_seconds_bucket{peer=\"p\",le=\"0.05\"} 3\n"
              "encsync_wait_seconds_bucket{peer=\"p\",le=\"0.1\"} 3\n"
              "encsync_wait_seconds_bucket{peer=\"p\",le=\"0.25\"} 3\n"
              "encsync_wait_seconds_bucket{peer=\"p\",le=\"0.5\"} 3\n"
              "encsync_wait_seconds_bucket{peer=\"p\",le=\"1.0\"} 3\n"
              "encsync_wait_seconds_bucket{peer=\"p\",le=\"2.5\"} 3\n"
              "encsync_wait_seconds_bucket{peer=\"p\",le=\"10.0\"} 3\n"
              "encsync_wait_seconds_bucket{peer=\"p\",le=\"+Inf\"} 4\n"
              "encsync_wait_seconds_sum{peer=\"p\"} 3600.020000001\n"
              "encsync_wait_seconds_count{peer=\"p\"} 4\n"
              "# EOF\n");
}

} // namespace
} // namespace encsync::metrics
