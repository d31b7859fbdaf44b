// SPDX-License-Identifier: ISC
#include "daemon/translate.hpp"

#include "config/options.hpp"
#include "config/policy.hpp"
#include "ipsec/link/kernel.hpp"
#include "net/asio.hpp"
#include "net/mac.hpp"
#include "table/factory.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <net/if.h>

namespace encsync::daemon {

link::Address outer(const config::Address& address) {
    return net::to_asio(address.ip,
                        address.scope.empty() ? 0 : ::if_nametoindex(address.scope.c_str()));
}

net::Endpoint endpoint(const link::Endpoint& from) {
    return {net::from_asio(from.address()), from.port()};
}

link::Endpoint endpoint(const net::Endpoint& from) {
    return {net::to_asio(from.address), from.port};
}

bool lacks_interface(const config::Address& address) {
    return !address.scope.empty() && outer(address).to_v6().scope_id() == 0;
}

namespace {

std::vector<policy::Speaker> speakers(const config::Conn& conn) {
    std::vector<policy::Speaker> out;
    for (const config::Address& each : conn.senders())
        out.push_back(
            {each.ip, conn.mac.empty() ? std::nullopt : std::optional(conn.mac[out.size()])});
    return out;
}

} // namespace

sync::PeerOptions peer_options(const config::Setup& setup, const config::Conn& conn) {
    const auto [extended, dialect] = config::speech_of(conn.wire);
    return {conn.name,   extended,
            dialect,     state::NoSync(conn.nosync),
            conn.maxupd, config::rules_of(setup, conn)};
}

sync::Role role_of(config::Role role) {
    switch (role) {
    case config::Role::active:
        return sync::Role::active;
    case config::Role::standby:
        return sync::Role::standby;
    case config::Role::automatic:
        break;
    }
    return sync::Role::automatic;
}

policy::RulesetOptions ruleset_options(const config::Setup& setup,
                                       const std::vector<config::Conn>& conns, bool kernel_ipsec) {
    policy::RulesetOptions options{.syncdev = setup.syncdev, .tunnels = {}};
    const std::vector<std::uint16_t> ports{setup.ikeport, setup.natport};
    options.own_ports = ports;
    options.track = table::capabilities_of(setup.table).in_kernel;
    if (setup.defer)
        options.defer_queue = setup.deferqueue;
    for (const config::Conn& conn : conns) {
        if (conn.is_cable()) {
            options.cables.push_back({conn.syncdev, conn.left.ip, speakers(conn),
                                      config::selectors_of(conn).destination, conn.multicast});
            continue;
        }
        options.tunnels.push_back({.interface = conn.left.scope,
                                   .left = conn.left.ip,
                                   .right = conn.right.ip,
                                   .left_ports = ports,
                                   .right_ports = ports,
                                   .reqid = kernel_ipsec ? std::optional(link::xfrm_reqid(
                                                               setup.syncdev, outer(conn.right)))
                                                         : std::nullopt});
    }
    return options;
}

void add_to_relay(relay::Relay& relay, PeerId peer, const config::Conn& conn) {
    relay::InterfaceMap map; // from the names of the firewall to those of all sites
    for (const config::InterfacePair& pair : conn.ifmap)
        map.add(pair.theirs, pair.shared);
    relay.add(peer, conn.is_cable() ? relay::Side::cable : relay::Side::gateway,
              *config::dialect_of(conn.wire), conn.maxstates, std::move(map));
}

std::vector<std::string> describe_senders(const config::Conn& conn) {
    std::vector<std::string> out;
    for (const auto& [address, mac] : speakers(conn))
        out.push_back(to_string(address) + (mac ? fmt::format(" ({})", to_string(*mac)) : ""));
    return out;
}

std::string describe_cable(const config::Conn& conn) {
    return fmt::format("{}, pfsync in clear from {} to {}", conn.syncdev,
                       fmt::join(describe_senders(conn), " and "),
                       to_string(config::selectors_of(conn).destination));
}

Result<void> add_to_link(link::Links& link, PeerId peer, const config::Setup& setup,
                         const config::Conn& conn) {
    if (lacks_interface(conn.left))
        return Error{fmt::format("conn {}: left {}: this machine has no interface '{}'", conn.name,
                                 config::to_string(conn.left), conn.left.scope)};
    if (!conn.mac.empty() && net::has_mac(conn.syncdev) == false)
        return Error{fmt::format("conn {}: mac: frames on {} have no MAC addresses", conn.name,
                                 conn.syncdev)};
    auto added =
        conn.is_cable()
            ? link.cables.add_peer({peer, conn.name, conn.syncdev, outer(conn.left),
                                    outer(conn.right), conn.multicast, conn.mtu})
            : link.tunnel.add_peer({peer, conn.name, outer(conn.left), outer(conn.right), conn.mtu,
                                    conn.lifepackets, conn.type == config::Type::transport,
                                    peer_options(setup, conn).extended});
    if (!added)
        return Error{fmt::format("conn {}: {}", conn.name, added.error().text)};
    if (conn.is_cable())
        log::notice("peer {}: a cable on {}; nothing protects it", conn.name, describe_cable(conn));
    return {};
}

std::chrono::seconds shortest_dpdtimeout(const std::vector<config::Conn>& conns) {
    std::optional<std::chrono::seconds> shortest;
    for (const config::Conn& conn : conns)
        if (!conn.is_cable())
            shortest = std::min(shortest.value_or(conn.dpdtimeout), conn.dpdtimeout);
    return shortest.value_or(config::default_conn().dpdtimeout);
}

} // namespace encsync::daemon
