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
// - a flow of which a pf firewall speaks while it is live here.
//
// On the one active node, whose peers are all within reach and stand by, new flows stay strict.
#include "sync/engine.hpp"

#include "sync/marks.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Record;
using state::Slot;

namespace {

constexpr Instant kTick = 100ms, kHurry = 20ms, kIdle = 1s;
constexpr std::size_t kTicks = 100; // the whole index in 10 s
constexpr std::size_t kLeastSlice = 64, kHurrySlice = 20'000;

// Neither just begun nor about to be over.
bool is_lasting(const Record& record) {
    return std::min(record.src_state, record.dst_state) == state::tcp::kEstablished;
}

} // namespace

// Packets of flows that are live here may pass another node, and nobody would tell us.
bool Engine::others_may_serve() const {
    if (!has_peers())
        return false;
    if (sole_active() != kHere)
        return true;
    return std::ranges::any_of(sessions_, [](const auto& s) {
        return s->present && (!s->reachable() || (!s->plain() && s->role == Role::automatic));
    });
}

void Engine::relax(Slot slot) {
    state::Marks& marks = flows_.marks(slot);
    if (marks.liberal)
        return;
    marks.liberal = true;
    if (marks.is.absent)
        return;
    table_.relax(index_.flow(slot, now_s_));
    counters_.relaxed++;
}

void Engine::relax_all() {
    relax_hurry_ = true;
    relax_cursor_ = kNoSlot;
    relax_due_ = now_;
}

// A slice of the index at a time.
void Engine::relax_round() {
    if (!relax_hurry_ && !others_may_serve()) {
        relax_due_ = now_ + kIdle;
        return;
    }
    const std::size_t most =
        relax_hurry_ ? kHurrySlice : std::max(kLeastSlice, index_.size() / kTicks);
    const bool end = index_.slice(relax_cursor_, most, [this](Slot slot) {
        const Record& record = index_.record(slot);
        // A refresh round in a hurry is about to write the copies anyway.
        const bool written = refresh_hurry_ && record.owner != kHere && owner_alive(record.owner);
        if (!record.liberal && !written && (relax_hurry_ || is_lasting(record)))
            relax(slot);
    });
    if (end)
        relax_hurry_ = false;
    relax_due_ = now_ + (relax_hurry_ ? kHurry : kTick);
}

} // namespace encsync::sync
