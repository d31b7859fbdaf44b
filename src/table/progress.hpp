// SPDX-License-Identifier: ISC
// Maps the progress of a flow between conntrack's state and the pair of pf states used on the wire
// and in the engine (state/flow.hpp).
//
// Every conntrack state maps to one pair, and that pair maps back to it. Any other pair (a pf peer
// has finer ones) maps to the closest conntrack state.
#pragma once

#include "state/flow.hpp"

#include <cstdint>

namespace encsync::table {

struct Progress {
    std::uint8_t src = 0, dst = 0;
    bool operator==(const Progress&) const = default;
};

// linux/netfilter/nf_conntrack_tcp.h: 0 (NONE) to 9 (SYN_SENT2); higher ones never leave the
// kernel.
inline constexpr std::uint8_t kTcpStates = 10;
Progress tcp_progress(std::uint8_t conntrack);
std::uint8_t tcp_conntrack(Progress progress);

// linux/netfilter/nf_conntrack_sctp.h: 0 (NONE) to 8 (HEARTBEAT_SENT).
inline constexpr std::uint8_t kSctpStates = 9;
Progress sctp_progress(std::uint8_t conntrack);
std::uint8_t sctp_conntrack(Progress progress);

// Kernels before 6.17 follow DCCP: 0 (NONE) to 7 (TIMEWAIT).
inline constexpr std::uint8_t kDccpStates = 8;
Progress dccp_progress(std::uint8_t conntrack);
std::uint8_t dccp_conntrack(Progress progress);

// UDP and every protocol without states of its own: from the flags kSeenReply and kAssured.
// ICMP and ICMPv6 stay at 0:0, as in pf.
Progress datagram_progress(std::uint8_t proto, std::uint8_t flags);

// kSeenReply and kAssured as the flow has them; if it has neither (a pf peer does not send them),
// as far as its progress implies them.
std::uint8_t implied_flags(const state::Flow& flow);

} // namespace encsync::table
