// SPDX-License-Identifier: ISC
// What the table tells, what peers are to hear of it, and what keeps copies alive.
#include "sync/engine.hpp"

#include "sync/marks.hpp"
#include "sync/merge.hpp"

#include <algorithm>
#include <cstdlib>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Record;
using state::Slot;

namespace {

// A copy is re-armed when this much of its extra life is left, so about every 300 s.
constexpr std::uint32_t kRearmBelow = table::kCopyExtra / 2;
constexpr Instant kRefreshTick = 100ms, kRefreshHurry = 20ms;
constexpr std::size_t kRefreshTicks = 600; // the whole index once a minute
// Removals kept for a peer that is out of reach. Beyond, a bulk update is cheaper.
constexpr std::size_t kMaxRemovals = 500'000;
constexpr std::size_t kMaxGone = 500'000;
// The table is read again this long after a node has vanished, then ever less often.
constexpr Instant kFirstOrphans = 5s, kMaxOrphans = 10min;
constexpr std::size_t kLooksAtATime = 2000;
constexpr std::int32_t kVerdict = 5;    // seconds in which a table says that it refused
constexpr std::int32_t kTimerSlack = 5; // seconds by which the table's clock and ours may differ

// One that is not told is at least what the table says, and as far as we have seen it come.
std::pair<std::uint8_t, std::uint8_t> progress_of(const state::Flow& told, const Record& known) {
    const bool behind =
        std::min(known.src_state, known.dst_state) < std::min(told.src_state, told.dst_state);
    if (told.progress_known || behind)
        return {told.src_state, told.dst_state};
    return {known.src_state, known.dst_state};
}

} // namespace

// ---- telling the peers ---------------------------------------------------------------------

void Engine::enqueue(Session& s, PeerId peer, Slot slot, bool full) {
    if (has(index_.record(slot).withheld, peer))
        return;
    state::Marks& marks = flows_.marks(slot);
    if (full)
        set(marks.full, peer);
    if (has(marks.queued, peer) && !has(marks.waiting, peer))
        return;
    s.counters.collapsed += has(marks.waiting, peer);
    clear(marks.waiting, peer);
    set(marks.queued, peer);
    s.queue.push_back(slot);
    // Flows that have gone leave their slots behind; while a peer is out of reach nobody else
    // would sweep them up.
    if (s.queue.size() > 2 * index_.size() + 1024) {
        std::erase_if(s.queue, [&](Slot old) {
            if (!index_.used(old) || !has(index_.record(old).queued, peer))
                return true;
            clear(flows_.marks(old).queued, peer);
            return false;
        });
        for (const Slot kept : s.queue)
            set(flows_.marks(kept).queued, peer);
    }
}

void Engine::announce(Slot slot, bool full) {
    for (PeerId peer = 0; peer < peer_count(); peer++)
        if (sessions_[peer]->listens())
            enqueue(*sessions_[peer], peer, slot, full);
}

void Engine::retract(Slot slot) {
    for (PeerId peer = 0; peer < peer_count(); peer++)
        if (has(index_.record(slot).known, peer))
            retract_from(peer, slot);
}

void Engine::retract_from(PeerId peer, Slot slot) {
    Session& s = *sessions_[peer];
    if (!s.listens())
        return;
    const Record& record = index_.record(slot);
    if ((record.flags & state::kNoSync) != 0) // said by a pf peer, and never repeated
        return;
    s.removals.push_back({record.id, record.term});
    if (s.removals.size() <= kMaxRemovals)
        return;
    if (s.plain())
        s.removals.pop_front(); // its own timer must do
    else
        begin_anew(peer); // which makes the peer ask for everything
}

// ---- changes -------------------------------------------------------------------------------

void Engine::mark_present(Slot slot) {
    flows_.set_missing(slot, Missing::no);
    state::Marks& marks = flows_.marks(slot);
    marks.is = {.given = marks.is.given, .young = marks.is.young};
    mark_named(slot);
}

// As what the running dump names, or the last one.
void Engine::mark_named(Slot slot) {
    flows_.marks(slot).is.dump_mark = dump_mark_;
}

