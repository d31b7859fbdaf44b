// SPDX-License-Identifier: ISC
// Has the nftables ruleset put back within milliseconds, whoever removes it.
#pragma once

#include "policy/watch.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>

namespace encsync::daemon {

class PolicyWatch {
  public:
    // changed: called after each change, but not more often than twenty times a second: somebody
    // else may put back what is his, too.
    PolicyWatch(boost::asio::io_context& io, policy::Watch watch, std::function<void()> changed);
    ~PolicyWatch();
    PolicyWatch(const PolicyWatch&) = delete;
    PolicyWatch& operator=(const PolicyWatch&) = delete;

  private:
    void wait();

    policy::Watch watch_;
    const std::function<void()> changed_;
    boost::asio::posix::stream_descriptor readable_;
    boost::asio::steady_timer pause_;
};

} // namespace encsync::daemon
