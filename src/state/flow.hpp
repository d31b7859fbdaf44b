// SPDX-License-Identifier: ISC
// A flow: the common form of a state, independent of the kernel and of the pfsync dialect.
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

// An address in a tuple, without its family: the key of a flow has one for all four addresses.
struct Address {
    net::AddressBytes bytes{};
    auto operator<=>(const Address&) const = default;
};
inline net::Address with_family(const Address& address, Family family) {
    return {address.bytes, family};
}

// The addresses and ports in packets of one direction of a flow. ICMP and ICMPv6: sport is the id,
// dport is type << 8 | code. GRE: the two keys. Protocols without ports: both 0.
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

// The id of a state on the wire (pfsync(4)): unique as a pair. creatorid 0 is invalid.
struct StateId {
    std::uint64_t id = 0;
    std::uint32_t creatorid = 0;
    auto operator<=>(const StateId&) const = default;
};

// The progress of one side, in pf's numbers (tcp_fsm.h; 0 to 2 for other protocols). They are finer
// than conntrack's, which map to them and back without loss (table/conntrack).
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
inline constexpr std::uint8_t kNoSync = 0x04;    // pf no-sync: kept, never passed on
inline constexpr std::uint8_t kSloppy = 0x08;    // pf sloppy: no sequence windows known

struct Flow {
    Key key;
    // The tuple of replies: key.orig reversed, unless there is NAT.
    Tuple reply;
    StateId id;
    std::uint32_t mark = 0;    // conntrack mark
    std::uint32_t timeout = 0; // seconds left at its last event
    std::uint32_t age = 0;     // seconds since creation, at its last event
    std::uint8_t src_state = 0, dst_state = 0;
    std::uint8_t flags = 0;
    // Fields that the table did not report keep their earlier values. An event contains only
    // changes, and the progress and timeout of an offloaded flow are never reported.
    bool progress_known = true;
    bool timeout_known = true;
    bool mark_known = true;
    bool labels_known = true;
    bool seq_adjust_known = true;
    // conntrack does not check its TCP sequence numbers. False: it does, or this is not known.
    bool liberal = false;
    Extras extras;

    bool operator==(const Flow&) const = default;
};

// key.orig reversed, as in a reply without NAT (ICMP types become those of the answers).
Tuple inverse(const Key& key);

// The conntrack zone, whether it is for both directions or only one.
std::uint16_t zone_id(std::uint16_t original, const Extras& extras);
std::uint16_t zone_id(const Flow& flow);

// Source NAT: replies go to another address or port than the original came from.
bool has_snat(const Flow& flow);
// Destination NAT: replies come from another address or port than the original went to.
bool has_dnat(const Flow& flow);

// "tcp 10.0.0.2:40000 -> 192.0.2.1:443"; with NAT the translated pair follows in brackets.
std::string to_string(const Flow& flow);

} // namespace encsync::state
