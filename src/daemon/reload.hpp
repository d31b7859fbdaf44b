// SPDX-License-Identifier: ISC
// Applies a newer configuration while the node runs. First everything that can fail is tried, then
// the peers that differ are removed and added; the others are not touched.
#pragma once

#include "daemon/key_ring.hpp"
#include "daemon/roles.hpp"
#include "policy/ruleset.hpp"

#include <string>
#include <vector>

namespace encsync::daemon {

// What a reload did, by names of conns.
struct Reloaded {
    std::vector<std::string> added, changed, removed;
    std::string role;     // the effect of a changed role=; empty: it has not changed
    std::string warnings; // rendered
};

class Reload {
  public:
    // All outlive it. It changes setup and directory.
    struct Parts {
        config::Setup& setup;
        Directory& directory;
        sync::Engine& engine;
        relay::Relay* relay; // or null
        link::Links& link;
        policy::Ruleset& ruleset;
        bool kernel_ipsec;
        bool raw_sockets; // the sandbox permits more of them, which cables need
        supervisor::Supervisor& charon;
        Peers& peers;
        KeyRing& keys;
        Roles& roles;
        Turns& turns;
    };
    Reload(std::string config_file, const Parts& parts)
        : config_file_(std::move(config_file)), parts_(parts) {}

    // Reads configuration and keys again. Peers that have not changed keep their SAs and states.
    // The error has as many lines as needed; then nothing has changed. A change that needs a
    // restart is an error.
    Result<Reloaded> run();

  private:
    struct Changes;

    Result<Changes> find_changes(const config::Config& fresh) const;
    std::vector<std::string> fixed(const config::Config& fresh) const;
    Result<void> prepare(const Changes& changes);
    void carry_out(const Changes& changes);

    const std::string config_file_;
    const Parts parts_;
};

} // namespace encsync::daemon
