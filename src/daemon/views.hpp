// SPDX-License-Identifier: ISC
// The answers to queries of `encsync`, as JSON (docs/operation.md).
#pragma once

#include "control/server.hpp"
#include "daemon/ipsec_choice.hpp"
#include "daemon/key_ring.hpp"
#include "daemon/readiness.hpp"
#include "daemon/registry.hpp"
#include "daemon/roles.hpp"
#include "metrics/server.hpp"

#include <boost/json.hpp>
#include <chrono>
#include <string_view>

namespace encsync::daemon {

class Views {
  public:
    // All outlive it; pointers may be null.
    struct Parts {
        const config::Setup& setup;
        const Directory& directory;
        const sync::Engine& engine;
        const link::Links& link;
        const policy::Ruleset& ruleset;
        const supervisor::Supervisor& charon;
        const Peers& peers;
        const KeyRing& keys;
        const Roles& roles;
        const Registry& registry;
        Readiness& readiness;
        const IpsecChoice& ipsec;
        const Machine* machine;
        const table::Table& table;
        const table::PacketQueue* queue;
        const relay::Relay* relay;
        const metrics::Server* metrics;
    };
    explicit Views(const Parts& parts) : parts_(parts) {}

    boost::json::value status() const;
    boost::json::array peers() const;
    boost::json::array sas() const;
    boost::json::object policy() const;
    // One flow at a time, of those that match the filter.
    Result<control::Generator> states(std::string_view filter) const;
    // {"name", "states"} of those with the most states. by: of the request; empty: "source".
    control::Generator talkers(std::string_view by) const;

  private:
    boost::json::object peer(PeerId peer, const std::vector<link::SaInfo>& sas) const;
    boost::json::object missing(PeerId peer) const;
    boost::json::object refused(const policy::RulesetStatus& ruleset) const;
    boost::json::array cables() const;
    boost::json::array rules() const;
    boost::json::object refusals(PeerId peer) const;
    boost::json::object table_counters() const;
    boost::json::object deferral() const;

    const Parts parts_;
    const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

} // namespace encsync::daemon
