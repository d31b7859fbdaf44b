// SPDX-License-Identifier: ISC
#include "table/memory/memory.hpp"

#include "table/progress.hpp"

#include <algorithm>
#include <utility>

namespace encsync::table {

namespace {

// The reply direction, as if it were a flow of its own.
state::Key reply_key(const state::Flow& flow) {
    state::Key key = flow.key;
    key.orig = flow.reply;
    return key;
}

} // namespace

Memory::Memory(MemoryOptions options) : options_(options) {}

void Memory::start(Listener& listener) {
    listener_ = &listener;
    request_dump();
}

// ---- the engine's side ---------------------------------------------------------------------

void Memory::put(const state::Flow& flow, Lifetime lifetime) {
    write(flow, lifetime);
}

void Memory::refresh(const state::Flow& flow, Lifetime lifetime) {
    const auto at = entries_.find(flow.key);
    if (at == entries_.end())
        return write(flow, lifetime);
    at->second.flow.liberal = true;
    arm(at, now_ + natural_timeout(flow) + (lifetime == Lifetime::copy ? kCopyExtra : 0));
}

void Memory::relax(const state::Flow& flow) {
    if (const auto at = entries_.find(flow.key); at != entries_.end())
        at->second.flow.liberal = true;
}

void Memory::remove(const state::Flow& flow) {
    if (const auto at = entries_.find(flow.key); at != entries_.end())
        erase(at);
}

void Memory::flush() {
    if (std::exchange(telling_, true))
        return; // called from a refusal: its requests wait for the next flush
    for (const auto& [key, refusal, holder] : std::exchange(refusals_, {})) {
        const auto other = holder ? find(*holder) : std::nullopt;
        if (other)
            listener_->on_clash(key, *other, timeouts_.is_untouched(*other));
        else
            listener_->on_refused(key, refusal);
    }
    telling_ = false;
}

void Memory::request_dump() {
    dump_wanted_ = true;
}

std::uint32_t Memory::natural_timeout(const state::Flow& flow) const {
    return timeouts_.natural(flow);
}

void Memory::write(const state::Flow& flow, Lifetime lifetime) {
    auto at = entries_.find(flow.key);
    if (at != entries_.end() && at->second.flow.reply != flow.reply) {
        erase(at); // NAT cannot be changed in place
        at = entries_.end();
    }
    if (at == entries_.end()) {
        const bool full = entries_.size() >= options_.capacity;
        const auto other = holder(flow);
        if (full || other != entries_.end()) {
            const Refusal why = full ? Refusal::table_full : Refusal::clash;
            refused_[static_cast<std::size_t>(why)]++;
            refusals_.push_back({flow.key, why, {}});
            if (!full)
                refusals_.back().holder = other->first;
            return;
        }
        at = insert(flow);
    }
    // Status bits can be set and never cleared.
    const auto sticky =
        static_cast<std::uint8_t>(at->second.flow.flags & (state::kSeenReply | state::kAssured));
    const state::StateId no_id; // the kernel stores none
    at->second.flow = flow;
    at->second.flow.id = no_id;
    at->second.flow.liberal = true;
    at->second.flow.flags = implied_flags(flow) | sticky;
    arm(at, now_ + natural_timeout(flow) + (lifetime == Lifetime::copy ? kCopyExtra : 0));
}

// ---- simulated traffic and failures --------------------------------------------------------

bool Memory::packet(const state::Flow& flow) {
    auto at = entries_.find(flow.key);
    const bool fresh = at == entries_.end();
    if (fresh && (entries_.size() >= options_.capacity || holder(flow) != entries_.end()))
        return false;
    if (fresh)
        at = insert(flow);
    state::Flow& kept = at->second.flow;
    const bool changed = kept.src_state != flow.src_state || kept.dst_state != flow.dst_state ||
                         kept.flags != flow.flags || kept.mark != flow.mark;
    kept.src_state = flow.src_state;
    kept.dst_state = flow.dst_state;
    kept.flags = flow.flags;
    kept.mark = flow.mark;
    arm(at, now_ + natural_timeout(kept));
    if (!fresh && !changed)
        return true;
    lost_ = lost_ || losing_;
    if (losing_)
        return true;
    const state::Flow seen = seen_now(at->second);
    if (fresh)
        listener_->on_created(seen);
    else
        listener_->on_updated(seen);
    return true;
}

void Memory::destroy(const state::Key& key) {
    const auto at = entries_.find(key);
    if (at == entries_.end())
        return;
    const state::Flow flow = seen_now(at->second);
    erase(at);
    lost_ = lost_ || losing_;
    if (!losing_)
        listener_->on_destroyed(flow);
}

void Memory::advance(std::uint64_t now) {
    now_ = std::max(now_, now);
    while (!by_expiry_.empty() && by_expiry_.begin()->first <= now_)
        destroy(state::Key(by_expiry_.begin()->second));
    if (dump_wanted_ && listener_ != nullptr)
        dump();
}

void Memory::lose_events(bool lose) {
    losing_ = lose;
    if (!losing_ && std::exchange(lost_, false))
        request_dump();
}

void Memory::wipe() {
    entries_.clear();
    by_expiry_.clear();
    by_reply_.clear();
    refusals_.clear();
}

std::optional<state::Flow> Memory::find(const state::Key& key) const {
    const auto at = entries_.find(key);
    return at == entries_.end() ? std::nullopt : std::optional(seen_now(at->second));
}

bool Memory::is_untouched(const state::Key& key) const {
    const auto flow = find(key);
    return flow && timeouts_.is_untouched(*flow);
}

// ---- internals -----------------------------------------------------------------------------

void Memory::dump() {
    dump_wanted_ = false;
    // A copy: the listener may put and remove entries while it is called.
    std::vector<state::Flow> all;
    all.reserve(entries_.size());
    for (const auto& [key, entry] : entries_)
        all.push_back(seen_now(entry));
    listener_->on_dump_begin();
    for (const state::Flow& flow : all)
        listener_->on_dump_entry(flow, timeouts_.is_untouched(flow));
    listener_->on_dump_end();
}

Memory::Entries::iterator Memory::insert(const state::Flow& flow) {
    const auto at = entries_.emplace(flow.key, Entry{flow, 0, now_}).first;
    at->second.flow.id = {};
    by_reply_.emplace(reply_key(flow), flow.key);
    return at;
}

void Memory::arm(Entries::iterator at, std::uint64_t expires) {
    by_expiry_.erase({at->second.expires, at->first});
    at->second.expires = expires;
    by_expiry_.emplace(expires, at->first);
}

void Memory::erase(Entries::iterator at) {
    by_expiry_.erase({at->second.expires, at->first});
    by_reply_.erase(reply_key(at->second.flow));
    entries_.erase(at);
}

Memory::Entries::const_iterator Memory::holder(const state::Flow& flow) const {
    for (const state::Key& tuple : {reply_key(flow), flow.key})
        if (const auto at = by_reply_.find(tuple); at != by_reply_.end())
            return entries_.find(at->second);
    return entries_.find(reply_key(flow));
}

state::Flow Memory::seen_now(const Entry& entry) const {
    state::Flow flow = entry.flow;
    flow.timeout = static_cast<std::uint32_t>(entry.expires - std::min(entry.expires, now_));
    flow.age = static_cast<std::uint32_t>(now_ - entry.created);
    return flow;
}

} // namespace encsync::table
