// SPDX-License-Identifier: ISC
#include "table/progress.hpp"

#include "net/protocol.hpp"

#include <algorithm>
#include <array>
#include <linux/netfilter/nf_conntrack_sctp.h>
#include <linux/netfilter/nf_conntrack_tcp.h>

namespace encsync::table {

namespace {

using namespace state::tcp;

constexpr std::uint8_t kProxySrc = 11, kProxyDst = 12; // pf's synproxy

constexpr std::array<Progress, kTcpStates> kTcp{{
    {kClosed, kClosed},           // NONE
    {kSynSent, kClosed},          // SYN_SENT
    {kEstablished, kSynSent},     // SYN_RECV
    {kEstablished, kEstablished}, // ESTABLISHED
    {kClosing, kEstablished},     // FIN_WAIT
    {kFinWait2, kEstablished},    // CLOSE_WAIT
    {kFinWait2, kClosing},        // LAST_ACK
    {kFinWait2, kFinWait2},       // TIME_WAIT
    {kTimeWait, kTimeWait},       // CLOSE: pf's pair after a RST
    {kSynSent, kSynSent},         // SYN_SENT2: both sides opened
}};
static_assert(TCP_CONNTRACK_SYN_SENT2 == kTcpStates - 1);

// The same phases; SHUTDOWN_RECD is SHUTDOWN_SENT of the other side.
constexpr std::array<Progress, kSctpStates> kSctp{{
    {kClosed, kClosed},           // NONE
    {kTimeWait, kTimeWait},       // CLOSED
    {kSynSent, kClosed},          // COOKIE_WAIT
    {kEstablished, kSynSent},     // COOKIE_ECHOED
    {kEstablished, kEstablished}, // ESTABLISHED
    {kClosing, kEstablished},     // SHUTDOWN_SENT
    {kEstablished, kClosing},     // SHUTDOWN_RECD
    {kFinWait2, kClosing},        // SHUTDOWN_ACK_SENT
    {kSynSent, kSynSent},         // HEARTBEAT_SENT
}};
static_assert(SCTP_CONNTRACK_HEARTBEAT_SENT == kSctpStates - 1);

// The kernel's include/linux/netfilter/nf_conntrack_dccp.h, which is not in the UAPI headers.
enum Dccp : std::uint8_t { none, request, respond, partopen, open, closereq, closing, timewait };
constexpr std::array<Progress, kDccpStates> kDccp{{
    {kClosed, kClosed},           // NONE
    {kSynSent, kClosed},          // REQUEST
    {kEstablished, kSynSent},     // RESPOND
    {kEstablished, kSynReceived}, // PARTOPEN
    {kEstablished, kEstablished}, // OPEN
    {kEstablished, kClosing},     // CLOSEREQ: the server wants to close
    {kClosing, kEstablished},     // CLOSING
    {kFinWait2, kFinWait2},       // TIMEWAIT
}};

template<std::size_t N>
Progress lookup(const std::array<Progress, N>& table, std::uint8_t conntrack) {
    return conntrack < N ? table[conntrack] : Progress{};
}

template<std::size_t N>
int reverse_lookup(const std::array<Progress, N>& table, Progress progress) {
    const auto at = std::find(table.begin(), table.end(), progress);
    return at == table.end() ? -1 : static_cast<int>(at - table.begin());
}

} // namespace

Progress tcp_progress(std::uint8_t conntrack) {
    return lookup(kTcp, conntrack);
}

std::uint8_t tcp_conntrack(Progress progress) {
    if (const int exact = reverse_lookup(kTcp, progress); exact >= 0)
        return static_cast<std::uint8_t>(exact);
    const std::uint8_t low = std::min(progress.src, progress.dst);
    const std::uint8_t high = std::max(progress.src, progress.dst);
    if (high == kProxyDst)
        return TCP_CONNTRACK_SYN_RECV;
    if (high == kProxySrc)
        return TCP_CONNTRACK_SYN_SENT;
    if (low >= kFinWait2)
        return TCP_CONNTRACK_TIME_WAIT;
    if (low > kEstablished)
        return TCP_CONNTRACK_LAST_ACK; // both have sent FIN
    if (high >= kFinWait2)
        return TCP_CONNTRACK_CLOSE_WAIT; // one FIN, acknowledged
    if (high > kEstablished)
        return TCP_CONNTRACK_FIN_WAIT;
    if (high >= kSynReceived)
        return TCP_CONNTRACK_SYN_RECV;
    return high == kSynSent ? TCP_CONNTRACK_SYN_SENT : TCP_CONNTRACK_NONE;
}

Progress sctp_progress(std::uint8_t conntrack) {
    return lookup(kSctp, conntrack);
}

std::uint8_t sctp_conntrack(Progress progress) {
    if (const int exact = reverse_lookup(kSctp, progress); exact >= 0)
        return static_cast<std::uint8_t>(exact);
    const std::uint8_t low = std::min(progress.src, progress.dst);
    const std::uint8_t high = std::max(progress.src, progress.dst);
    if (high > kMaxState)
        return SCTP_CONNTRACK_NONE;
    if (high > kTimeWait)
        return SCTP_CONNTRACK_COOKIE_WAIT;
    if (low >= kFinWait2)
        return SCTP_CONNTRACK_CLOSED;
    if (low > kEstablished)
        return SCTP_CONNTRACK_SHUTDOWN_ACK_SENT;
    if (high > kEstablished)
        return progress.src == high ? SCTP_CONNTRACK_SHUTDOWN_SENT : SCTP_CONNTRACK_SHUTDOWN_RECD;
    if (high >= kSynReceived)
        return SCTP_CONNTRACK_COOKIE_ECHOED;
    return high == kSynSent ? SCTP_CONNTRACK_COOKIE_WAIT : SCTP_CONNTRACK_NONE;
}

Progress dccp_progress(std::uint8_t conntrack) {
    return lookup(kDccp, conntrack);
}

std::uint8_t dccp_conntrack(Progress progress) {
    if (const int exact = reverse_lookup(kDccp, progress); exact >= 0)
        return static_cast<std::uint8_t>(exact);
    const std::uint8_t low = std::min(progress.src, progress.dst);
    const std::uint8_t high = std::max(progress.src, progress.dst);
    if (high > kTimeWait)
        return Dccp::request;
    if (low > kEstablished)
        return Dccp::timewait;
    if (high > kEstablished)
        return progress.src == high ? Dccp::closing : Dccp::closereq;
    if (high >= kSynReceived)
        return Dccp::respond;
    return high == kSynSent ? Dccp::request : Dccp::none;
}

Progress datagram_progress(std::uint8_t proto, std::uint8_t flags) {
    using namespace state::datagram;
    if (net::is_icmp(proto))
        return {kNoTraffic, kNoTraffic};
    if ((flags & state::kSeenReply) == 0)
        return {kSingle, kNoTraffic};
    return {kMultiple, (flags & state::kAssured) != 0 ? kMultiple : kSingle};
}

std::uint8_t implied_flags(const state::Flow& flow) {
    constexpr std::uint8_t both = state::kSeenReply | state::kAssured;
    if ((flow.flags & both) != 0)
        return flow.flags & both;
    const std::uint8_t low = std::min(flow.src_state, flow.dst_state);
    switch (flow.key.proto) {
    case IPPROTO_TCP:
    case IPPROTO_SCTP:
    case IPPROTO_DCCP:
        if (low >= kEstablished)
            return both;
        return low > kListen ? std::uint8_t{state::kSeenReply} : std::uint8_t{0};
    default:
        if (flow.dst_state == state::datagram::kNoTraffic)
            return 0;
        return low >= state::datagram::kMultiple ? both : std::uint8_t{state::kSeenReply};
    }
}

} // namespace encsync::table
