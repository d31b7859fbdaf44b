// SPDX-License-Identifier: ISC
#include "sync/local_flows.hpp"

#include "sync/merge.hpp"

#include <algorithm>
#include <utility>

namespace encsync::sync {

using state::kNoSlot;
using state::Slot;

namespace {

constexpr std::size_t kLooksAtATime = 2000;
constexpr std::uint32_t kTimerSlack = 5; // seconds by which the table's clock and ours may differ

// If it is not in the event: at least what the table reports, and as far as we have seen it.
std::pair<std::uint8_t, std::uint8_t> progress_of(const state::Flow& reported,
                                                  const Record& known) {
    const bool behind = std::min(known.src_state, known.dst_state) <
                        std::min(reported.src_state, reported.dst_state);
    if (reported.progress_known || behind)
        return {reported.src_state, reported.dst_state};
    return {known.src_state, known.dst_state};
}

} // namespace

// ---- events --------------------------------------------------------------------------------

void LocalFlows::learn(Slot slot, const state::Flow& flow, Timer timer) {
    learn_extras(slot, flow, timer);
    if (ctx_.index.extras(slot).reply_zone)
        copies_.rules_changed(slot);
}

LocalFlows::Change LocalFlows::changed(const state::Flow& flow, Timer timer) {
    Slot slot = ctx_.index.find(flow.key);
    if (slot == kNoSlot) {
        slot = ownership_.add(flow, kHere);
        if (slot == kNoSlot)
            return {kNoSlot, false};
        ctx_.room--; // it comes before what peers send
        learn(slot, flow, timer);
        suppression_.delay(slot);
        outbound_.announce(slot, false);
        return {slot, true};
    }
    if (copies_.is_refused(slot))
        return {kNoSlot, false};
    FlowStore::Change change(ctx_.flows, slot);
    const Record& record = ctx_.record(slot);
    state::Progress& ours = change.progress();
    const auto [src_state, dst_state] = progress_of(flow, record);
    const std::uint32_t mark = flow.mark_known ? flow.mark : record.mark;
    const auto reply_zone = ctx_.index.extras(slot).reply_zone;
    bool full = learn_extras(slot, flow, timer) || record.mark != mark;
    // For rules of nosync and refuse:
    bool other = record.mark != mark || ctx_.index.extras(slot).reply_zone != reply_zone;
    // It had gone from the table, and what it expected with it.
    if ((record.is.absent || record.is.address_lost) && change.unexpect_all())
        full = true;
    bool changed = full || record.src_state != src_state || record.dst_state != dst_state;
    const bool was_closed = record.is.delayed && is_closed(flow.key.proto, record);
    ours.src_state = src_state;
    ours.dst_state = dst_state;
    ours.mark = mark;
    if (was_closed && !is_closed(flow.key.proto, record))
        suppression_.delay(slot); // it lives again, and its delay starts over
    const bool established = (~record.flags & flow.flags & state::kAssured) != 0;
    const std::uint8_t status = flow.flags & (state::kSeenReply | state::kAssured);
    if (const auto news = static_cast<std::uint8_t>(status & ~record.flags); news != 0) {
        ours.flags = static_cast<std::uint8_t>(ours.flags | news);
        // A short update carries no flags, only the progress that they follow from.
        const std::uint8_t follow = progress_flags(flow.key.proto, src_state, dst_state);
        full = full || !changed || (news & ~follow) != 0;
        changed = true;
    }
    if (ctx_.index.reply(slot) != flow.reply) {
        change.set_reply(flow.reply);
        full = changed = other = true;
    }
    LocalState& local = ctx_.flows.local(slot);
    ctx_.flows.set_expires(
        slot,
        ctx_.seconds + (flow.timeout_known ? flow.timeout : copies_.lifetime(ctx_.flow(slot))));
    copies_.mark_present(slot);
    local.liberal = is_liberal(flow);
    if (other)
        copies_.rules_changed(slot);
    // A change of owner that is not sent to the owner would make two owners.
    const std::uint8_t owner = record.owner;
    if (peers_.is_peer(owner) && has(record.suppressed, owner) && peers_.owner_alive(owner))
        return {kNoSlot, false};
    if (owner != kHere) {
        ours.term = next_term(ours.term);
        ownership_.set_owner(slot, kHere);
        full = changed = true;
    }
    if (full || established)
        outbound_.announce(slot, full);
    else if (changed)
        outbound_.announce_change(slot);
    return {slot, false};
}

// It lives on here, but is no longer for others. One that a peer owns is the peer's to withdraw.
void LocalFlows::withdrawn(const state::Flow& flow) {
    const Slot slot = ctx_.index.find(flow.key);
    if (slot != kNoSlot && ctx_.record(slot).owner == kHere)
        end(slot);
}

void LocalFlows::end(Slot slot) {
    outbound_.retract(slot);
    lifecycle_.erase(slot);
}

void LocalFlows::destroyed(const state::Flow& flow) {
    lifecycle_.remember_ended(flow.key);
    const Slot slot = ctx_.index.find(flow.key);
    if (slot == kNoSlot || ctx_.record(slot).refused())
        return;
    const std::uint8_t owner = ctx_.record(slot).owner;
    if (owner == kHere) {
        if (!address_loss_.keep(slot))
            end(slot);
    } else if (peers_.owner_alive(owner)) {
        missing_.mark(slot, Missing::vanished);
        if (ctx_.options.role != Role::standby && !ctx_.table.address_left(ctx_.flow(slot)))
            ctx_.flows.local(slot).is.ended = true;
    } else {
        lifecycle_.erase(slot); // without an owner, and timed out: nothing to send
    }
}

// True: any of it is new. A packet that moves a flow sets its timer, so the event carries
// the lifetime; in a dump some of it is used up, and a timer that we have set shows nothing.
bool LocalFlows::learn_extras(Slot slot, const state::Flow& flow, Timer timer) {
    const state::Extras& known = ctx_.index.extras(slot);
    state::Extras now = flow.extras;
    if (!flow.labels_known)
        now.labels = known.labels;
    if (!flow.seq_adjust_known)
        now.seq_adjust = known.seq_adjust;
    if (!flow.progress_known) // they come together
        now.verification_tags = known.verification_tags;
    now.lifetime = known.lifetime;
    const std::uint32_t natural = ctx_.table.natural_timeout(flow);
    if (!flow.timeout_known)
        timer = Timer::ours;
    if (timer != Timer::ours && flow.timeout > natural + kTimerSlack) {
        if (timer == Timer::full || flow.timeout > known.lifetime)
            now.lifetime = flow.timeout;
    } else if (timer == Timer::full && flow.timeout + kTimerSlack >= natural) {
        // Less than the natural timeout means nothing: TCP shortens it while data waits for its
        // acknowledgement.
        now.lifetime = 0;
    }
    if (now == known)
        return false;
    FlowStore::Change change(ctx_.flows, slot);
    change.set_extras(now);
    return true;
}

// ---- dumps ---------------------------------------------------------------------------------

void LocalFlows::dump_begin() {
    while (const auto slot = unnamed_.take(ctx_.now, ctx_.index))
        copies_.mark_named(*slot); // its event will follow
    ctx_.dumping = true;
    copies_.begin_dump();
}

Slot LocalFlows::dump_entry(const state::Flow& flow, bool untouched) {
    if (lifecycle_.ended_lately(flow.key))
        return kNoSlot;
    const Timer timer = untouched ? Timer::ours : Timer::partly_used;
    Slot slot = ctx_.index.find(flow.key);
    if (slot == kNoSlot) {
        // Traffic does not pass through a standby, and all of it through an active node.
        const bool live = ctx_.options.role == Role::active ||
                          (ctx_.options.role == Role::automatic && !untouched);
        slot = ownership_.add(flow, live ? kHere : kUnclaimed);
        if (slot == kNoSlot || !live)
            return kNoSlot;
        learn(slot, flow, timer);
        outbound_.announce(slot, false);
        return slot;
    }
    const Record& record = ctx_.record(slot);
    const bool ours = record.owner == kHere;
    if (ours || (ctx_.options.role != Role::standby && !peers_.owner_alive(record.owner) &&
                 copies_.has_traffic(record, flow, untouched))) {
        ctx_.counters.adopted += !ours;
        const Slot live = changed(flow, timer).slot;
        // One of ours looks untouched as well while a longer timeout of its own runs out.
        if (untouched && !ours)
            ctx_.flows.local(slot).is.copy_timer = true;
        return live;
    }
    if (!record.refused()) {
        copies_.mark_present(slot);
        ctx_.flows.local(slot).liberal = is_liberal(flow);
    }
    return kNoSlot;
}

void LocalFlows::dump_end() {
    for (const Slot slot : ctx_.index.slots()) {
        const Record& record = ctx_.record(slot);
        if (copies_.is_named(record) || record.refused() || record.is.unconfirmed ||
            record.is.address_lost)
            continue;
        if (record.owner == kHere) {
            if (record.is.absent)
                copies_.mark_named(slot); // it has been taken over, and is not there yet
            else
                unnamed_.add(ctx_.now, ctx_.index, slot);
        } else if (peers_.owner_alive(record.owner)) {
            copies_.mark_named(slot);
            if (!record.is.absent)
                missing_.mark(slot, Missing::vanished);
        } else {
            lifecycle_.erase(slot);
        }
    }
    ctx_.dumping = false;
    lifecycle_.forget_ended();
    if (!ctx_.table_known)
        liberal_.relax_all();
    ctx_.table_known = true;
    if (ctx_.flows.copies(kUnclaimed) != 0)
        ownership_.settle_unclaimed_later();
    else
        ownership_.settle_unclaimed();
    if (!orphans_.watching())
        orphans_.watch();
}

bool LocalFlows::look_at_unnamed() {
    if (unnamed_.next() > ctx_.now)
        return false; // as nearly always: a queue allocates even while it is empty
    TimerQueue looked_at;
    while (looked_at.size() < kLooksAtATime) {
        const auto slot = unnamed_.take(ctx_.now, ctx_.index);
        if (!slot)
            break;
        const Record& record = ctx_.record(*slot);
        if (copies_.is_named(record) || record.owner != kHere)
            continue;
        ctx_.table.look(ctx_.flow(*slot));
        looked_at.add(ctx_.now, ctx_.index, *slot);
    }
    if (looked_at.empty())
        return false;
    ctx_.table.flush(); // and so the answers are in
    while (const auto slot = looked_at.take(ctx_.now, ctx_.index))
        if (!copies_.is_named(ctx_.record(*slot)) && !address_loss_.keep(*slot))
            end(*slot);
    return !unnamed_.empty();
}

} // namespace encsync::sync
