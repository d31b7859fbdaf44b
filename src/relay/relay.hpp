// SPDX-License-Identifier: ISC
// Relays pfsync between the pf firewalls on this node's cables and the gateways of other sites,
// which have theirs. A message goes from one side to every leg of the other side, byte for byte if
// both legs have the same dialect and the same names of interfaces, otherwise translated:
// never back to where it came from, nor from one gateway to the next, so gateways are meshed and
// nothing loops. Packets are taken apart and put together again, as each leg has its own MTU;
// messages keep their order.
//
//     Relay relay(link, options);
//     relay.add(0, Side::cable, Dialect::openbsd, 0);
//     relay.add(1, Side::gateway, Dialect::freebsd1400, 0); // which translates
//     relay.advance(now);          // before anything else in a turn
//     relay.on_up(0);              // and so on
//     relay.on_packet(0, payload); // checked by the policy
//     while (relay.flush()) ...    // at the end of a turn
//
// It keeps the states that it relays (state_store.hpp), and so answers a firewall's bulk request
// and a request for one state at once. Gateways compare what they have, and repair what differs
// (comparison.hpp). What a leg cannot take at once waits (leg.hpp).
//
// On a cable are firewalls only. A gateway there would pass on what this one sends, also to this
// one itself, for ever. So each gateway names itself on its cables, in a way that pf ignores
// (pfsync/extension.hpp), and nothing that comes from a cable is passed on while one is heard
// there.
//
// While it is not active it sends nothing to its cables and passes nothing on from them, but learns
// what it hears on all legs: two gateways at one site share a cable. The one that becomes active
// sends again what changed lately, which the other may have failed to.
//
// No I/O of its own, and it reads no clock.
#pragma once

#include "pfsync/parse.hpp"
#include "relay/comparison.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace encsync::relay {

struct Options {
    std::uint32_t creatorid = 0; // in BUS
    std::uint64_t session = 0;   // random, new with each start, not 0
    state::Seed seed{};          // of the hash tables: random, secret
    // INS_ACK for a firewall that defers packets comes from this gateway, not from the firewall of
    // another site.
    bool ack_near = false;
    bool active = true;
};

class Relay {
  public:
    // `link` outlives it.
    Relay(sync::Link& link, const Options& options);

    // max_states: how many states that come from this leg are kept; 0: all. names: of a cable, from
    // its firewall's interfaces to what all sites call them.
    void add(PeerId peer, Side side, pfsync::Dialect dialect, std::size_t max_states,
             const InterfaceMap& names = {});
    void remove(PeerId peer);
    void set_active(bool active);
    void on_up(PeerId peer);
    void on_down(PeerId peer);
    void on_packet(PeerId from, Bytes payload);
    // By the policy. The reason is for users.
    void on_packet_refused(PeerId from, std::string why);
    // Must come before all events of a turn; time never goes back.
    void advance(sync::Instant now);
    // Sends what waits, as far as the link takes it. True: there is more to do at once.
    bool flush();
    // When to call advance() and flush() without an event.
    sync::Instant deadline() const;

    // What the policy may let in from a leg: of gateways, also our own messages in version 6.
    pfsync::Expected expected(PeerId peer) const;

    // Ready: all cables are up and understood, and lead to no gateway; a gateway is up; nothing is
    // being filled.
    struct Unready {
        enum class Why : std::uint8_t { cable_down, loop, misunderstood, no_gateway, filling } why;
        PeerId peer = kNoPeer; // the cable, or the gateway whose states arrive
    };
    // A gateway on a cable.
    struct Loop {
        bool self;   // this one
        PeerId peer; // kNoPeer: a gateway that is none of this one's peers
    };
    std::optional<Loop> loop(PeerId cable) const;
    // Why none of its packets is accepted any more; empty: they are, or it sends none.
    std::string misunderstood(PeerId peer) const;
    // The dialect of its states, if it is not the one that it was added with.
    std::optional<pfsync::Dialect> other_wire(PeerId peer) const;
    std::optional<Unready> unready() const;
    const LossCounters& losses(PeerId peer) const;                // of what was sent to it
    const LegCounters& counters(PeerId peer) const;               // of a leg
    std::size_t waiting(PeerId peer) const;                       // bytes
    std::optional<sync::Duration> since_equal(PeerId peer) const; // of a gateway; none: never
    sync::Instant heard(PeerId peer) const { return places_[peer]->heard; } // {}: never
    const StateStore& store() const { return store_; }
    std::uint64_t states_of(PeerId peer) const { return store_.digest(peer).count(); }

