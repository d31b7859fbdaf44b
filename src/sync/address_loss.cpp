// SPDX-License-Identifier: ISC
#include "sync/address_loss.hpp"

#include "sync/merge.hpp"

namespace encsync::sync {

using namespace std::chrono_literals;
using state::Slot;

namespace {

constexpr Duration kPatience = 5s; // keepalived's scripts are called in a fraction of that
constexpr int kAtATime = 20'000;   // flows a call

} // namespace

bool AddressLoss::keep(Slot slot) {
    if (is_closed(ctx_.index.key(slot).proto, ctx_.record(slot)) ||
        !ctx_.table.address_left(ctx_.flow(slot)))
        return false;
    LocalState& local = ctx_.flows.local(slot);
    local.is = {.delayed = local.is.delayed, .address_lost = true, .dump_mark = local.is.dump_mark};
    waiting_.add(ctx_.now + kPatience, ctx_.index, slot);
    ctx_.counters.address_lost++;
    return true;
}

void AddressLoss::settle(Slot slot) {
    LocalState& local = ctx_.flows.local(slot);
    const state::Flow flow = ctx_.flow(slot);
    if (!ctx_.table.address_left(flow)) {
        ctx_.flows.set_expires(slot, ctx_.seconds + copies_.lifetime(flow));
        local.is.address_lost = false;
        local.is.absent = true;
        ctx_.table.put(flow, table::Lifetime::natural);
        copies_.put_expectations_anew(slot);
        return;
    }
    const PeerId taker = peers_.sole_active_peer();
    if (taker != kNoPeer && has(local.known, taker)) {
        ownership_.give(slot, taker);
        outbound_.announce(slot, true); // which it learns by this
        return;
    }
    if (ctx_.options.role == Role::standby && flow.timeout != 0) {
        waiting_.add(ctx_.now + kPatience, ctx_.index, slot);
        return;
    }
    outbound_.retract(slot);
    lifecycle_.erase(slot);
}

void AddressLoss::advance() {
    for (int n = 0; n < kAtATime; n++) {
        const auto slot = waiting_.take(ctx_.now, ctx_.index);
        if (!slot)
            break;
        if (ctx_.record(*slot).is.address_lost)
            settle(*slot);
    }
}

} // namespace encsync::sync
