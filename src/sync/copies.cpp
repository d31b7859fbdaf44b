// SPDX-License-Identifier: ISC
#include "sync/copies.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Slot;
using table::Ignored;

namespace {

// A copy is re-armed when this much of its extra life is left, so about every 300 s.
constexpr std::uint32_t kRearmBelow = table::kCopyExtra / 2;
constexpr Duration kTick = 100ms, kHurryTick = 20ms;
constexpr std::size_t kTicks = 600; // the whole index once a minute
constexpr std::size_t kLeastSlice = 64, kHurrySlice = 20'000;
constexpr std::uint32_t kRoomPause = 60; // seconds until one that found no room is tried again
constexpr std::int32_t kAnswer = 5;      // seconds within which a table reports a refusal
constexpr std::int32_t kTimerSlack = 5;  // seconds by which the table's clock and ours may differ

} // namespace

// ---- one flow ------------------------------------------------------------------------------

void Copies::mark_present(Slot slot) {
    ctx_.flows.set_missing(slot, Missing::no);
    LocalState& local = ctx_.flows.local(slot);
    local.is = {.handed_over = local.is.handed_over, .delayed = local.is.delayed};
    mark_named(slot);
}

void Copies::put(Slot slot) {
    const Record& record = ctx_.record(slot);
    if (record.refused())
        return keep_out(slot);
    LocalState& local = ctx_.flows.local(slot);
    const state::Flow flow = ctx_.flow(slot);
    local.liberal = true;
    if (record.owner == kHere) {
        if (record.is.absent && !take_room(slot))
            return;
        state::Flow now = flow;
        if (!record.is.absent) { // the table follows them itself
            now.extras.seq_adjust = {};
            now.extras.verification_tags = {};
        }
        ctx_.table.put(now, table::Lifetime::natural);
        local.is.copy_timer = false;
        return;
    }
    const bool anew = record.is.absent;
    if (anew && !take_room(slot))
        return;
    ctx_.table.put(flow, table::Lifetime::copy);
    ctx_.flows.set_missing(slot, Missing::no); // or it will be refused once more
    if (anew) {
        mark_named(slot); // a dump that runs may have passed its place
        put_expectations_anew(slot);
    }
    ctx_.flows.set_expires(slot,
                           ctx_.seconds + ctx_.table.natural_timeout(flow) + table::kCopyExtra);
    local.is.absent = local.is.ended = false;
}

// For an entry that is to be made. Without room, a round asks again; a flow that began here, and is
// live here, needs none.
bool Copies::take_room(Slot slot) {
    const Record& record = ctx_.record(slot);
    const bool over_share = peers_.is_peer(record.owner) && peers_[record.owner].over_share;
    if ((ctx_.room > 0 && !over_share) || (record.owner == kHere && record.origin == 0)) {
        ctx_.room--;
        return true;
    }
    wait_for_room(slot);
    return false;
}

void Copies::wait_for_room(Slot slot) {
    ctx_.flows.local(slot).is.absent = true;
    ctx_.flows.set_missing(slot, Missing::no_room);
    ctx_.flows.set_expires(slot, ctx_.seconds + kRoomPause);
}

// Of its flows, those that are to be in the table and not known to be missing.
std::size_t Copies::held(PeerId peer) const {
    return ctx_.flows.copies(peer) - ctx_.flows.refused(peer) -
           ctx_.flows.missing(peer, Missing::no_room);
}

PeerId Copies::largest() const {
    const auto all = peers_.all();
    const auto most =
        std::ranges::max_element(all, {}, [this](const Peer& peer) { return held(peer.id); });
    return most == all.end() ? kNoPeer : (*most).id;
}

// A peer that has less than an even part of the room may have that, at the cost of the one that has
// most. So none can keep the others out, and as long as there is room, each may have all of it.
void Copies::share_out() {
    std::size_t total = 0, present = 0;
    for (const Peer& peer : peers_.all()) {
        total += held(peer.id);
        present += peer.present ? 1 : 0;
    }
    const bool limited = ctx_.room != std::numeric_limits<std::int64_t>::max();
    if (ctx_.room > 0 && limited)
        total += static_cast<std::size_t>(ctx_.room);
    const std::size_t even = total / std::max<std::size_t>(present, 1);
    std::size_t lacking = 0;
    for (Peer& peer : peers_.all()) {
        const std::size_t percent = peer.options.rules.max_share;
        peer.verdict.set_share(limited && percent < 100 ? total * percent / 100 : SIZE_MAX);
        const std::size_t waiting = ctx_.flows.missing(peer.id, Missing::no_room);
        if (limited && held(peer.id) < even)
            lacking += std::min(waiting, even - held(peer.id));
    }
    for (Peer& peer : peers_.all())
        peer.over_share = lacking != 0 && held(peer.id) > even;
    const PeerId most = largest();
    if (lacking == 0 || most == kNoPeer || !peers_[most].over_share)
        return;
    const std::size_t free = static_cast<std::size_t>(std::max<std::int64_t>(ctx_.room, 0));
    if (const std::size_t wanted = std::min(lacking, held(most) - even); wanted > free)
        make_room(wanted - free);
    for (const Slot slot : ctx_.index.slots()) { // those that wait need not do so any longer
        const Record& record = ctx_.record(slot);
        if (record.missing == Missing::no_room && peers_.is_peer(record.owner) &&
            !peers_[record.owner].over_share)
            ctx_.flows.set_expires(slot, ctx_.seconds);
    }
    hurry();
}

