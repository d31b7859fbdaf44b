// SPDX-License-Identifier: ISC
// Which node owns a flow: it is live there, and a copy everywhere else. The rules, which every node
// follows alike:
//
// 1. The node whose table sees a flow move owns it (table_events.hpp), unless its owner is there
//    and is not told of it. Each change of owner begins a new term; full states carry it, short
//    updates change no owner.
// 2. Of two nodes that call a flow their own, the later term is right; in the same term, the
//    smaller creatorid. An owner's update of its own flow holds in any term, and so does any node's
//    against an owner that is gone. A removal counts if its sender owns the flow by this.
// 3. Where exactly one node is active, the flows of standby and vanished nodes are its own:
//    traffic goes there, and established flows raise no event that would say so. All nodes draw
//    that conclusion for themselves, so that a takeover needs no message for each flow.
// 4. A node that we take for the owner and that calls the flow a copy is not: we own it then,
//    unless it says that a third node does.
// 5. What a vanished node owned stays its own until somebody takes it, runs out unless traffic
//    keeps it, and is ours if the node comes back without its table.
// 6. Copies that no owner has named when all peers are in step have ended, and are removed. If a
//    peer has come without its table, they are ours.
// 7. A tuple that is used again begins in a later term than the flow before it if that had changed
//    owners (lifecycle.hpp).
#pragma once

#include "sync/copies.hpp"

namespace encsync::sync {

class Ownership {
  public:
    Ownership(Context& context, Peers& peers, Outbound& outbound, Lifecycle& lifecycle,
              Copies& copies, Suppression& suppression)
        : ctx_(context), peers_(peers), outbound_(outbound), lifecycle_(lifecycle), copies_(copies),
          suppression_(suppression) {}

    // ---- new flows -------------------------------------------------------------------------
    // kNoSlot: its key or its name is taken.
    state::Slot add(const state::Flow& flow, std::uint8_t owner);
    // Likewise, of a peer's flow; refused if there are too many.
    state::Slot add_from(Peer& peer, const state::Flow& flow, std::uint8_t owner);

    // ---- one flow --------------------------------------------------------------------------
    void set_owner(state::Slot slot, std::uint8_t owner);
    // A copy becomes our own. False: it had ended here already, which now is news; or it is one
    // that is not taken from its owner. Then it is erased.
    bool take(state::Slot slot);
    // Likewise, for a reason that others cannot know: they are told.
    bool claim(state::Slot slot);
    // Our own, or a vanished node's, becomes the copy of the node that takes over.
    void give(state::Slot slot, PeerId taker);
    // The peer owns the flow, in the term that the record has by now. False: it is our own all the
    // same, by the roles, and has been erased.
    bool given_by_peer(const Peer& peer, state::Slot slot);
    // Does the peer's claim to own a flow hold against what we know?
    bool claim_holds(const Peer& peer, const state::Record& record, std::uint8_t term) const;
    // Whether a removal by the peer counts; if not, it is refused, and told what it does not know.
    bool may_remove(Peer& peer, state::Slot slot, std::uint8_t term);
    // By the roles, what this peer has just called its own is ours.
    bool falls_to_us(const Peer& peer, state::Slot slot) const;

    // ---- all flows -------------------------------------------------------------------------
    // To be called when a role has changed, or who is within reach.
    void reconcile();
    // All nodes have heard of the last change of roles by now.
    bool settled() const;
    // The peer is back without the table it had, and will name nothing of what was in it.
    void take_lost(const Peer& peer);
    // Copies that nobody has named are settled when all peers are in step.
    void settle_unclaimed() { settle_unclaimed(false); }
    void settle_unclaimed_later(); // somebody may be about to name them
    void advance();
    Instant deadline() const { return unclaimed_due_; }

  private:
    void settle_unclaimed(bool waited);

    Context& ctx_;
    Peers& peers_;
    Outbound& outbound_;
    Lifecycle& lifecycle_;
    Copies& copies_;
    Suppression& suppression_;
    Instant reconciled_{0};
    Instant unclaimed_due_ = Instant::max();
};

} // namespace encsync::sync
