// SPDX-License-Identifier: ISC
// Why a flow is not synced: not told to peers, or not taken from one.
#pragma once

#include <cstdint>

namespace encsync::table {

enum class Ignored : std::uint8_t {
    protocol, // VRRP, pfsync, ESP, AH, IGMP: between the firewalls themselves
    loopback,
    multicast, // to a multicast or broadcast address
    unspecified,
    ipsec,       // IKE or ESP in UDP of this firewall itself
    local,       // begins or ends on this firewall: of no use to another
    prefix,      // an address that the configuration says to ignore
    nosync,      // fits a rule of nosync by what never changes in a flow
    nosync_mark, // fits one by its mark, which may change
    refuse,      // fits a rule of refuse: what that peer tells of it is not taken
};
inline constexpr int kIgnored = 10;
const char* to_string(Ignored why);

} // namespace encsync::table
