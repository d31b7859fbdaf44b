// SPDX-License-Identifier: ISC
// Reading conntrack's netlink messages (linux/netfilter/nfnetlink_conntrack.h): events, dumps
// and answers to queries have the same form.
//
//     Entry entry;
//     if (Fault f = parse(message, entry); f != Fault::none) ... count it by to_string(f) ...
//
// A message is accepted completely or refused with a reason. Attributes that we do not keep
// (counters, helpers' state) are skipped.
#pragma once

#include "state/flow.hpp"
#include "util/bytes.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace encsync::table::ctnetlink {

enum class Fault : std::uint8_t {
    none,
    short_message, // no room for its headers, or its length beyond the bytes
    not_conntrack, // another subsystem, or a type that is no entry
    bad_family,    // neither IPv4 nor IPv6
    bad_attribute, // an attribute's length reaches beyond its nest
    bad_size,      // a number or address of the wrong size
    missing_tuple, // no original or no reply direction
    bad_tuple,     // a direction without addresses or protocol, or not of one protocol
    bad_state,     // a protocol state that the kernel does not have
    bad_zone,      // more than one zone
};
inline constexpr int kFaults = 10;
const char* to_string(Fault fault);

struct Entry {
    enum class Kind : std::uint8_t { created, updated, destroyed };
    Kind kind = Kind::updated; // dumps and answers: updated
    // id is not set. age is 0 if not in the message; flow's *_known mark what it contains.
    state::Flow flow;
    std::uint32_t port = 0; // who caused it: a netlink port id, 0 = the kernel
    std::uint32_t seq = 0;
    // The flow's progress is known, or will be: the protocol has no states, or the flow is
    // offloaded to a flowtable, which only established flows are (flow.progress_known is false
    // then). Updates that change something else (the mark) do not contain it.
    bool has_progress = false;

    // A dump or an answer describes the whole entry: marks and labels that it omits are none. If it
    // omits the progress, the flow was offloaded after its status was written.
    void name_whole();
    void take_for_established();
};

// The kernel stores labels in words of host byte order. Converts them to bytes, low bit first, and
// back.
inline void turn_labels(state::Labels& labels) {
    if constexpr (std::endian::native == std::endian::big)
        for (std::size_t at = 0; at < labels.size(); at += sizeof(long))
            std::reverse(&labels[at], &labels[at] + sizeof(long));
}

// `message`: one netlink message from its header on.
Fault parse(Bytes message, Entry& out);
// Reads the attributes after its headers, or in the NFQA_CT of a queued packet; the family is
// AF_INET or AF_INET6. Does not change the kind and the port.
Fault parse_entry(Bytes attributes, std::uint8_t system_family, Entry& out);

} // namespace encsync::table::ctnetlink
