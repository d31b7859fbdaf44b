// SPDX-License-Identifier: ISC
// How two gateways find out that one's states are what the other has of it, and repair exactly what
// differs (messages: pfsync/extension.hpp).
//
// A sum goes out behind all that was sent before it, and everything of a leg keeps its order, so
// both ends compare the same moment; what was lost in between is the difference. Two sums in a row
// must differ: packets may overtake each other. A state is then asked for, one by one: it is
// replaced by the answer, removed if it is known to have ended, and otherwise kept as an orphan. So
// a gateway that has forgotten everything removes nothing elsewhere. If it has ended at the one
// that asks, the other decides: what has changed since then lives (relay.cpp).
#pragma once

#include "relay/leg.hpp"

#include <cstdint>
#include <set>
#include <vector>

namespace encsync::relay {

// What comes from this gateway's own firewalls.
class Own {
  public:
    Own(const StateStore& store, std::uint16_t cables) : store_(store), cables_(cables) {}
    bool has(Slot slot) const {
        const PeerId origin = store_.origin(slot);
        return origin < kMaxPeers && (cables_ >> origin & 1) != 0;
    }
    std::uint64_t count() const;
    std::uint64_t sum(sync::Digest::Node node) const;

  private:
    const StateStore& store_;
    std::uint16_t cables_; // bit n: peer n is a cable
};

class Comparison {
  public:
    // Both outlive it.
    Comparison(StateStore& store, Leg& leg) : store_(store), leg_(leg) {}

    // ---- of its states, here -----------------------------------------------------------------
    // RELAY_ROOT shows that it has forgotten what it had sent, which is orphans now.
    bool has_restarted(Bytes message);
    // everything_missing: a bulk update is cheaper.
    enum class Found { nothing, everything_missing };
    Found receive_root(Bytes message, sync::Instant now);
    void receive_sums(Bytes message);
    void receive_list(Bytes message);
    void receive_absent(Bytes message);

    // ---- of our states, there ------------------------------------------------------------------
    void receive_ask(Bytes message, const Own& own);
    void answer(state::StateId id, const Own& own); // FETCH
    void send_root(std::uint64_t session, const Own& own);
    // Lists that were asked for, from one walk of the store for all of them.
    void send_lists(const Own& own);
    bool lists_wanted() const { return !wanted_.empty(); }

    std::uint64_t session() const { return session_; } // of the gateway; 0: not known yet
    sync::Instant equal() const { return equal_; }     // when both were last found the same

  private:
    using Node = sync::Digest::Node;
    void ask(Node node);
    void fetch(state::StateId id);
    void fetch_surplus();
    void end_search();

    StateStore& store_;
    Leg& leg_;
    std::uint64_t session_ = 0;
    unsigned differing_ = 0; // sums in a row
    sync::Instant equal_ = sync::kNever, search_began_{};
    std::set<Node> asked_;  // and not answered
    std::set<Node> wanted_; // leaves, by the gateway
    struct {
        Node leaf = 0;
        unsigned next_part = 0;
    } list_;
    // Of the leaves listed so far: what the gateway named.
    std::set<Node> listed_;
    std::set<state::StateId> named_;
};

} // namespace encsync::relay
