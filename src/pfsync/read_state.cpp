// Full states and compressed updates, from the wire.
#include "pfsync/extension.hpp"
#include "pfsync/parse.hpp"

#include <algorithm>
#include <netinet/in.h>

namespace encsync::pfsync {

using namespace openbsd;
using state::Family;
using state::Flow;
using state::Tuple;

namespace {

bool has_ports(std::uint8_t proto) {
    switch (proto) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_DCCP:
    case IPPROTO_SCTP:
    case IPPROTO_GRE: // the two keys
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        return true;
    default:
        return false;
    }
}

bool is_icmp(std::uint8_t proto) {
    return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

// One of the two keys of a state. `source` is the index (0 or 1) at which its source stands.
Tuple read_key(const std::uint8_t* k, unsigned source, Family family, std::uint8_t proto) {
    Tuple out;
    const std::uint8_t* addr[2] = {k + key::addr0, k + key::addr1};
    // pf exports the whole union, so behind an IPv4 address anything may stand.
    const std::size_t n = family == Family::inet ? 4 : 16;
    std::memcpy(out.src.bytes.data(), addr[source], n);
    std::memcpy(out.dst.bytes.data(), addr[source ^ 1], n);
    if (has_ports(proto)) {
        const std::uint16_t port[2] = {load_be<std::uint16_t>(k + key::port0),
                                       load_be<std::uint16_t>(k + key::port1)};
        out.sport = port[source];
        out.dport = port[source ^ 1];
        if (is_icmp(proto)) // the type; the code is not on the wire
            out.dport = static_cast<std::uint16_t>(out.dport << 8);
    }
    return out;
}

// ICMP: a type that is none.
bool icmp_type_too_big(const std::uint8_t* k, unsigned source) {
    return k[source == 0 ? key::port1 : key::port0] != 0;
}

// What conntrack's status would be, as far as pf's two states tell.
std::uint8_t status_of(const Flow& flow) {
    using namespace state::tcp;
    std::uint8_t flags = 0;
    if (flow.key.proto == IPPROTO_TCP) {
        const auto open = [](std::uint8_t s) { return s >= kEstablished && s <= kTimeWait; };
        if (flow.dst_state >= kSynSent && flow.dst_state <= kTimeWait)
            flags |= state::kSeenReply;
        if (open(flow.src_state) && open(flow.dst_state))
            flags |= state::kAssured;
    } else {
        if (flow.dst_state >= state::datagram::kSingle)
            flags |= state::kSeenReply;
        if (flow.dst_state == state::datagram::kMultiple)
            flags |= state::kAssured;
    }
    return flags;
}

void read_tail(const std::uint8_t* t, FullState& out) {
    using namespace extension;
    constexpr std::uint8_t kStatus = state::kSeenReply | state::kAssured | state::kSloppy;
    out.flow.mark = load_be<std::uint32_t>(t + tail::mark);
    out.flow.timeout = load_be<std::uint32_t>(t + tail::timeout);
    out.flow.key.zone = load_be<std::uint16_t>(t + tail::zone);
    out.live = (t[tail::flags] & tail::kLive) != 0;
    out.flow.flags =
        static_cast<std::uint8_t>((out.flow.flags & ~kStatus) | (t[tail::status] & kStatus));
}

// One validator for everything that carries peer blocks and a timeout: what a message may not
// say, it may not say in any other form either.
Fault check_progress(std::uint8_t src_state, std::uint8_t dst_state, std::uint8_t timeout) {
    if (src_state > kMaxPeerState || dst_state > kMaxPeerState)
        return Fault::bad_peer_state;
    if (timeout >= kTimeoutMax)
        return Fault::bad_timeout;
    return Fault::none;
}

// The family of both keys, which is that of the state as well; old senders leave the keys' 0.
Fault read_family(const std::uint8_t* m, Family& out) {
    const std::uint8_t wire = m[full::wire + key::af], stack = m[full::stack + key::af];
    const std::uint8_t af = m[full::af];
    if (wire != stack || (wire != 0 && wire != af))
        return Fault::bad_family;
    if (af == kAfInet)
        out = Family::inet;
    else if (af == kAfInet6)
        out = Family::inet6;
    else
        return Fault::bad_family;
    return Fault::none;
}

} // namespace

Fault read(Bytes message, FullState& out) {
    if (message.size() < kStateSize)
        return Fault::short_message;
    const std::uint8_t* m = message.data();

    const auto creatorid = load_be<std::uint32_t>(m + full::creatorid);
    if (creatorid == 0)
        return Fault::bad_creatorid;
    if (std::memchr(m + full::ifname, 0, kIfnameSize) == nullptr)
        return Fault::bad_ifname;
    const std::uint8_t direction = m[full::direction];
    if (direction != kDirectionIn && direction != kDirectionOut)
        return Fault::bad_direction;
    Family family{};
    if (const Fault fault = read_family(m, family); fault != Fault::none)
        return fault;
    out.src.bytes = message.subspan(full::src, peer::size);
    out.dst.bytes = message.subspan(full::dst, peer::size);
    if (const Fault fault = check_progress(out.src.state(), out.dst.state(), m[full::timeout]);
        fault != Fault::none)
        return fault;

    // Coming in, the initiator's packet is seen on the wire first, and translated for the stack;
    // going out, the other way round, and the source stands second.
    const bool in = direction == kDirectionIn;
    const std::uint8_t* orig = m + (in ? full::wire : full::stack);
    const std::uint8_t* translated = m + (in ? full::stack : full::wire);
    const unsigned source = in ? 0 : 1;
    const std::uint8_t proto = m[full::proto];
    if (is_icmp(proto) &&
        (icmp_type_too_big(orig, source) || icmp_type_too_big(translated, source)))
        return Fault::bad_icmp_type;

    Flow& flow = out.flow;
    flow.key = {read_key(orig, source, family, proto), 0, proto, family};
    flow.reply = state::inverse({read_key(translated, source, family, proto), 0, proto, family});
    flow.id = {load_be<std::uint64_t>(m + full::id), creatorid};
    flow.mark = 0;
    flow.timeout = load_be<std::uint32_t>(m + full::expire);
    flow.age = load_be<std::uint32_t>(m + full::creation);
    flow.src_state = out.src.state();
    flow.dst_state = out.dst.state();
    flow.flags = status_of(flow);
    const auto state_flags = load_be<std::uint16_t>(m + full::state_flags);
    if ((state_flags & kFlagSloppy) != 0)
        flow.flags |= state::kSloppy;
    if ((state_flags & kFlagNoSync) != 0)
        flow.flags |= state::kNoSync;
    out.wants_ack = (state_flags & kFlagAck) != 0;

    out.has_tail = message.size() >= kStateSize + extension::tail::size;
    out.live = true;
    if (out.has_tail)
        read_tail(m + kStateSize, out);
    return Fault::none;
}

Fault read(Bytes message, CompressedUpdate& out) {
    if (message.size() < kUpdCSize)
        return Fault::short_message;
    out.id = {load_be<std::uint64_t>(&message[upd_c::id]),
              load_be<std::uint32_t>(&message[upd_c::creatorid])};
    if (out.id.creatorid == 0)
        return Fault::bad_creatorid;
    out.src.bytes = message.subspan(upd_c::src, peer::size);
    out.dst.bytes = message.subspan(upd_c::dst, peer::size);
    out.timeout = message[upd_c::timeout];
    return check_progress(out.src.state(), out.dst.state(), out.timeout);
}

} // namespace encsync::pfsync
