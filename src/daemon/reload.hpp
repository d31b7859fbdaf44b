// SPDX-License-Identifier: ISC
// A newer configuration, taken up while the node runs. First everything that can go wrong is tried
// out, then the peers that differ are removed and added; those that do not differ are not touched.
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
    std::string role;     // what became of a new role=; empty: it is what it was
    std::string warnings; // rendered
};

class Reload {
  public:
    // All outlive it. It changes setup and directory.
    struct Parts {
        config::Setup& setup;
        Directory& directory;
        sync::Engine& engine;
        link::Tunnel& link;
        policy::Ruleset& ruleset;
        bool kernel_ipsec;
        supervisor::Supervisor& charon;
        Peers& peers;
        KeyRing& keys;
        Roles& roles;
        Turns& turns;
    };
    Reload(std::string config_file, const Parts& parts)
        : config_file_(std::move(config_file)), parts_(parts) {}

    // Reads configuration and keys anew. Peers that have not changed keep their SAs and states.
    // What is wrong with it, or needs a restart, is said in as many lines as it takes, and nothing
    // has changed then.
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
