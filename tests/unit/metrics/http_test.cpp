// SPDX-License-Identifier: ISC
// A request is taken as meant, or refused by name.
#include "metrics/http.hpp"

#include <gtest/gtest.h>

namespace encsync::metrics {
namespace {

// "GET openmetrics", or the refusal.
std::string verdict(std::string_view text) {
    const auto parsed = parse_request(text);
    if (const auto* refusal = std::get_if<Refusal>(&parsed))
        return to_string(*refusal);
    const Request& request = *std::get_if<Request>(&parsed);
    return std::string(request.head ? "HEAD" : "GET") +
           (request.format == Format::openmetrics ? " openmetrics" : " prometheus");
}

std::string with(std::string_view fields) {
    return "GET /metrics HTTP/1.1\r\nHost: m\r\n" + std::string(fields) + "\r\n";
}

TEST(Http, TakesWhatScrapersSend) {
    EXPECT_EQ(verdict("GET /metrics HTTP/1.1\r\nHost: mickey:9240\r\n\r\n"), "GET prometheus");
    EXPECT_EQ(verdict("HEAD /metrics HTTP/1.1\r\nhost:m\r\n\r\n"), "HEAD prometheus");
    EXPECT_EQ(verdict("GET /metrics HTTP/1.0\r\n\r\n"), "GET prometheus");
    EXPECT_EQ(verdict("GET /metrics?collect[]=all HTTP/1.1\r\nHost: m\r\n\r\n"), "GET prometheus");
    EXPECT_EQ(verdict(with("Content-Length: 0\r\nUser-Agent: Prometheus/2.42.0\r\n"
                           "X-Prometheus-Scrape-Timeout-Seconds: 10\r\nX-Empty:\r\n")),
              "GET prometheus");
}

TEST(Http, GivesOpenMetricsToWhoKnowsIt) {
    for (const char* accept :
         {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
          "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
          "text/plain, Application/OpenMetrics-Text", "application/openmetrics-text ; q=0.001"})
        EXPECT_EQ(verdict(with("Accept: " + std::string(accept) + "\r\n")), "GET openmetrics")
            << accept;
    for (const char* accept :
         {"*/*", "text/plain", "", ",;,", "application/openmetrics-text;q=0",
          "application/openmetrics-text; q=0.000", "application/openmetrics",
          "application/openmetrics-text2", "text/plain;application/openmetrics-text"})
        EXPECT_EQ(verdict(with("Accept: " + std::string(accept) + "\r\n")), "GET prometheus")
            << accept;
}

TEST(Http, RefusesByName) {
    EXPECT_EQ(verdict("GET / HTTP/1.1\r\nHost: m\r\n\r\n"), "not_found");
    EXPECT_EQ(verdict("GET /metrics/ HTTP/1.1\r\nHost: m\r\n\r\n"), "not_found");
    EXPECT_EQ(verdict("POST /other HTTP/1.1\r\nHost: m\r\n\r\n"), "not_found");
    EXPECT_EQ(verdict("GET http://m/metrics HTTP/1.1\r\nHost: m\r\n\r\n"), "not_found");
    for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "get", "GETX"})
        EXPECT_EQ(verdict(std::string(method) + " /metrics HTTP/1.1\r\nHost: m\r\n\r\n"),
                  "method_not_allowed")
            << method;
}

TEST(Http, RefusesWhatIsNoRequest) {
    for (const char* text :
         {"", "\r\n\r\n", "GET\r\n\r\n", "GET /metrics\r\n\r\n",
          "GET  /metrics HTTP/1.1\r\nHost: m\r\n\r\n", "GET /metrics HTTP/1.1 \r\nHost: m\r\n\r\n",
          "GET /metrics HTTP/2.0\r\nHost: m\r\n\r\n", "GET /metrics HTTP/1.10\r\nHost: m\r\n\r\n",
          "GET /metrics http/1.1\r\nHost: m\r\n\r\n", " GET /metrics HTTP/1.1\r\nHost: m\r\n\r\n",
          "G\x01T /metrics HTTP/1.1\r\nHost: m\r\n\r\n",
          "GET /met\x7frics HTTP/1.1\r\nHost: m\r\n\r\n", "GET /metrics HTTP/1.1\nHost: m\n\n",
          "GET /metrics HTTP/1.1\r\nHost: m\r\n", "\x16\x03\x01\x02\r\n\r\n",
          // Without a Host, or with two.
          "GET /metrics HTTP/1.1\r\n\r\n", "GET /metrics HTTP/1.1\r\nHost: m\r\nHost: m\r\n\r\n"})
        EXPECT_EQ(verdict(text), "bad_request") << text;
    for (const char* fields :
         {"Content-Length: 1\r\n", "Content-Length: -0\r\n",
          "Content-Length: 0\r\nContent-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
          "No colon\r\n", ": no name\r\n", "A b: c\r\n", "A : c\r\n", " folded: c\r\n",
          "A: b\r\n continued\r\n", "A: \x01\r\n", "A: b\nc: d\r\n", "A: b\rc\r\n"})
        EXPECT_EQ(verdict(with(fields)), "bad_request") << fields;
    using namespace std::string_literals;
    EXPECT_EQ(verdict("GET /metrics HTTP/1.1\r\nHost: a\0b\r\n\r\n"s), "bad_request");
}

TEST(Http, FindsTheEnd) {
    EXPECT_EQ(end_of_request("GET / HTTP/1.1\r\n\r"), std::string::npos);
    EXPECT_EQ(end_of_request("GET / HTTP/1.1\r\n\r\nrest"), 18u);
}

TEST(Http, AnswersAreWhole) {
    const std::string refusal = refuse(Refusal::method_not_allowed);
    EXPECT_TRUE(refusal.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
    EXPECT_NE(refusal.find("\r\nAllow: GET, HEAD\r\n"), std::string::npos);
    EXPECT_NE(refusal.find("\r\nContent-Length: 24\r\n"), std::string::npos);
    EXPECT_TRUE(refusal.ends_with("\r\n\r\n405: method_not_allowed\n"));
    EXPECT_TRUE(refuse(Refusal::bad_request).starts_with("HTTP/1.1 400 "));
    EXPECT_TRUE(refuse(Refusal::not_found).starts_with("HTTP/1.1 404 "));
    EXPECT_TRUE(refuse(Refusal::timeout).starts_with("HTTP/1.1 408 "));
    EXPECT_TRUE(refuse(Refusal::too_large).starts_with("HTTP/1.1 431 "));
    EXPECT_TRUE(refuse(Refusal::too_many).starts_with("HTTP/1.1 503 "));
    const std::string header = answer_header(Format::openmetrics, 12);
    EXPECT_TRUE(header.starts_with("HTTP/1.1 200 OK\r\n"));
    EXPECT_NE(header.find("\r\nContent-Type: application/openmetrics-text; version=1.0.0"),
              std::string::npos);
    EXPECT_NE(header.find("\r\nContent-Length: 12\r\n"), std::string::npos);
    EXPECT_NE(header.find("\r\nConnection: close\r\n"), std::string::npos);
    EXPECT_TRUE(header.ends_with("\r\n\r\n"));
}

} // namespace
} // namespace encsync::metrics
