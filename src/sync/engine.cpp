// What the table tells, whose flow is whose, and what keeps copies alive.
#include "sync/engine.hpp"

#include "sync/marks.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Record;
using state::Slot;

namespace {

constexpr std::uint64_t kLifeMask = 0xfffff;
constexpr Instant kSilence = 4s; // four hellos missed
constexpr Instant kHelloInterval = 1s;
constexpr Instant kPlainAfter = 3s;  // heard, but never a hello: a pf peer
constexpr Instant kPlainRetry = 2s;  // as OpenBSD does
constexpr unsigned kPlainTries = 12; // then pretend, as OpenBSD does
constexpr Instant kBulkRetry = 5s;
// A copy is re-armed when this much of its extra life is left, so about every 300 s.
constexpr std::uint32_t kRearmBelow = table::kCopyExtra / 2;
constexpr Instant kRefreshTick = 100ms;
constexpr std::size_t kRefreshTicks = 600; // the whole index once a minute
// Removals kept for a peer that is out of reach. Beyond, a bulk update is cheaper.
constexpr std::size_t kMaxRemovals = 500'000;

} // namespace

const char* to_string(Role role) {
    switch (role) {
    case Role::active:
        return "active";
    case Role::standby:
        return "standby";
    case Role::automatic:
        break;
    }
    return "auto";
}

const char* to_string(Refused refused) {
    static constexpr const char* kNames[kRefused] = {
        "fault",         "unknown_action",  "short_message", "own_creatorid",
        "id_clash",      "table_limit",     "not_owner",     "no_sync",
        "unknown_state", "foreign_session", "bad_ack",       "bad_hello"};
    return kNames[static_cast<std::size_t>(refused)];
}

Engine::Engine(Options options, table::Table& table, link::Link& link)
    : options_(std::move(options)), table_(table), link_(link), index_(options_.index_seed) {
    for (const PeerOptions& peer : options_.peers) {
        sessions_.push_back(std::make_unique<Session>(peer));
        sessions_.back()->local = options_.session;
    }
    births_ = static_cast<std::uint32_t>(options_.session >> 32);
}

Engine::~Engine() = default;

// ---- time ----------------------------------------------------------------------------------

void Engine::advance(Instant now) {
    if (started_ < Instant::zero())
        started_ = now;
    now_ = now;
    now_s_ =
        static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count());
    for (PeerId peer = 0; peer < sessions_.size(); peer++)
        advance_session(peer);
    if (now_ >= refresh_due_)
        refresh_round();
    if (!joined_ && now_ - started_ >= options_.join_wait) {
        joined_ = true;
        served_alone_ = std::none_of(sessions_.begin(), sessions_.end(),
                                     [](const auto& s) { return s->reachable(); });
    }
}

void Engine::advance_session(PeerId peer) {
    Session& s = *sessions_[peer];
    if (!s.link_up)
        return;
    if (!s.silent && s.extended && now_ - s.last_heard >= kSilence)
        on_silent(peer);
    if (s.options.extended && now_ >= s.hello_due)
        s.hello_now = true;
    if (s.options.extended && s.heard_plain && s.remote == 0 && !s.assumed_plain &&
        now_ - s.up_since > kPlainAfter) {
        s.assumed_plain = true;
        request_bulk(peer);
    }
    if (now_ >= s.outstanding.deadline())
        s.outstanding.expire([&](const Item& item) { say_again(peer, item); });
    if (s.bulk_requested && !s.bulk_arriving && now_ >= s.bulk_retry) {
        if (!s.plain()) {
            s.bulk_request_now = true;
            s.bulk_retry = now_ + kBulkRetry;
        } else if (++s.bulk_tries < kPlainTries) {
            s.bulk_request_now = true;
            s.bulk_retry = now_ + kPlainRetry;
        } else {
            end_bulk(peer);
        }
    }
}

Instant Engine::deadline() const {
    Instant next = refresh_due_;
    if (!joined_)
        next = std::min(next, std::max(started_, Instant::zero()) + options_.join_wait);
    for (const auto& p : sessions_) {
        const Session& s = *p;
        if (!s.link_up)
            continue;
        if (s.options.extended)
            next = std::min(next, s.hello_due);
        if (s.extended && !s.silent)
            next = std::min(next, s.last_heard + kSilence);
        next = std::min({next, s.ack_due, s.outstanding.deadline()});
        if (s.bulk_requested && !s.bulk_arriving)
            next = std::min(next, s.bulk_retry);
        if (s.sending_bulk && !s.bulk_walked && s.bulk_pause > now_)
            next = std::min(next, s.bulk_pause);
    }
    return next;
}

