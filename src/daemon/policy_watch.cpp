// SPDX-License-Identifier: ISC
#include "daemon/policy_watch.hpp"

#include <chrono>
#include <utility>

namespace encsync::daemon {

namespace {

constexpr std::chrono::milliseconds kPause{50};

} // namespace

PolicyWatch::PolicyWatch(boost::asio::io_context& io, policy::Watch watch,
                         std::function<void()> changed)
    : watch_(std::move(watch)), changed_(std::move(changed)), readable_(io, watch_.fd()),
      pause_(io) {
    wait();
}

PolicyWatch::~PolicyWatch() {
    readable_.release(); // the watch closes it
}

void PolicyWatch::wait() {
    readable_.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this](auto error) {
        if (error)
            return;
        if (watch_.take())
            changed_();
        pause_.expires_after(kPause);
        pause_.async_wait([this](auto ended) {
            if (!ended)
                wait();
        });
    });
}

} // namespace encsync::daemon
