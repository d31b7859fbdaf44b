// SPDX-License-Identifier: ISC
// A pf firewall in place of a node, as tests see it. There are two of them, which share no code:
// PfFirewall (pf_firewall.hpp), with our own parser and builder, and PfProcess (pf_process.hpp),
// the one of the labs, in Python.
#pragma once

#include "pfsync/dialect.hpp"
#include "world.hpp"

#include <array>
#include <string>
#include <vector>

namespace encsync::sim {

struct PfState {
    state::Flow flow; // its id, both sides' states in pf's numbers
    std::array<std::uint8_t, 32> src{}, dst{};
    std::uint8_t timeout = 0; // index
    bool sloppy = false, outgoing = false;
};

class Pf : public Machine {
  public:
    // A packet of the flow passes: creates a state, or updates it.
    virtual void packet(const state::Flow& flow) = 0;
    virtual void close(const state::Flow& flow) = 0; // its state is removed, and announced as such
    // Valid until the next call.
    virtual const PfState* find(const state::Key& key) = 0;
    virtual std::vector<PfState> list() = 0;

    struct Status {
        bool in_step = false, gave_up = false; // its request for a bulk update
        unsigned tries = 0;
        std::uint64_t stale = 0;       // updates that it has received
        std::uint64_t rolled_back = 0; // windows that a peer has set back behind its own packets
    };
    virtual Status status() = 0;
};

} // namespace encsync::sim
