// SPDX-License-Identifier: ISC
// Which TCP flows have their sequence numbers checked by the table. Conntrack compares them with
// windows that it learns from the packets that pass. Once packets have passed another node, those
// windows are behind, and what comes back counts as invalid: it is not translated, and dropped. So
// an entry whose packets may pass elsewhere is made liberal, once and for its whole life:
//
// - every copy, whenever it is written (table.hpp);
// - all flows, when this node's role or a peer's changes, when a peer is within reach again, and
//   after a start: a round at full speed;
// - established flows of our own, while we cannot know that all packets pass here: a slow round,
//   so that short connections cost nothing;
// - a flow for which a pf firewall sends updates while it is live here.
//
// On the one active node, whose peers are all within reach and stand by, new flows stay strict.
#pragma once

#include "sync/copies.hpp"
#include "sync/time.hpp"

namespace encsync::sync {

class LiberalTcp {
  public:
    LiberalTcp(Context& context, const Peers& peers, const Copies& copies)
        : ctx_(context), peers_(peers), copies_(copies) {}

    void relax(state::Slot slot);
    void relax_all(); // in the round that begins now
    void advance();
    Instant deadline() const { return due_; }

  private:
    Context& ctx_;
    const Peers& peers_;
    const Copies& copies_;
    state::Slot cursor_ = state::kNoSlot;
    Instant due_;
    bool hurry_ = false;
};

} // namespace encsync::sync
