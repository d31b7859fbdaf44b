// SPDX-License-Identifier: ISC
// Translates the configuration into the types of the parts that use it.
#pragma once

#include "config/config.hpp"
#include "ipsec/link/links.hpp"
#include "policy/guard.hpp"
#include "policy/ruleset.hpp"
#include "relay/relay.hpp"
#include "sync/options.hpp"

namespace encsync::daemon {

// With the current index of the interface in its scope; 0: there is none.
link::Address outer(const config::Address& address);
bool lacks_interface(const config::Address& address);
// charon knows addresses without their scopes.
net::Endpoint endpoint(const link::Endpoint& from);
link::Endpoint endpoint(const net::Endpoint& from);
sync::PeerOptions peer_options(const config::Setup& setup, const config::Conn& conn);
sync::Role role_of(config::Role role);
policy::RulesetOptions ruleset_options(const config::Setup& setup,
                                       const std::vector<config::Conn>& conns, bool kernel_ipsec);
void add_to_relay(relay::Relay& relay, PeerId peer, const config::Conn& conn);
// "192.0.2.2 (52:54:00:12:34:56)" of each firewall that is heard on a cable; the MAC address only
// if it is configured.
std::vector<std::string> describe_senders(const config::Conn& conn);
// "eth2, pfsync in clear from 192.0.2.2 to 192.0.2.1": of a cable.
std::string describe_cable(const config::Conn& conn);
// Logs a cable. On error nothing has changed.
Result<void> add_to_link(link::Links& link, PeerId peer, const config::Setup& setup,
                         const config::Conn& conn);

// charon has one timeout for all of its peers: the shortest of them.
std::chrono::seconds shortest_dpdtimeout(const std::vector<config::Conn>& conns);

} // namespace encsync::daemon
