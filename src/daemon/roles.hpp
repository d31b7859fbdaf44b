// SPDX-License-Identifier: ISC
// The role of this node, whoever sets it, and inconsistent roles of all nodes.
#pragma once

#include "daemon/directory.hpp"
#include "daemon/run_dir.hpp"
#include "daemon/turns.hpp"
#include "sync/engine.hpp"

#include <boost/json.hpp>
#include <optional>
#include <string>

namespace encsync::daemon {

class Roles {
  public:
    // All outlive it; `relay` may be null. `requested`: the role that was set before this start,
    // since the boot; the engine has that role already, or else the configuration's.
    Roles(const config::Setup& setup, const Directory& directory, const RunDir& run_dir,
          sync::Engine& engine, relay::Relay* relay, Turns& turns,
          std::optional<RequestedRole> requested);

    // The command `role`: with a role, sets it; without one, returns the current one.
    Result<boost::json::value> set(const boost::json::object& fields);
    // The configuration has another one now. A role that was set stays; else the configuration's
    // applies, as after a restart. Returns the effect as text.
    std::string take_configured();

    // Stores what is not stored yet.
    void store();
    void log_odd();

    // The role of a reachable peer that sends HELLO; none: unknown.
    std::optional<sync::Role> of_peer(PeerId peer) const;
    std::string odd() const; // empty: nothing

  private:
    void apply(sync::Role role);
    void remember();

    const config::Setup& setup_;
    const Directory& directory_;
    const RunDir& run_dir_;
    sync::Engine& engine_;
    relay::Relay* relay_;
    Turns& turns_;
    std::optional<RequestedRole> requested_; // none: the configuration's applies
    bool stored_ = true;
    std::string not_stored_; // why
    std::string odd_;        // for so many seconds
    int odd_for_ = 0;
};

} // namespace encsync::daemon
