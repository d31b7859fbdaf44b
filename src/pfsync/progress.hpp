// SPDX-License-Identifier: ISC
// The progress of each side of a flow, and the timeout of its state, in the numbers of each
// dialect.
//
//     said.src_state = flow_state(dialect, flow.key.proto, update.src.state());
//
// TCP and the protocols that only have "seen" and "answered" have the same numbers everywhere. SCTP
// and DCCP have phases, which a Flow stores as TCP's (state::tcp). FreeBSD tracks SCTP since 14
// with its own numbers, and everything else as "seen" and "answered". Our own dialect sends the
// phases unchanged.
#pragma once

#include "pfsync/wire.hpp"
#include "state/flow.hpp"

namespace encsync::pfsync {

// Whether the layout numbers this protocol's states differently from a Flow, and how.
constexpr Numbering numbering(const Layout& layout, std::uint8_t proto) {
    constexpr std::uint8_t kDccp = 33, kSctp = 132;
    return proto == kSctp ? layout.sctp : proto == kDccp ? layout.dccp : Numbering::phases;
}
constexpr bool renumbers(const Layout& layout, std::uint8_t proto) {
    return numbering(layout, proto) != Numbering::phases;
}
std::uint8_t renumbered_from(Numbering numbering, std::uint8_t wire_state);
std::uint8_t renumbered_to(Numbering numbering, std::uint8_t flow_state);

// Converts the state in a peer block to that of a Flow.
inline std::uint8_t flow_state(const Layout& layout, std::uint8_t proto, std::uint8_t wire_state) {
    const Numbering as = numbering(layout, proto);
    return as == Numbering::phases ? wire_state : renumbered_from(as, wire_state);
}
inline std::uint8_t flow_state(Dialect dialect, std::uint8_t proto, std::uint8_t wire_state) {
    return flow_state(traits(dialect).state, proto, wire_state);
}
// The reverse. At most kMaxPeerState: only the timeout shows the end of an SCTP association.
inline std::uint8_t wire_state(const Layout& layout, std::uint8_t proto, std::uint8_t flow_state) {
    const Numbering as = numbering(layout, proto);
    return as == Numbering::phases ? flow_state : renumbered_to(as, flow_state);
}
inline std::uint8_t wire_state(Dialect dialect, std::uint8_t proto, std::uint8_t flow_state) {
    return wire_state(traits(dialect).state, proto, flow_state);
}

// The timeout index of a flow in this state (pf.c), for INS, UPD and UPD_C.
common::Timeout timeout_index(const Layout& layout, const state::Flow& flow);
common::Timeout timeout_index(Dialect dialect, const state::Flow& flow);
common::Timeout timeout_index(const state::Flow& flow); // of kOwnDialect

// Seconds that pf keeps a state of this timeout index without traffic, unless configured otherwise
// (pf.conf(5), "set timeout"). 0: not a valid index of a state.
std::uint32_t default_timeout(std::uint8_t index);

} // namespace encsync::pfsync
