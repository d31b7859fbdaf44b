// SPDX-License-Identifier: ISC
// Whether this node may be promoted, and what prevents that: the nftables ruleset, the machine,
// the engine, the nodes that it does not hear.
#pragma once

#include "daemon/directory.hpp"
#include "daemon/machine.hpp"
#include "policy/ruleset.hpp"
#include "relay/relay.hpp"
#include "sync/engine.hpp"

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::daemon {

class Readiness {
  public:
    // `ruleset` is in place. All outlive it; `machine` and `relay` may be null.
    Readiness(policy::Ruleset& ruleset, const sync::Engine& engine, const Machine* machine,
              const relay::Relay* relay, const Directory& directory)
        : ruleset_(ruleset), engine_(engine), machine_(machine), relay_(relay),
          directory_(directory) {}

    bool ready(std::string* why) const { return unready(why).empty(); }
    // Which of reasons(); empty: it may. *why is the same in words.
    std::string_view unready(std::string* why) const;
    // All, of a relay or of an engine.
    static std::vector<std::string_view> reasons(bool relay);

    // Puts the ruleset back if it is gone.
    void uphold_policy();
    bool policy_in_place() const { return in_place_; }
    // Reads the ruleset's status again. Empty: the kernel did not answer.
    policy::RulesetStatus policy_status();

    // Logs what has changed since the last call.
    void log_changes();
    // Also for an active node, whose readiness does not depend on it.
    void log_missing_edges();

  private:
    policy::Ruleset& ruleset_;
    const sync::Engine& engine_;
    const Machine* machine_;
    const relay::Relay* relay_;
    const Directory& directory_;
    bool in_place_ = true;
    bool was_ready_ = false;              // as last logged
    std::set<std::string> missing_edges_; // likewise
};

} // namespace encsync::daemon
