// SPDX-License-Identifier: ISC
// The role of this node, whoever tells it, and what is odd about the roles of all.
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
    // All outlive it. `told`: by somebody, in a former life of this process since the boot; the
    // engine has that role already, or else the configuration's.
    Roles(const config::Setup& setup, const Directory& directory, const RunDir& run_dir,
          sync::Engine& engine, Turns& turns, std::optional<ToldRole> told);

    // The command `role`: with a role, it is in force from now; without one, the answer is what is.
    Result<boost::json::value> set(const boost::json::object& fields);
    // The configuration has another one now. A role that was told stays; else the configuration's
    // is in force, as after a restart. Returns what became of it.
    std::string take_configured();

    // Stores what is not stored yet.
    void store();
    void log_odd();

    // Whose role is known: one that is here, speaks our own messages and says it.
    std::optional<sync::Role> of_peer(PeerId peer) const;
    std::string odd() const; // empty: nothing

  private:
    void remember();

    const config::Setup& setup_;
    const Directory& directory_;
    const RunDir& run_dir_;
    sync::Engine& engine_;
    Turns& turns_;
    std::optional<ToldRole> told_; // none: the configuration's is in force
    bool stored_ = true;
    std::string not_stored_; // why
    std::string odd_;        // since so many seconds
    int odd_for_ = 0;
};

} // namespace encsync::daemon