// ---- whose flow ----------------------------------------------------------------------------

bool Engine::owner_alive(std::uint8_t owner) const {
    return owner == kHere || (owner < sessions_.size() && sessions_[owner]->reachable());
}

void Engine::set_owner(Slot slot, std::uint8_t owner) {
    state::SyncMarks& sync = index_.record(slot).sync;
    if (sync.owner == kHere)
        live_--;
    else
        copies_[sync.owner]--;
    sync.owner = owner;
    if (owner == kHere) {
        live_++;
        // Its former owner has told the others; from now on we do.
        sync.known = static_cast<std::uint16_t>((1u << sessions_.size()) - 1);
    } else {
        copies_[owner]++;
    }
    if (owner < sessions_.size())
        sync.epoch = sessions_[owner]->epoch;
}

Slot Engine::adopt_new(const state::Flow& flow, std::uint8_t owner) {
    state::Flow named = flow;
    if (named.id.creatorid == 0) {
        // The hash says which flow, the low bits which life of it: a tuple that is used again at
        // once must not be taken for what it was, whatever was lost on the way.
        const std::uint64_t hash = state::state_id(flow.key, options_.id_secret) & ~kLifeMask;
        named.id.creatorid = options_.creatorid;
        do
            named.id.id = hash | (++births_ & kLifeMask);
        while (index_.find(named.id) != kNoSlot);
    }
    const auto [slot, fresh] = index_.insert(named, now_s_ + flow.timeout, now_s_ - flow.age);
    if (!fresh)
        return kNoSlot;
    live_++; // as SyncMarks are born; set_owner moves the count
    state::SyncMarks& sync = index_.record(slot).sync;
    sync.bits = dump_mark_ ? kDumpMark : 0;
    if (owner != kHere)
        set_owner(slot, owner);
    return slot;
}

void Engine::forget(Slot slot) {
    const std::uint8_t owner = index_.record(slot).sync.owner;
    if (owner == kHere)
        live_--;
    else
        copies_[owner]--;
    index_.erase(slot);
}

void Engine::set_role(Role role) {
    options_.role = role;
    for (auto& s : sessions_)
        s->hello_now = s->link_up && s->options.extended;
    reconcile_roles();
}

// Where exactly one node is active, the flows of standby and vanished nodes are its own from now
// on: traffic goes there, and established flows raise no event that would say so.
void Engine::reconcile_roles() {
    std::uint8_t taker = kUnclaimed;
    if (options_.role == Role::active) {
        taker = kHere;
    } else {
        for (PeerId peer = 0; peer < sessions_.size(); peer++)
            if (sessions_[peer]->reachable() && sessions_[peer]->role == Role::active) {
                if (taker != kUnclaimed)
                    return; // two active nodes: only events can tell
                taker = peer;
            }
    }
    if (taker == kUnclaimed)
        return;
    const auto gives_way = [&](std::uint8_t owner) {
        if (owner == kHere)
            return options_.role == Role::standby;
        return !owner_alive(owner) || sessions_[owner]->role == Role::standby;
    };
    for (Slot slot = index_.next(kNoSlot); slot != kNoSlot; slot = index_.next(slot)) {
        Record& record = index_.record(slot);
        const std::uint8_t owner = record.sync.owner;
        if (owner == taker || !gives_way(owner))
            continue;
        if (taker == kHere) {
            set_owner(slot, kHere);
            counters_.adopted++;
        } else if (owner != kUnclaimed && has(record.sync.known, taker)) {
            set_owner(slot, taker);
            record.expires = now_s_; // so that it is re-armed as the copy it is now
            refresh_hurry_ = true;
            refresh_due_ = now_;
        }
    }
}

void Engine::on_silent(PeerId peer) {
    sessions_[peer]->silent = true;
    reconcile_roles();
}

// Copies found in the table at start that no peer has named in its bulk update: they ended while
// nobody listened here.
void Engine::drop_unclaimed() {
    if (copies_[kUnclaimed] == 0)
        return;
    for (const auto& s : sessions_)
        if (!s->reachable() || !s->in_step)
            return;
    for (Slot slot = index_.next(kNoSlot); slot != kNoSlot; slot = index_.next(slot))
        if (index_.record(slot).sync.owner == kUnclaimed) {
            table_.remove(index_.flow(slot, now_s_));
            forget(slot);
            counters_.dropped_unclaimed++;
        }
}

