// SPDX-License-Identifier: ISC
// The sections of a packet, as both protocols read them.
#pragma once

#include "policy/sections.hpp"
#include "sync/peer.hpp"

namespace encsync::sync {

using policy::extension_size;
using policy::is_number;

// Calls take(message) for each message of the section, unless its messages are refused.
template<class Take>
void for_each_message(Peer& peer, const pfsync::Section& section, const Take& take) {
    if (policy::has_no_messages(section) || !peer.verdict.section(section))
        return;
    peer.counters.rx_messages += section.count;
    for (std::uint16_t n = 0; n < section.count; n++)
        take(section.message(n));
}

} // namespace encsync::sync
