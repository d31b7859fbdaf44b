// SPDX-License-Identifier: ISC
// Peers that speak standard pfsync and nothing else: pf firewalls. Nothing there is acknowledged,
// so all that may be lost is said again in time or asked for with patience; and pf's states time
// out unless somebody speaks of them.
#include "sync/engine.hpp"

#include "pfsync/progress.hpp"
#include "sync/marks.hpp"
#include "sync/merge.hpp"

#include <algorithm>
#include <netinet/in.h>

namespace encsync::sync {

using namespace std::chrono_literals;
using pfsync::Dialect;
using state::kNoSlot;
using state::Record;
using state::Slot;

namespace {

constexpr std::uint32_t kGrace = 10; // seconds that a copy outlives what pf would give it
constexpr std::uint32_t kMaxExpire = 1'000'000; // seconds; more is taken for a mistake
// Every live flow has its turn once a round, and is announced in one of so many rounds that pf's
// copy survives one lost packet.
constexpr std::uint32_t kRound = 5;     // seconds
constexpr std::uint32_t kLongest = 300; // seconds: pf's timeouts may have been shortened
constexpr std::int32_t kRepeat = 12;    // seconds in which a change is said in each round
constexpr Instant kPfTick = 100ms;
constexpr std::size_t kTicks = kRound * 10;
constexpr std::uint32_t kEcho = 2; // seconds in which a peer may answer to what was out of date

} // namespace

// ---- what it says of a flow ----------------------------------------------------------------

// pfsync(4)'s rule as both systems have it: each side on its own, and what is behind changes
// nothing.
Merge Engine::merge_pf(PeerId peer, Slot slot, const Said& said) {
    Session& s = *sessions_[peer];
    const Record& record = index_.record(slot);
    FlowStore::Edit edit(flows_, slot);
    state::Progress& ours = edit.progress();
    const std::uint8_t proto = index_.key(slot).proto;
    Merge merged;
    if (proto == IPPROTO_TCP) {
        const Windows theirs(said.src, said.dst);
        const Windows* kept = pf_states_.windows(slot);
        const bool known =
            theirs.known() && !said.second_name && record.id.creatorid != options_.creatorid;
        Side ours_src{record.src_state, {}}, ours_dst{record.dst_state, {}};
        Side src{said.src_state, {}}, dst{said.dst_state, {}};
        if (known && kept != nullptr) {
            ours_src.seqlo = Windows::seqlo(kept->src);
            ours_dst.seqlo = Windows::seqlo(kept->dst);
            src.seqlo = Windows::seqlo(theirs.src);
            dst.seqlo = Windows::seqlo(theirs.dst);
        }
        merged.src_stale = src_stale(ours_src, src);
        merged.dst_stale = dst_stale(said.layout, ours_dst, dst);
        if (known) {
            merged.windows_moved =
                pf_states_.keep(slot, theirs, !merged.src_stale, !merged.dst_stale);
            if (traits(said.layout).copies_stale_dst)
                pf_states_.heard_dst(slot, theirs.dst);
        }
        if (!merged.src_stale)
            ours.src_state = said.src_state;
        if (!merged.dst_stale)
            ours.dst_state = said.dst_state;
    } else {
        // Some protocols have fewer stages there: what is the same in its numbers is no news.
        const auto one = [&](std::uint8_t& side, std::uint8_t theirs, std::uint8_t on_wire) {
            const std::uint8_t as_sent = pfsync::wire_state(said.layout, proto, side);
            if (as_sent < on_wire)
                side = theirs;
            return as_sent > on_wire;
        };
        merged.src_stale = one(ours.src_state, said.src_state, said.src.state());
        merged.dst_stale = one(ours.dst_state, said.dst_state, said.dst.state());
    }
    if (!merged.both_stale())
        pf_states_.extend(slot, now_s_ + s.pf.timeout(said.timeout) + kGrace);
    return merged;
}

// A full state that begins here, or begins anew.
void Engine::keep_pf(PeerId peer, Slot slot, const pfsync::FullState& full) {
    Session& s = *sessions_[peer];
    if (!s.plain())
        return;
    pf_states_.erase(slot);
    const Windows theirs(full.src, full.dst);
    if (full.flow.key.proto == IPPROTO_TCP && theirs.known() &&
        full.flow.id.creatorid != options_.creatorid)
        pf_states_.keep(slot, theirs, true, true);
    const std::uint32_t left = std::min(full.flow.timeout, kMaxExpire); // 0: unknown, or due
    pf_states_.extend(slot, now_s_ + (left != 0 ? left : s.pf.timeout(full.timeout)) + kGrace);
    pf_states_.bind(slot, full.ifname);
    pf_states_.set_outgoing(slot, full.outgoing);
}

// pf has two states of one flow if it forwards it, one each way: both are what we know under the
// name heard first. In the same direction it is another life of the flow.
bool Engine::second_name(PeerId peer, Slot slot, const pfsync::FullState& full) {
    const Record& record = index_.record(slot);
    if (!sessions_[peer]->plain() || !has(record.known, peer) || pf_outgoing(slot) == full.outgoing)
        return false;
    pf_states_.add_name(slot, full.flow.id);
    return true;
}

bool Engine::pf_outgoing(Slot slot) const {
    const state::Flow flow = index_.flow(slot, now_s_);
    if (flow.id.creatorid == options_.creatorid) // as write_state() has said it
        return has_snat(flow) && !has_dnat(flow);
    const PfStates::Lease* lease = pf_states_.lease(slot);
    return lease != nullptr && lease->outgoing;
}

// One of a flow's two names has ended. True: the flow lives on under the other.
bool Engine::drop_name(PeerId peer, state::StateId id) {
    if (const Slot slot = pf_states_.find(id); slot != kNoSlot) {
        if (sessions_[peer]->plain())
            pf_states_.take_name(slot);
        return true;
    }
    const Slot slot = index_.find(id);
    if (slot == kNoSlot || index_.record(slot).owner != peer)
        return false;
    const state::StateId other = pf_states_.take_name(slot);
    if (other.creatorid == 0)
        return false;
    pass_removal_on(peer, slot);
    FlowStore::Edit edit(flows_, slot);
    flows_.marks(slot).known = bit(peer);
    edit.rename(other);
    pf_states_.set_outgoing(slot, !pf_outgoing(slot));
    pass_on(peer, slot);
    return true;
}

// pf's administrator may have made timeouts longer: what a state has left tells.
void Engine::learn_timeouts(Session& s, const pfsync::FullState& full) {
    if (!s.plain() || full.timeout >= s.pf.longest.size())
        return;
    std::uint32_t& longest = s.pf.longest[full.timeout];
    longest = std::max(longest, std::min(full.flow.timeout, kMaxExpire));
}

// Does its word make a flow its own? pf speaks of a state when packets pass it, and when it was
// told something out of date. Of a flow that moved here a moment ago, or of which it was told just
// now, what brings the flow no further is the latter.
bool Engine::pf_claims(Slot slot, bool further, const Merge& merged) const {
    const Record& record = index_.record(slot);
    if (record.owner != kHere || further)
        return true;
    if (merged.both_stale() || pf_states_.told_since(slot, now_s_ - kEcho))
        return false;
    if (merged.windows_moved)
        return true;
    if (options_.role == Role::active) // traffic passes here, says the administrator
        return false;
    return since_moved(record, index_.flow(slot, now_s_)) > static_cast<std::int32_t>(kEcho);
}

// Seconds since the table told of this flow of ours. Its timer began anew then; one that is still a
// copy's has not begun.
std::int32_t Engine::since_moved(const Record& record, const state::Flow& flow) const {
    if (record.is.lent)
        return INT32_MAX;
    const auto left = static_cast<std::int32_t>(record.expires - now_s_);
    return static_cast<std::int32_t>(table_.natural_timeout(flow)) - left;
}

// This node has become the active one: traffic comes here from now on, and established flows raise
// no event that would say so.
void Engine::take_from_plain() {
    for (const Slot slot : index_.slots()) {
        const std::uint8_t owner = index_.record(slot).owner;
        if (owner < sessions_.size() && sessions_[owner]->plain())
            take(slot);
    }
}

// ---- what it hears -------------------------------------------------------------------------

// A flow as pf is to have it.
state::Flow Engine::pf_flow(const Session& s, Slot slot) const {
    const Record& record = index_.record(slot);
    state::Flow flow = index_.flow(slot, now_s_);
    const PfStates::Lease* lease = pf_states_.lease(slot);
    if (record.owner != kHere && lease != nullptr) {
        const auto left = static_cast<std::int32_t>(lease->until - kGrace - now_s_);
        flow.timeout = static_cast<std::uint32_t>(std::max(left, 1));
    } else {
        // conntrack's timeouts are not pf's: its own hold, from now on.
        const auto index = pfsync::timeout_index(s.dialect, flow);
        flow.timeout =
            std::min(flow.timeout, pfsync::default_timeout(static_cast<std::uint8_t>(index)));
    }
    // Traffic that passed here has moved the windows on, and nobody has looked.
    if (record.owner == kHere && flow.key.proto == IPPROTO_TCP)
        flow.flags |= state::kSloppy;
    return flow;
}

void Engine::write_pf_state(const Session& s, PeerId peer, std::uint8_t* m, Slot slot) {
    pfsync::StateOptions options;
    options.wants_ack = awaits(peer, slot);
    Windows windows;
    if (pf_windows(s, slot, windows)) {
        options.src = windows.src;
        options.dst = windows.dst;
    }
    const state::Flow flow = pf_flow(s, slot);
    const PfStates::Lease* lease = pf_states_.lease(slot);
    options.outgoing =
        flow.id.creatorid != options_.creatorid && lease != nullptr && lease->outgoing;
    pfsync::write_state(s.dialect, m, flow, options);
    pf_states_.told(slot, now_s_);
}

void Engine::write_pf_update(const Session& s, std::uint8_t* m, Slot slot) {
    const state::Flow flow = index_.flow(slot, now_s_);
    Windows windows;
    if (pf_windows(s, slot, windows))
        pfsync::write_upd_c(s.dialect, m, flow, windows.src, windows.dst);
    else
        pfsync::write_upd_c(s.dialect, m, flow);
    pf_states_.told(slot, now_s_);
}

bool Engine::pf_windows(const Session& s, Slot slot, Windows& out) const {
    const Windows* kept = pf_states_.windows(slot);
    if (kept != nullptr)
        out = traits(s.dialect).copies_stale_dst ? pf_states_.with_latest_dst(slot, *kept) : *kept;
    return kept != nullptr;
}

// Pf peers of different versions cannot hear each other, so what one says goes on to the other.
// Those of one version do, and a change that changed nothing goes nowhere.
void Engine::pass_on(PeerId from, Slot slot) {
    if (!sessions_[from]->plain() || index_.record(slot).owner != from)
        return;
    for (PeerId peer = 0; peer < peer_count(); peer++)
        if (deaf_to(peer, from))
            enqueue(*sessions_[peer], peer, slot, false);
}

void Engine::pass_removal_on(PeerId from, Slot slot) {
    const Record& record = index_.record(slot);
    if (!sessions_[from]->plain())
        return;
    for (PeerId peer = 0; peer < peer_count(); peer++)
        if (deaf_to(peer, from) && has(record.known, peer) && !has(record.withheld, peer))
            retract_from(peer, slot);
}

bool Engine::deaf_to(PeerId peer, PeerId from) const {
    const Session& s = *sessions_[peer];
    return peer != from && s.plain() && s.link_up &&
           !hear_each_other(s.dialect, sessions_[from]->dialect);
}

// ---- rounds --------------------------------------------------------------------------------

bool Engine::pf_peers() const {
    return std::any_of(sessions_.begin(), sessions_.end(),
                       [](const auto& s) { return s->link_up && s->plain(); });
}

// How many rounds go by between two announcements of a flow that stays as it is.
std::uint32_t Engine::pf_rounds(const Session& s, const state::Flow& flow) {
    const auto index = static_cast<std::uint8_t>(pfsync::timeout_index(s.dialect, flow));
    const std::uint32_t third = std::min(pfsync::default_timeout(index) / 3, kLongest);
    return std::max<std::uint32_t>(third / kRound, 1);
}

// Established flows raise no event here, and pf's copies would time out: each is announced in
// time. A change is said some times more, for nobody acknowledges it, and where pf would say it
// with the next packet no event makes us do so. And a copy of a pf peer's flow goes when the peer
// has not spoken of it for so long that it has none any more.
void Engine::pf_round() {
    if (!pf_peers()) {
        pf_due_ = Instant::max();
        return;
    }
    if (pf_cursor_ == kNoSlot && now_s_ / kRound == pf_round_) {
        pf_due_ = std::chrono::seconds((pf_round_ + 1) * kRound);
        return;
    }
    if (pf_cursor_ == kNoSlot)
        pf_round_ = now_s_ / kRound;
    pf_due_ = now_ + kPfTick;
    index_.slice(pf_cursor_, std::max<std::size_t>(64, index_.size() / kTicks + 1),
                 [this](Slot slot) { pf_turn(slot); });
}

void Engine::pf_turn(Slot slot) {
    const Record& record = index_.record(slot);
    const std::uint8_t owner = record.owner;
    const bool pf_owned = owner < sessions_.size() && sessions_[owner]->plain();
    if (owner != kHere && (!pf_owned || !owner_alive(owner)))
        return; // an encsync node speaks for its own
    if (pf_owned) {
        const PfStates::Lease* lease = pf_states_.lease(slot);
        if (lease != nullptr && static_cast<std::int32_t>(now_s_ - lease->until) >= 0) {
            discard(slot);
            counters_.leases_over++;
            return;
        }
    }
    const state::Flow flow = index_.flow(slot, now_s_);
    const bool lately = !pf_owned && since_moved(record, flow) <= kRepeat;
    for (PeerId peer = 0; peer < peer_count(); peer++) {
        Session& s = *sessions_[peer];
        if (!(pf_owned ? deaf_to(peer, owner) : s.plain() && s.link_up))
            continue;
        if (lately || (pf_round_ + slot) % pf_rounds(s, flow) == 0)
            enqueue(s, peer, slot, false);
    }
}

// It was out of reach, and may have spoken meanwhile: its flows get their whole time again.
void Engine::renew_leases(PeerId peer) {
    Session& s = *sessions_[peer];
    for (const Slot slot : index_.slots()) {
        if (index_.record(slot).owner != peer)
            continue;
        const auto index = pfsync::timeout_index(s.dialect, index_.flow(slot, now_s_));
        pf_states_.extend(slot, now_s_ + s.pf.timeout(static_cast<std::uint8_t>(index)) + kGrace);
    }
}

} // namespace encsync::sync
