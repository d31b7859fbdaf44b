// SPDX-License-Identifier: ISC
// A pf firewall according to pfsync(4), in place of a node: a queue that waits a second, short
// updates of states that packets pass, states that time out, bulk updates, stale answers. With
// FreeBSD's bug of copying the dst side of an update of which only src is stale.
//
//     PfFirewall pf(world, 1, Dialect::openbsd);     // node1 is that firewall
//     pf.packet(flow_number(7));                     // creates a state, or updates it
//     world.run(5s);
#pragma once

#include "pf.hpp"
#include "pfsync/build.hpp"

#include <deque>
#include <set>

namespace encsync::sim {

class PfFirewall : public Pf {
  public:
    struct State : PfState {
        Instant touched, created;
        std::uint32_t sent_src = 0, sent_dst = 0; // the furthest that packets have passed here
        bool queued = false, insert = false;
    };

    // Replaces node `self` in the world of node0, of whose peers it is one.
    PfFirewall(World& world, unsigned self, pfsync::Dialect dialect);
    ~PfFirewall() override;

    void packet(const state::Flow& flow) override;
    void close(const state::Flow& flow) override;
    const PfState* find(const state::Key& key) override;
    std::vector<PfState> list() override;
    Status status() override { return status_; }

    void on_packet(unsigned from, Bytes packet) override;
    void advance(Instant now) override;
    Instant deadline() const override;

  private:
    std::map<state::StateId, State> states_;
    Status status_;

    std::map<state::StateId, State>::iterator by_key(const state::Key& key);
    void insert(const pfsync::FullState& full);
    void update(State& state, const pfsync::PeerBlock& src, const pfsync::PeerBlock& dst,
                std::uint8_t timeout);
    void message(const pfsync::Section& section, Bytes m);
    void queue(State& state, bool at_once);
    void remove(std::map<state::StateId, State>::iterator it, bool tell);
    void flush();
    void ask();
    void send_bulk();
    template<class Write>
    void send(pfsync::Kind kind, Write&& write);

    World& world_;
    unsigned self_;
    pfsync::Dialect dialect_;
    std::uint64_t next_id_ = 1;
    std::map<state::Key, state::StateId> keys_;
    std::set<state::StateId> removed_;
    Instant flush_at_ = Instant::max(), tick_, retry_ = Instant::max();
    Instant asked_, bulk_began_, bulk_next_ = Instant::max();
    std::deque<state::StateId> bulk_;
    bool bulk_started_ = false; // since the last request
};

} // namespace encsync::sim
