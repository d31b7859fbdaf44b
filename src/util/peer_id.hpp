// SPDX-License-Identifier: ISC
// A peer's number while encsyncd runs, from 0. A reload gives the number of a removed conn to a new
// one, so it is not the order of the conn sections.
#pragma once

#include <cstdint>

namespace encsync {

using PeerId = std::uint8_t;
inline constexpr PeerId kMaxPeers = 15;
inline constexpr PeerId kNoPeer = 0xff;

} // namespace encsync
