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
    bool restart = false;   // its SAs must be closed
    bool withdrawn = false; // one of its keys is no longer trusted
};

// The state of one peer. (Not nested: clang 14 refuses an optional of a nested aggregate.)
struct PeerEntry {
    channel::Peer config;
    std::vector<std::string> ppks; // ppk_text() of their ids, the one that is offered first
    bool removed = false;
    bool up = false;
    bool unanswered = false;
    std::uint32_t renewals = 0;    // outbound SAs taken into use so far
    unsigned attempts = 0;         // since it was last up
    Clock::time_point next{};      // earliest time of the next attempt
    Clock::time_point childless{}; // since when an IKE_SA has no CHILD_SA
};
// The last report about it.
struct LastReport {
    channel::PeerEventKind kind{};
    std::string text;
    Clock::time_point at{};
};

// How the id of a preshared key is called in IKE.
inline constexpr std::string_view kPpkPrefix = "ppk.";
std::string ppk_text(Bytes id);

class Peers {
  public:
    // Adds the peer, without its secrets.
    PeerChange set(const channel::Peer& peer);
    // Its SAs are still being closed, so it must stay reachable for a while.
    void remove(PeerId id);

    const channel::Peer* find(PeerId id) const;
    PeerId by_name(std::string_view name) const;
    PeerId by_address(const encsync_address_t& right) const;

    // Empty: none.
    const std::vector<std::string>& ppks(PeerId id) const;

    // Whether this end goes first where both ends may do the same; the other one waits.
    bool goes_first(PeerId id) const;
    void renewed(PeerId id);
    std::uint32_t renewals(PeerId id) const;

    // Outbound SAs were added or removed: updates whether the peer is up.
    void up(PeerId id);
    // Returns true if the reason is that the peer did not answer.
    bool down(PeerId id, Clock::time_point now);
    void unanswered(PeerId id); // reported only if the peer then goes down
    void still_up(PeerId id); // an SA is gone, and was not the last

    bool due(PeerId id, bool connecting, bool established, Clock::time_point now);
    // Whether to report it.
    bool worth_reporting(const channel::PeerEvent& event, Clock::time_point now);

  private:
    PeerEntry* entry(PeerId id);
    static Clock::duration head_start(const channel::Peer& peer);

    std::array<std::optional<PeerEntry>, kMaxPeers> entries_;
    std::array<LastReport, kMaxPeers + 1> reports_; // the last is for peers we don't know
};

} // namespace encsync::plugin
