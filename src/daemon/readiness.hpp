// SPDX-License-Identifier: ISC
// Whether this node may be promoted, and what keeps it from that: the nftables ruleset, the
// machine, the engine, the nodes that it does not hear.
#pragma once

#include "daemon/machine.hpp"
#include "policy/ruleset.hpp"
#include "sync/engine.hpp"

#include <set>
#include <string>

namespace encsync::daemon {

class Readiness {
  public:
    // `ruleset` is in place. All outlive it; `machine` may be null.
    Readiness(policy::Ruleset& ruleset, const sync::Engine& engine, const Machine* machine)
        : ruleset_(ruleset), engine_(engine), machine_(machine) {}

    bool ready(std::string* why) const;

    // Puts the ruleset back if it is gone.
    void uphold_policy();
    bool policy_in_place() const { return in_place_; }
    // Looks at the ruleset anew. Empty: the kernel did not tell.
    policy::RulesetStatus policy_status();

    // What has changed since the last time.
    void log_changes();
    // Also of a node that serves, whose readiness does not depend on it.
    void log_missing_edges();

  private:
    policy::Ruleset& ruleset_;
    const sync::Engine& engine_;
    const Machine* machine_;
    bool in_place_ = true;
    bool was_ready_ = false;              // of which the log has told
    std::set<std::string> missing_edges_; // likewise
};

} // namespace encsync::daemon
