// SPDX-License-Identifier: ISC
// All counters of this node, of all parts.
//
//     registry.show(table, "table");            // those that belong to this section
//     registry.show(bulk, "bulk", peer);        // likewise, of one peer
#pragma once

#include "control/server.hpp"
#include "daemon/peers.hpp"
#include "ipsec/plugin/supervisor.hpp"
#include "metrics/server.hpp"
#include "table/conntrack/packet_queue.hpp"
#include "table/table.hpp"
#include "util/counters.hpp"

#include <boost/json/object.hpp>
#include <string_view>

namespace encsync::daemon {

class Registry {
  public:
    // All outlive it; `queue`, `relay` and `metrics` may be null.
    struct Parts {
        const Directory& directory;
        const sync::Engine& engine;
        const link::Links& link;
        const supervisor::Supervisor& charon;
        const control::Server& control;
        const Peers& peers;
        const table::Table& table;
        const table::PacketQueue* queue;
        const relay::Relay* relay;
        const metrics::Server* metrics;
    };
    explicit Registry(const Parts& parts) : parts_(parts) {}

    // Each value of each counter; of a peer, those that are kept for every peer.
    void each(const counters::Visit& visit) const;
    void each(PeerId peer, const counters::Visit& visit) const;

    // Likewise, of any node and any peer: every counter that there can be, with 0.
    static void each_of_node(const counters::Visit& visit);
    static void each_of_peer(const counters::Visit& visit);

    // Adds the counters of a section. Counters of several objects with one name, for instance of
    // all peers, are summed.
    void show(boost::json::object& out, std::string_view section) const;
    void show(boost::json::object& out, std::string_view section, PeerId peer) const;

  private:
    const Parts parts_;
};

// One value of a counter, in the form that its description asks for.
void show(boost::json::object& out, const counters::Description& what, std::string_view label,
          std::uint64_t value);

} // namespace encsync::daemon
