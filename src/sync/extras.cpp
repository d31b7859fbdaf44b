// SPDX-License-Identifier: ISC
// What only some flows have (state::Extras), and how long a flow lives that has a lifetime of its
// own: under a timeout policy, say. While its owner lives, a copy of it is kept alive like any
// other. When the owner is gone, it gets the lifetime that the owner told.
#include "sync/engine.hpp"

#include "sync/marks.hpp"

#include <algorithm>

namespace encsync::sync {

using state::Slot;

namespace {

constexpr std::uint32_t kTimerSlack = 5; // seconds by which the table's clock and ours may differ

} // namespace

std::uint32_t Engine::own_lifetime(const state::Flow& flow) const {
    return std::max(table_.natural_timeout(flow), flow.extras.lifetime);
}

// What the table tells of a flow that is live here. A packet that moves a flow sets its timer, so
// the event tells the lifetime; with a dump some of it is used up, and nothing is to be learned
// from a timer that we have set (`ours`). True if anything is new.
bool Engine::learn_extras(Slot slot, const state::Flow& flow, Timer timer) {
    const state::Extras& known = index_.extras(slot);
    state::Extras now = flow.extras;
    if (!flow.labels_known)
        now.labels = known.labels;
    if (!flow.seq_adjust_known)
        now.seq_adjust = known.seq_adjust;
    if (!flow.progress_known) // they are told together
        now.verification_tags = known.verification_tags;
    now.lifetime = known.lifetime;
    const std::uint32_t natural = table_.natural_timeout(flow);
    if (!flow.timeout_known)
        timer = Timer::ours;
    if (timer != Timer::ours && flow.timeout > natural + kTimerSlack) {
        if (timer == Timer::full || flow.timeout > known.lifetime)
            now.lifetime = flow.timeout;
    } else if (timer == Timer::full && flow.timeout + kTimerSlack >= natural) {
        // Less than the natural timeout tells nothing: TCP shortens it while data waits for its
        // acknowledgement.
        now.lifetime = 0;
    }
    if (now == known)
        return false;
    const bool other_zone = now.reply_zone != known.reply_zone;
    {
        FlowStore::Edit edit(flows_, slot);
        edit.set_extras(now);
    }
    if (other_zone)
        review(slot);
    return true;
}

// Copies whose owner has vanished run out as the owner's table would have let them.
void Engine::lengthen(PeerId vanished) {
    for (const Slot slot : index_.with_extras()) {
        const state::Record& record = index_.record(slot);
        if (record.owner != vanished || record.is.absent)
            continue;
        const state::Flow flow = index_.flow(slot, now_s_);
        if (flow.extras.lifetime <= flow.timeout)
            continue;
        table_.refresh(flow, table::Lifetime::natural);
        flows_.marks(slot).expires = now_s_ + flow.extras.lifetime;
    }
}

} // namespace encsync::sync
