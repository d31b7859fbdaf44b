// SPDX-License-Identifier: ISC
// How two encsync nodes check that one node's flows and the other's copies of them are the same,
// and repair exactly what differs (messages: pfsync/extension.hpp, state of a check: checks.hpp).
//
// Only the sum at the root must refer to the same moment on both: the owner sends it when nothing
// else is queued, and the receiver compares it if it has received everything sent before. Further
// down, a change that is still in flight costs one question too many and no more: a copy is only
// changed by the owner's answer to a request for one state, and that is the present state.
#pragma once

#include "sync/ownership.hpp"
#include "sync/reliability.hpp"
#include "sync/time.hpp"

namespace encsync::sync {

class AntiEntropy {
  public:
    AntiEntropy(Context& context, Outbound& outbound, Lifecycle& lifecycle, Ownership& ownership)
        : ctx_(context), outbound_(outbound), lifecycle_(lifecycle), ownership_(ownership) {}

    // ---- the receiver; `inbox`: the packets of the peer ------------------------------------
    // True: most of what the peer has is missing here, and a bulk update is cheaper.
    bool receive_root(Peer& peer, const Inbox& inbox, Bytes message);
    void receive_sums(Peer& peer, Bytes message);
    void receive_list(Peer& peer, Bytes message);
    void receive_absent(Peer& peer, const Inbox& inbox, Bytes message);

    // ---- the owner -------------------------------------------------------------------------
    void receive_ask(Peer& peer, Bytes message);
    void answer_absent(Peer& peer, state::StateId id); // the peer asked for it, and it is not here
    // A message was lost: a question, an answer.
    void ask_again(Peer& peer, Digest::Node node);
    void answer_again(Peer& peer, Digest::Node node) { peer.checks.wanted.insert(node); }

    // ---- sending; `outstanding`: the packets to the peer -------------------------------------
    // The sum over our flows is due, once nothing else is queued.
    bool root_due(const Peer& peer) const;
    bool anything_to_send(const Peer& peer) const;
    Instant deadline(const Peer& peer) const;
    // False: the packet is full. Must come last in a packet, when nothing else is queued.
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
