// SPDX-License-Identifier: ISC
// A leg of a relay: the way to one firewall's cable or to one gateway, and what waits for it.
//
// What waits are messages in the dialect of the leg, our own messages (pfsync/extension.hpp, only
// to gateways), and references to states, which are sent as they are then: while much waits, all
// changes of a state become one message. Everything keeps its order. A cable, which cannot slow its
// sender down, gets a limited number of messages a second.
//
// Messages of other legs are translated to the dialect of this one, and get the interface names of
// its firewall; between cables, all sites use one name for an interface.
#pragma once

#include "pfsync/dialect.hpp"
#include "relay/state_store.hpp"
#include "relay/translate.hpp"
#include "sync/link.hpp"
#include "sync/time.hpp"
#include "util/counters.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace encsync::relay {

enum class Side : std::uint8_t { cable, gateway };

inline constexpr std::size_t kMaxWaiting = std::size_t{16} << 20; // bytes of messages, of one leg
inline constexpr std::size_t kCoalesceAbove = std::size_t{256} << 10; // bytes that wait
// A second, to a cable; a moment's silence saves up as many as a FreeBSD takes in one turn.
inline constexpr std::uint32_t kCableRate = 40'000, kCableBurst = 4'000;

struct LegCounters {
    std::uint64_t received = 0, relayed = 0; // messages from it, and to it
    std::uint64_t answered = 0;   // states sent to it that it had asked for, from the store
    std::uint64_t coalesced = 0;  // messages to it that a later one made needless
    std::uint64_t queue_full = 0; // messages to it that were lost: too many waited
    std::uint64_t leg_down = 0;   // likewise: it was down
    std::uint64_t too_large = 0;  // likewise: larger than a packet to it may be
    std::uint64_t refused = 0;    // messages from it that are not passed on
    std::uint64_t other_wire = 0; // messages from it with states of another dialect than its own
    std::uint64_t looped = 0;     // messages from it that a gateway sent, not a firewall
    std::uint64_t not_kept = 0;   // states from it that were only passed on: the limit is reached
    std::uint64_t clashes = 0;    // states from it with the id of another flow's
    std::uint64_t ended = 0;      // states in its bulk updates that have ended: it is told
    std::uint64_t repaired = 0;   // states that differed from what it had
};
inline constexpr std::array kLegCounters = {
    counters::value<&LegCounters::received>("relay", "received", "messages",
                                            "Messages received to be relayed"),
    counters::value<&LegCounters::relayed>("relay", "relayed", "messages",
                                           "Messages relayed to this leg"),
    counters::value<&LegCounters::answered>("relay", "answered", "states",
                                            "States sent to this leg because it asked for them"),
    counters::value<&LegCounters::coalesced>(
        "relay", "coalesced", "messages",
        "Messages not sent because a later one for the same state contains them"),
    counters::value<&LegCounters::queue_full>("relay", "queue_full", "messages",
                                              "Messages lost because too many waited for the leg"),
    counters::value<&LegCounters::leg_down>("relay", "leg_down", "messages",
                                            "Messages lost because the leg was down"),
    counters::value<&LegCounters::too_large>(
        "relay", "too_large", "messages", "Messages lost because no packet to the leg holds them"),
    counters::value<&LegCounters::refused>(
        "relay", "refused", "messages",
        "Messages from this leg not passed on: of another dialect, or of a number that only "
        "gateways use"),
    counters::value<&LegCounters::other_wire>(
        "relay", "other_wire", "messages",
        "Messages from this leg with states of another dialect than its wire says"),
    counters::value<&LegCounters::looped>(
        "relay", "looped", "messages",
        "Messages from this cable not passed on: a gateway is on it, so they would go in circles"),
    counters::value<&LegCounters::not_kept>(
        "relay", "not_kept", "states",
        "States from this leg passed on but not kept: maxstates is reached"),
    counters::value<&LegCounters::clashes>(
        "relay", "clashes", "states",
        "States from this leg with the id of another flow: two firewalls with one creatorid?"),
    counters::value<&LegCounters::ended>(
        "relay", "ended", "states",
        "States in bulk updates from this leg that have ended elsewhere, which it was told"),
    counters::value<&LegCounters::repaired>("relay", "repaired", "states",
                                            "States that differed from what this gateway has"),
};

class Leg {
  public:
    // `names`: of a cable, from the firewall's interfaces to what all sites call them.
    Leg(PeerId peer, Side side, pfsync::Dialect dialect, const InterfaceMap& names = {});

    PeerId peer() const { return peer_; }
    Side side() const { return side_; }
    pfsync::Dialect dialect() const { return dialect_; }

    // A message from this leg, with the names that all sites use; valid until the next call.
    Bytes with_shared_names(const pfsync::Section& section, Bytes message);
    // A message of that dialect for this leg; none: there is no equivalent, which is counted.
    // `proto`: of an UPD_C, that of its state, if it is known.
    std::optional<Translator::Out> translate(pfsync::Dialect from, const pfsync::Section& section,
                                             Bytes message, std::uint8_t proto = 0);
    // The state as an UPD for this leg.
    std::optional<Translator::Out> update_of(StateStore& store, Slot slot);

    // ---- what waits; each returns false if there is no room ----------------------------------
    bool push(std::uint8_t action, Bytes message);     // in the leg's dialect
    bool push_own(std::uint8_t action, Bytes message); // one of our own
    bool push_reference(Slot slot, state::StateId id);
    std::size_t waiting() const { return queue_.size() - sent_; } // bytes
    // Forgets all that waits.
    void clear(StateStore& store);

    // ---- sending ---------------------------------------------------------------------------
    void advance(sync::Instant now);
    // Sends what waits, as far as link and pace allow.
    void send(sync::Link& link, StateStore& store);
    // How many more messages it takes now; a gateway's link says when it is full.
    std::uint32_t budget() const { return side_ == Side::gateway ? UINT32_MAX : budget_; }
    bool paced() const { return budget() == 0; }

    LegCounters counters;
    LossCounters losses; // of what it was sent

  private:
    enum class Item : std::uint8_t { message, own, reference };
    bool append(Item item, std::uint8_t action, Bytes body);
    bool send_packet(sync::Link& link, StateStore& store);

    PeerId peer_;
    Side side_;
    pfsync::Dialect dialect_;
    Translator names_in_;
    std::vector<Translator> from_; // one for each dialect
    // Each item: what it is, action, size (2 bytes), and the body. From `sent_` on.
    std::vector<std::uint8_t> queue_;
    std::size_t sent_ = 0;
    std::uint32_t budget_ = kCableBurst;
    sync::Instant budget_at_{};
};

} // namespace encsync::relay
