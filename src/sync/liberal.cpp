// SPDX-License-Identifier: ISC
#include "sync/liberal.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::Slot;

namespace {

constexpr Duration kTick = 100ms, kHurryTick = 20ms, kIdle = 1s;
constexpr std::size_t kTicks = 100; // the whole index in 10 s
constexpr std::size_t kLeastSlice = 64, kHurrySlice = 20'000;

// Neither just begun nor about to be over.
bool is_lasting(const Record& record) {
    return std::min(record.src_state, record.dst_state) == state::tcp::kEstablished;
}

} // namespace

void LiberalTcp::relax(Slot slot) {
    LocalState& local = ctx_.flows.local(slot);
    if (local.liberal)
        return;
    local.liberal = true;
    if (local.is.absent)
        return;
    ctx_.table.relax(ctx_.flow(slot));
    ctx_.counters.relaxed++;
}

void LiberalTcp::relax_all() {
    hurry_ = true;
    cursor_ = state::kNoSlot;
    due_ = ctx_.now;
}

void LiberalTcp::advance() {
    if (ctx_.now < due_)
        return;
    if (!hurry_ && !peers_.others_may_serve()) {
        due_ = ctx_.now + kIdle;
        return;
    }
    const std::size_t most =
        hurry_ ? kHurrySlice : std::max(kLeastSlice, ctx_.index.size() / kTicks);
    const bool end = ctx_.index.slice(cursor_, most, [this](Slot slot) {
        const Record& record = ctx_.record(slot);
        // The round of Copies, in a hurry, is about to write the copies anyway.
        const bool written =
            copies_.in_a_hurry() && record.owner != kHere && peers_.owner_alive(record.owner);
        if (!record.liberal && !written && (hurry_ || is_lasting(record)))
            relax(slot);
    });
    if (end)
        hurry_ = false;
    due_ = ctx_.now + (hurry_ ? kHurryTick : kTick);
}

} // namespace encsync::sync
