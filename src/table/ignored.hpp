// SPDX-License-Identifier: ISC
// Why a flow is not synced: not sent to peers, or not accepted from one.
#pragma once

#include <cstdint>

namespace encsync::table {

enum class Ignored : std::uint8_t {
    protocol, // VRRP, pfsync, ESP, AH, IGMP: between the firewalls themselves
    loopback,
    multicast, // to a multicast or broadcast address
    unspecified,
    ipsec,        // IKE or ESP in UDP of this firewall itself
    local,        // begins or ends on this firewall: of no use to another
    prefix,       // an address that the configuration says to ignore
    nosync,       // matches a rule of nosync without a mark
    nosync_mark,  // matches one by its mark, which may change
    refuse,       // matches a rule of refuse: not accepted from that peer
    not_accepted, // matches no rule of accept: likewise
};
inline constexpr int kIgnored = 11;
const char* to_string(Ignored why);

} // namespace encsync::table
