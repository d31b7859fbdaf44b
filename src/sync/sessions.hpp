// SPDX-License-Identifier: ISC
// How nodes meet: the path to a peer, HELLO and session numbers, silence, and which of the two
// protocols a peer uses. A configured pf firewall is sent standard pfsync and nothing else. Any
// other peer is sent HELLO, and is treated as an encsync node until it sends a standard pfsync
// message without a number; it may still send HELLO later.
#pragma once

#include "sync/bulk.hpp"
#include "sync/liberal.hpp"
#include "sync/orphans.hpp"
#include "sync/readiness.hpp"
#include "sync/time.hpp"

namespace encsync::sync {

class Sessions {
  public:
    Sessions(Context& context, Peers& peers, Outbound& outbound, Suppression& suppression,
             Copies& copies, LiberalTcp& liberal, Orphans& orphans, Ownership& ownership,
             BulkUpdates& bulk, const Readiness& readiness)
        : ctx_(context), peers_(peers), outbound_(outbound), suppression_(suppression),
          copies_(copies), liberal_(liberal), orphans_(orphans), ownership_(ownership), bulk_(bulk),
          readiness_(readiness) {}

    // ---- the path --------------------------------------------------------------------------
    void link_up(Peer& peer);
    void link_down(Peer& peer);
    void received(Peer& peer); // something of it was accepted
    // Nothing of what was under way counts any more, on either side.
    void begin(Peer& peer);
    // It is unknown what the peer has received: both start over, with bulk updates.
    void begin_anew(Peer& peer);
    // The peer uses standard pfsync.
    void take_for_pf(Peer& peer);
    // Likewise, of a version that has no HELLO. Learns the dialect from a packet; until there
    // is a full state, the peer is sent what every release of that version reads.
    void learn_dialect(Peer& peer, std::uint8_t version, Bytes payload);

    // ---- HELLO -----------------------------------------------------------------------------
    void receive_hello(Peer& peer, Bytes message);
    void write_hello(Peer& peer, pfsync::Builder& packet);
    void send_hellos(); // the content of HELLO has changed
    // What is announced of this machine.
    void set_tracking(std::optional<TcpTracking> tracking) { tracking_ = tracking; }

    // ---- time ------------------------------------------------------------------------------
    void advance(Peer& peer);
    Instant deadline(const Peer& peer) const;

  private:
    void silent(Peer& peer);

    Context& ctx_;
    Peers& peers_;
    Outbound& outbound_;
    Suppression& suppression_;
    Copies& copies_;
    LiberalTcp& liberal_;
    Orphans& orphans_;
    Ownership& ownership_;
    BulkUpdates& bulk_;
    const Readiness& readiness_;
    std::optional<TcpTracking> tracking_;
};

} // namespace encsync::sync
