// SPDX-License-Identifier: ISC
// Sends packets of different sizes in few system calls: UDP segmentation offload (GSO) sends many
// datagrams at once if all but the last have the same length. ESP padding makes them equal, and
// leaves only a few sizes on the wire, which reveal little about the content.
#pragma once

#include "ipsec/esp/sa.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace encsync::link {

inline constexpr std::size_t kMaxSegments = 64;    // of one GSO call (UDP_MAX_SEGMENTS)
inline constexpr std::size_t kMaxGsoBytes = 65000; // of one UDP datagram before segmentation

// One more than ESP padding can add, so that each step is reached from any size below it.
inline constexpr std::size_t kSizeStep = esp::kMaxPadding + 1;

// Bytes on the wire of an inner packet: the next multiple of kSizeStep, or `largest`, the limit of
// the path. An inner packet that is too large even for that is not padded.
constexpr std::size_t wire_size(std::size_t inner_size, std::size_t largest) {
    const std::size_t least = esp::sealed_size(inner_size);
    const std::size_t step = (least + kSizeStep - 1) / kSizeStep * kSizeStep;
    return step <= largest ? step : std::max(least, largest / esp::kAlignment * esp::kAlignment);
}

// Packets that leave in one call: `count` from `first` on. All but the last are sealed to exactly
// `wire_size` bytes; the last to its own wire_size(), which is not larger.
struct Run {
    std::size_t first = 0, count = 0, wire_size = 0;
};

// Splits packets (by the sizes of their inner packets) into runs, in their order.
void plan_runs(std::span<const std::size_t> inner_sizes, std::size_t largest,
               std::vector<Run>& runs);

} // namespace encsync::link
