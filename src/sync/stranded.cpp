// SPDX-License-Identifier: ISC
// Flows that this node's table has forgotten because their address left.
//
// When an address or its interface goes away, the kernel forgets every flow that was masqueraded
// with it, and tells of each removal as of any other. In an orderly failover that is no end: the
// address moves to another node, and the flows with it. So such a flow stays ours for kPatience,
// and what has become of the address by then decides:
//
// - The flow has an owner elsewhere, because roles have changed: nothing is left to do here. The
//   new copy is made in the table by its turn (Engine::refresh).
// - The address is back: the flow is put back into the table.
// - Another node is active, and nobody has told us to be standby: the flow is that node's.
// - This node is standby and nobody is active yet: it goes on waiting, as long as the flow lives.
// - Neither: the address is gone for good, and the flow with it. The peers hear so.
//
// A connection that was closed already ends at once, like any other flow.
#include "sync/engine.hpp"

#include "sync/marks.hpp"

namespace encsync::sync {

using namespace std::chrono_literals;
using state::Record;
using state::Slot;

namespace {

constexpr Instant kPatience = 5s; // keepalived's scripts are called in a fraction of that
constexpr int kAtATime = 20'000;  // flows a call

} // namespace

// Of a flow that is live here and missing from the table. False: it has ended.
bool Engine::strand(Slot slot) {
    if (is_over(slot) || !table_.address_left(index_.flow(slot, now_s_)))
        return false;
    state::Marks& marks = flows_.marks(slot);
    marks.is = {.young = marks.is.young, .stranded = true, .dump_mark = marks.is.dump_mark};
    stranded_.add(now_ + kPatience, index_, slot);
    counters_.stranded++;
    return true;
}

void Engine::end_stranded(Slot slot) {
    state::Marks& marks = flows_.marks(slot);
    const state::Flow flow = index_.flow(slot, now_s_);
    if (!table_.address_left(flow)) {
        marks.expires = now_s_ + own_lifetime(flow);
        marks.is.stranded = false;
        marks.is.absent = true;
        table_.put(flow, table::Lifetime::natural);
        put_expectations(slot);
        return;
    }
    PeerId taker = kNoPeer;
    unsigned active = 0;
    for (PeerId peer = 0; peer < peer_count(); peer++)
        if (sessions_[peer]->reachable() && sessions_[peer]->role == Role::active) {
            taker = peer;
            active++;
        }
    if (active == 1 && has(marks.known, taker)) {
        give(slot, taker);
        announce(slot, true); // which it learns by this
        return;
    }
    if (options_.role == Role::standby && flow.timeout != 0) {
        stranded_.add(now_ + kPatience, index_, slot);
        return;
    }
    retract(slot);
    forget(slot);
}

void Engine::settle_stranded() {
    for (int n = 0; n < kAtATime; n++) {
        const auto slot = stranded_.take(now_, index_);
        if (!slot)
            break;
        if (index_.record(*slot).is.stranded)
            end_stranded(*slot);
    }
}

} // namespace encsync::sync
