// SPDX-License-Identifier: ISC
// What keeps flows alive between pf firewalls and this node. Established flows raise no event here,
// and pf's copies of them would time out, so each is announced in time. A change is sent several
// times, because pf does not acknowledge it; pf itself would repeat it with the next packet, for
// which there is no event here. A copy of a pf peer's flow is removed once the peer has not named
// it for so long that its own state has timed out. Every flow has its turn once in 5 s.
#pragma once

#include "sync/copies.hpp"
#include "sync/pf_flows.hpp"
#include "sync/time.hpp"

namespace encsync::sync {

class PfKeepalive {
  public:
    // Seconds that a copy outlives what pf would give it.
    static constexpr std::uint32_t kGrace = 10;

    PfKeepalive(Context& context, Peers& peers, Outbound& outbound, Lifecycle& lifecycle,
                const Copies& copies, const PfFlows& pf_flows)
        : ctx_(context), peers_(peers), outbound_(outbound), lifecycle_(lifecycle), copies_(copies),
          pf_flows_(pf_flows) {}

    void begin() { // there is a pf peer
        if (due_ == Instant::max())
            due_ = ctx_.now;
    }
    void advance();
    Instant deadline() const { return due_; }

  private:
    void turn(state::Slot slot);

    Context& ctx_;
    Peers& peers_;
    Outbound& outbound_;
    Lifecycle& lifecycle_;
    const Copies& copies_;
    const PfFlows& pf_flows_;
    state::Slot cursor_ = state::kNoSlot;
    std::uint32_t round_ = 0;
    Instant due_ = Instant::max();
};

} // namespace encsync::sync