bool Engine::joining() const {
    return std::any_of(sessions_.begin(), sessions_.end(),
                       [](const auto& s) { return s->joining(); });
}

void Engine::forget_gone() {
    if (!dumping_ && !joining())
        gone_lately_.clear();
}

// ---- what the table tells ------------------------------------------------------------------

void Engine::enqueue(Session& s, PeerId peer, Slot slot, bool full) {
    Record& record = index_.record(slot);
    if ((record.flags & state::kNoSync) != 0)
        return;
    if (full)
        set(record.sync.full, peer);
    if (!has(record.sync.queued, peer)) {
        set(record.sync.queued, peer);
        s.queue.push_back(slot);
    }
}

// Peers that were never heard get everything in bulk; the others hear of it when they can.
void Engine::announce(Slot slot, bool full) {
    for (PeerId peer = 0; peer < sessions_.size(); peer++) {
        Session& s = *sessions_[peer];
        if (s.extended || (s.plain() && s.link_up))
            enqueue(s, peer, slot, full);
    }
}

void Engine::retract(Slot slot) {
    const Record& record = index_.record(slot);
    for (PeerId peer = 0; peer < sessions_.size(); peer++) {
        Session& s = *sessions_[peer];
        if (!has(record.sync.known, peer) || !(s.extended || (s.plain() && s.link_up)))
            continue;
        s.removals.push_back(record.id);
        if (s.removals.size() > kMaxRemovals) {
            // Begin anew: a new session number makes the peer ask for everything.
            s.local++;
            begin_session(peer);
            s.remote = 0;
            s.hello_now = s.link_up;
        }
    }
}

void Engine::local_change(const state::Flow& flow) {
    counters_.events++;
    if (!gone_lately_.empty())
        gone_lately_.erase(flow.key);
    Slot slot = index_.find(flow.key);
    if (slot == kNoSlot) {
        slot = adopt_new(flow, kHere);
        if (slot != kNoSlot)
            announce(slot, false);
        return;
    }
    Record& record = index_.record(slot);
    bool full = record.mark != flow.mark;
    bool changed = full || record.src_state != flow.src_state ||
                   record.dst_state != flow.dst_state || record.sync.owner != kHere;
    record.src_state = flow.src_state;
    record.dst_state = flow.dst_state;
    record.mark = flow.mark;
    if ((record.flags ^ flow.flags) & (state::kSeenReply | state::kAssured)) {
        record.flags = static_cast<std::uint8_t>(
            record.flags | (flow.flags & (state::kSeenReply | state::kAssured)));
        full = full || !changed;
        changed = true;
    }
    if (index_.reply(slot) != flow.reply) {
        index_.set_reply(slot, flow.reply);
        full = changed = true;
    }
    record.expires = now_s_ + flow.timeout;
    record.sync.bits = dump_mark_ ? kDumpMark : 0;
    if (record.sync.owner != kHere)
        set_owner(slot, kHere);
    if (changed)
        announce(slot, full);
}

void Engine::on_created(const state::Flow& flow) {
    local_change(flow);
}
void Engine::on_updated(const state::Flow& flow) {
    local_change(flow);
}

void Engine::on_destroyed(const state::Flow& flow) {
    counters_.events++;
    if (dumping_ || joining())
        gone_lately_.insert(flow.key);
    const Slot slot = index_.find(flow.key);
    if (slot == kNoSlot)
        return;
    const std::uint8_t owner = index_.record(slot).sync.owner;
    // An active node sees its traffic end even where nothing told it yet that the flow is its own.
    if (owner == kHere || options_.role == Role::active) {
        set_owner(slot, kHere);
        retract(slot);
        forget(slot);
    } else if (owner_alive(owner)) {
        // It lives where it belongs; the next refresh round brings it back here. Not at once:
        // a full table that evicts it would make that a loop.
        index_.record(slot).sync.bits |= kAbsent;
    } else {
        forget(slot); // nobody's any more, and its time has run out: no news for others
    }
}

void Engine::on_dump_begin() {
    dumping_ = true;
    dump_mark_ = !dump_mark_;
}

