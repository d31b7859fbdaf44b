// SPDX-License-Identifier: ISC
// The metrics of this node, as text: every counter of the registry, and the gauges of
// metric_families.hpp. Nothing in them is about a single flow.
#pragma once

#include "daemon/ipsec_choice.hpp"
#include "daemon/key_ring.hpp"
#include "daemon/readiness.hpp"
#include "daemon/registry.hpp"
#include "daemon/roles.hpp"
#include "metrics/exposition.hpp"

#include <chrono>
#include <string>

namespace encsync::daemon {

class Metrics {
  public:
    // All outlive it; pointers may be null.
    struct Parts {
        const config::Setup& setup;
        const Directory& directory;
        const sync::Engine& engine;
        const link::Links& link;
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
    };
    explicit Metrics(const Parts& parts) : parts_(parts) {}

    std::string text(metrics::Format format) const;

  private:
    void add_node(metrics::Exposition& out) const;
    void add_readiness(metrics::Exposition& out) const;
    void add_machine(metrics::Exposition& out) const;
    void add_keys(metrics::Exposition& out) const;
    void add_optional_parts(metrics::Exposition& out) const;
    void add_peer(metrics::Exposition& out, PeerId peer) const;
    void add_progress(metrics::Exposition& out, PeerId peer) const;
    void add_states(metrics::Exposition& out, PeerId peer) const;
    void add_path(metrics::Exposition& out, PeerId peer) const;
    void add_sas(metrics::Exposition& out) const;
    void add_counters(metrics::Exposition& out) const;
    void add_refusals(metrics::Exposition& out) const;

    const Parts parts_;
    const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

} // namespace encsync::daemon
