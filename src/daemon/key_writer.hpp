// SPDX-License-Identifier: ISC
// The process that changes the key store while encsyncd runs. encsyncd itself, which faces the
// network, cannot write there: what peers send of keys goes to this process, which checks it again.
// It has no network, no capabilities, and may change files in the store only (sandbox.hpp).
//
//     auto writer = KeyWriter::open(io, keydir, sandbox);   // forks: before there are secrets
//     writer->ask({Request::Kind::retire, {}}, [](const std::string& error) { ... });
//
// It opens the store anew for each request, and keeps nothing but the key of a sealed store.
#pragma once

#include "keys/unlock.hpp"
#include "keysync/writer.hpp"
#include "util/result.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>

namespace encsync::daemon {

class KeyWriter : public keysync::Writer {
  public:
    static Result<std::unique_ptr<KeyWriter>> open(boost::asio::io_context& io,
                                                   const std::string& keydir, bool sandbox,
                                                   std::shared_ptr<keys::Unlock> unlock = nullptr);
    KeyWriter(const KeyWriter&) = delete;
    KeyWriter& operator=(const KeyWriter&) = delete;
    ~KeyWriter() override; // the process has ended on return

    // If the process is gone, every answer is an error that says so.
    void ask(const keysync::Request& request,
             std::function<void(const std::string&)> done) override;

  private:
    KeyWriter(boost::asio::io_context& io, pid_t pid, int socket);
    std::string read_answer(int flags);
    void wait();

    boost::asio::io_context& io_;
    const pid_t pid_;
    boost::asio::posix::stream_descriptor socket_;
    std::function<void(const std::string&)> done_; // of the request under way
};

// What the process does with a request.
Result<void> carry_out(const std::string& keydir, const keysync::Request& request,
                       std::shared_ptr<keys::Unlock> unlock = nullptr);

} // namespace encsync::daemon
