// SPDX-License-Identifier: ISC
// A flow that a helper expects because of what it has read in another one, its master: the data
// connection of an FTP session (nf_conntrack_expect). Values without memory of their own.
#pragma once

#include "state/extras.hpp"
#include "state/flow.hpp"

#include <tuple>

namespace encsync::state {

// Expectations that one master may have. The kernel's helpers make 13 at most (SIP).
inline constexpr std::size_t kMaxExpectations = 16;

struct Expectation {
    // Flags, as conntrack has them.
    static constexpr std::uint8_t kPermanent = 0x01, kInactive = 0x02;

    Key master;             // all of this has its zone and family
    std::uint16_t zone = 0; // zone_id() of the master: the kernel finds an expectation by it
    // What the first packet must match: the destination exactly, the source under the mask.
    Tuple tuple;
    Address mask;
    std::uint16_t mask_port = 0;
    std::uint8_t proto = 0;
    std::uint8_t flags = 0;
    std::uint8_t policy_class = 0; // of the helper's kinds of expectations
    bool has_nat = false;
    bool nat_reply = false; // in which direction of the new flow the NAT is
    std::uint16_t nat_port = 0;
    Address nat_address;       // what the helper had seen before it changed the packet
    FunctionName function;     // what sets the new flow up ("nat-follow-master")
    std::uint32_t timeout = 0; // seconds left at its last event

    // Two with equal names are the same expectation, even if other fields differ.
    auto name() const { return std::tie(tuple, mask, mask_port, proto); }
    bool operator==(const Expectation&) const = default;
};

// "tcp 203.0.113.10 -> 10.0.0.10:51210 of tcp 10.0.0.10:40000 -> 203.0.113.10:21"
std::string to_string(const Expectation& expectation);

} // namespace encsync::state
