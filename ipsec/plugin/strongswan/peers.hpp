// SPDX-License-Identifier: GPL-2.0-or-later
//
// The configured peers and the state of each: who initiates, when to retry, which changes to
// report. It has no clock and does no I/O; the caller holds the lock.
#pragma once

#include "ipsec/plugin/channel.hpp"
#include "ipsec/plugin/strongswan/core.h"

#include <chrono>
#include <optional>
#include <string_view>

namespace encsync::plugin {

using Clock = std::chrono::steady_clock;

struct PeerChange {
    std::string old_name;   // empty: the peer is new
    bool restart = false;   // its SAs are to be closed
    bool withdrawn = false; // a key of it is no longer trusted
};

// The state of one peer. (Not nested: clang 14 refuses an optional of a nested aggregate.)
struct PeerEntry {
    channel::Peer config;
    bool removed = false;
    bool up = false;
    unsigned closing = 0; // SAs that the peer has said it closes, and that are not gone yet
    bool unanswered = false;
    std::uint32_t renewals = 0;    // outbound SAs put to use so far
    unsigned attempts = 0;         // since it was last up
    Clock::time_point next{};      // attempt, not before
    Clock::time_point childless{}; // an IKE_SA without CHILD_SA since
};
// Why a peer is down.
enum class End { ours, closed_by_peer, unanswered };
// The last report about it.
struct Told {
    channel::PeerEventKind kind{};
    std::string text;
    Clock::time_point at{};
};

class Peers {
  public:
    // Adds the peer, without its secrets.
    PeerChange set(const channel::Peer& peer);
    // Its SAs are still being closed, so it must stay reachable for a while.
    void remove(PeerId id);

    const channel::Peer* find(PeerId id) const;
    PeerId by_name(std::string_view name) const;
    PeerId by_address(const encsync_address_t& right) const;

    // Of two ends that do the same, this one goes first; the other waits whether it still has to.
    bool goes_first(PeerId id) const;
    void renewed(PeerId id);
    std::uint32_t renewals(PeerId id) const;

    // Outbound SAs were added or removed: updates whether the peer is up.
    void up(PeerId id);
    // Returns which end caused it.
    End down(PeerId id, Clock::time_point now);
    // The peer closes an SA, or does not answer: reported only if the peer then goes down.
    void closed_by_peer(PeerId id);
    void unanswered(PeerId id);
    void still_up(PeerId id); // an SA is gone, and was not the last

    bool due(PeerId id, bool connecting, bool established, Clock::time_point now);
    // Whether to report it.
    bool worth_telling(const channel::PeerEvent& event, Clock::time_point now);

  private:
    PeerEntry* entry(PeerId id);
    static Clock::duration head_start(const channel::Peer& peer);

    std::array<std::optional<PeerEntry>, kMaxPeers> entries_;
    std::array<Told, kMaxPeers + 1> told_; // the last is for peers we don't know
};

} // namespace encsync::plugin
