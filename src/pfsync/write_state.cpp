// Full states and compressed updates, onto the wire.
#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"

#include <cassert>
#include <netinet/in.h>

namespace encsync::pfsync {

using namespace openbsd;
using state::Family;
using state::Flow;
using state::Tuple;

namespace {

// One of the two keys; `source` is the index (0 or 1) at which its source is to stand.
void write_key(std::uint8_t* k, const Tuple& tuple, unsigned source, const state::Key& of) {
    const std::size_t n = of.family == Family::inet ? 4 : 16;
    std::memcpy(k + (source == 0 ? key::addr0 : key::addr1), tuple.src.bytes.data(), n);
    std::memcpy(k + (source == 0 ? key::addr1 : key::addr0), tuple.dst.bytes.data(), n);
    const bool icmp = of.proto == IPPROTO_ICMP || of.proto == IPPROTO_ICMPV6;
    const auto dport = static_cast<std::uint16_t>(icmp ? tuple.dport >> 8 : tuple.dport);
    store_be(k + (source == 0 ? key::port0 : key::port1), tuple.sport);
    store_be(k + (source == 0 ? key::port1 : key::port0), dport);
    k[key::af] = of.family == Family::inet ? kAfInet : kAfInet6;
}

void write_peer(std::uint8_t* p, std::uint8_t state, Bytes as_received) {
    assert(as_received.empty() || as_received.size() == peer::size);
    if (as_received.size() == peer::size)
        std::memcpy(p, as_received.data(), peer::size);
    p[peer::state] = state;
}

void write_tail(std::uint8_t* t, const Flow& flow, bool live) {
    using namespace extension;
    store_be(t + tail::mark, flow.mark);
    store_be(t + tail::timeout, flow.timeout);
    store_be(t + tail::zone, flow.key.zone);
    t[tail::flags] = live ? tail::kLive : 0;
    t[tail::status] = flow.flags & (state::kSeenReply | state::kAssured | state::kSloppy);
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
    // pf goes from ESTABLISHED to CLOSING at once; conntrack stops at the states between.
    if (src > kEstablished || dst > kEstablished)
        return Timeout::tcp_closing;
    return Timeout::tcp_established;
}

} // namespace

Timeout timeout_index(const Flow& flow) {
    using namespace state::datagram;
    const bool answered = flow.dst_state != kNoTraffic;
    const bool lively = flow.src_state >= kMultiple && flow.dst_state >= kMultiple;
    switch (flow.key.proto) {
    case IPPROTO_TCP:
        return tcp_timeout(flow.src_state, flow.dst_state);
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

void write_state(std::uint8_t* m, const Flow& flow, const StateOptions& options) {
    // A flow with nothing but source NAT is, to pf, one translated on its way out; all others,
    // one translated on its way in.
    const state::Key& k = flow.key;
    const Tuple translated = state::inverse({flow.reply, k.zone, k.proto, k.family});
    const bool out = has_snat(flow) && !has_dnat(flow);
    const unsigned source = out ? 1 : 0;
    write_key(m + (out ? full::stack : full::wire), k.orig, source, k);
    write_key(m + (out ? full::wire : full::stack), translated, source, k);
    m[full::direction] = out ? kDirectionOut : kDirectionIn;
    m[full::af] = k.family == Family::inet ? kAfInet : kAfInet6;
    m[full::proto] = k.proto;

    store_be(m + full::id, flow.id.id);
    store_be(m + full::creatorid, flow.id.creatorid);
    std::memcpy(m + full::ifname, "all", 4); // floating: not bound to an interface
    write_peer(m + full::src, flow.src_state, options.src);
    write_peer(m + full::dst, flow.dst_state, options.dst);
    store_be(m + full::rule, kNoRule);
    store_be(m + full::anchor, kNoRule);
    store_be(m + full::nat_rule, kNoRule);
    store_be(m + full::creation, flow.age);
    store_be(m + full::expire, flow.timeout);
    store_be(m + full::rtableid0, std::uint32_t{0xffffffff}); // -1: none
    store_be(m + full::rtableid1, std::uint32_t{0xffffffff});
    m[full::timeout] = static_cast<std::uint8_t>(timeout_index(flow));

    // pf would hold windows of zero against every segment, unless told not to look (sloppy).
    const bool knows_sequence = !options.src.empty() && !options.dst.empty();
    std::uint16_t flags = 0;
    if ((flow.flags & state::kSloppy) != 0 || (k.proto == IPPROTO_TCP && !knows_sequence))
        flags |= kFlagSloppy;
    if (options.wants_ack)
        flags |= kFlagAck;
    store_be(m + full::state_flags, flags);

    if (options.tail)
        write_tail(m + kStateSize, flow, options.live);
}

void write_upd_c(std::uint8_t* m, const Flow& flow, Bytes src, Bytes dst) {
    store_be(m + upd_c::id, flow.id.id);
    store_be(m + upd_c::creatorid, flow.id.creatorid);
    write_peer(m + upd_c::src, flow.src_state, src);
    write_peer(m + upd_c::dst, flow.dst_state, dst);
    m[upd_c::timeout] = static_cast<std::uint8_t>(timeout_index(flow));
}

} // namespace encsync::pfsync
