// SPDX-License-Identifier: ISC
#include "ipsec/link/batch.hpp"

namespace encsync::link {

void plan_runs(std::span<const std::size_t> inner_sizes, std::size_t largest,
               std::vector<Run>& runs) {
    runs.clear();
    std::size_t i = 0;
    while (i < inner_sizes.size()) {
        const std::size_t first = i;
        std::size_t smallest = inner_sizes[i];
        std::size_t segment = wire_size(inner_sizes[i], largest);
        for (i++; i < inner_sizes.size() && i - first < kMaxSegments; i++) {
            const std::size_t size = inner_sizes[i];
            const std::size_t larger = std::max(segment, wire_size(size, largest));
            if (!esp::OutboundSa::can_pad(smallest, larger) ||
                (i - first + 1) * larger > kMaxGsoBytes)
                break;
            segment = larger;
            if (!esp::OutboundSa::can_pad(size, segment)) { // padding cannot add that much,
                i++;                                        // so it can only be the last one
                break;
            }
            smallest = std::min(smallest, size);
        }
        runs.push_back({first, i - first, segment});
    }
}

} // namespace encsync::link
