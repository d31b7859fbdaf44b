// SPDX-License-Identifier: ISC
// A turn of the loop processes everything that has arrived, and sends the resulting messages in one
// flush at its end: in full packets under load, at once otherwise.
//
//     turns.begin();             // before any event is passed to the engine
//     engine.on_packet(...);
#pragma once

#include "relay/relay.hpp"
#include "sync/engine.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace encsync::daemon {

class Turns {
  public:
    // All outlive it; `relay` may be null.
    Turns(boost::asio::io_context& io, sync::Engine& engine, relay::Relay* relay);

    // Advances the time of engine and relay, and schedules the flush. During a turn: nothing.
    void begin();
    // Begins a turn at the next deadline of either. begin() calls it, too.
    void wait_for_deadline();

  private:
    void advance();
    void end();

    boost::asio::io_context& io_;
    sync::Engine& engine_;
    relay::Relay* relay_;
    boost::asio::steady_timer deadline_;
    bool under_way_ = false;
};

} // namespace encsync::daemon
