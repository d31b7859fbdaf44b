// SPDX-License-Identifier: ISC
// Finds the other end of a pairing (keys/pairing.hpp) on the network, and carries the messages.
//
//     auto connection = meet({.left = ..., .right = ..., .make = ..., .notice = ...});
//     connection->pairing().code() ...
//
// Of the two nodes the one with the smaller address connects, the other one listens, and each waits
// for the other: they may be started in any order. What arrives from other addresses than right is
// closed unread. A connection that is silent, or no pairing, is dropped, and the waiting goes on,
// as long as it has not come so far that it was a try (Pairing::opened()).
#pragma once

#include "config/config.hpp"
#include "keys/pairing.hpp"
#include "util/fd.hpp"

#include <chrono>
#include <functional>

namespace encsync::cli {

using PairingClock = std::chrono::steady_clock;

class PairingConnection {
  public:
    // The socket does not block.
    PairingConnection(Fd socket, keys::Pairing pairing);

    int socket() const { return socket_.get(); }
    keys::Pairing& pairing() { return pairing_; }
    const keys::Pairing& pairing() const { return pairing_; }

    // Sends what the pairing has to say. It always fits into the socket's buffer.
    Result<void> send();
    // Takes what has arrived, if anything, and sends the answer, also to what it refuses.
    Result<void> receive();

  private:
    Fd socket_;
    keys::Pairing pairing_;
};

struct MeetingPlace {
    config::Address left, right;
    std::uint16_t port = 0;
    PairingClock::time_point until;
    // A new pairing for each connection: a nonce is used only once.
    std::function<keys::Pairing(keys::Pairing::Role)> make;
    std::function<void(const std::string&)> notice; // what was dropped, and why
};

// Waits for the other end, until there is a code.
Result<PairingConnection> meet(const MeetingPlace& place);

// Waits until one of the descriptors is readable; none: -1. Sets which are. False: it is too late.
bool wait_readable(PairingClock::time_point until, int first, int second, bool& first_is,
                   bool& second_is);

} // namespace encsync::cli
