// SPDX-License-Identifier: ISC
// Whether this machine's own ruleset keeps a peer's IKE and ESP out. What it prints as JSON
// (libnftables-json(5)) is read with the benefit of the doubt: whatever is not understood may
// accept, so that a chain which is named drops them for sure.
//
//     auto chain = closed_chain(ruleset, {peer, own, 4500});
//     if (chain) fmt::print("{} {} {}\n", chain->family, chain->table, chain->name);
#pragma once

#include "net/address.hpp"

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>

namespace encsync::cli {

// UDP, of no connection that is tracked: encsync keeps its own out of conntrack.
struct Datagram {
    net::Address from, to;
    std::uint16_t port = 0; // of both ends
};

struct Chain {
    std::string family, table, name;
    bool operator==(const Chain&) const = default;
};

// A chain of the hook `input` that drops what none of its table's rules accepts, while none accepts
// this. None: there is no such chain.
std::optional<Chain> closed_chain(const boost::json::value& ruleset, const Datagram& datagram);

} // namespace encsync::cli
