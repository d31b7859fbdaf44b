// SPDX-License-Identifier: ISC
// Around every change of what the digests sum of a flow: its name, addresses, progress, mark, term,
// owner, what is expected of it, or whom it is withheld from.
//
//     const Edit edit(*this, slot);     // takes the flow out of the sums; its end puts it back
//     record.term = ...
//
// One may stand within another, of the same flow or not; the flow may be forgotten meanwhile.
#pragma once

#include "sync/engine.hpp"

namespace encsync::sync {

class Engine::Edit {
  public:
    Edit(Engine& engine, state::Slot slot)
        : engine_(engine), slot_(slot), outer_(engine.edited_), inner_(outer_ == slot) {
        if (inner_)
            return;
        engine_.sum(slot, false);
        engine_.edited_ = slot;
    }
    ~Edit() {
        if (inner_)
            return;
        if (engine_.edited_ == slot_)
            engine_.sum(slot_, true);
        engine_.edited_ = outer_;
    }
    Edit(const Edit&) = delete;
    Edit& operator=(const Edit&) = delete;

  private:
    Engine& engine_;
    state::Slot slot_, outer_;
    bool inner_;
};

} // namespace encsync::sync
