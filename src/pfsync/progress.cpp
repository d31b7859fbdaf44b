// SPDX-License-Identifier: ISC
#include "pfsync/progress.hpp"

#include <iterator>
#include <netinet/in.h>

namespace encsync::pfsync {

using namespace common;
using state::Flow;

namespace {

// The states of one side of an SCTP association in pf (netinet/sctp.h). Those of its shutdown are
// above kMaxPeerState: FreeBSD refuses its own messages that carry one.
namespace sctp {
constexpr std::uint8_t kClosed = 0x00, kCookieWait = 0x02, kCookieEchoed = 0x04,
                       kEstablished = 0x08;
}

Timeout tcp_timeout(std::uint8_t src, std::uint8_t dst) {
    using namespace state::tcp;
    if (src > kTimeWait || dst > kTimeWait) // synproxy: the handshake is not over
        return Timeout::tcp_first;
    if (src >= kFinWait2 && dst >= kFinWait2)
        return Timeout::tcp_closed;
    if (src >= kClosing && dst >= kClosing)
        return Timeout::tcp_fin_wait;
    if (src < kEstablished || dst < kEstablished)
        return dst < kSynSent ? Timeout::tcp_first : Timeout::tcp_opening;
    // pf goes from ESTABLISHED to CLOSING at once; conntrack has states between the two.
    if (src > kEstablished || dst > kEstablished)
        return Timeout::tcp_closing;
    return Timeout::tcp_established;
}

Timeout sctp_timeout(std::uint8_t src, std::uint8_t dst) {
    using namespace state::tcp;
    if (src >= kFinWait2 && dst >= kFinWait2)
        return Timeout::sctp_closed;
    if (src > kEstablished || dst > kEstablished)
        return Timeout::sctp_closing;
    if (src == kEstablished && dst == kEstablished)
        return Timeout::sctp_established;
    return dst == kClosed ? Timeout::sctp_first : Timeout::sctp_opening;
}

} // namespace

std::uint8_t renumbered_from(Numbering numbering, std::uint8_t wire) {
    using namespace state::tcp;
    if (numbering == Numbering::association)
        return wire >= sctp::kEstablished    ? state::tcp::kEstablished
               : wire >= sctp::kCookieEchoed ? kSynReceived
               : wire >= sctp::kCookieWait   ? kSynSent
                                             : state::tcp::kClosed;
    return wire >= state::datagram::kMultiple ? kEstablished
           : wire == state::datagram::kSingle ? kSynSent
                                              : kClosed;
}

std::uint8_t renumbered_to(Numbering numbering, std::uint8_t flow) {
    using namespace state::tcp;
    if (numbering == Numbering::association)
        return flow >= kEstablished   ? sctp::kEstablished
               : flow >= kSynReceived ? sctp::kCookieEchoed
               : flow > kClosed       ? sctp::kCookieWait
                                      : sctp::kClosed;
    return flow >= kEstablished ? state::datagram::kMultiple
           : flow > kClosed     ? state::datagram::kSingle
                                : state::datagram::kNoTraffic;
}

Timeout timeout_index(Dialect dialect, const Flow& flow) {
    return timeout_index(traits(dialect).state, flow);
}

Timeout timeout_index(const Layout& layout, const Flow& flow) {
    using namespace state::datagram;
    const std::uint8_t proto = flow.key.proto;
    if (proto == IPPROTO_TCP)
        return tcp_timeout(flow.src_state, flow.dst_state);
    if (proto == IPPROTO_SCTP && layout.sctp == Numbering::association)
        return sctp_timeout(flow.src_state, flow.dst_state);
    const std::uint8_t src = wire_state(layout, proto, flow.src_state);
    const std::uint8_t dst = wire_state(layout, proto, flow.dst_state);
    const bool answered = dst != kNoTraffic;
    const bool lively = src >= kMultiple && dst >= kMultiple;
    switch (proto) {
    case IPPROTO_UDP:
        return lively ? Timeout::udp_multiple : answered ? Timeout::udp_single : Timeout::udp_first;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        return answered ? Timeout::icmp_error : Timeout::icmp_first;
    default:
        return lively     ? Timeout::other_multiple
               : answered ? Timeout::other_single
                          : Timeout::other_first;
    }
}

std::uint32_t default_timeout(std::uint8_t index) {
    // tcp first, opening, established, closing, fin-wait, closed; udp and icmp; others; SCTP.
    static constexpr std::uint32_t kSeconds[] = {120, 30, 86400, 900, 45,    90,  60, 30, 60,
                                                 20,  10, 60,    30,  60,    0,   0,  0,  0,
                                                 0,   0,  120,   30,  86400, 900, 90};
    return index < std::size(kSeconds) ? kSeconds[index] : 0;
}

Timeout timeout_index(const Flow& flow) {
    return timeout_index(kOwnDialect, flow);
}

} // namespace encsync::pfsync
