// SPDX-License-Identifier: ISC
// How many changes of one state become one message (maxupd of pfsync(4)).
//
// A connection opens and closes in bursts of changes, of which only the last one matters. So a
// change of a state that the peer knows already waits a moment for the next. What begins, ends,
// changes hands or addresses does not wait, nor does what makes a connection established: a node
// that dies takes with it what it has not said. A wait ends
// - when maxupd changes are in it,
// - after kHold, or after kSettle as soon as a packet goes to that peer anyway or could be filled.
#include "sync/engine.hpp"

#include "sync/marks.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::Slot;

namespace {

constexpr Instant kHold = 20ms, kSettle = 5ms;
constexpr std::size_t kPacketful = 16; // UPD_C in 1,400 bytes

} // namespace

// As announce(), of a change that may wait.
void Engine::announce_change(Slot slot) {
    state::Marks& marks = flows_.marks(slot);
    const std::uint16_t withheld = index_.record(slot).withheld;
    if (marks.waiting == 0)
        marks.changes = 0;
    if (marks.changes < UINT8_MAX)
        marks.changes++;
    for (PeerId peer = 0; peer < peer_count(); peer++) {
        Session& s = *sessions_[peer];
        if (!s.listens())
            continue;
        // While a bulk update is on its way the peer may not have this one yet.
        const bool may_wait = has(marks.known, peer) && !s.sending_bulk && !has(withheld, peer) &&
                              marks.changes < s.options.maxupd;
        if (!may_wait) {
            enqueue(s, peer, slot, false);
        } else if (has(marks.queued, peer)) {
            s.counters.collapsed++;
        } else {
            set(marks.queued, peer);
            set(marks.waiting, peer);
            s.waiting.push_back({now_, slot});
        }
    }
}

bool Engine::waits(PeerId peer, Slot slot) const {
    return index_.used(slot) && has(index_.record(slot).waiting, peer);
}

Instant Engine::end_of_wait(const Session& s) const {
    if (s.waiting.empty())
        return Instant::max();
    const Instant first = s.waiting.front().since + kHold;
    if (s.waiting.size() < kPacketful)
        return first;
    return std::min(first, s.waiting[kPacketful - 1].since + kSettle);
}

void Engine::end_waits(PeerId peer) {
    Session& s = *sessions_[peer];
    while (end_of_wait(s) <= now_)
        for (std::size_t n = std::min(kPacketful, s.waiting.size()); n > 0; n--) {
            const Slot slot = s.waiting.front().slot;
            s.waiting.pop_front();
            if (!waits(peer, slot))
                continue;
            clear(flows_.marks(slot).waiting, peer);
            s.queue.push_back(slot);
        }
}

bool Engine::may_ride_along(const Session& s) const {
    return !s.waiting.empty() &&
           (s.waiting.front().since + kSettle <= now_ || s.root_due(now_)); // which sums them up
}

bool Engine::say_waiting(Session& s, PeerId peer, pfsync::Builder& packet) {
    for (; may_ride_along(s); s.waiting.pop_front())
        if (waits(peer, s.waiting.front().slot) &&
            !say_queued(s, peer, packet, s.waiting.front().slot))
            return false;
    return true;
}

} // namespace encsync::sync
