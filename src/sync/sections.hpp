// SPDX-License-Identifier: ISC
// The sections of a packet, as both protocols read them.
#pragma once

#include "pfsync/extension.hpp"
#include "sync/context.hpp"
#include "sync/peer.hpp"

namespace encsync::sync {

// The least size of one of our own messages; 0: it is none.
std::size_t extension_size(const pfsync::Section& section);

// SEQ, which comes first in a packet.
inline bool is_number(const pfsync::Section& section) {
    return section.action == pfsync::extension::kSeq && extension_size(section) != 0 &&
           section.stride >= pfsync::extension::seq::size;
}

// Calls take(message) for each message of the section; refuses what is unknown or too short.
template<class Take>
void for_each_message(Context& ctx, Peer& peer, const pfsync::Section& section, const Take& take) {
    const std::size_t own = extension_size(section);
    if (own == 0 && section.kind == pfsync::Kind::eof)
        return;
    const std::size_t least = own != 0 ? own : pfsync::message_size({section.kind, section.layout});
    if (least == 0)
        return ctx.refuse(Refused::unknown_action);
    if (section.stride < least)
        return ctx.refuse(Refused::short_message);
    peer.counters.rx_messages += section.count;
    for (std::uint16_t n = 0; n < section.count; n++)
        take(section.message(n));
}

} // namespace encsync::sync
