// SPDX-License-Identifier: ISC
// Many nodes of the real engine on virtual time, over links that lose, delay, reorder, duplicate
// and partition, all from one seed. What a kernel would do (timers, traffic that re-arms them, a
// table that may be full) is modelled; everything else is the product's own code.
#pragma once

#include "sync/engine.hpp"

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace encsync::sim {

using sync::Duration;
using sync::Instant;

// A kernel's table: entries with timers. Traffic re-arms them; the sync process puts and removes.
class Kernel : public table::Table {
  public:
    struct Entry {
        state::Flow flow;
        Instant expires;
        bool copy = false;                  // not used by traffic since the sync process put it
        std::set<std::uint16_t> expected{}; // ports to which its helper expects a connection
        std::uint64_t seen = 0;             // the flow's last packet that passed here
    };

    table::Listener* listener = nullptr;
    Instant now;
    std::size_t capacity = SIZE_MAX;
    // How many packets each flow has had on all nodes; a strict entry that has not seen all of them
    // treats the next one as invalid.
    std::map<state::Key, std::uint64_t>* packets = nullptr;
    std::uint64_t invalid = 0;
    bool stays_strict = false; // flags of existing entries cannot be changed

    void start(table::Listener& to) override { listener = &to; }
    void put(const state::Flow& flow, table::Lifetime lifetime) override;
    void refresh(const state::Flow& flow, table::Lifetime lifetime) override;
    void relax(const state::Flow& flow) override;
    void remove(const state::Flow& flow) override { erase(flow.key); }
    void look(const state::Flow& flow) override;
    void expect(const state::Expectation& expectation, const state::Name& helper) override;
    void unexpect(const state::Expectation& expectation) override;
    void flush() override; // reports refusals
    void request_dump() override { dump_wanted = true; }
    std::uint32_t natural_timeout(const state::Flow& flow) const override;
    std::optional<table::Ignored> refuses(const state::Flow& flow) const override {
        return own.contains(flow.key) ? std::optional(table::Ignored::local) : std::nullopt;
    }

    // A packet of the flow passes: creates or updates the entry, and reports what a kernel would
    // (nothing, if only the timer changed). In a flow with a helper it begins or ends an
    // expectation. NAT uses the next port if the preferred one is another flow's.
    void traffic(const state::Flow& flow);
    void close(const state::Key& key); // the flow ends here, as seen from traffic
    void run_timers();
    // Without an event: an entry is removed, or all are.
    void erase(const state::Key& key);
    void clear();
    // The entry that has one of the flow's tuples, and is not the flow; end().
    std::map<state::Key, Entry>::const_iterator holder(const state::Flow& flow) const;
    void answer_dump();

    std::map<state::Key, Entry> entries;
    std::set<state::Key> own; // flows of this machine, which must not be accepted from a peer
    bool dump_wanted = false;

  private:
    state::Flow dumped(const Entry& entry) const;
    std::map<state::Key, state::Key> replies_; // as keys, to the keys of their entries
    struct Refused {
        state::Key key;
        table::Refusal why;
        state::Flow flow;
    };
    std::vector<Refused> refused_;
    bool telling_ = false;
    void help(const state::Flow& flow, Entry& entry);
};

struct LinkQuality {
    double loss = 0, duplicate = 0;
    double corrupt = 0; // damaged on the way, and so refused by the tunnel
    double late = 0;    // how many are delayed by up to `jitter` more, and so overtaken
    Duration delay{std::chrono::microseconds(200)}, jitter{};
};

class World;

class Node : public sync::Link {
  public:
    Node(World& world, unsigned index);

    MutableBytes acquire(PeerId peer) override;
    void commit(PeerId peer, std::size_t size) override;
    void flush() override {}

    // A new run of the sync process: it keeps only the kernel's table and the key.
    void start();
    void stop(); // SIGKILL
    void power_off();

    World& world;
    unsigned index;
    Kernel kernel;
    std::unique_ptr<sync::Engine> engine;
    sync::Role role = sync::Role::automatic;
    bool table_kept = false;
    Duration delay{};
    std::function<void(std::uint32_t)> release{};         // of deferred packets
    std::map<unsigned, state::NoSync> nosync{}, refuse{}; // by node
    std::map<unsigned, pfsync::Dialect> wire{};           // by node: to whom it speaks plain pfsync
    Duration clock{};                                     // what its clock is ahead of the world's

    // As in the daemon, the engine is called when it has asked for that, and with what comes in.
    void advance();
    void settle(); // sends what is due, and asks when to be called next
    Instant due;   // of the world's time

  private:
    std::array<std::uint8_t, 1400> room_{};
};

// A machine of another kind, in place of a node.
class Machine {
  public:
    virtual ~Machine() = default;
    virtual void on_packet(unsigned from, Bytes packet) = 0;
    virtual void advance(Instant now) = 0;
    virtual Instant deadline() const = 0;
};

class World {
  public:
    World(std::uint64_t seed, unsigned nodes);

    Instant now;
    std::mt19937_64 random;
    LinkQuality quality;
    std::vector<std::unique_ptr<Node>> nodes;
    std::map<unsigned, Machine*> machines; // the nodes of these numbers are stopped
    std::vector<std::vector<bool>> cut;    // cut[a][b]: no packet gets from a to b
    std::map<state::Key, std::uint64_t> packets;

    // Changes each packet before it is delivered, to simulate a fault in a program.
    std::function<void(unsigned from, unsigned to, MutableBytes packet)> forge;

    void run(Duration span);
    void send(unsigned from, unsigned to, const std::vector<std::uint8_t>& packet);
    void connect(unsigned a, unsigned b, bool up); // both ways
    // The tunnel between them: its SAs are removed, or set up.
    void link(unsigned a, unsigned b, bool up);
    void set_role(unsigned node, sync::Role role);
    bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random) < p; }
    std::uint64_t below(std::uint64_t n) { return random() % n; }

    // PeerIds: the other nodes in ascending order.
    unsigned node_of(unsigned self, PeerId peer) const { return peer < self ? peer : peer + 1u; }
    PeerId peer_of(unsigned self, unsigned other) const {
        return static_cast<PeerId>(other < self ? other : other - 1);
    }

    // Empty: the running nodes hold the same states, in engine and kernel, and agree on their
    // owners; otherwise the first difference as text.
    std::string difference() const;

    // The fate of every packet; duplicates count as sent again.
    struct Traffic {
        std::uint64_t sent = 0, arrived = 0, lost = 0, corrupted = 0, in_flight = 0;
    };
    Traffic traffic;

  private:
    struct Flight;
    void deliver(Flight& flight);
    std::string discrepancy(const Node& node) const;
    std::string discord() const;

    struct Flight {
        unsigned from, to;
        std::vector<std::uint8_t> packet;
        bool damaged;
    };
    std::multimap<Instant, Flight> flights_;
};

// The nth flow of the world; some have NAT, some are IPv6, protocols differ.
state::Flow flow_number(std::uint32_t n);
// The next step of its life (SYN_SENT, SYN_RECEIVED, ESTABLISHED ...). False at its end.
bool advance(state::Flow& flow);

// Malformed packets and messages that the engine has refused.
inline std::uint64_t faults(const sync::Engine& engine) {
    std::uint64_t sum = 0;
    for (PeerId peer = 0; engine.has_peer(peer); peer++)
        for (int n = 1; n < pfsync::kFaults; n++)
            sum += engine.session(peer).verdict.counters().refused[policy::index_of(
                policy::reason_of(static_cast<pfsync::Fault>(n)))];
    return sum;
}

} // namespace encsync::sim
