// SPDX-License-Identifier: ISC
// Copies that the table does not hold, though their owner lives: why, how many, and what brings
// them back.
//
// - vanished: deleted by an administrator, pushed out of a full table, or found missing by a dump.
//   On a standby each is put back as soon as its owner is heard from again. Elsewhere its traffic
//   may have ended here while its owner is about to be found dead, and then that end counts: it
//   waits for longer than that takes. Not over and over again: in a full table each one that is put
//   back may push out another.
// - no_room, refused: asked again by the round of Copies, once a minute.
// - clash: another entry has the same reply tuple (clashes.hpp). Tried again after 2 s.
#pragma once

#include "sync/copies.hpp"
#include "sync/time.hpp"

#include <array>

namespace encsync::sync {

class MissingCopies {
  public:
    MissingCopies(Context& context, const Peers& peers, Copies& copies)
        : ctx_(context), peers_(peers), copies_(copies) {}

    void mark(state::Slot slot, Missing why);
    // The table has refused what it was asked for, with this key.
    void on_refused(state::Slot slot, table::Refusal refusal);
    std::size_t count(PeerId peer, Missing why) const { return ctx_.flows.missing(peer, why); }
    std::size_t count(PeerId peer) const;
    // More of the peer's flows are missing, or for longer, than is normal while flows come and go.
    bool lacks(PeerId peer) const;

    void forget(PeerId peer) { vanished_[peer] = {}; } // the number is another's
    void advance();                                    // puts back what may be
    Instant deadline() const;
    void note(); // to be called when the table has reported what it refused

  private:
    struct Vanished {      // of one owner
        TimerQueue copies; // "due" when it happened
        Instant put_back_since;
        std::size_t put_back = 0;               // since then
        Instant missing_since = Instant::max(); // any, for any reason
    };
    bool may_put_back(PeerId peer) const;
    void put_back(PeerId peer);
    bool is_missing(state::Slot slot, Missing why) const;

    Context& ctx_;
    const Peers& peers_;
    Copies& copies_;
    std::array<Vanished, kMaxPeers> vanished_;
    TimerQueue clashing_; // that are to be tried again
};

} // namespace encsync::sync
