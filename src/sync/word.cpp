// SPDX-License-Identifier: ISC
// What one of our own nodes says of a flow that we know. Between such nodes nothing is lost and
// nothing comes out of order, so that an owner's word about its flow holds as it is: it is not
// weighed against what we know, as that of a pf peer is (receive.cpp), and both sides end up with
// the same. Who does not own the flow is heard only if it knows whose it is and in which term, for
// it may have seen packets that the owner has not; what it says in an earlier term is out of date.
#include "sync/engine.hpp"

#include "sync/marks.hpp"
#include "sync/merge.hpp"

namespace encsync::sync {

using state::Record;
using state::Slot;

namespace {

constexpr std::uint8_t kStatus = state::kSeenReply | state::kAssured;

void add_flags(state::Progress& ours, std::uint8_t proto, std::uint8_t said) {
    ours.flags = static_cast<std::uint8_t>(ours.flags | said |
                                           progress_flags(proto, ours.src_state, ours.dst_state));
}

} // namespace

// The owner's word.
void Engine::obey(Slot slot, const Said& said) {
    FlowStore::Edit edit(flows_, slot);
    state::Progress& ours = edit.progress();
    ours.src_state = said.src_state;
    ours.dst_state = said.dst_state;
    if (said.live) // a full state
        ours.flags = static_cast<std::uint8_t>((ours.flags & ~kStatus) | said.flags);
    add_flags(ours, index_.key(slot).proto, 0);
    if (said.mark)
        ours.mark = *said.mark;
    if (said.reply != nullptr && index_.reply(slot) != *said.reply)
        edit.set_reply(*said.reply);
    if (said.extras != nullptr)
        edit.set_extras(*said.extras);
}

// What others have seen of a flow: whichever is further. True: something of ours is.
bool Engine::heed(PeerId peer, Slot slot, const Said& said) {
    FlowStore::Edit edit(flows_, slot);
    const Merge merged = merge(edit.progress(), said.src_state, said.dst_state);
    add_flags(edit.progress(), index_.key(slot).proto, said.flags);
    sessions_[peer]->counters.stale += merged.any_stale();
    return merged.any_stale();
}

void Engine::take_word(PeerId peer, Slot slot, const Said& said) {
    const Record& record = index_.record(slot);
    const state::Flow before = index_.flow(slot, now_s_);
    const std::uint8_t owner = record.owner;
    set(flows_.marks(slot).known, peer);
    bool there = true;
    {
        const FlowStore::Edit edit(flows_, slot); // one for all that follows
        there = !said.live   ? short_word(peer, slot, said)
                : *said.live ? owners_word(peer, slot, said)
                             : bystanders_word(peer, slot, said);
    }
    if (!there)
        return;
    const state::Flow after = index_.flow(slot, now_s_);
    const bool changed = before.src_state != after.src_state ||
                         before.dst_state != after.dst_state || before.flags != after.flags ||
                         before.mark != after.mark || before.reply != after.reply ||
                         before.extras != after.extras;
    if (before.mark != after.mark || before.reply != after.reply || before.flags != after.flags ||
        before.extras.reply_zone != after.extras.reply_zone)
        review(slot);
    if (changed || (owner == kHere && record.owner != kHere))
        put_copy(slot);
    if (changed && owner == kHere && record.owner == kHere)
        announce(slot, before.flags != after.flags);
}

// UPD_C, which only an owner sends. False (here and below): the flow is nobody's, and forgotten.
bool Engine::short_word(PeerId peer, Slot slot, const Said& said) {
    const Record& record = index_.record(slot);
    if (record.owner == peer) {
        state::Marks& marks = flows_.marks(slot);
        marks.is.given = false;
        marks.epoch = sessions_[peer]->epoch;
        obey(slot, said);
    } else if (record.owner == kHere) {
        tell(peer, slot); // it does not know yet
    } else {
        request(peer, record.id); // in full, with the term
    }
    return true;
}

bool Engine::owners_word(PeerId peer, Slot slot, const Said& said) {
    Session& s = *sessions_[peer];
    const Record& record = index_.record(slot);
    const std::uint8_t owner = record.owner;
    if (!claim_holds(peer, record, said.term)) {
        if (owner == kHere) {
            if (said.term == record.term)
                heed(peer, slot, said);
            tell(peer, slot);
        }
        return true;
    }
    FlowStore::Edit edit(flows_, slot);
    state::Marks& marks = flows_.marks(slot);
    marks.is.given = false;
    edit.progress().term = said.term;
    if (owner == kHere) {
        // Packets passed here, too, and perhaps some that the peer has not seen.
        const state::Flow ours = index_.flow(slot, now_s_);
        if (merge(edit.progress(), said.src_state, said.dst_state).any_stale())
            enqueue(s, peer, slot, true);
        Said merged = said;
        merged.src_state = record.src_state;
        merged.dst_state = record.dst_state;
        merged.flags = static_cast<std::uint8_t>(said.flags | (ours.flags & kStatus));
        obey(slot, merged);
    } else {
        obey(slot, said);
    }
    if (owner != peer)
        set_owner(slot, peer);
    marks.epoch = s.epoch;
    return !falls_to_us(peer, slot) || claim(slot);
}

bool Engine::bystanders_word(PeerId peer, Slot slot, const Said& said) {
    Session& s = *sessions_[peer];
    const Record& record = index_.record(slot);
    const std::uint8_t owner = record.owner;
    if (owner == peer) {
        heed(peer, slot, said);
        if (!said.elsewhere)
            return claim(slot);
        set_owner(slot, kUnclaimed); // until the third node tells us
        settle_unclaimed_later();
        return true;
    }
    if (owner == kHere ? said.term == record.term : !owner_alive(owner)) {
        if (heed(peer, slot, said))
            enqueue(s, peer, slot, true);
    }
    return true;
}

} // namespace encsync::sync
