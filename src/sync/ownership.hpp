// SPDX-License-Identifier: ISC
// Which node owns a flow: it is live there, and a copy everywhere else. All nodes
// follow the same rules:
//
// 1. The node whose table sees a flow move owns it (local_flows.hpp), unless its owner is reachable
//    and would not be sent the change. Each change of owner begins a new term; full states carry
//    the term, short updates do not change the owner.
// 2. If two nodes claim a flow, the later term wins; in the same term, the smaller creatorid. An
//    owner's update of its own flow is valid in any term, and so is any node's if the owner is
//    gone. A removal is valid if its sender owns the flow by this rule.
// 3. Where exactly one node is active, the flows of standby and vanished nodes are its own:
//    traffic goes there, and established flows raise no event that would show it. Each node
//    concludes that for itself, so that a takeover needs no message for each flow.
// 4. If the node recorded as the owner announces the flow as a copy, it is not the owner: this node
//    is, unless that node names a third one.
// 5. The flows of a vanished node stay its own until another node takes them over; they time out
//    unless traffic keeps them, and become ours if the node comes back without its table.
// 6. Copies that no owner has named when all peers are in step have ended, and are removed. If a
//    peer has come without its table, they are ours.
// 7. A tuple that is used again begins in a later term than the flow before it if that had changed
//    owners (lifecycle.hpp).
#pragma once

#include "sync/copies.hpp"
#include "sync/time.hpp"

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
    // Likewise, of a peer's flow, which the table does not have yet; refused if there are too many.
    state::Slot add_from(Peer& peer, const state::Flow& flow, std::uint8_t owner);
    bool has_place(const Peer& peer) const; // for one more flow

    // ---- one flow --------------------------------------------------------------------------
    void set_owner(state::Slot slot, std::uint8_t owner);
    // A copy becomes our own. False: it had ended here already, which now is news; or it is one
    // that is not taken from its owner. Then it is erased.
    bool take(state::Slot slot);
    // Likewise, for a reason that the others cannot know: it is announced.
    bool claim(state::Slot slot);
    // Our own, or a vanished node's, becomes the copy of the node that takes over.
    void give(state::Slot slot, PeerId taker);
    // The peer owns the flow, in the term that the record has by now. By the roles it may be ours
    // all the same; then false, if it had ended here already and is erased.
    bool accept_claim(const Peer& peer, state::Slot slot);
    // Does the peer's claim to own a flow hold against what we know?
    bool claim_holds(const Peer& peer, const Record& record, std::uint8_t term) const;
    // Whether a removal by the peer counts; if not, it is refused, and the peer is sent the state.
    bool may_remove(Peer& peer, state::Slot slot, std::uint8_t term);
    // By the roles, what this peer has just called its own is ours.
    bool falls_to_us(const Peer& peer, state::Slot slot) const;
    // Likewise, and it was ours all the time. No traffic passes that peer, so whatever it sends of
    // the flow neither ends it nor changes more than its progress.
    bool keeps(const Peer& peer, state::Slot slot) const;

    // ---- all flows -------------------------------------------------------------------------
    // To be called when a role has changed, or who is within reach.
    void reconcile();
    // All nodes have received the last change of roles.
    bool settled() const;
    // Removes all flows that the peer brought, whoever owns them by now: from the table, from the
    // index, and those that are live here from the other nodes. Returns how many.
    std::size_t remove_brought_by(PeerId peer);
    // The peer is back without the table it had, and will name nothing of what was in it.
    void take_lost(const Peer& peer);
    // Copies that no owner has named are settled when all peers are in step.
    void settle_unclaimed() { settle_unclaimed(false); }
    void settle_unclaimed_later(); // an owner may be about to name them
    void advance();
    Instant deadline() const { return unclaimed_due_; }

  private:
    bool accept_insert(Peer& peer);
    state::Slot begin(const state::Flow& flow, std::uint8_t owner);
    void begin_owner(state::Slot slot, std::uint8_t owner);
    void settle_unclaimed(bool waited);

    Context& ctx_;
    Peers& peers_;
    Outbound& outbound_;
    Lifecycle& lifecycle_;
    Copies& copies_;
    Suppression& suppression_;
    Instant reconciled_;
    Instant unclaimed_due_ = Instant::max();
};

} // namespace encsync::sync
