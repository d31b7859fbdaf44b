// SPDX-License-Identifier: ISC
// How nodes meet: the path to a peer, HELLO and session numbers, silence, and which of the two
// protocols a peer speaks. A configured pf firewall speaks standard pfsync and is told not a byte
// more. Any other is greeted, and counts as one of ours until it says a message of standard pfsync
// without a number; it may say HELLO after all.
#pragma once

#include "sync/bulk.hpp"
#include "sync/liberal.hpp"
#include "sync/orphans.hpp"
#include "sync/readiness.hpp"

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
    void heard(Peer& peer); // something of it was accepted
    // Nothing of what was under way counts any more, on either side.
    void begin(Peer& peer);
    // We have lost track of what the peer has heard: both begin anew, and ask for everything.
    void begin_anew(Peer& peer);
    // The peer speaks standard pfsync.
    void speaks_pfsync(Peer& peer);
    // Likewise, of a version in which nobody says HELLO. Which dialect a packet shows; until there
    // is a full state, the peer is sent what every release of that version reads.
    void learn_dialect(Peer& peer, std::uint8_t version, Bytes payload);

    // ---- HELLO -----------------------------------------------------------------------------
    void receive_hello(Peer& peer, Bytes message);
    void write_hello(Peer& peer, pfsync::Builder& packet);
    void send_hellos(); // something that HELLO tells has changed
    // What peers are told of this machine.
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
