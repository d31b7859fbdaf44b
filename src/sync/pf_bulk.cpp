// SPDX-License-Identifier: ISC
// What a pf peer is asked for and may ask for: all states, single ones, and to forget its own.
#include "sync/engine.hpp"

#include "sync/marks.hpp"

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Record;
using state::Slot;

namespace {

constexpr unsigned kBulkTries = 12; // requests for all states, as pf repeats its own
// After BUS start, and after each state since: then the end counts as lost. So the wait grows with
// the table, whatever the peer's pace.
constexpr Instant kBulkQuiet = 4s;
constexpr Instant kAskAgain = 60s; // a peer that has never answered, when it is heard
constexpr Instant kBulkRest = 1s;  // between two that a peer may ask for

} // namespace

// ---- bulk updates --------------------------------------------------------------------------

void Engine::receive_plain_bulk(PeerId peer, const pfsync::BulkStatus& status) {
    Session& s = *sessions_[peer];
    if (!status.end) {
        s.bulk_arriving = true;
        s.bulk_received = 0;
        s.bulk_retry = now_ + kBulkQuiet;
        return;
    }
    // The end of an answer to somebody else's request, or to one that we made before this one. The
    // clocks are read in whole seconds.
    if (!s.bulk_requested) {
        s.bulk_arriving = false;
        return;
    }
    const Instant took = std::chrono::seconds(status.endtime);
    if (traits(s.dialect).bulk.endtime && took > now_ - s.pf.bulk_asked + 1s) {
        refuse(Refused::foreign_bulk);
        return;
    }
    s.pf.gave_up = false;
    end_bulk(peer);
}

void Engine::plain_bulk_state(Session& s) {
    if (s.bulk_arriving)
        s.bulk_retry = now_ + kBulkQuiet;
}

void Engine::retry_plain_bulk(PeerId peer) {
    Session& s = *sessions_[peer];
    s.bulk_arriving = false;
    if (!s.bulk_requested)
        return;
    if (++s.bulk_tries < kBulkTries) {
        s.bulk_request_now = true;
        s.bulk_retry = now_ + traits(s.dialect).bulk.retry;
        return;
    }
    // pf pretends then that it has all. We don't; but nobody waits for it any longer.
    s.bulk_requested = s.bulk_request_now = false;
    s.pf.gave_up = served_alone_ = true;
    s.pf.gave_up_at = now_;
    forget_gone();
}

void Engine::ask_again_plain(PeerId peer) {
    Session& s = *sessions_[peer];
    if (s.pf.gave_up && !s.bulk_requested && now_ - s.pf.gave_up_at >= kAskAgain)
        request_bulk(peer);
}

void Engine::request_from_plain(PeerId peer, state::StateId id) {
    Session& s = *sessions_[peer];
    if (id == state::StateId{}) {
        if (s.sending_bulk || s.bulk_start_now) // pf asks until the end arrives
            return;
        if (now_ < s.pf.bulk_not_before) {
            refuse(Refused::too_often);
            return;
        }
        s.pf.bulk_not_before = now_ + kBulkRest;
        s.pf.bulk_began = now_;
        start_bulk(peer);
        s.bulk_start_now = index_.size() != 0 || traits(s.dialect).bulk.empty_start;
        return;
    }
    const Slot slot = index_.find(id);
    if (slot == kNoSlot)
        refuse(Refused::unknown_state);
    else if (has(index_.record(slot).withheld, peer))
        refuse(Refused::no_sync);
    else if (!s.pf.answers.take(now_))
        refuse(Refused::too_often);
    else {
        set(flows_.marks(slot).known, peer); // the answer to a request is UPD
        enqueue(s, peer, slot, true);
    }
}

std::uint32_t Engine::bulk_endtime(const Session& s) const {
    if (!s.plain() || !traits(s.dialect).bulk.endtime)
        return 0;
    return static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::seconds>(now_ - s.pf.bulk_began).count());
}

// ---- CLR -----------------------------------------------------------------------------------

void Engine::clear_plain(PeerId peer, const pfsync::Clear& what) {
    for (const Slot slot : index_.slots()) {
        const Record& record = index_.record(slot);
        const std::uint8_t owner = record.owner;
        // Another pf that hears the speaker has removed its states, too, without a word.
        const bool theirs =
            owner == peer || (owner < sessions_.size() && sessions_[owner]->plain() &&
                              hear_each_other(sessions_[owner]->dialect, sessions_[peer]->dialect));
        if (!theirs || record.id.creatorid != what.creatorid)
            continue;
        const std::string_view bound = pf_states_.interface(slot);
        const bool wanted =
            what.ifname.empty() || (bound.empty() ? what.ifname == "all" : what.ifname == bound);
        if (!wanted)
            continue;
        pass_removal_on(peer, slot);
        discard(slot);
    }
}

} // namespace encsync::sync
