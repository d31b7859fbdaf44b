// SPDX-License-Identifier: ISC
// Bulk updates, as far as both protocols have them in common: every state as UPD between BUS start
// and BUS end, at the peer's request, while changes go on. What is lost of one, when it is asked
// for again, and what its end means differ (encsync_peer.hpp, pf_peer.hpp).
#pragma once

#include "sync/ownership.hpp"

namespace encsync::sync {

class BulkUpdates {
  public:
    BulkUpdates(Context& context, Lifecycle& lifecycle, Ownership& ownership)
        : ctx_(context), lifecycle_(lifecycle), ownership_(ownership) {}

    // ---- from the peer ---------------------------------------------------------------------
    void request(Peer& peer);
    void arrives(Peer& peer); // BUS start
    void arrived(Peer& peer); // all of it
    bool write_request(Peer& peer, pfsync::Builder& packet);

    // ---- to the peer -----------------------------------------------------------------------
    void start(Peer& peer);
    // False: the packet is full. `endtime` as in BUS: seconds since it was asked for.
    bool write_start(Peer& peer, pfsync::Builder& packet, std::uint32_t endtime);
    bool write_states(Peer& peer, pfsync::Builder& packet);
    // `all_arrived`: nothing of it is on its way, so the end may be sent.
    bool may_end(const Peer& peer, bool all_arrived) const {
        return peer.bulk.sending && peer.bulk.walked && peer.bulk.again.empty() && all_arrived;
    }
    bool write_end(Peer& peer, pfsync::Builder& packet, std::uint32_t endtime, bool all_arrived);

  private:
    bool write_status(Peer& peer, pfsync::Builder& packet, std::uint32_t endtime, bool end);

    Context& ctx_;
    Lifecycle& lifecycle_;
    Ownership& ownership_;
};

} // namespace encsync::sync
