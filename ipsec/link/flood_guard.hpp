// SPDX-License-Identifier: ISC
// Tells a flood of datagrams that no peer can have sent from single ones, and bounds how much IKE
// is handed on. It reads no clock.
//
//     FloodGuard guard;
//     if (guard.on_refused(now))      // a flood begins: strict filters (filter.hpp), no GRO
//         ...
//     if (guard.is_over(dropped))     // each kCheck until then
//         ...
//     if (!guard.admits(ike, now))    // an IKE datagram: more than charon is to see
//         ...
#pragma once

#include "ipsec/link/sa_table.hpp"
#include "util/bytes.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

namespace encsync::link {

// The SPIs of an IKE SA (RFC 7296 section 3.1): the first 16 bytes of all its messages.
using IkeSpis = std::array<std::uint8_t, 16>;

class FloodGuard {
  public:
    static constexpr std::chrono::milliseconds kWindow{100};
    static constexpr unsigned kMany = 200; // refused within a window
    static constexpr std::chrono::seconds kCheck{1};
    static constexpr std::uint64_t kManyDropped = 1000;  // by the kernel, between two checks
    static constexpr unsigned kQuiet = 5;                // checks after which it is over
    static constexpr double kRate = 1000, kBurst = 1000; // IKE datagrams a second
    static constexpr std::size_t kKnown = 64;            // IKE SAs

    bool flooded() const { return flooded_; }
    // A datagram was received for nothing. True: from now on there is a flood.
    bool on_refused(Clock::time_point now);
    // dropped: by the kernel, of all sockets, since they were opened. True: it is over.
    bool is_over(std::uint64_t dropped);

    // Whether an IKE datagram (without the marker, kIkeHeaderSize at least) is to be handed on.
    // Those of known SAs do not count among the others, so that no flood by somebody who does not
    // see their SPIs keeps a peer from rekeying and from being alive.
    bool admits(Bytes datagram, Clock::time_point now);
    // One that charon sends. Only an SA whose ends have authenticated has encrypted messages other
    // than IKE_AUTH: it is known from then on.
    void on_sent(Bytes datagram);

  private:
    struct Budget {
        bool take(Clock::time_point now);
        double tokens = kBurst;
        Clock::time_point filled{};
    };
    bool knows(const IkeSpis& spis) const;

    bool flooded_ = false;
    Clock::time_point window_{};
    unsigned refused_ = 0, quiet_ = 0;
    std::uint64_t dropped_ = 0;
    Budget of_known_, of_others_;
    std::vector<IkeSpis> known_; // kKnown at most
    std::size_t oldest_ = 0;     // of these, once there are as many
};

} // namespace encsync::link
