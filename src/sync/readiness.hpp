// SPDX-License-Identifier: ISC
// Whether this node holds all that its peers have sent, so that it may be promoted; and if not,
// what is missing, in words for the administrator. Looks, and changes nothing.
//
// A node sends only its own flows, so every node needs a conn to every other. Where a peer receives
// from a node that has flows, and this node does not, a conn or a path is missing, and a
// takeover would lose those flows.
#pragma once

#include "sync/missing.hpp"
#include "sync/ownership.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace encsync::sync {

// A node with flows from which a peer receives and this one does not.
struct MissingEdge {
    PeerId peer;
    const Neighbour* node; // of that peer's last HELLO
};

// Why this node may not be promoted.
enum class Unready : std::uint8_t {
    no, // it may
    table_unread,
    bulk_incomplete,
    not_understood, // a peer
    no_peer_heard,
    no_room,        // in the table, for states of a peer
    states_missing, // of a peer, in the table
    over_limit,     // more states of a peer than are taken from it
    missing_edge,   // a peer hears a node that this one does not
};
inline constexpr int kUnready = 9;
const char* to_string(Unready why);

class Readiness {
  public:
    Readiness(const Context& context, const Peers& peers, const MissingCopies& missing,
              const Ownership& ownership)
        : ctx_(context), peers_(peers), missing_(missing), ownership_(ownership) {}

    // *why, if it is not null: the same in words.
    Unready unready(std::string* why) const;
    // All that the peer has sent is here, but for what is normal while flows come and go.
    bool holds_all_of(PeerId peer) const;
    // The peer is up, but none of its packets arrives or is understood: *why says which.
    bool misunderstood(PeerId peer, std::string* why) const;
    std::vector<MissingEdge> missing_edges() const;
    std::string describe(const MissingEdge& edge) const;
    // What HELLO to that peer names of the others.
    std::vector<Neighbour> neighbours_for(PeerId peer) const;

  private:
    bool another_serves() const;
    bool hears(std::uint32_t creatorid) const;

    const Context& ctx_;
    const Peers& peers_;
    const MissingCopies& missing_;
    const Ownership& ownership_;
};

} // namespace encsync::sync
