// SPDX-License-Identifier: ISC
// Checks each inner packet that the tunnel delivers: the first part of a peer's Verdict.
//
//     auto [why, payload] = check(inner, {sa.inner_src, sa.inner_dst});
//
// ESP has authenticated the sender of the packet. This checks that it fits the SA: one complete
// pfsync packet between the two addresses of the SA. verdict.hpp says whether the sender may send
// its contents.
#pragma once

#include "net/address.hpp"
#include "pfsync/parse.hpp"
#include "policy/reason.hpp"
#include "util/bytes.hpp"

#include <optional>
#include <string>
#include <vector>

namespace encsync::policy {

// What inner packets of the inbound SA, or packets of a cable, must carry.
struct Selectors {
    std::vector<net::Address> sources; // one of these: several only on a cable
    net::Address destination;
};

struct Checked {
    Reason why = Reason::short_packet;
    Bytes payload; // from the pfsync header on, within the packet; empty unless accepted
};

// `inner`: the whole packet from its IP header. `dialect`: what the peer may speak; none: any.
Checked check(Bytes inner, const Selectors& selectors,
              pfsync::Expected dialect = pfsync::kOwnDialect);

// For users: what was wrong with a packet refused for this reason. "it speaks pfsync version 5
// (freebsd-1400), and version 6 was expected (wire=encsync or openbsd)" `used_dialect`: the dialect
// seen in the peer's packets; only those with full states show it.
std::string explain(Reason why, Bytes inner, const Selectors& selectors, pfsync::Expected dialect,
                    std::optional<pfsync::Dialect>& used_dialect);

} // namespace encsync::policy