// True: it was not known.
bool Engine::local_change(const state::Flow& flow, Timer timer) {
    Slot slot = index_.find(flow.key);
    if (slot == kNoSlot) {
        slot = adopt_new(flow, kHere);
        if (slot == kNoSlot)
            return false;
        learn_extras(slot, flow, timer);
        keep_back(slot);
        meet_expectations(slot);
        announce(slot, false);
        return true;
    }
    if (is_refused(slot))
        return false;
    FlowStore::Edit edit(flows_, slot);
    const Record& record = index_.record(slot);
    state::Progress& ours = edit.progress();
    const auto [src_state, dst_state] = progress_of(flow, record);
    const std::uint32_t mark = flow.mark_known ? flow.mark : record.mark;
    bool other = record.mark != mark; // for rules of nosync
    bool full = learn_extras(slot, flow, timer) || other;
    // It had gone from the table, and what it expected with it.
    if ((record.is.absent || record.is.stranded) && edit.unexpect_all())
        full = true;
    bool changed = full || record.src_state != src_state || record.dst_state != dst_state;
    const bool over = record.is.young && is_over(slot);
    ours.src_state = src_state;
    ours.dst_state = dst_state;
    ours.mark = mark;
    if (over && !is_over(slot))
        keep_back(slot); // it lives again, and its time begins anew
    const bool established = (~record.flags & flow.flags & state::kAssured) != 0;
    const std::uint8_t status = flow.flags & (state::kSeenReply | state::kAssured);
    if (const auto news = static_cast<std::uint8_t>(status & ~record.flags); news != 0) {
        ours.flags = static_cast<std::uint8_t>(ours.flags | news);
        // A short update carries no flags, only the progress that they follow from.
        const std::uint8_t follow = progress_flags(flow.key.proto, src_state, dst_state);
        full = full || !changed || (news & ~follow) != 0;
        changed = true;
    }
    if (index_.reply(slot) != flow.reply) {
        edit.set_reply(flow.reply);
        full = changed = other = true;
    }
    state::Marks& marks = flows_.marks(slot);
    marks.expires =
        now_s_ + (flow.timeout_known ? flow.timeout : own_lifetime(index_.flow(slot, now_s_)));
    mark_present(slot);
    marks.liberal = is_liberal(flow);
    if (other)
        review(slot);
    // A change of hands of which the owner is not to hear would make two owners.
    const std::uint8_t owner = record.owner;
    if (owner < sessions_.size() && has(record.withheld, owner) && owner_alive(owner))
        return false;
    if (owner != kHere) {
        ours.term = next_term(ours.term);
        set_owner(slot, kHere);
        full = changed = true;
    }
    meet_expectations(slot);
    if (full || established)
        announce(slot, full);
    else if (changed)
        announce_change(slot);
    return false;
}

void Engine::on_created(const state::Flow& flow) {
    counters_.events++;
    local_change(flow, Timer::full);
}

// Of a flow that is not known, and not new: one that was withheld by its mark, say. What has not
// changed an event does not tell.
void Engine::on_updated(const state::Flow& flow) {
    counters_.events++;
    if (local_change(flow, Timer::full) && !flow.labels_known && table_known_ && !dumping_)
        table_.look(flow);
}

// It lives on here, but is no longer for others. One that a peer owns is the peer's to withdraw.
void Engine::on_withdrawn(const state::Flow& flow) {
    counters_.events++;
    const Slot slot = index_.find(flow.key);
    if (slot == kNoSlot || index_.record(slot).owner != kHere)
        return;
    retract(slot);
    forget(slot);
}

void Engine::on_destroyed(const state::Flow& flow) {
    counters_.events++;
    remember_gone(flow.key);
    const Slot slot = index_.find(flow.key);
    if (slot == kNoSlot || index_.record(slot).refused != 0)
        return;
    const std::uint8_t owner = index_.record(slot).owner;
    if (owner == kHere) {
        if (strand(slot))
            return;
        retract(slot);
        forget(slot);
    } else if (owner_alive(owner)) {
        mark_absent(slot, Missing::vanished);
        if (options_.role != Role::standby && !table_.address_left(index_.flow(slot, now_s_)))
            flows_.marks(slot).is.ended = true;
    } else {
        forget(slot); // nobody's any more, and its time has run out: no news for others
    }
}

// ---- dumps ---------------------------------------------------------------------------------

void Engine::on_dump_begin() {
    while (const auto slot = unnamed_.take(now_, index_))
        mark_named(*slot); // this one will tell
    dumping_ = true;
    dump_mark_ = !dump_mark_;
}

bool Engine::is_named(const Record& record) const {
    return record.is.dump_mark == dump_mark_;
}

// Has traffic used this copy? Packets set its timer to the natural one, so it is neither what a
// copy has nor what it was when we set it last. One without a timer was used a moment ago: its
// packets take the way through a flowtable.
bool Engine::touched(const Record& record, const state::Flow& flow, bool untouched) const {
    const auto expected = static_cast<std::int32_t>(record.expires - now_s_);
    return !flow.timeout_known || (!untouched && std::abs(static_cast<std::int32_t>(flow.timeout) -
                                                          expected) > kTimerSlack);
}

