// SPDX-License-Identifier: ISC
// The multicast group of pfsync: 224.0.0.240, over IPv6 ff12::f0 (FreeBSD from 14 on). Neither is
// assigned by IANA.
#pragma once

#include "net/address.hpp"

namespace encsync::net {

inline constexpr Address kPfsyncGroup{{224, 0, 0, 240}, Family::inet};
inline constexpr Address kPfsyncGroup6{{0xff, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0},
                                       Family::inet6};

constexpr const Address& pfsync_group(Family family) {
    return family == Family::inet ? kPfsyncGroup : kPfsyncGroup6;
}

} // namespace encsync::net
