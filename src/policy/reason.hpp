// SPDX-License-Identifier: ISC
// Why something that a peer sent is not accepted: one list for all layers, from the outer header to
// the states in it, with the name that status and log show and what it means.
//
//     verdict.refuse(Reason::not_owner);
//     log::warning("{}: {}", to_string(reason), describe(reason).text);
#pragma once

#include "pfsync/parse.hpp"
#include "table/ignored.hpp"

#include <cstdint>
#include <string_view>

namespace encsync::policy {

enum class Reason : std::uint8_t {
    accept,

    // ---- the packet, in the order of the tests, cheapest first --------------------------------
    short_packet,      // too short for an IP header
    bad_ip_version,    // neither 4 nor 6
    ip_options,        // IPv4 options, IPv6 extension headers: pfsync has none
    bad_ip_length,     // header length under 5 words, or total length not that of the packet
    fragment,          // pfsync sets DF
    not_pfsync,        // not protocol 240
    wrong_source,      // not the address of the SA, or of a speaker on the cable
    wrong_destination, // likewise
    bad_ttl,           // not 255
    packet_rate,       // more than maxpackets in a second
    // pfsync::Fault, of the whole packet:
    pfsync_short_header,
    pfsync_bad_version,
    pfsync_bad_length,
    pfsync_short_subheader,
    pfsync_zero_count,
    pfsync_zero_stride,
    pfsync_section_overrun,

    // ---- a message, by itself -----------------------------------------------------------------
    bad_action,     // version 5 has no length for skipping: the rest cannot be read
    bad_eof,        // EOF is not at the end
    unknown_action, // skipped by its length
    short_message,  // likewise
    // pfsync::Fault, of its content:
    bad_creatorid,
    bad_ifname,
    bad_peer_state,
    bad_timeout,
    bad_direction,
    bad_family,
    bad_bus_status,
    bad_icmp_type,
    bad_protocol,
    bad_name,
    bad_zone,
    bad_expectation,
    own_creatorid,     // CLR of our own states
    foreign_creatorid, // the peer may not speak for this creator (option creators)
    clear_rate,        // more than maxclears in a second
    request_rate,      // more than maxrequests in a second

    // ---- a message, by what is known of the session and the states -----------------------------
    insert_rate,       // more new states than maxinserts in a second
    table_limit,       // more states than this node can keep
    peer_limit,        // more states than maxstates
    share,             // more of the table than maxshare
    id_clash,          // an id that names another flow here
    not_owner,         // removal or replacement of a flow that is live here or at a third node
    no_sync,           // a state that is not to be sent: asked for, or sent all the same
    unknown_state,     // request for a state that is not here
    foreign_session,   // SEQ or ACK of a session that is over
    bad_ack,           // of packets that were never sent
    bad_hello,         // HELLO that cannot be read, or is of this node itself
    hello_version,     // of our own messages: one that we do not know
    expectation_limit, // more expectations than a flow, or all of them, may have
    too_often,         // a bulk update, right after the last one
    foreign_bulk,      // the end of a bulk update that began before we asked
    bad_ask,           // for sums of what is no node of the tree, or for too much at a time
    unasked,           // sums or a list that we did not ask for

    // ---- a state: table::Ignored ---------------------------------------------------------------
    state_protocol,
    state_loopback,
    state_multicast,
    state_unspecified,
    state_ipsec,
    state_local,
    state_prefix,
    state_refuse,
    state_not_accepted,
};
inline constexpr Reason kFirstMessageReason = Reason::bad_action,
                        kFirstStateReason = Reason::state_protocol;
inline constexpr int kReasons = static_cast<int>(Reason::state_not_accepted) + 1;

constexpr std::size_t index_of(Reason reason) {
    return static_cast<std::size_t>(reason);
}

// How the administrator is to take it.
enum class Weight : std::uint8_t {
    ordinary,   // happens between honest nodes: a restart, a lost message
    configured, // an option here asks for it
    alarm,      // no honest peer does it
};

struct Description {
    std::string_view name; // "bad_ttl", "local"
    std::string_view text; // "the TTL is not 255"
    Weight weight;
};
const Description& describe(Reason reason);
const char* to_string(Reason reason); // its name

Reason reason_of(pfsync::Fault fault); // accept: none
Reason reason_of(table::Ignored why);

} // namespace encsync::policy