void Copies::make_room(std::size_t count) {
    const PeerId most = largest();
    if (most == kNoPeer)
        return;
    for (const Slot slot : ctx_.index.slots()) {
        const Record& record = ctx_.record(slot);
        if (count == 0)
            break;
        if (record.owner != most || record.is.absent)
            continue;
        ctx_.table.remove(ctx_.flow(slot));
        wait_for_room(slot);
        ctx_.counters.made_room++;
        ctx_.room++;
        count--;
    }
}

// Packets set an entry's timer to the natural one, so it is neither what a copy has nor what it was
// when we set it last. One without a timer was used a moment ago: its packets take the way through
// a flowtable.
bool Copies::has_traffic(const Record& record, const state::Flow& flow, bool untouched) const {
    const auto expected = static_cast<std::int32_t>(record.expires - ctx_.seconds);
    return !flow.timeout_known || (!untouched && std::abs(static_cast<std::int32_t>(flow.timeout) -
                                                          expected) > kTimerSlack);
}

std::uint32_t Copies::lifetime(const state::Flow& flow) const {
    return std::max(ctx_.table.natural_timeout(flow), flow.extras.lifetime);
}

std::int32_t Copies::since_moved(Slot slot) const {
    const Record& record = ctx_.record(slot);
    if (record.is.copy_timer)
        return INT32_MAX;
    const auto left = static_cast<std::int32_t>(record.expires - ctx_.seconds);
    return static_cast<std::int32_t>(ctx_.table.natural_timeout(ctx_.flow(slot))) - left;
}

// ---- what it expects -----------------------------------------------------------------------

void Copies::put_expectations_anew(Slot slot) {
    FlowStore::Change(ctx_.flows, slot).forget_used_expectations();
    put_expectations(slot);
}

void Copies::put_expectations(Slot slot) {
    const ExpectationBook& book = ctx_.flows.expectations();
    if (book.of(slot).empty() || ctx_.record(slot).refused())
        return;
    FlowStore::Change change(ctx_.flows, slot);
    change.expire_expectations(ctx_.seconds);
    const state::Name helper = ctx_.index.extras(slot).helper;
    for (const ExpectationBook::Entry& entry : book.of(slot)) {
        state::Expectation left = entry.expectation;
        left.timeout = entry.expires - ctx_.seconds;
        if (!entry.used && static_cast<std::int32_t>(left.timeout) > 0)
            ctx_.table.expect(left, helper);
    }
}

void Copies::remove_expectations(Slot slot, const std::vector<state::Expectation>& gone) {
    if (ctx_.record(slot).refused())
        return; // never put there
    for (const state::Expectation& expectation : gone)
        ctx_.table.unexpect(expectation);
}

// ---- what is not taken ---------------------------------------------------------------------

std::optional<Ignored> Copies::refuses(std::uint8_t owner, const state::Flow& flow) const {
    if (owner == kHere)
        return std::nullopt;
    const auto in_the_table = ctx_.table.refuses(flow);
    return peers_.is_peer(owner) ? peers_[owner].verdict.state(flow, in_the_table) : in_the_table;
}

void Copies::count_refused(PeerId peer, Ignored why) {
    peers_[peer].verdict.refuse(policy::reason_of(why));
}

void Copies::judge(Slot slot, bool copy) {
    const Record& record = ctx_.record(slot);
    const std::uint8_t owner = record.owner;
    if (owner == kHere && !record.refused())
        return;
    const auto why = refuses(owner, ctx_.flow(slot));
    const auto before = record.refused();
    if (why == before)
        return;
    ctx_.flows.set_refused(slot, why);
    if (why && peers_.is_peer(owner))
        count_refused(owner, *why);
    if (why && !before) {
        if (copy && !record.is.absent)
            ctx_.table.remove(ctx_.flow(slot));
        keep_out(slot);
    } else if (!why && owner != kHere) {
        put(slot);
    }
}

