// SPDX-License-Identifier: ISC
// The command's end of the control socket. Blocking, with a limit on how long it waits for a
// silent daemon.
//
//     auto client = control::Client::connect("/run/encsync");
//     auto status = client->call({{"command", "status"}});
#pragma once

#include "util/fd.hpp"
#include "util/result.hpp"

#include <boost/json.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace encsync::control {

class Client {
  public:
    using Timeout = std::chrono::milliseconds;
    static constexpr Timeout kPatience{5000};

    // "encsyncd is not running (no /run/encsync/control.sock)" if it isn't.
    static Result<Client> connect(const std::string& run_dir, Timeout patience = kPatience);
    // The same, but a daemon that isn't running is no error and gives none.
    static Result<std::optional<Client>> connect_if_running(const std::string& run_dir,
                                                            Timeout patience = kPatience);

    // The "result" of the reply, or its "error".
    Result<boost::json::value> call(const boost::json::object& request);
    // Readable when the daemon has closed the connection, because it sends nothing unasked.
    int socket() const { return fd_.get(); }
    // Calls `item` for each item of a stream as it comes.
    Result<void> stream(const boost::json::object& request,
                        const std::function<void(const boost::json::value&)>& item);

  private:
    Client(Fd fd, Timeout patience) : fd_(std::move(fd)), patience_(patience) {}
    Result<void> send(const boost::json::object& request);
    Result<boost::json::object> receive();
    Result<void> wait(short events, std::chrono::steady_clock::time_point until) const;

    Fd fd_;
    Timeout patience_;
    std::string buffer_; // received, not yet parsed
    std::size_t begin_ = 0;
};

} // namespace encsync::control
