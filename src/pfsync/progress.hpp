// SPDX-License-Identifier: ISC
// How far a side of a flow has come, and how long its state then lives, in the numbers of each
// dialect.
//
//     said.src_state = flow_state(dialect, flow.key.proto, update.src.state());
//
// TCP and the protocols that only know "seen" and "answered" have the same numbers everywhere.
// SCTP and DCCP run through phases, which a Flow counts as TCP's (state::tcp); FreeBSD follows
// SCTP since 14 with numbers of its own, and everything else as "seen" and "answered". In the
// dialect of OpenBSD the phases go as they are: nodes of ours speak it with each other.
#pragma once

#include "pfsync/wire.hpp"
#include "state/flow.hpp"

namespace encsync::pfsync {

// Protocols whose states the dialect numbers otherwise than a Flow.
constexpr bool renumbers(Dialect dialect, std::uint8_t proto) {
    constexpr std::uint8_t kDccp = 33, kSctp = 132;
    return dialect != Dialect::openbsd && (proto == kSctp || proto == kDccp);
}
std::uint8_t renumbered_from(Dialect dialect, std::uint8_t proto, std::uint8_t wire_state);
std::uint8_t renumbered_to(Dialect dialect, std::uint8_t proto, std::uint8_t flow_state);

// What a peer block of `dialect` says, as a Flow says it.
inline std::uint8_t flow_state(Dialect dialect, std::uint8_t proto, std::uint8_t wire_state) {
    return renumbers(dialect, proto) ? renumbered_from(dialect, proto, wire_state) : wire_state;
}
// And back. At most kMaxPeerState: the end of an SCTP association shows in its timeout alone.
inline std::uint8_t wire_state(Dialect dialect, std::uint8_t proto, std::uint8_t flow_state) {
    return renumbers(dialect, proto) ? renumbered_to(dialect, proto, flow_state) : flow_state;
}

// The timeout index of a flow in this state (pf.c), for INS, UPD and UPD_C.
common::Timeout timeout_index(Dialect dialect, const state::Flow& flow);
common::Timeout timeout_index(const state::Flow& flow); // of Dialect::openbsd

// Seconds that pf gives a state of this timeout index without traffic, unless its administrator
// says otherwise (pf.conf(5), "set timeout"). 0: not an index that a state may have.
std::uint32_t default_timeout(std::uint8_t index);

} // namespace encsync::pfsync
