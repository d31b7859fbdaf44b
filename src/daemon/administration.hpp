// SPDX-License-Identifier: ISC
// The commands on the control socket: the views of this node, and the few that change something.
#pragma once

#include "control/server.hpp"
#include "daemon/metrics.hpp"
#include "daemon/reload.hpp"
#include "daemon/views.hpp"

namespace encsync::daemon {

class Administration {
  public:
    // All outlive it and the server's connections.
    struct Parts {
        const Directory& directory;
        sync::Engine& engine;
        policy::Ruleset& ruleset;
        supervisor::Supervisor& charon;
        KeyRing& keys;
        Roles& roles;
        Reload& reload;
        Turns& turns;
    };
    Administration(const Parts& parts, const Views& views, const Metrics& metrics)
        : parts_(parts), views_(views), metrics_(metrics) {}

    // Registers every command.
    void offer(control::Server& server);

  private:
    Result<std::vector<PeerId>> named(const boost::json::object& fields) const;
    Result<boost::json::value> verify_policy();
    Result<boost::json::value> bulk(const boost::json::object& fields);
    Result<boost::json::value> flush(const boost::json::object& fields);
    Result<boost::json::value> rekey(const boost::json::object& fields);
    Result<boost::json::value> rotate_ppk(const boost::json::object& fields);
    Result<boost::json::value> reload_keys();
    Result<boost::json::value> reload();

    const Parts parts_;
    const Views& views_;
    const Metrics& metrics_;
};

} // namespace encsync::daemon
