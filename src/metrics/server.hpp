// SPDX-License-Identifier: ISC
// Answers GET /metrics over HTTP, on a TCP port or a unix socket, within the io_context's one
// thread, in small turns.
//
//     metrics::Server server(io, listen, [&](Format format) { return metrics.text(format); });
//     server.open();                            // later, if the port is another's at present
//
// Whoever may connect may be slow, broken or hostile, so:
// - a request has kMaxRequest bytes and a few seconds to come, an answer a few seconds to be taken;
// - the text is made once a second at most, however many ask for it;
// - of more connections than there are places the oldest ends, and one client (an address, or a
// user
//   of a unix socket) has few places, so it takes only its own from itself;
// - connections are accepted at a limited rate, the others wait in the kernel's queue.
#pragma once

#include "metrics/http.hpp"
#include "net/listen.hpp"
#include "util/counters.hpp"
#include "util/result.hpp"

#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace encsync::metrics {

struct Counters {
    std::uint64_t connections = 0; // accepted
    std::uint64_t requests = 0;    // answered with metrics
    std::array<std::uint64_t, kRefusals> refused{};
};
inline constexpr std::array kCounters = {
    counters::value<&Counters::connections>("", "metrics_connections", "connections",
                                            "Connections to metricslisten accepted"),
    counters::value<&Counters::requests>("", "metrics_requests", "requests",
                                         "Requests for metrics that were answered"),
    counters::by<&Counters::refused, Refusal>("", "metrics_refused", "requests",
                                              "Requests for metrics that were refused", "reason",
                                              counters::Shape::object, false),
};

struct ServerOptions {
    std::size_t max_connections = 16, max_per_client = 4;
    unsigned accepts_per_tick = 25; // of 50 ms
    std::chrono::milliseconds request_time{5000}, answer_time{10000};
    std::chrono::milliseconds fresh{1000};  // how long a text is answered with
    std::chrono::milliseconds again{10000}; // until it is tried to listen again
};

class Server {
  public:
    using Text = std::function<std::string(Format)>;

    Server(boost::asio::io_context& io, net::Listen listen, Text text,
           const ServerOptions& options = {});
    ~Server(); // removes its unix socket, if that is permitted
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // Begins to listen; if it cannot, says why in the log, and tries again from time to time.
    void open();
    // Why it does not listen; empty: it does.
    const std::string& trouble() const;
    const Counters& counters() const;
    std::size_t connections() const; // at present

  private:
    struct Impl;
    class Connection;
    std::shared_ptr<Impl> impl_; // connections may outlive us by one turn of the loop
};

} // namespace encsync::metrics