void Copies::rules_changed(Slot slot) {
    judge(slot, ctx_.record(slot).owner != kHere);
    suppression_.update(slot);
}

bool Copies::is_refused(Slot slot) const {
    const Record& record = ctx_.record(slot);
    return record.refused() && peers_.owner_alive(record.owner);
}

// It lives as long as it would in the table.
void Copies::keep_out(Slot slot) {
    ctx_.flows.set_missing(slot, Missing::no); // it is not to be there
    LocalState& local = ctx_.flows.local(slot);
    local.is.absent = true;
    ctx_.flows.set_expires(slot, ctx_.seconds + ctx_.table.natural_timeout(ctx_.flow(slot)) +
                                     table::kCopyExtra);
}

void Copies::judge_all() {
    judging_ = true;
    hurry();
}

// What was taken over may be the firewall's own by now. False: it is gone.
bool Copies::judge_again(Slot slot) {
    if (ctx_.record(slot).owner != kHere) {
        rules_changed(slot);
    } else if (ctx_.table.refuses(ctx_.flow(slot))) {
        outbound_.retract(slot);
        lifecycle_.erase_from_table(slot);
        return false;
    }
    return true;
}

// ---- rounds --------------------------------------------------------------------------------

void Copies::hurry() {
    hurry_ = true;
    cursor_ = kNoSlot;
    due_ = ctx_.now;
}

// One flow's turn: what was taken over lives as its traffic wills from now on; a copy whose owner
// lives is re-armed before it runs out, and made again if it is missing from the table.
void Copies::refresh(Slot slot) {
    if (judging_ && !judge_again(slot))
        return;
    const Record& record = ctx_.record(slot);
    LocalState& local = ctx_.flows.local(slot);
    const auto left = static_cast<std::int32_t>(record.expires - ctx_.seconds);
    if (record.owner == kHere) {
        if (!local.is.copy_timer && !local.is.absent)
            return;
        const state::Flow flow = ctx_.flow(slot);
        const std::uint32_t natural = ctx_.table.natural_timeout(flow);
        if (local.is.copy_timer) {
            if (local.is.absent && !take_room(slot))
                return;
            ctx_.flows.set_expires(slot, ctx_.seconds + lifetime(flow));
            ctx_.table.refresh(flow, table::Lifetime::natural);
            ctx_.counters.refreshed++;
            local.is.copy_timer = false;
        } else if (left < static_cast<std::int32_t>(natural) - kAnswer) {
            local.is.absent = false; // the table took it
            ctx_.flows.set_missing(slot, Missing::no);
        }
        return;
    }
    if (!peers_.owner_alive(record.owner)) {
        if (local.is.absent && left < 0)
            lifecycle_.erase(slot); // there will be no event when it times out
        return;
    }
    if (record.refused())
        return keep_out(slot);
    const state::Flow flow = ctx_.flow(slot);
    const std::uint32_t natural = ctx_.table.natural_timeout(flow);
    if (!local.is.absent)
        put_expectations(slot); // those that were lost
    // What was lengthened while its owner was away becomes known as a copy again.
    const bool armed = left > static_cast<std::int32_t>(natural + kRearmBelow) &&
                       left <= static_cast<std::int32_t>(natural + table::kCopyExtra) + kTimerSlack;
    if (local.is.absent ? left > 0 || !take_room(slot) : armed)
        return;
    ctx_.table.refresh(flow, table::Lifetime::copy);
    local.liberal = true;
    ctx_.flows.set_missing(slot, Missing::no); // likewise
    if (local.is.absent) {
        mark_named(slot);
        put_expectations_anew(slot);
    }
    ctx_.flows.set_expires(slot, ctx_.seconds + natural + table::kCopyExtra);
    local.is.absent = local.is.ended = false;
    ctx_.counters.refreshed++;
}

void Copies::advance() {
    if (ctx_.now < due_)
        return;
    const std::size_t most =
        hurry_ ? kHurrySlice : std::max(kLeastSlice, ctx_.index.size() / kTicks);
    if (ctx_.index.slice(cursor_, most, [this](Slot slot) { refresh(slot); }))
        hurry_ = judging_ = false;
    due_ = ctx_.now + (hurry_ ? kHurryTick : kTick);
}

void Copies::lengthen(PeerId vanished) {
    for (const Slot slot : ctx_.index.with_extras()) {
        const Record& record = ctx_.record(slot);
        if (record.owner != vanished || record.is.absent)
            continue;
        const state::Flow flow = ctx_.flow(slot);
        if (flow.extras.lifetime <= flow.timeout)
            continue;
        ctx_.table.refresh(flow, table::Lifetime::natural);
        ctx_.flows.set_expires(slot, ctx_.seconds + flow.extras.lifetime);
    }
}

} // namespace encsync::sync
