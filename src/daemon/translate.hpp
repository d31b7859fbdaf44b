// SPDX-License-Identifier: ISC
// What the configuration says, in the terms of the parts that carry it out.
#pragma once

#include "config/config.hpp"
#include "ipsec/link/tunnel.hpp"
#include "policy/guard.hpp"
#include "policy/ruleset.hpp"
#include "sync/options.hpp"

namespace encsync::daemon {

// With the number that the interface of its scope has now; 0: there is none.
link::Address outer(const config::Address& address);
bool lacks_interface(const config::Address& address);
// charon knows addresses without their scopes.
net::Endpoint endpoint(const link::Endpoint& from);
link::Endpoint endpoint(const net::Endpoint& from);
sync::PeerOptions peer_options(const config::Setup& setup, const config::Conn& conn);
sync::Role role_of(config::Role role);
policy::Selectors selectors(const config::Conn& conn);
policy::RulesetOptions ruleset_options(const config::Setup& setup,
                                       const std::vector<config::Conn>& conns, bool kernel_ipsec);
// On error nothing has changed.
Result<void> add_to_link(link::Tunnel& link, PeerId peer, const config::Setup& setup,
                         const config::Conn& conn);

// charon has one pace for all peers: that of the most impatient one.
std::chrono::seconds shortest_dpdtimeout(const std::vector<config::Conn>& conns);

} // namespace encsync::daemon
