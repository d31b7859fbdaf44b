// SPDX-License-Identifier: ISC
// Flows whose packets pass node0 or one of the pf firewalls beside it, in turns, at random, and the
// question of whether all have the same states.
//
//     Exchange x(seed, Dialect::openbsd);
//     x.step(10), x.settle();
//     EXPECT_EQ(x.difference(), "");
#pragma once

#include "churn.hpp"
#include "pf_process.hpp"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace encsync::sim {

class Exchange {
  public:
    // firewalls: so many, which hear each other as on one cable.
    Exchange(std::uint64_t seed, pfsync::Dialect dialect, PfProcess::Options options = {},
             unsigned firewalls = 1);

    struct Live {
        state::Flow flow;
        unsigned at = 0; // packets of it pass this node
        Instant moved{}; // since then
    };

    // ---- what happens ----------------------------------------------------------------------
    void step(unsigned events);
    // All packets pass node0, which is active, or the first firewall. At the end anyone's again.
    void take_over(Duration span);
    void flush();             // pfctl -F states, on the first firewall
    void reboot();            // of the first firewall
    void kill(Duration down); // node0's sync process
    void power_off();         // node0
    // A packet of each flow every four seconds.
    void keep(Duration span);
    // Until nothing is on its way.
    void settle();
    bool moves = true;            // flows move from one to another
    bool closes_elsewhere = true; // states are removed at firewalls that their packets do not pass

    // ---- the same everywhere ---------------------------------------------------------------
    // The first difference as text; empty: there is none. What is compared of each state: its id,
    // addresses, NAT, progress, timeout and TCP windows. What has ended is nowhere.
    std::string difference() { return difference(true); }
    // After losses: TCP states of flows that have ended may be left where they are not used. pfsync
    // acknowledges nothing and says only once that a state has ended.
    std::string difference_but_for_what_has_ended() { return difference(false); }
    // How many states there are that no packet keeps alive.
    std::size_t left_over();

    World world;
    const pfsync::Dialect dialect;
    std::vector<std::unique_ptr<PfProcess>> pfs; // node1 and so on
    std::map<std::uint32_t, Live> live;
    // Connections that ended because the firewall that their packets passed did not know them.
    unsigned lost = 0;
    std::uint64_t rolled_back() const;

  private:
    Kernel& kernel() { return world.nodes[0]->kernel; }
    const sync::Engine& engine() { return *world.nodes[0]->engine; }
    PfProcess& pf(unsigned node) { return *pfs[node - 1]; }
    bool is_at(const Live& l, unsigned node);
    unsigned owner(const state::Key& key);
    bool packet(Live& l, bool first = false);
    void packets();
    void begin();
    void move(Live& l);
    void close(std::map<std::uint32_t, Live>::iterator it);
    std::string difference(bool ended_too);
    std::string difference(PfProcess& firewall, bool ended_too);
    std::string compare(const PfState& state, state::Slot slot);

    const PfProcess::Options options_;
    std::uint32_t next_ = 1;
    std::map<state::Key, Instant> put_back_; // copies deleted at node0, and when they are back
    std::set<state::Key> unsaid_;            // ended by pf, which had no way to say so
};

// The nth flow: as flow_number(), with destination NAT and ICMP among them.
state::Flow exchanged_flow(std::uint32_t n);

} // namespace encsync::sim
