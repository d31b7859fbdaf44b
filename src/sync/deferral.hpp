// SPDX-License-Identifier: ISC
// The first packet of a new flow waits until the peers have the flow (defer of pfsync(4)), so that
// an answer that comes back through one of them finds it there.
//
// The flow is announced before the table has it: the packet that waits is the one with which it
// will begin. If it never does, because a rule drops the packet later, the flow is withdrawn.
#pragma once

#include "sync/table_expectations.hpp"
#include "sync/time.hpp"

#include <deque>

namespace encsync::sync {

class Deferral {
  public:
    Deferral(Context& context, const Peers& peers, Outbound& outbound, Lifecycle& lifecycle,
             Ownership& ownership, LocalFlows& flows, TableExpectations& expectations)
        : ctx_(context), peers_(peers), outbound_(outbound), lifecycle_(lifecycle),
          ownership_(ownership), flows_(flows), expectations_(expectations) {}

    // True: the packet is to wait until Options::release is called with this token, in 20 ms at
    // the latest. False: it may go.
    bool defer(const state::Flow& flow, std::uint32_t token);
    // The peer is to acknowledge the flow (INS_ACK).
    bool waits_for(PeerId peer, state::Slot slot) const;
    void acknowledged(PeerId peer, state::StateId id);
    std::size_t waiting() const { return deferred_.size(); }

    void advance();
    Instant deadline() const;

  private:
    struct Deferred {
        Instant due;
        state::StateId id;
        std::uint32_t token;
        std::uint16_t waiting_for; // peers
    };
    void release(std::uint32_t token);

    Context& ctx_;
    const Peers& peers_;
    Outbound& outbound_;
    Lifecycle& lifecycle_;
    Ownership& ownership_;
    LocalFlows& flows_;
    TableExpectations& expectations_;
    std::deque<Deferred> deferred_; // in the order of time
    TimerQueue unconfirmed_;
};

} // namespace encsync::sync
