// SPDX-License-Identifier: ISC
// Where two encsync nodes stand in finding out that they hold the same (anti_entropy.hpp).
#pragma once

#include "sync/digest.hpp"
#include "sync/reliability.hpp"
#include "sync/time.hpp"

#include <deque>
#include <set>
#include <vector>

namespace encsync::sync {

struct Checks {
    // What may be asked for at a time, of us or by us.
    static constexpr std::size_t kMaxAsked = 4096;

    // ---- the peer's flows, our copies ------------------------------------------------------
    Instant equal = kNever; // when they were last found to be the same
    unsigned differing = 0; // sums in a row that were not
    // Nodes of its tree asked for and not answered; of those, the ones still to be sent.
    std::set<Digest::Node> asked;
    std::deque<Digest::Node> questions;
    Instant search_began, search_not_before;
    Duration search_pause{};
    bool too_many = false; // there was more to ask for than could be
    // The list that is being read.
    struct {
        Digest::Node leaf = Digest::kRoot;
        unsigned next_part = 0;
        std::uint64_t sum = 0; // of our copies of what it named
        std::vector<state::StateId> named;
    } list;
    // Leaves in which we hold what the peer did not name, and what it did name there.
    std::set<Digest::Node> surplus;
    std::set<state::StateId> named;

    // ---- our flows, the peer's copies ------------------------------------------------------
    Instant peer_equal = kNever; // when the peer last found them the same
    Instant root_due;
    std::set<Digest::Node> wanted; // by the peer, and not sent yet
    // Leaves need a walk of the index, one for all that are wanted.
    Instant walk_not_before;
    struct Listed {
        Digest::Node leaf;
        state::Slot slot; // kNoSlot: the end of the leaf
        auto operator<=>(const Listed&) const = default;
    };
    std::deque<Listed> listing;
    std::uint16_t listing_part = 0;
    std::deque<state::StateId> absent;

    bool walk_due(Instant now) const {
        return !wanted.empty() && listing.empty() && now >= walk_not_before;
    }
    bool anything_to_send(Instant now) const {
        return !questions.empty() || !absent.empty() || !listing.empty() ||
               (!wanted.empty() && !Digest::is_leaf(*wanted.begin())) || walk_due(now);
    }
    // When there is without anything happening before.
    Instant walk_at() const { return wanted.empty() ? Instant::max() : walk_not_before; }
};

} // namespace encsync::sync
