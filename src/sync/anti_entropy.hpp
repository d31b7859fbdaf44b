// SPDX-License-Identifier: ISC
// How two encsync nodes find out that the one's flows and the other's copies of them are the same,
// and repair exactly what is not (pfsync/extension.hpp has the messages, checks.hpp what is known).
//
// Only the sum at the root needs a moment at which both mean the same: the owner says it when
// nothing else waits to be said, the hearer compares it if it has heard all before. On the way down
// a difference that is only on its way costs a question too many and no more: nothing is changed
// but by the owner's answer to a request for one state, which is how it is now.
#pragma once

#include "sync/ownership.hpp"
#include "sync/reliability.hpp"

namespace encsync::sync {

class AntiEntropy {
  public:
    AntiEntropy(Context& context, Outbound& outbound, Lifecycle& lifecycle, Ownership& ownership)
        : ctx_(context), outbound_(outbound), lifecycle_(lifecycle), ownership_(ownership) {}

    // ---- the hearer; `inbox`: the packets of the peer --------------------------------------
    // True: most of what the peer has is missing here, and it is better asked for everything.
    bool receive_root(Peer& peer, const Inbox& inbox, Bytes message);
    void receive_sums(Peer& peer, Bytes message);
    void receive_list(Peer& peer, Bytes message);
    void receive_absent(Peer& peer, const Inbox& inbox, Bytes message);

    // ---- the owner -------------------------------------------------------------------------
    void receive_ask(Peer& peer, Bytes message);
    void answer_absent(Peer& peer, state::StateId id); // it was asked for, and is not here
    // What was said was lost: a question, an answer.
    void ask_again(Peer& peer, Digest::Node node);
    void answer_again(Peer& peer, Digest::Node node) { peer.checks.wanted.insert(node); }

    // ---- saying, with what is known of the packets to the peer -------------------------------
    // The sum over our flows is to be said, if only nothing else is left to say.
    bool root_due(const Peer& peer) const;
    bool anything_to_send(const Peer& peer) const;
    Instant deadline(const Peer& peer) const;
    // False: the packet is full. Comes last in a packet: so all that waited has been said.
    bool write(Peer& peer, const Outstanding& outstanding, pfsync::Builder& packet);

  private:
    bool comparable(const Peer& peer) const;
    void ask(Peer& peer, Digest::Node node);
    void ask_state(Peer& peer, state::StateId id);
    void ask_surplus(Peer& peer);
    void end_search(Peer& peer);
    void walk_leaves(Peer& peer);
    bool write_sums(Peer& peer, pfsync::Builder& packet);
    bool write_list(Peer& peer, pfsync::Builder& packet);

    Context& ctx_;
    Outbound& outbound_;
    Lifecycle& lifecycle_;
    Ownership& ownership_;
};

} // namespace encsync::sync
