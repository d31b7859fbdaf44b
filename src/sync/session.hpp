// SPDX-License-Identifier: ISC
// What the engine knows about one peer: how far it has come with it, and what it still has to say.
#pragma once

#include "pfsync/dialect.hpp"
#include "state/nosync.hpp"
#include "sync/checks.hpp"
#include "sync/pf_session.hpp"
#include "sync/reliability.hpp"
#include "table/ignored.hpp"
#include "util/peer_id.hpp"

#include <array>
#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace encsync::sync {

enum class Role : std::uint8_t { automatic = 0, active = 1, standby = 2 };
const char* to_string(Role role); // "auto", "active", "standby"

// The first 8 bytes of the SHA-256 of a public key.
using KeyPrint = std::uint64_t;

struct PeerOptions {
    std::string name;
    // Say hello, and use our own messages once the peer says hello too (wire=encsync, auto).
    // Otherwise what the dialect has, and not a byte more.
    bool extended = true;
    // None: whatever the peer shows itself to speak (wire=auto).
    std::optional<pfsync::Dialect> dialect = pfsync::kOwnDialect;
    state::NoSync nosync{};          // what this peer is not told of
    std::uint8_t maxupd = 1;         // changes of one state in one update; 0 and 1: none ever waits
    state::NoSync refuse{};          // what is not taken from it
    std::vector<KeyPrint> trusted{}; // the keys that this node lets it prove itself with
};

// How a node's conntrack judges TCP: nf_conntrack_tcp_loose, nf_conntrack_tcp_be_liberal.
struct TcpTracking {
    bool loose = false, liberal = false;
    bool operator==(const TcpTracking&) const = default;
};

// What a wire can say of the conntrack zone of a flow.
enum class Zones : std::uint8_t {
    none,            // pfsync has none
    both_directions, // encsync before it knew of zones for one direction
    each_direction,
};

struct PeerCounters {
    std::uint64_t rx_packets = 0, tx_packets = 0;
    std::uint64_t rx_messages = 0, tx_messages = 0;
    std::uint64_t collapsed = 0;    // changes that needed no message of their own
    std::uint64_t stale = 0;        // updates in which a side was behind ours
    std::uint64_t requests = 0;     // UPD_REQ for what we did not know
    std::uint64_t late_packets = 0; // out of order or seen before: taken as lost
    std::uint64_t lost_packets = 0; // of ours
    std::uint64_t bulks_sent = 0, bulks_received = 0, swept = 0;
    std::uint64_t checks = 0;        // sums of the peer's flows compared with those of our copies
    std::uint64_t repairs = 0;       // searches begun because they differed
    std::uint64_t differing = 0;     // states asked for because of that
    std::uint64_t removed = 0;       // of those, the ones that the peer did not have
    std::uint64_t zone_withheld = 0; // flows whose zone its wire cannot say
    std::array<std::uint64_t, table::kIgnored> refused_states{}; // not taken, by reason
};

// A node that a peer hears.
struct Neighbour {
    std::uint32_t creatorid = 0;
    Role role = Role::automatic;
    bool owns = false; // flows
    std::string name;  // as the peer calls it

    // A takeover that does not know its flows loses them.
    bool matters() const { return role == Role::active || owns; }
};
using NeighbourName = state::BasicName<14>;

// What follows the first 44 bytes of a HELLO (pfsync/extension.hpp).
struct HelloTail {
    std::vector<Neighbour> neighbours; // whom the sender hears
    std::vector<KeyPrint> trusted;     // the receiver's keys that the sender trusts

    std::size_t hello_size() const;
    void write(std::uint8_t* hello) const;
    static std::optional<HelloTail> read(Bytes hello); // none: it is malformed
};

struct Session {
    static constexpr Instant kSilence = std::chrono::seconds(4); // four hellos missed

    explicit Session(PeerOptions o, bool is_there = true)
        : options(std::move(o)), present(is_there),
          dialect(options.dialect.value_or(pfsync::kOwnDialect)), zones(zones_of_wire()) {}

    PeerOptions options;
    bool present; // false: a number that no peer has just now; its link is never up
    PeerCounters counters;
    pfsync::Dialect dialect = pfsync::kOwnDialect; // what we say is in

