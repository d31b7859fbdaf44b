// SPDX-License-Identifier: ISC
// Updates of flows to peers: queues them, merges several changes of a state into one message
// (maxupd of pfsync(4)), and encodes them when there is a packet. Fills and empties every Outbox
// and known, queued, full and waiting of LocalState. Asks a peer's protocol only how a message is
// written.
//
//     outbound.announce(slot, full);             // to all that are sent changes
//     outbound.retract(slot);                    // before the flow is erased
//     while (outbound.write_queue(peer, packet)) ...
//
// A change of a state that a peer knows already waits a moment for the next: a connection opens and
// closes in bursts of changes, of which only the last one matters. A flow's begin or end, a new
// owner or new addresses do not wait, nor does what makes a connection established: a node that
// dies loses what it has not sent. A wait ends when maxupd changes are in it, after 20 ms, or after
// 5 ms as soon as a packet goes to that peer anyway or could be filled.
#pragma once

#include "sync/context.hpp"
#include "sync/peers.hpp"
#include "sync/time.hpp"

namespace encsync::sync {

class Outbound {
  public:
    Outbound(Context& context, Peers& peers) : ctx_(context), peers_(peers) {}

    // ---- queueing --------------------------------------------------------------------------
    void announce(state::Slot slot, bool full);
    void announce_change(state::Slot slot); // one that may wait
    void enqueue(Peer& peer, state::Slot slot, bool full) { enqueue(peer, slot, full, ctx_.now); }
    // `since`: when it changed, of a message that was lost.
    void enqueue(Peer& peer, state::Slot slot, bool full, Instant since);
    // The peer is out of date: it is sent the full state, and with it the owner.
    void send_full(Peer& peer, state::Slot slot);
    void retract(state::Slot slot); // from all that know it
    void retract(Peer& peer, state::Slot slot);
    void withdraw(Peer& peer, state::Slot slot); // likewise, and no more updates of it are sent
    void remove(Peer& peer, state::StateId id, std::uint8_t term) {
        remove(peer, id, term, ctx_.now);
    }
    void remove(Peer& peer, state::StateId id, std::uint8_t term, Instant since);
    // A state that is not known here. Nothing happens if it was asked for a moment ago.
    void request(Peer& peer, state::StateId id);
    void request_again(Peer& peer, state::StateId id); // whatever was asked
    std::size_t requests(const Peer& peer) const { return peer.outbox.requests_.size(); }
    void answered(Peer& peer, state::StateId id) { peer.outbox.asked_.answered(id); }
    void acknowledge_insert(Peer& peer, state::StateId id);

    // A new session with the peer: nothing was sent, nothing is queued.
    void reset(Peer& peer);

    // ---- time ------------------------------------------------------------------------------
    Instant deadline(const Peer& peer) const; // when a wait ends
    void advance(Peer& peer);
    // A change that waits would go with a packet that is built now. `all`: however short.
    bool may_ride_along(const Peer& peer, bool all) const;

    // ---- sending; false: the packet is full -------------------------------------------------
    bool write_insert_acks(Peer& peer, pfsync::Builder& packet);
    // `terms`: with the term of each.
    bool write_removals(Peer& peer, pfsync::Builder& packet, bool terms);
    bool write_requests(Peer& peer, pfsync::Builder& packet);
    bool write_queue(Peer& peer, pfsync::Builder& packet);
    bool write_waiting(Peer& peer, pfsync::Builder& packet, bool all);

  private:
    bool waits(const Peer& peer, state::Slot slot) const;
    bool write_change(Peer& peer, pfsync::Builder& packet, state::Slot slot);
    static bool write_ids(Peer& peer, pfsync::Builder& packet, std::deque<state::StateId>& ids,
                          pfsync::Kind message, Item::Kind kind);

    Context& ctx_;
    Peers& peers_;
};

} // namespace encsync::sync
