// SPDX-License-Identifier: ISC
// The state of each peer: the events of the tunnel and charon, when it was last heard, and why it
// is down.
//
//     Peers peers(directory, engine, link, turns);
//     peers.on_up(3);                     // and so on, from link::Receiver and supervisor::Owner
//     peers.last_error(3);                // for the user
#pragma once

#include "daemon/directory.hpp"
#include "daemon/repeats.hpp"
#include "daemon/turns.hpp"
#include "ipsec/link/links.hpp"
#include "ipsec/plugin/channel.hpp"
#include "keysync/key_sync.hpp"
#include "policy/alarms.hpp"
#include "sync/engine.hpp"
#include "util/counters.hpp"

#include <array>
#include <chrono>
#include <optional>
#include <string>

namespace encsync::daemon {

// Why a negotiation with a peer failed.
enum class Failure : std::uint8_t {
    authentication,
    no_proposal, // none in common
    no_answer,
    flooded, // somebody begins negotiations from its address and does not finish them
};
inline constexpr std::size_t kFailures = 4;
const char* to_string(Failure failure);

struct IkeCounters {
    std::uint64_t established = 0, rekeyed = 0, lost = 0;
    std::array<std::uint64_t, kFailures> failed{};
};
inline constexpr std::array kIkeCounters = {
    counters::value<&IkeCounters::established>("ike", "established", "times",
                                               "Times that an IKE SA with the peer came up"),
    counters::value<&IkeCounters::rekeyed>(
        "ike", "rekeyed", "times", "Times that the keys with the peer were replaced by newer ones"),
    counters::value<&IkeCounters::lost>("ike", "lost", "times",
                                        "Times that the peer went down: the last SA, or the cable"),
    counters::by<&IkeCounters::failed, Failure>("ike", "failed", "times",
                                                "Negotiations with the peer that failed", "reason",
                                                counters::Shape::object, true),
};

class Peers {
  public:
    // What charon and the tunnel last reported about a peer.
    struct Life {
        bool connecting = false;
        std::optional<ike::Ed25519Public> key; // the key that last authenticated it
        std::optional<keys::PpkId> ppk;        // the preshared key that its IKE SA uses
        std::string key_exchanges;             // of its IKE SA, as in a proposal
        std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
    };

    // All outlive it. With a relay, packets go there instead of to the engine; else it is null.
    Peers(const Directory& directory, sync::Engine& engine, relay::Relay* relay,
          keysync::KeySync& key_sync, link::Links& link, Turns& turns);

    // ---- from the tunnel -------------------------------------------------------------------
    void on_packet(PeerId peer, std::uint32_t spi, Bytes inner);
    void on_up(PeerId peer);
    void on_down(PeerId peer);
    void on_stranger(const link::Endpoint& from, const link::Endpoint& to, Bytes header);

    // ---- from charon -----------------------------------------------------------------------
    void on_ike_out(const channel::IkeOut& datagram);
    void on_event(const channel::PeerEvent& event);
    void on_charon_lost(const std::string& reason);

    // What no single packet shows, and interfaces that were recreated.
    void every_second();

    // Logs it, and shows it until the next negotiation with the peer succeeds.
    void set_error(PeerId peer, std::string why);
    // The number is free now, or another peer's.
    void forget(PeerId peer) { states_[peer] = {}; }

    const Life& life(PeerId peer) const { return states_[peer].life; }
    const IkeCounters& counters(PeerId peer) const { return states_[peer].counters; }
    // It is reached, and its messages are read.
    bool up(PeerId peer) const;
    // It says so of itself; of a pf firewall, that it is in step.
    bool ready(PeerId peer) const;
    // It sends plain pfsync, though an encsync node was expected.
    bool taken_for_pf(PeerId peer) const { return states_[peer].taken_for_pf; }
    // All its states are here.
    bool in_step(PeerId peer) const;
    std::string last_error(PeerId peer) const; // empty: none

  private:
    struct State {
        Life life;
        IkeCounters counters;
        std::string last_error;
        Repeats failures; // as they are logged
        std::string end;  // why its SAs are being removed
        // Why none of its packets is understood, or what is wrong with them; empty: nothing.
        std::string misunderstood;
        std::optional<pfsync::Dialect> used_dialect;  // shown by packets that were refused
        bool taken_for_pf = false, modulates = false; // as last logged
        policy::Alarms alarms;
    };

    void failed(PeerId peer, Failure failure, std::string why);
    void failed(PeerId peer, std::string why);
    void follow_interfaces();
    void look_at(PeerId peer);
    std::string trouble_of_relay(PeerId peer) const;

    const Directory& directory_;
    sync::Engine& engine_;
    relay::Relay* relay_;
    keysync::KeySync& key_sync_;
    link::Links& link_;
    Turns& turns_;
    std::array<State, kMaxPeers> states_;
    Repeats strangers_{16};
};

} // namespace encsync::daemon
