// SPDX-License-Identifier: ISC
// How an update of a peer and what we know come together: pfsync(4)'s rule, one side at a time.
// A peer that is behind is answered with what we know, and never undoes what we know.
//
//     if (src_stale({4, 1000}, {4, 999})) ...    // ours first; seqlo where both know it
//
// Sequence numbers are in it only for TCP flows of a pf peer; all else goes by how far a side has
// come. The rules of pf's systems differ in the dst side.
#pragma once

#include "pfsync/dialect.hpp"
#include "state/index.hpp"

#include <optional>

namespace encsync::sync {

struct Merge {
    bool src_stale = false, dst_stale = false;
    bool windows_moved = false; // and so, something is new even if no state is
    bool any_stale() const { return src_stale || dst_stale; }
    bool both_stale() const { return src_stale && dst_stale; }
};

// One side of a TCP flow.
struct Side {
    std::uint8_t state = 0;
    std::optional<std::uint32_t> seqlo;
};
// if_pfsync.c, pfsync_upd_tcp(): `theirs` is behind `ours`.
bool src_stale(const Side& ours, const Side& theirs);
bool dst_stale(pfsync::Dialect rule, const Side& ours, const Side& theirs);

// Copies the sides of `theirs` that are not stale into `ours`. Without sequence numbers (all
// that conntrack gives) a side is stale if ours has come further.
Merge merge(state::Progress& ours, std::uint8_t their_src, std::uint8_t their_dst);

// The flags that follow from how far both sides have come: kSeenReply, kAssured.
std::uint8_t progress_flags(std::uint8_t proto, std::uint8_t src_state, std::uint8_t dst_state);

// A connection that both ends have closed.
bool is_closed(std::uint8_t proto, const state::Progress& progress);

} // namespace encsync::sync