    // ---- the path and the peer -------------------------------------------------------------
    bool link_up = false;  // there is an SA to send with
    bool silent = true;    // nothing heard for too long: its flows have no live owner
    bool extended = false; // both said hello: SEQ, ACK and tails are in use
    bool assumed_plain = false;
    bool heard_plain = false; // it says something, but not hello
    bool accepted = false;    // anything it said, since the link came up or it fell silent
    std::string refusal;      // else why all that it says is refused; empty: it says nothing
    Instant up_since{0};      // of the link
    Instant last_heard{0};
    std::uint64_t local = 0;   // our session with it
    std::uint64_t remote = 0;  // its session; 0: not heard yet
    std::uint64_t lost_in = 0; // its session in which it told us that its table was lost
    bool reads_reply_zone = false;
    Zones zones = Zones::both_directions; // as zones_of_wire() was when it was last looked at
    bool lost = false;                    // and flows that it owned may be nobody's since
    bool remote_heard_us = false;
    std::uint32_t creatorid = 0; // 0: not known
    std::uint16_t hello_version = 0;
    Role role = Role::automatic;
    bool peer_ready = false, peer_in_step = false;
    std::uint64_t peer_states = 0;
    std::optional<TcpTracking> tracking; // of the peer
    HelloTail told;                      // with its last hello

    // ---- what is still to be said ----------------------------------------------------------
    // Slots with their bit set in Marks::queued; a slot is in here once at most. What is
    // said about it is decided when it is said.
    std::deque<state::Slot> queue;
    // Slots with their bit set in Marks::waiting, in the order of time.
    struct Waiting {
        Instant since;
        state::Slot slot;
    };
    std::deque<Waiting> waiting;
    struct Removal {
        state::StateId id;
        std::uint8_t term = 0;
    };
    std::deque<Removal> removals;
    std::deque<state::StateId> requests, insert_acks;
    // The flow whose full state was said last and whose expectations follow; so many are said.
    state::Slot expecting = state::kNoSlot;
    std::uint8_t expecting_said = 0;
    bool blocked = false; // the link had no room for it last time
    bool hello_now = false, bulk_request_now = false, bulk_start_now = false, bulk_end_now = false;
    Instant hello_due{0};
    Instant ack_due = Instant::max();

    // ---- bulk updates ----------------------------------------------------------------------
    bool sending_bulk = false;
    bool bulk_walked = false;                 // every slot was said once
    std::size_t bulk_sent = 0;                // states of it that were said
    std::size_t bulk_received = 0;            // full states, since a bulk update of the peer began
    state::Slot bulk_cursor = state::kNoSlot; // the slot said last
    std::deque<state::Slot> bulk_again;       // lost on the way, to be said before the end is
    Instant bulk_pause{0};                    // plain peers: the next burst not before
    bool bulk_requested = false;              // by us, and its end not seen
    bool bulk_arriving = false;
    Instant bulk_retry = Instant::max();
    unsigned bulk_tries = 0;
    bool in_step = false; // a whole bulk update of the peer has arrived since it came up
    Instant in_step_since{0};
    Instant over_limit{-1}; // when a state of it was refused last because of Options::max_states
    std::uint8_t epoch = 0;

    Checks checks;
    Outstanding outstanding;
    Inbox inbox;
    Asked asked; // states that we do not know
    PfSession pf;

    bool reachable() const { return link_up && !silent; }
    // Standard pfsync only: as configured, or because the peer never said hello.
    bool plain() const { return !options.extended || assumed_plain; }
    Zones zones_of_wire() const {
        return plain()            ? Zones::none
               : reads_reply_zone ? Zones::each_direction
                                  : Zones::both_directions;
    }
    // Peers that were never heard get everything in bulk; the others hear of news when they can.
    bool listens() const { return extended || (plain() && link_up); }
    bool joining() const { return link_up && !in_step; }
    // Others would not read on behind a hello.
    bool greets() const { return options.extended && traits(dialect).extensible(); }
    // A peer that has fallen silent gets hellos only: it may be gone.
    bool may_talk() const { return extended ? !silent && outstanding.room() : plain(); }
    bool bulk_can_end() const {
        return sending_bulk && bulk_walked && bulk_again.empty() && outstanding.bulk_items() == 0;
    }
    bool anything_to_say(Instant now) const {
        return expecting != state::kNoSlot || !queue.empty() || !removals.empty() ||
               !requests.empty() || !insert_acks.empty() || bulk_request_now || bulk_start_now ||
               bulk_end_now || !bulk_again.empty() ||
               (sending_bulk && !bulk_walked && bulk_pause <= now) || bulk_can_end() ||
               (extended && checks.anything_to_say(now)) || root_due(now);
    }
    // The sum over our flows is to be said, if only nothing else is left to say.
    bool sums() const { return extended && peer_in_step && !sending_bulk; }
    bool root_due(Instant now) const { return sums() && now >= checks.root_due; }
};

// To be called for each message of a packet.
inline void note(Session& s, const Item& item) {
    s.counters.tx_messages++;
    if (s.extended)
        s.outstanding.note(item);
}

} // namespace encsync::sync