void Engine::on_dump_entry(const state::Flow& flow, bool untouched) {
    if (gone_lately_.contains(flow.key))
        return;
    Slot slot = index_.find(flow.key);
    if (slot == kNoSlot) {
        // Traffic does not pass through a standby, and all of it through an active node.
        const bool live =
            options_.role == Role::active || (options_.role == Role::automatic && !untouched);
        slot = adopt_new(flow, live ? kHere : kUnclaimed);
        if (slot == kNoSlot || !live)
            return;
        if (untouched)
            flows_.marks(slot).is.lent = true;
        learn_extras(slot, flow, untouched ? Timer::ours : Timer::partly_used);
        meet_expectations(slot);
        announce(slot, false);
        return;
    }
    const Record& record = index_.record(slot);
    const bool ours = record.owner == kHere;
    if (ours || (options_.role != Role::standby && !owner_alive(record.owner) &&
                 touched(record, flow, untouched))) {
        counters_.adopted += !ours;
        local_change(flow, untouched ? Timer::ours : Timer::partly_used);
        if (untouched)
            flows_.marks(slot).is.lent = true;
        return;
    }
    if (record.refused != 0)
        return;
    mark_present(slot);
    flows_.marks(slot).liberal = is_liberal(flow);
}

void Engine::on_dump_end() {
    for (const Slot slot : index_.slots()) {
        const Record& record = index_.record(slot);
        if (is_named(record) || record.refused != 0 || record.is.unconfirmed || record.is.stranded)
            continue;
        if (record.owner == kHere) {
            if (record.is.absent)
                mark_named(slot); // it has been taken over, and is not there yet
            else
                unnamed_.add(now_, index_, slot);
        } else if (owner_alive(record.owner)) {
            mark_named(slot);
            if (!record.is.absent)
                mark_absent(slot, Missing::vanished);
        } else {
            forget(slot);
        }
    }
    dumping_ = false;
    forget_gone();
    if (!table_known_)
        relax_all();
    table_known_ = true;
    if (flows_.copies(kUnclaimed) != 0)
        settle_unclaimed_later();
    else
        settle_unclaimed();
    if (orphans_due_ == Instant::max())
        watch_orphans();
}

// A dump may miss an entry (while the kernel's hash table grows, for one), and the end of a flow of
// ours is its end everywhere. So what a dump did not name is looked at once more. True: there is
// more.
bool Engine::look_at_unnamed() {
    TimerQueue looked_at;
    while (looked_at.size() < kLooksAtATime) {
        const auto slot = unnamed_.take(now_, index_);
        if (!slot)
            break;
        if (is_named(index_.record(*slot)) || index_.record(*slot).owner != kHere)
            continue;
        table_.look(index_.flow(*slot, now_s_));
        looked_at.add(now_, index_, *slot);
    }
    if (looked_at.empty())
        return false;
    table_.flush(); // and so the answers are in
    while (const auto slot = looked_at.take(now_, index_)) {
        if (is_named(index_.record(*slot)) || strand(*slot))
            continue;
        retract(*slot);
        forget(*slot);
    }
    return !unnamed_.empty();
}

// A bulk update that we have asked for, or are going to, may name what has ended since.
bool Engine::joining() const {
    if (!options_.table_kept && !ever_in_step_ && !served_alone_)
        return true;
    return std::any_of(sessions_.begin(), sessions_.end(), [](const auto& s) {
        return s->extended && s->bulk_requested && !s->in_step;
    });
}

void Engine::remember_gone(const state::Key& key) {
    if (!dumping_ && !joining())
        return;
    if (gone_lately_.size() >= kMaxGone) // the peer left in the middle: what it says is old anyway
        gone_lately_.clear();
    gone_lately_.insert(key);
}

void Engine::forget_gone() {
    if (!dumping_ && !joining())
        gone_lately_.clear();
}

// Where roles do not say it, only the timers of copies tell whether traffic has moved here from a
// node that vanished: established flows raise no event.
void Engine::watch_orphans() {
    orphans_pause_ = kFirstOrphans;
    orphans_due_ = orphans() ? now_ + orphans_pause_ : Instant::max();
}

bool Engine::orphans() const {
    if (flows_.copies(kUnclaimed) != 0 || flows_.copies(kGone) != 0)
        return true;
    for (PeerId peer = 0; peer < peer_count(); peer++)
        if (flows_.copies(peer) != 0 && !owner_alive(peer))
            return true;
    return false;
}

