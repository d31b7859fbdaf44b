// SPDX-License-Identifier: ISC
// A peer's index in the running configuration: the order of its conn section, from 0.
#pragma once

#include <cstdint>

namespace encsync {

using PeerId = std::uint8_t;
inline constexpr PeerId kMaxPeers = 15;
inline constexpr PeerId kNoPeer = 0xff;

} // namespace encsync
