// SPDX-License-Identifier: ISC
#include "config/policy.hpp"

#include "config/options.hpp"
#include "net/pfsync_group.hpp"

#include <algorithm>
#include <iterator>

namespace encsync::config {

policy::Rules rules_of(const Setup& setup, const Conn& conn) {
    std::vector<state::NoSyncRule> refuse = setup.refuse;
    refuse.insert(refuse.end(), conn.refuse.begin(), conn.refuse.end());
    return {.refuse = state::NoSync(std::move(refuse)),
            .accept = state::NoSync(conn.accept),
            .creators = conn.creators,
            .max_packets = conn.maxpackets,
            .max_inserts = conn.maxinserts,
            .max_requests = conn.maxrequests,
            .max_clears = conn.maxclears,
            .max_states = conn.maxstates,
            .max_share = conn.maxshare};
}

policy::Selectors selectors_of(const Conn& conn) {
    policy::Selectors out;
    std::ranges::transform(conn.senders(), std::back_inserter(out.sources), &Address::ip);
    out.destination = conn.multicast ? net::pfsync_group(conn.left.ip.family) : conn.left.ip;
    return out;
}

Speech speech_of(Wire wire) {
    if (const auto dialect = dialect_of(wire))
        return {false, dialect};
    if (wire == Wire::automatic)
        return {true, std::nullopt};
    return {true, pfsync::kOwnDialect};
}

} // namespace encsync::config
