// SPDX-License-Identifier: ISC
// What a flow is: the one form of a state between every kernel and every dialect of the wire.
//
// Addresses are in network order, ports and all other numbers in host order. Nothing here owns
// memory; a Flow is a value.
#pragma once

#include "net/address.hpp"
#include "state/extras.hpp"

#include <compare>
#include <cstdint>
#include <string>

namespace encsync::state {

using net::Family;

// An address as a tuple has it: without its family, which the key of a flow has once for all four.
struct Address {
    net::AddressBytes bytes{};
    auto operator<=>(const Address&) const = default;
};
inline net::Address with_family(const Address& address, Family family) {
    return {address.bytes, family};
}

// One direction of a flow as packets of that direction carry it.
// ICMP and ICMPv6: sport is the id, dport is type << 8 | code. GRE: the two keys.
// Protocols without ports: both 0.
struct Tuple {
    Address src, dst;
    std::uint16_t sport = 0, dport = 0;
    auto operator<=>(const Tuple&) const = default;
};

// What makes two flows the same one: the original direction, before any NAT.
struct Key {
    Tuple orig;
    std::uint16_t zone = 0; // conntrack zone of the original direction
    std::uint8_t proto = 0; // IP protocol number
    Family family = Family::inet;
    auto operator<=>(const Key&) const = default;
};

// The name of a state on the wire (pfsync(4)): unique as a pair. creatorid 0 is invalid.
struct StateId {
    std::uint64_t id = 0;
    std::uint32_t creatorid = 0;
    auto operator<=>(const StateId&) const = default;
};

// How far one side has come, in pf's numbers (tcp_fsm.h; 0 to 2 for other protocols), because
// they are the finer ones: conntrack's map into them and back without loss (table/conntrack).
namespace tcp {
inline constexpr std::uint8_t kClosed = 0, kListen = 1, kSynSent = 2, kSynReceived = 3,
                              kEstablished = 4, kCloseWait = 5, kFinWait1 = 6, kClosing = 7,
                              kLastAck = 8, kFinWait2 = 9, kTimeWait = 10, kMaxState = 12;
} // namespace tcp
namespace datagram {
inline constexpr std::uint8_t kNoTraffic = 0, kSingle = 1, kMultiple = 2;
} // namespace datagram

// Flags of a flow.
inline constexpr std::uint8_t kSeenReply = 0x01; // conntrack IPS_SEEN_REPLY
inline constexpr std::uint8_t kAssured = 0x02;   // conntrack IPS_ASSURED
inline constexpr std::uint8_t kNoSync = 0x04;    // pf no-sync: kept, never sent on
inline constexpr std::uint8_t kSloppy = 0x08;    // pf sloppy: no sequence windows known

struct Flow {
    Key key;
    // What the replies carry: key.orig turned round, unless there is NAT.
    Tuple reply;
    StateId id;
    std::uint32_t mark = 0;    // conntrack mark
    std::uint32_t timeout = 0; // seconds left when last heard of
    std::uint32_t age = 0;     // seconds since creation, when last heard of
    std::uint8_t src_state = 0, dst_state = 0;
    std::uint8_t flags = 0;
    // What a table did not tell of a flow stays as it was known before. An event tells what has
    // changed; nothing tells the progress and the timeout of a flow whose packets bypass the table.
    bool progress_known = true;
    bool timeout_known = true;
    bool mark_known = true;
    bool labels_known = true;
    bool seq_adjust_known = true;
    // conntrack takes its TCP packets whatever their sequence numbers are. False: it does not, or
    // nobody has said.
    bool liberal = false;
    Extras extras;

    bool operator==(const Flow&) const = default;
};

// key.orig turned round as a reply without NAT carries it (ICMP types become their answers).
Tuple inverse(const Key& key);

// The conntrack zone, be it for both directions or for one of them.
std::uint16_t zone_id(std::uint16_t original, const Extras& extras);
std::uint16_t zone_id(const Flow& flow);

// Source NAT: replies go to another address or port than the original came from.
bool has_snat(const Flow& flow);
// Destination NAT: replies come from another address or port than the original went to.
bool has_dnat(const Flow& flow);

// "tcp 10.0.0.2:40000 -> 192.0.2.1:443"; with NAT the translated pair follows in brackets.
std::string to_string(const Flow& flow);

} // namespace encsync::state
