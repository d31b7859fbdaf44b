// SPDX-License-Identifier: ISC
// A turn of the loop takes what has arrived, and whatever follows from it leaves in one flush at
// the end of the turn: packed while there is much to do, at once when there is little.
//
//     turns.begin();             // before anything is handed to the engine
//     engine.on_packet(...);
#pragma once

#include "sync/engine.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace encsync::daemon {

class Turns {
  public:
    // Both outlive it.
    Turns(boost::asio::io_context& io, sync::Engine& engine);

    // Tells the engine the time and sees to the flush. Within a turn: nothing.
    void begin();
    // Begins a turn when the engine's deadline has come. begin() sees to that, too.
    void wait_for_deadline();

  private:
    void end();

    boost::asio::io_context& io_;
    sync::Engine& engine_;
    boost::asio::steady_timer deadline_;
    bool under_way_ = false;
};

} // namespace encsync::daemon
