// SPDX-License-Identifier: ISC
// What is not taken from a peer: flows of this firewall itself and those that `ignore` names
// (Table::refuses), and those that fit the `refuse` of the peer's conn.
//
// Such a flow is kept in the index as the peer's, and nowhere else: it is not put into the table,
// told to nobody, and never becomes our own by a takeover. So the sums of both sides agree, and the
// peer needs to know nothing. An entry that this node's own traffic has made is not touched.
#include "sync/engine.hpp"

#include "sync/marks.hpp"

namespace encsync::sync {

using state::Record;
using state::Slot;
using table::Ignored;

std::optional<Ignored> Engine::refuses(std::uint8_t owner, const state::Flow& flow) const {
    if (owner == kHere)
        return std::nullopt;
    if (const auto why = table_.refuses(flow))
        return why;
    if (owner < sessions_.size() && sessions_[owner]->options.refuse.matches(flow))
        return Ignored::refuse;
    return std::nullopt;
}

// To be called when the owner or what rules look at has changed. copy: what the table has of it is
// what we have put there.
void Engine::judge(Slot slot, bool copy) {
    const Record& record = index_.record(slot);
    const std::uint8_t owner = record.owner;
    if (owner == kHere && record.refused == 0)
        return;
    const auto why = refuses(owner, index_.flow(slot, now_s_));
    const auto verdict = static_cast<std::uint8_t>(why ? 1 + static_cast<std::uint8_t>(*why) : 0);
    const std::uint8_t before = record.refused;
    if (verdict == before)
        return;
    flows_.set_refused(slot, verdict);
    if (why)
        count_refused(owner, *why);
    if (why && before == 0) {
        if (copy && !record.is.absent)
            table_.remove(index_.flow(slot, now_s_));
        hold_back(slot);
    } else if (!why && owner != kHere) {
        put_copy(slot);
    }
}

// And its owner is there, so that nothing that the table tells makes it ours.
bool Engine::is_refused(Slot slot) const {
    const Record& record = index_.record(slot);
    return record.refused != 0 && owner_alive(record.owner);
}

void Engine::count_refused(std::uint8_t owner, Ignored why) {
    if (owner < sessions_.size())
        sessions_[owner]->counters.refused_states[static_cast<std::size_t>(why)]++;
}

// It lives as long as it would in the table.
void Engine::hold_back(Slot slot) {
    flows_.set_missing(slot, Missing::no); // it is not to be there
    state::Marks& marks = flows_.marks(slot);
    marks.is.absent = true;
    marks.expires = now_s_ + table_.natural_timeout(index_.flow(slot, now_s_)) + table::kCopyExtra;
}

// Copies are held against the addresses that this machine has now, and so is what was taken over
// and is the firewall's own by now. In slices (refresh_round).
void Engine::on_addresses_changed() {
    judging_ = refresh_hurry_ = true;
    refresh_cursor_ = state::kNoSlot;
    refresh_due_ = now_;
}

// False: it is gone.
bool Engine::judge_again(Slot slot) {
    if (index_.record(slot).owner != kHere) {
        review(slot);
    } else if (table_.refuses(index_.flow(slot, now_s_))) {
        retract(slot);
        discard(slot);
        return false;
    }
    return true;
}

} // namespace encsync::sync
