// SPDX-License-Identifier: ISC
#include "policy/reason.hpp"

#include <array>

namespace encsync::policy {

namespace {

using enum Weight;

constexpr std::array<Description, kReasons> kDescriptions = {{
    {"accept", "accepted", ordinary},

    {"short_packet", "too short for an IP header", alarm},
    {"bad_ip_version", "neither IPv4 nor IPv6", alarm},
    {"ip_options", "IPv4 options or IPv6 extension headers, and pfsync has none", alarm},
    {"bad_ip_length", "a length in the IP header is wrong", alarm},
    {"fragment", "a fragment, and pfsync is never fragmented", alarm},
    {"not_pfsync", "not protocol 240", alarm},
    {"wrong_source", "the source is not the peer's address", alarm},
    {"wrong_destination", "the destination is not this node's address", alarm},
    {"bad_ttl", "the TTL is not 255", alarm},
    {"packet_rate", "more packets a second than maxpackets", alarm},
    {"pfsync_short_header", "too short for a pfsync header", alarm},
    {"pfsync_bad_version", "another version of pfsync than wire says", alarm},
    {"pfsync_bad_length", "the length in the pfsync header is wrong", alarm},
    {"pfsync_short_subheader", "a section begins and does not fit", alarm},
    {"pfsync_zero_count", "a section without messages", alarm},
    {"pfsync_zero_stride", "messages of no length", alarm},
    {"pfsync_section_overrun", "a section goes beyond the packet", alarm},

    {"bad_action", "a message that its version does not have, so the rest is not read", alarm},
    {"bad_eof", "EOF is not at the end", alarm},
    {"unknown_action", "no message of this number, so it is skipped", ordinary},
    {"short_message", "shorter than such a message is, so it is skipped", alarm},
    {"bad_creatorid", "the creatorid is 0", alarm},
    {"bad_ifname", "the name of the interface has no end", alarm},
    {"bad_peer_state", "a state of a connection that does not exist", alarm},
    {"bad_timeout", "a timeout that does not exist", alarm},
    {"bad_direction", "neither in nor out", alarm},
    {"bad_family", "no address family, or two that differ", ordinary},
    {"bad_bus_status", "neither the start nor the end of a bulk update", alarm},
    {"bad_icmp_type", "an ICMP type above 255", alarm},
    {"bad_protocol", "two protocols that differ", alarm},
    {"bad_name", "no name of a helper", alarm},
    {"bad_zone", "a zone of replies that no flow can have", alarm},
    {"bad_expectation", "an expectation beyond the number announced", alarm},
    {"own_creatorid", "CLR of states that this node has made", alarm},
    {"foreign_creatorid", "the peer does not speak for this creatorid (creators)", alarm},
    {"clear_rate", "more CLR a second than maxclears", alarm},
    {"request_rate", "more requests a second than maxrequests", alarm},

    {"insert_rate", "more new states a second than maxinserts", alarm},
    {"table_limit", "more states than this node can keep", alarm},
    {"peer_limit", "more states than maxstates", alarm},
    {"share", "more of the table than maxshare", alarm},
    {"id_clash", "an id that names another flow here", ordinary},
    {"not_owner", "removal or replacement of a flow that is live elsewhere", ordinary},
    {"no_sync", "a state that is not to be sent", ordinary},
    {"unknown_state", "a state that is not known here", ordinary},
    {"foreign_session", "of a session that is over", ordinary},
    {"bad_ack", "acknowledges what was never sent", alarm},
    {"bad_hello", "HELLO that cannot be read, or with this node's creatorid", alarm},
    {"hello_version", "HELLO of a version that this node does not know", alarm},
    {"expectation_limit", "more expectations than may be", alarm},
    {"too_often", "asks for a bulk update right after one", ordinary},
    {"foreign_bulk", "the end of another bulk update", ordinary},
    {"bad_ask", "asks for sums that do not exist, or for too many", alarm},
    {"unasked", "an answer that nobody asked for", ordinary},

    {"protocol", "of a protocol that firewalls use among themselves", alarm},
    {"loopback", "of a loopback address", alarm},
    {"multicast", "of a multicast or broadcast address", alarm},
    {"unspecified", "of the unspecified address", alarm},
    {"ipsec", "of IKE or ESP of this firewall itself", alarm},
    {"local", "begins or ends on this firewall itself", alarm},
    {"prefix", "an address is one that ignore names", configured},
    {"refuse", "a rule of refuse matches", configured},
    {"not_accepted", "no rule of accept matches", configured},
}};

} // namespace

const Description& describe(Reason reason) {
    return kDescriptions[index_of(reason)];
}

const char* to_string(Reason reason) {
    return describe(reason).name.data(); // all are literals
}

Reason reason_of(pfsync::Fault fault) {
    using pfsync::Fault;
    switch (fault) {
    case Fault::none:
        break;
    case Fault::short_header:
        return Reason::pfsync_short_header;
    case Fault::bad_version:
        return Reason::pfsync_bad_version;
    case Fault::bad_length:
        return Reason::pfsync_bad_length;
    case Fault::short_subheader:
        return Reason::pfsync_short_subheader;
    case Fault::zero_count:
        return Reason::pfsync_zero_count;
    case Fault::zero_stride:
        return Reason::pfsync_zero_stride;
    case Fault::section_overrun:
        return Reason::pfsync_section_overrun;
    case Fault::bad_action:
        return Reason::bad_action;
    case Fault::bad_eof:
        return Reason::bad_eof;
    case Fault::short_message:
        return Reason::short_message;
    case Fault::bad_creatorid:
        return Reason::bad_creatorid;
    case Fault::bad_ifname:
        return Reason::bad_ifname;
    case Fault::bad_peer_state:
        return Reason::bad_peer_state;
    case Fault::bad_timeout:
        return Reason::bad_timeout;
    case Fault::bad_direction:
        return Reason::bad_direction;
    case Fault::bad_family:
        return Reason::bad_family;
    case Fault::bad_bus_status:
        return Reason::bad_bus_status;
    case Fault::bad_icmp_type:
        return Reason::bad_icmp_type;
    case Fault::bad_protocol:
        return Reason::bad_protocol;
    case Fault::bad_name:
        return Reason::bad_name;
    case Fault::bad_zone:
        return Reason::bad_zone;
    case Fault::bad_expectation:
        return Reason::bad_expectation;
    }
    return Reason::accept;
}

Reason reason_of(table::Ignored why) {
    using table::Ignored;
    switch (why) {
    case Ignored::protocol:
        return Reason::state_protocol;
    case Ignored::loopback:
        return Reason::state_loopback;
    case Ignored::multicast:
        return Reason::state_multicast;
    case Ignored::unspecified:
        return Reason::state_unspecified;
    case Ignored::ipsec:
        return Reason::state_ipsec;
    case Ignored::local:
        return Reason::state_local;
    case Ignored::prefix:
        return Reason::state_prefix;
    case Ignored::refuse:
        return Reason::state_refuse;
    case Ignored::not_accepted:
        return Reason::state_not_accepted;
    case Ignored::nosync: // of what is sent
    case Ignored::nosync_mark:
        break;
    }
    return Reason::accept;
}

} // namespace encsync::policy
