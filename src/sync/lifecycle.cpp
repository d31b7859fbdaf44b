// SPDX-License-Identifier: ISC
#include "sync/lifecycle.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Slot;

namespace {

constexpr std::uint64_t kLifeMask = 0xfffff;
constexpr std::size_t kMaxEnded = 500'000;
constexpr Duration kFormerTime = 10s; // within which a removal reaches a peer for certain
constexpr std::size_t kMaxFormer = 100'000;

} // namespace

Slot Lifecycle::begin(const state::Flow& flow, std::uint32_t left, bool ours) {
    state::Flow named = flow;
    if (named.id.creatorid == 0) {
        // The hash names the flow, the low bits its life: a tuple that is used again at
        // once must not be taken for what it was, whatever was lost on the way.
        const std::uint64_t hash = state::state_id(flow.key, ctx_.options.id_secret) & ~kLifeMask;
        named.id.creatorid = ctx_.options.creatorid;
        do
            named.id.id = hash | (++births_ & kLifeMask);
        while (ctx_.index.find(named.id) != kNoSlot);
    }
    std::uint8_t term = 0;
    if (ours)
        if (const auto former = former_.find(flow.key); former != former_.end())
            term = next_term(former->second.term);
    const auto [slot, fresh] =
        ctx_.flows.insert(named, ctx_.seconds + left, ctx_.seconds - flow.age, term);
    if (!fresh)
        return kNoSlot;
    ended_.erase(flow.key);
    return slot;
}

void Lifecycle::erase(Slot slot) {
    remember_term(slot);
    ctx_.pf_states.erase(slot);
    ctx_.flows.erase(slot);
}

void Lifecycle::erase_from_table(Slot slot) {
    if (ctx_.dumping)
        remember_ended(ctx_.index.key(slot));
    if (!ctx_.record(slot).refused()) // or it was never put there
        ctx_.table.remove(ctx_.flow(slot));
    erase(slot);
}

// A bulk update that we have asked for, or are going to, may name what has ended since.
bool Lifecycle::may_be_named() const {
    if (ctx_.dumping || (!ctx_.options.table_kept && !ctx_.ever_in_step && !ctx_.served_alone))
        return true;
    return std::ranges::any_of(
        peers_.all(), [](const Peer& p) { return p.extended && p.bulk.requested && !p.in_step; });
}

void Lifecycle::remember_ended(const state::Key& key) {
    if (!may_be_named())
        return;
    if (ended_.size() >= kMaxEnded) // the peer left in the middle: its updates are old anyway
        ended_.clear();
    ended_.insert(key);
}

void Lifecycle::forget_ended() {
    if (!may_be_named())
        ended_.clear();
}

void Lifecycle::remember_term(Slot slot) {
    const Record& record = ctx_.record(slot);
    if (record.owner != kHere || record.term == 0)
        return; // one that has always been the same node's
    if (former_due_.size() >= kMaxFormer)
        forget_terms(Instant::max());
    const state::Key key = ctx_.index.key(slot);
    former_[key] = {ctx_.now + kFormerTime, record.term};
    former_due_.emplace_back(ctx_.now + kFormerTime, key);
}

void Lifecycle::forget_terms(Instant until) {
    for (; !former_due_.empty() && former_due_.front().first <= until; former_due_.pop_front())
        if (const auto former = former_.find(former_due_.front().second);
            former != former_.end() && former->second.due <= until) // none that ended later
            former_.erase(former);
}

} // namespace encsync::sync
