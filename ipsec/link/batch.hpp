// SPDX-License-Identifier: ISC
// How packets of different sizes become few system calls: UDP segmentation offload (GSO) sends
// many datagrams at once if all but the last are equally long. ESP padding makes them so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace encsync::link {

inline constexpr std::size_t kMaxSegments = 64;    // of one GSO call (UDP_MAX_SEGMENTS)
inline constexpr std::size_t kMaxGsoBytes = 65000; // one UDP datagram's worth, before it is cut

// Packets that leave in one call: `count` from `first` on. All but the last are sealed to exactly
// `wire_size` bytes; the last to its own least size, which is not larger.
struct Run {
    std::size_t first = 0, count = 0, wire_size = 0;
};

// Splits packets (by the sizes of their inner packets) into runs, in their order.
void plan_runs(std::span<const std::size_t> inner_sizes, std::vector<Run>& runs);

} // namespace encsync::link