void Engine::on_dump_entry(const state::Flow& flow, bool untouched) {
    if (gone_lately_.contains(flow.key))
        return;
    Slot slot = index_.find(flow.key);
    if (slot == kNoSlot) {
        const bool live = !untouched || options_.role == Role::active;
        slot = adopt_new(flow, live ? kHere : kUnclaimed);
        if (slot != kNoSlot && live)
            announce(slot, false);
        return;
    }
    Record& record = index_.record(slot);
    if (record.sync.owner == kHere) {
        local_change(flow);
        return;
    }
    record.sync.bits = dump_mark_ ? kDumpMark : 0;
}

void Engine::on_dump_end() {
    for (Slot slot = index_.next(kNoSlot); slot != kNoSlot; slot = index_.next(slot)) {
        Record& record = index_.record(slot);
        if (((record.sync.bits & kDumpMark) != 0) == dump_mark_)
            continue;
        if (record.sync.owner == kHere)
            retract(slot);
        else if (owner_alive(record.sync.owner)) {
            record.sync.bits = static_cast<std::uint8_t>((dump_mark_ ? kDumpMark : 0) | kAbsent);
            continue;
        }
        forget(slot);
    }
    dumping_ = false;
    forget_gone();
    table_known_ = true;
}

void Engine::on_refused(const state::Key& key, table::Refusal refusal) {
    counters_.table_refused[static_cast<std::size_t>(refusal)]++;
    const Slot slot = index_.find(key);
    if (slot != kNoSlot && index_.record(slot).sync.owner != kHere)
        index_.record(slot).sync.bits |= kAbsent;
}

// ---- copies --------------------------------------------------------------------------------

void Engine::put_copy(Slot slot) {
    const state::Flow flow = index_.flow(slot, now_s_);
    Record& record = index_.record(slot);
    if (record.sync.owner == kHere) {
        table_.put(flow, table::Lifetime::natural);
        return;
    }
    table_.put(flow, table::Lifetime::copy);
    record.expires = now_s_ + table_.natural_timeout(flow) + table::kCopyExtra;
    record.sync.bits = dump_mark_ ? kDumpMark : 0;
}

// A slice of the index at a time: copies whose owner lives are re-armed before they run out, and
// those that are missing from the table are made again.
void Engine::refresh_round() {
    const std::size_t size = index_.size();
    std::size_t budget = refresh_hurry_ ? 20'000 : std::max<std::size_t>(64, size / kRefreshTicks);
    while (budget-- > 0) {
        refresh_cursor_ = index_.next(refresh_cursor_);
        if (refresh_cursor_ == kNoSlot) {
            refresh_hurry_ = false;
            break;
        }
        Record& record = index_.record(refresh_cursor_);
        if (record.sync.owner == kHere || !owner_alive(record.sync.owner))
            continue;
        const state::Flow flow = index_.flow(refresh_cursor_, now_s_);
        const std::uint32_t natural = table_.natural_timeout(flow);
        const auto left = static_cast<std::int32_t>(record.expires - now_s_);
        if ((record.sync.bits & kAbsent) == 0 &&
            left > static_cast<std::int32_t>(natural + kRearmBelow))
            continue;
        table_.refresh(flow, table::Lifetime::copy);
        record.expires = now_s_ + natural + table::kCopyExtra;
        record.sync.bits = static_cast<std::uint8_t>(record.sync.bits & ~kAbsent);
        counters_.refreshed++;
    }
    refresh_due_ = now_ + (refresh_hurry_ ? Instant(20ms) : Instant(kRefreshTick));
}

// ---- the administrator's side --------------------------------------------------------------

void Engine::request_bulk(PeerId peer) {
    Session& s = *sessions_[peer];
    s.bulk_requested = true;
    s.bulk_arriving = false;
    s.bulk_request_now = true;
    s.bulk_tries = 0;
    s.bulk_retry = now_ + (s.plain() ? Instant(kPlainRetry) : Instant(kBulkRetry));
}

bool Engine::ready(std::string* why) const {
    const auto not_yet = [why](std::string reason) {
        if (why != nullptr)
            *why = std::move(reason);
        return false;
    };
    if (!table_known_)
        return not_yet("the state table has not been read yet");
    for (const auto& s : sessions_)
        if (s->reachable() && !s->in_step && options_.role != Role::active)
            return not_yet("the bulk update of " + s->options.name + " is not complete");
    if (!ever_in_step_ && !served_alone_ && !sessions_.empty())
        return not_yet("no peer has been heard yet");
    return true;
}

} // namespace encsync::sync
