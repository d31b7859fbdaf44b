// SPDX-License-Identifier: ISC
// How an update of a peer and what we know come together: pfsync(4)'s rule, one side at a time.
// A peer that is behind is answered with what we know, and never undoes what we know.
#pragma once

#include "state/index.hpp"

#include <optional>

namespace encsync::sync {

// What a peer says of a flow that we know.
struct Said {
    std::uint8_t src_state = 0, dst_state = 0;
    std::uint8_t flags = 0;
    std::optional<std::uint32_t> mark;     // when it said one
    const state::Tuple* reply = nullptr;   // when it said one
    const state::Extras* extras = nullptr; // likewise
    // Whether it calls the flow its own or a copy, when it said so, and in which term.
    std::optional<bool> live;
    std::uint8_t term = 0;
};

struct Merge {
    bool src_stale = false, dst_stale = false;
    bool any_stale() const { return src_stale || dst_stale; }
};

// Copies the sides of `theirs` that are not stale into `record`. Without sequence numbers (all
// that conntrack gives) a side is stale if ours has come further.
Merge merge(state::Record& record, std::uint8_t their_src, std::uint8_t their_dst);

// The flags that follow from how far both sides have come: kSeenReply, kAssured.
std::uint8_t progress_flags(std::uint8_t proto, std::uint8_t src_state, std::uint8_t dst_state);

} // namespace encsync::sync
