// SPDX-License-Identifier: ISC
// The daemon's end of the control socket: RUNDIR/control.sock, a unix stream socket of mode
// 0600. Requests (control/request.hpp) are answered in turn, one line each:
//     {"ok":true,"result":...}      {"ok":false,"error":"..."}
// and a stream by any number of {"item":...} lines and then {"ok":true}.
//
//     auto server = control::Server::open(io, "/run/encsync");
//     (*server)->handle("status", [&](const auto&) { return status_json(); });
//
// Everything runs on the io_context's one thread, in small turns: a slow or stopped reader delays
// only itself, and is disconnected after the idle time, or sooner if there are many. A connection
// holds at most one request and one piece of an answer. Only root and the daemon's own user are
// answered, even if the file's mode was changed.
//
// One daemon a run directory: open() takes a lock on the directory, and replaces a socket file only
// if no daemon answers on it.
#pragma once

#include "control/request.hpp"
#include "util/counters.hpp"
#include "util/result.hpp"

#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>

namespace encsync::control {

// Answers a command. The error becomes the reply's.
using Handler = std::function<Result<boost::json::value>(const boost::json::object& fields)>;

// Returns one item per call, and nothing at the end. A null value is not an item but means "call
// again later", so that a generator which skips many flows can keep each call short.
using Generator = std::function<std::optional<boost::json::value>()>;
using StreamHandler = std::function<Result<Generator>(const boost::json::object& fields)>;

struct Counters {
    std::uint64_t connections = 0; // accepted, of permitted users
    std::uint64_t requests = 0;    // answered with ok
    std::array<std::uint64_t, kRefusals> refused{};

    std::uint64_t of(Refusal refusal) const { return refused[static_cast<std::size_t>(refusal)]; }
};
inline constexpr std::array kCounters = {
    counters::value<&Counters::connections>("", "control_connections", "connections",
                                            "Connections to the control socket accepted"),
    counters::value<&Counters::requests>("", "control_requests", "requests",
                                         "Requests on the control socket that were answered"),
    counters::by<&Counters::refused, Refusal>("", "control_refused", "requests",
                                              "Requests and callers that were refused", "reason",
                                              counters::Shape::object, false),
};

struct ServerOptions {
    std::size_t max_connections = 64;
    // Without a request, or a byte of the answer taken, a connection is closed after `idle`; after
    // `in_use` already if its place is needed.
    std::chrono::milliseconds idle{30000}, in_use{1000};
};

class Server {
  public:
    // The run directory must exist. The socket file is removed with the Server.
    static Result<std::unique_ptr<Server>> open(boost::asio::io_context& io,
                                                const std::string& run_dir,
                                                const ServerOptions& options = {});
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // For a command of the table. One that has no handler is refused as unknown.
    void handle(std::string_view command, Handler handler);
    void handle_stream(std::string_view command, StreamHandler handler);

    const Counters& counters() const;

  private:
    struct Impl;
    class Connection;
    explicit Server(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_; // connections may outlive us by one turn of the loop
};

// RUNDIR/control.sock
std::string socket_path(const std::string& run_dir);

} // namespace encsync::control