  private:
    // All states go to a leg: to a firewall, or to a gateway those of the firewalls here, and then
    // those that come from nowhere.
    struct Walk {
        enum class Phase : std::uint8_t { none, states, orphans } phase = Phase::none;
        Slot cursor = kNoSlot;
        bool framed = false; // by BUS
        sync::Instant began{};
        std::uint32_t changed_since = 0; // only those, of whatever origin; 0: all
    };
    struct Place {
        Place(StateStore& store, PeerId peer, Side side, pfsync::Dialect dialect,
              const InterfaceMap& names)
            : leg(peer, side, dialect, names), comparison(store, leg) {}
        Leg leg;
        Comparison comparison;
        bool up = false;
        bool behind = false; // a message was lost: all states go to it again
        Walk walk;
        // Of a gateway: we have asked for its states, and they have not all arrived.
        bool filling = false;
        sync::Instant fill_began{};
        // The last time for which nothing of it arrived here.
        sync::Instant gap_began{}, gap_ended{};
        unsigned sums_while_filling = 0;
        sync::Instant heard{};
        // Of a firewall: it has asked for all states.
        bool asks = false;
        sync::Instant bulk_until{}; // it sends all of its states
        sync::Instant root_due{};
        sync::Instant name_due{}; // likewise, of a cable: of our own name
        struct Stranger {
            std::uint64_t session;
            sync::Instant heard;
        };
        std::optional<Stranger> stranger;     // the gateway on a cable
        std::optional<pfsync::Dialect> shown; // the dialect of its states
        std::string refusal;                  // of a packet since the last that was accepted
    };
    using Places = std::array<std::unique_ptr<Place>, kMaxPeers>;

    template<class Each>
    void each(Side side, Each&& action);
    Own own() const { return {store_, cables_}; }
    bool speaks(const Place& place) const { return place.leg.side() == Side::gateway || active_; }
    bool filling() const;

    void receive(Place& from, const pfsync::Section& section, Bytes message);
    bool receive_name(Place& from, const pfsync::Section& section, Bytes message);
    void receive_own(Place& from, std::uint8_t action, Bytes message);
    void receive_root(Place& from, Bytes message);
    void receive_orphan(Place& from, Bytes message);
    void receive_fetch(Place& from, Bytes message);
    bool has_ended_there(const Place& gateway, Slot slot, std::uint32_t seconds_ago) const;
    void receive_request(Place& from, const pfsync::Section& section, Bytes message);
    void receive_bulk_status(Place& from, Bytes message);
    bool has_ended(Place& from, const pfsync::Section& section, Bytes message);
    Slot learn(Place& from, const pfsync::Section& section, Bytes message);
    void remove(Place& from, state::StateId id);
    void pass_on(const Place& from, const pfsync::Section& section, Bytes message, Slot slot);
    // In the dialect of the leg.
    void enqueue(Place& to, std::uint8_t action, Bytes message, Slot slot = kNoSlot);
    void enqueue_kind(Place& to, pfsync::Kind kind, Bytes message);
    void enqueue_id(Place& to, pfsync::Kind kind, state::StateId id); // DEL_C, INS_ACK, UPD_REQ
    void say_name(Place& cable);
    void request_bulk(Place& from);
    void exchange_all(Place& cable);
    void fill_from(Place& gateway);
    void send_bulk_status(Place& to, bool end);
    void begin_walk(Place& to, bool framed, std::uint32_t changed_since = 0);
    bool walk(Place& to);
    void end_walk(Place& to);
    bool push_of_walk(Place& to, Slot slot);

    sync::Link& link_;
    Options options_;
    bool active_;
    StateStore store_;
    Places places_;
    std::uint16_t cables_ = 0; // bit n: peer n is one
    sync::Instant now_{}, started_{};
    std::uint32_t second_ = 0;
};

} // namespace encsync::relay
