// SPDX-License-Identifier: ISC
#include "daemon/translate.hpp"

#include "config/options.hpp"
#include "net/asio.hpp"

#include <algorithm>
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

// Whether it is greeted, and in which dialect it is spoken to.
std::pair<bool, std::optional<pfsync::Dialect>> speaks(config::Wire wire) {
    if (const auto dialect = config::dialect_of(wire))
        return {false, dialect};
    if (wire == config::Wire::automatic)
        return {true, std::nullopt};
    return {true, pfsync::kOwnDialect};
}

} // namespace

sync::PeerOptions peer_options(const config::Setup& setup, const config::Conn& conn) {
    const auto [extended, dialect] = speaks(conn.wire);
    std::vector<state::NoSyncRule> refuse = setup.refuse;
    refuse.insert(refuse.end(), conn.refuse.begin(), conn.refuse.end());
    return {conn.name,   extended,
            dialect,     state::NoSync(conn.nosync),
            conn.maxupd, state::NoSync(std::move(refuse))};
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

policy::Selectors selectors(const config::Conn& conn) {
    return {conn.right.ip, conn.left.ip};
}

std::chrono::seconds shortest_dpdtimeout(const std::vector<config::Conn>& conns) {
    return conns.empty() ? config::default_conn().dpdtimeout
                         : std::ranges::min(conns, {}, &config::Conn::dpdtimeout).dpdtimeout;
}

} // namespace encsync::daemon
