// SPDX-License-Identifier: ISC
// Events of expectations. Each belongs to a flow, its master: a change of it is a
// change of that flow, whose full state is followed by all of them (encsync_peer.hpp). So loss,
// bulk updates, takeovers and removals are those of flows.
//
// A flow's first packet may make an expectation: a TFTP request, an INVITE of SIP over UDP. The
// helper reads it before the flow is confirmed, so the event of the expectation comes first, and
// the expectation waits here for its master.
#pragma once

#include "sync/local_flows.hpp"
#include "sync/time.hpp"

#include <map>
#include <vector>

namespace encsync::sync {

class TableExpectations {
  public:
    TableExpectations(Context& context, Outbound& outbound, Copies& copies, LocalFlows& flows)
        : ctx_(context), outbound_(outbound), copies_(copies), flows_(flows) {}

    void expected(const state::Expectation& expectation, bool fresh);
    void unexpected(const state::Expectation& expectation);
    // A flow is live here, and may be a master that is waited for.
    void master_known(state::Slot slot);

    std::size_t waiting() const { return early_.size(); } // for their master
    void advance();
    Instant deadline() const { return std::min(early_due_, masters_.next()); }

  private:
    struct Early {
        Instant due;
        std::uint32_t expires; // second of the clock
        state::Expectation expectation;
    };
    std::vector<state::Slot> masters_of(const state::Expectation& expectation) const;
    void expect(state::Slot master, const state::Expectation& expectation, bool fresh);
    void wait_for_master(const state::Expectation& expectation);
    void look_at_masters();
    void give_up();

    Context& ctx_;
    Outbound& outbound_;
    Copies& copies_;
    LocalFlows& flows_;
    std::multimap<state::Key, Early> early_; // by their master, which is not known yet
    Instant early_due_ = Instant::max();     // of the first of them
    TimerQueue masters_;                     // whose helper may be about to move sequence numbers
};

} // namespace encsync::sync