void Engine::look_for_orphans() {
    if (!orphans()) {
        orphans_due_ = Instant::max();
        return;
    }
    if (options_.role == Role::automatic)
        table_.request_dump();
    orphans_pause_ = std::min<Instant>(orphans_pause_ * 2, kMaxOrphans);
    orphans_due_ = now_ + orphans_pause_;
}

// ---- copies --------------------------------------------------------------------------------

void Engine::on_refused(const state::Key& key, table::Refusal refusal) {
    counters_.table_refused[static_cast<std::size_t>(refusal)]++;
    const Slot slot = index_.find(key);
    if (slot == kNoSlot)
        return;
    const Record& record = index_.record(slot);
    if (record.owner != kHere) {
        mark_absent(slot, refusal == table::Refusal::table_full ? Missing::no_room
                          : refusal == table::Refusal::clash    ? Missing::clash
                                                                : Missing::refused);
    } else if (record.is.absent) { // taken over, and nowhere to put it
        retract(slot);
        forget(slot);
    }
}

void Engine::put_copy(Slot slot) {
    const Record& record = index_.record(slot);
    if (record.refused != 0)
        return hold_back(slot);
    state::Marks& marks = flows_.marks(slot);
    const state::Flow flow = index_.flow(slot, now_s_);
    if (record.owner == kHere) {
        state::Flow now = flow;
        if (!record.is.absent) { // the table follows them itself
            now.extras.seq_adjust = {};
            now.extras.verification_tags = {};
        }
        table_.put(now, table::Lifetime::natural);
        marks.liberal = true;
        marks.is.lent = false;
        return;
    }
    const bool anew = record.is.absent;
    table_.put(flow, table::Lifetime::copy);
    marks.liberal = true;
    flows_.set_missing(slot, Missing::no); // or it will be refused once more
    if (anew) {
        mark_named(slot); // a dump that runs may have passed its place
        put_expectations(slot);
    }
    marks.expires = now_s_ + table_.natural_timeout(flow) + table::kCopyExtra;
    marks.is.absent = marks.is.ended = false;
}

// One flow's turn: what was taken over lives as its traffic wills from now on; a copy whose owner
// lives is re-armed before it runs out, and made again if it is missing from the table.
void Engine::refresh(Slot slot) {
    if (judging_ && !judge_again(slot))
        return;
    const Record& record = index_.record(slot);
    state::Marks& marks = flows_.marks(slot);
    const auto left = static_cast<std::int32_t>(record.expires - now_s_);
    if (record.owner == kHere) {
        if (!marks.is.lent && !marks.is.absent)
            return;
        const state::Flow flow = index_.flow(slot, now_s_);
        const std::uint32_t natural = table_.natural_timeout(flow);
        if (marks.is.lent) {
            marks.expires = now_s_ + own_lifetime(flow);
            table_.refresh(flow, table::Lifetime::natural);
            counters_.refreshed++;
            marks.is.lent = false;
        } else if (left < static_cast<std::int32_t>(natural) - kVerdict) {
            marks.is.absent = false; // the table took it
            flows_.set_missing(slot, Missing::no);
        }
        return;
    }
    if (!owner_alive(record.owner)) {
        if (marks.is.absent && left < 0)
            forget(slot); // no table will tell that its time is over
        return;
    }
    if (record.refused != 0)
        return hold_back(slot);
    const state::Flow flow = index_.flow(slot, now_s_);
    const std::uint32_t natural = table_.natural_timeout(flow);
    if (!marks.is.absent)
        put_expectations(slot); // those that were lost
    // What was lengthened while its owner was away becomes known as a copy again.
    const bool armed = left > static_cast<std::int32_t>(natural + kRearmBelow) &&
                       left <= static_cast<std::int32_t>(natural + table::kCopyExtra) + kTimerSlack;
    if (marks.is.absent ? left > 0 : armed)
        return;
    table_.refresh(flow, table::Lifetime::copy);
    marks.liberal = true;
    flows_.set_missing(slot, Missing::no); // likewise
    if (marks.is.absent) {
        mark_named(slot);
        put_expectations(slot);
    }
    marks.expires = now_s_ + natural + table::kCopyExtra;
    marks.is.absent = marks.is.ended = false;
    counters_.refreshed++;
}

// A slice of the index at a time.
void Engine::refresh_round() {
    const std::size_t most =
        refresh_hurry_ ? 20'000 : std::max<std::size_t>(64, index_.size() / kRefreshTicks);
    if (index_.slice(refresh_cursor_, most, [this](Slot slot) { refresh(slot); }))
        refresh_hurry_ = judging_ = false;
    refresh_due_ = now_ + (refresh_hurry_ ? kRefreshHurry : kRefreshTick);
}

} // namespace encsync::sync
