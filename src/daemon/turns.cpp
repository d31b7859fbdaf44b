// SPDX-License-Identifier: ISC
#include "daemon/turns.hpp"

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
    engine_.advance(Clock::now());
    boost::asio::post(io_, [this] { end(); });
}

void Turns::end() {
    under_way_ = false;
    engine_.advance(Clock::now());
    if (relay_ != nullptr)
        relay_->flush();
    if (engine_.flush())
        begin();
    wait_for_deadline();
}

void Turns::wait_for_deadline() {
    const Clock::time_point due = engine_.deadline();
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
