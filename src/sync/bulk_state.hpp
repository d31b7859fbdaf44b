// SPDX-License-Identifier: ISC
// How far the bulk updates to and from one peer have come (bulk.hpp).
#pragma once

#include "sync/reliability.hpp"
#include "sync/time.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>

namespace encsync::sync {

struct BulkState {
    // ---- to the peer -----------------------------------------------------------------------
    bool sending = false;
    bool walked = false; // every slot was sent once
    bool start_now = false, end_now = false;
    std::size_t sent = 0;                // states of it that were sent
    state::Slot cursor = state::kNoSlot; // the slot sent last
    std::deque<state::Slot> again;       // lost, to be sent before the end marker is
    Instant pause;                       // the next packet of it not before
    Instant began;                       // when it was asked for

    // ---- from the peer ---------------------------------------------------------------------
    bool requested = false; // by us, and its end not seen
    bool request_now = false;
    bool arriving = false;
    Instant asked; // when we asked first
    Instant retry = Instant::max();
    unsigned tries = 0;
    bool gave_up = false;     // the peer has answered no request for all its states
    std::size_t received = 0; // full states, since it began
    std::uint8_t epoch = 0;   // of the last one that began

    // A new session: nothing is under way.
    void reset() {
        again.clear();
        request_now = start_now = end_now = false;
        sending = requested = arriving = false;
    }
    bool anything_to_send(Instant now) const {
        return request_now || start_now || end_now || !again.empty() ||
               (sending && !walked && pause <= now);
    }
};

} // namespace encsync::sync
