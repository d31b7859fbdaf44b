// SPDX-License-Identifier: ISC
// Where flows begin and end. Names those that begin here, erases those that end with all that is
// known of them, and remembers for a while what has ended:
//
// - While a dump or a first bulk update is under way, which keys have ended since: either may still
//   name them.
// - For 10 s, the term of a flow of ours that had changed hands: a tuple may be used again at once,
//   and a node that has not received the end must not prefer its old id to the new one.
#pragma once

#include "sync/context.hpp"
#include "sync/peers.hpp"
#include "sync/time.hpp"

#include <deque>
#include <map>
#include <set>
#include <utility>

namespace encsync::sync {

class Lifecycle {
  public:
    Lifecycle(Context& context, const Peers& peers)
        : ctx_(context), peers_(peers),
          births_(static_cast<std::uint32_t>(context.options.session >> 32)) {}

    // A flow that is live here and in the table, named if it has no name yet, with `left` seconds
    // to live. kNoSlot: its key or its name is taken.
    state::Slot begin(const state::Flow& flow, std::uint32_t left, bool ours);
    void erase(state::Slot slot);
    void erase_from_table(state::Slot slot); // and here
    // For a part that has erased a flow, or received its end.
    void remember_ended(const state::Key& key);
    bool ended_lately(const state::Key& key) const { return ended_.contains(key); }
    // To be called when a dump or a bulk update is through.
    void forget_ended();
    void advance() { forget_terms(ctx_.now); }

  private:
    bool may_be_named() const;
    void remember_term(state::Slot slot);
    void forget_terms(Instant until);

    Context& ctx_;
    const Peers& peers_;
    std::uint32_t births_; // of flows named here; its low bits end their names
    std::set<state::Key> ended_;

    struct Former {
        Instant due;
        std::uint8_t term;
    };
    std::map<state::Key, Former> former_;
    std::deque<std::pair<Instant, state::Key>> former_due_; // in the order of time
};

} // namespace encsync::sync
