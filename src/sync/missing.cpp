// SPDX-License-Identifier: ISC
#include "sync/missing.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::Slot;

namespace {

// Seconds before the round of Copies asks again: longer than a dead peer is taken for alive, and
// long enough for a full table to have room.
constexpr std::uint32_t kVanishedPause = 6, kRefusedPause = 60;
constexpr Duration kClashPause = 2s;
constexpr std::size_t kMaxClashing = 10'000; // the others wait for the round
constexpr std::size_t kAtATime = 20'000;
// Of one owner's copies so many are put back at once in this time.
constexpr Duration kPutBackTime = 60s;
constexpr std::size_t kPutBackTimes = 2, kPutBackMore = 1000;
// What is normal while flows come and go.
constexpr std::size_t kFewMissing = 10, kShareMissing = 100;
constexpr Duration kMissingTime = 3s;

} // namespace

const char* to_string(Missing missing) {
    static constexpr const char* kNames[kMissingReasons] = {"", "vanished", "no_room", "clash",
                                                            "refused"};
    return kNames[static_cast<std::size_t>(missing)];
}

// ---- the count -----------------------------------------------------------------------------

std::size_t MissingCopies::count(PeerId peer) const {
    std::size_t all = 0;
    for (std::size_t why = 1; why < kMissingReasons; why++)
        all += count(peer, static_cast<Missing>(why));
    return all;
}

void MissingCopies::note() {
    for (PeerId peer = 0; peer < peers_.count(); peer++) {
        Instant& since = vanished_[peer].missing_since;
        since = count(peer) == 0 ? Instant::max() : std::min(since, ctx_.now);
    }
}

bool MissingCopies::lacks(PeerId peer) const {
    const std::size_t missing = count(peer);
    const Instant since = vanished_[peer].missing_since;
    return count(peer, Missing::no_room) != 0 ||
           missing > std::max(kFewMissing, ctx_.flows.copies(peer) / kShareMissing) ||
           (missing != 0 && ctx_.now > since && ctx_.now - since > kMissingTime);
}

bool MissingCopies::is_missing(Slot slot, Missing why) const {
    return ctx_.record(slot).missing == why;
}

void MissingCopies::mark(Slot slot, Missing why) {
    LocalState& local = ctx_.flows.local(slot);
    local.is.absent = true;
    ctx_.flows.set_expires(slot, ctx_.seconds +
                                     (why == Missing::vanished ? kVanishedPause : kRefusedPause));
    ctx_.flows.set_missing(slot, why);
    const std::uint8_t owner = ctx_.record(slot).owner;
    if (why == Missing::vanished && peers_.is_peer(owner))
        vanished_[owner].copies.add(ctx_.now, ctx_.index, slot);
    else if (why == Missing::clash && clashing_.size() < kMaxClashing)
        clashing_.add(ctx_.now + kClashPause, ctx_.index, slot);
}

void MissingCopies::on_refused(Slot slot, table::Refusal refusal) {
    mark(slot, refusal == table::Refusal::table_full ? Missing::no_room
               : refusal == table::Refusal::clash    ? Missing::clash
                                                     : Missing::refused);
}

// ---- put back ------------------------------------------------------------------------------

bool MissingCopies::may_put_back(PeerId peer) const {
    return peers_[peer].reachable() && vanished_[peer].copies.next() < peers_[peer].last_received;
}

void MissingCopies::put_back(PeerId peer) {
    Vanished& v = vanished_[peer];
    if (ctx_.now - v.put_back_since >= kPutBackTime) {
        v.put_back_since = ctx_.now;
        v.put_back = 0;
    }
    for (std::size_t n = 0; n < kAtATime && may_put_back(peer); n++) {
        const auto slot = v.copies.take(peers_[peer].last_received - Duration(1), ctx_.index);
        if (!slot)
            break;
        const Record& record = ctx_.record(*slot);
        if (!is_missing(*slot, Missing::vanished) || record.owner != peer)
            continue;
        // A packet of a dead owner may be on its way still; the round waits for longer.
        if (record.is.ended)
            continue;
        if (v.put_back >= kPutBackTimes * ctx_.flows.copies(peer) + kPutBackMore) {
            ctx_.flows.set_expires(*slot, ctx_.seconds + kRefusedPause);
            continue;
        }
        v.put_back++;
        ctx_.counters.put_back++;
        copies_.put(*slot);
    }
}

void MissingCopies::advance() {
    for (PeerId peer = 0; peer < peers_.count(); peer++)
        put_back(peer);
    while (const auto slot = clashing_.take(ctx_.now, ctx_.index))
        if (is_missing(*slot, Missing::clash) && peers_.owner_alive(ctx_.record(*slot).owner))
            copies_.put(*slot);
}

Instant MissingCopies::deadline() const {
    for (PeerId peer = 0; peer < peers_.count(); peer++)
        if (may_put_back(peer))
            return std::min(ctx_.now, clashing_.next());
    return clashing_.next();
}

} // namespace encsync::sync
