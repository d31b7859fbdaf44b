// SPDX-License-Identifier: ISC
// Copies whose owner is out of reach. Where roles do not decide, only their timers show whether
// traffic has moved here, because established flows raise no event. So the table is read again soon
// after a node has vanished, then ever less often (local_flows.hpp looks at the timers).
#pragma once

#include "sync/context.hpp"
#include "sync/peers.hpp"
#include "sync/time.hpp"

namespace encsync::sync {

class Orphans {
  public:
    Orphans(Context& context, const Peers& peers) : ctx_(context), peers_(peers) {}

    void watch(); // to be called when owners, roles or who is within reach have changed
    bool watching() const { return due_ != Instant::max(); }
    void advance();
    Instant deadline() const { return due_; }

  private:
    bool any() const;

    Context& ctx_;
    const Peers& peers_;
    Instant due_ = Instant::max();
    Duration pause_{};
};

} // namespace encsync::sync
