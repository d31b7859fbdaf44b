// SPDX-License-Identifier: ISC
#include "daemon/turns.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>

namespace encsync::daemon {

using Clock = std::chrono::steady_clock;

Turns::Turns(boost::asio::io_context& io, sync::Engine& engine, relay::Relay* relay)
    : io_(io), engine_(engine), relay_(relay), deadline_(io) {}

void Turns::begin() {
    if (under_way_)
        return;
    under_way_ = true;
    advance();
    boost::asio::post(io_, [this] { end(); });
}

void Turns::end() {
    under_way_ = false;
    advance();
    const bool relay_goes_on = relay_ != nullptr && relay_->flush();
    if (engine_.flush() || relay_goes_on)
        begin();
    wait_for_deadline();
}

void Turns::advance() {
    const Clock::time_point now = Clock::now();
    engine_.advance(now);
    if (relay_ != nullptr)
        relay_->advance(now);
}

void Turns::wait_for_deadline() {
    const Clock::time_point due =
        relay_ != nullptr ? std::min(engine_.deadline(), relay_->deadline()) : engine_.deadline();
    if (deadline_.expiry() == due)
        return;
    deadline_.expires_at(due);
    deadline_.async_wait([this](const boost::system::error_code& error) {
        if (!error) {
            begin();
            // A deadline that stays the same must be waited for again.
            deadline_.expires_at(Clock::time_point::min());
        }
    });
}

} // namespace encsync::daemon
