// SPDX-License-Identifier: ISC
#include "daemon/translate.hpp"

#include "config/options.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <net/if.h>

namespace encsync::daemon {

namespace asio = boost::asio;

esp::InnerAddress inner(const config::Address& address) {
    return {address.bytes, address.ipv6};
}

link::Address outer(const config::Address& address) {
    if (address.ipv6)
        return asio::ip::address_v6(
            address.bytes, address.scope.empty() ? 0 : ::if_nametoindex(address.scope.c_str()));
    asio::ip::address_v4::bytes_type bytes{};
    std::copy_n(address.bytes.begin(), bytes.size(), bytes.begin());
    return asio::ip::address_v4(bytes);
}

channel::Endpoint endpoint(const config::Address& address, std::uint16_t port) {
    return {address.bytes, address.ipv6, port};
}

channel::Endpoint endpoint(const link::Endpoint& from) {
    channel::Endpoint to{{}, from.address().is_v6(), from.port()};
    if (to.ipv6)
        to.address = from.address().to_v6().to_bytes();
    else
        std::ranges::copy(from.address().to_v4().to_bytes(), to.address.begin());
    return to;
}

link::Endpoint endpoint(const channel::Endpoint& from) {
    return {outer({from.address, from.ipv6}), from.port};
}

bool lacks_interface(const config::Address& address) {
    return !address.scope.empty() && outer(address).to_v6().scope_id() == 0;
}

state::Family family(const config::Address& address) {
    return address.ipv6 ? state::Family::inet6 : state::Family::inet;
}

state::Prefix prefix(const config::Prefix& p) {
    return {{p.network.bytes}, family(p.network), p.bits};
}

state::NoSync nosync(const std::vector<config::NoSync>& rules) {
    const auto ours = [](const std::optional<config::Prefix>& p) {
        return p ? std::optional(prefix(*p)) : std::nullopt;
    };
    std::vector<state::NoSyncRule> out;
    for (const config::NoSync& rule : rules) {
        state::NoSyncRule& made = out.emplace_back();
        if (rule.mark)
            made.mark = {rule.mark->value, rule.mark->mask};
        if (rule.ports)
            made.ports = {rule.ports->first, rule.ports->last};
        made.src = ours(rule.src);
        made.dst = ours(rule.dst);
        std::ranges::transform(rule.nets, std::back_inserter(made.nets), prefix);
        made.proto = rule.proto;
        made.zone = rule.zone;
    }
    return state::NoSync(std::move(out));
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
    std::vector<config::NoSync> refuse = setup.refuse;
    refuse.insert(refuse.end(), conn.refuse.begin(), conn.refuse.end());
    return {conn.name, extended, dialect, nosync(conn.nosync), conn.maxupd, nosync(refuse)};
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
    return {inner(conn.right), inner(conn.left)};
}

std::chrono::seconds shortest_dpdtimeout(const std::vector<config::Conn>& conns) {
    return conns.empty() ? config::default_conn().dpdtimeout
                         : std::ranges::min(conns, {}, &config::Conn::dpdtimeout).dpdtimeout;
}

} // namespace encsync::daemon
