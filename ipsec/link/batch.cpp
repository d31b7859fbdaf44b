// SPDX-License-Identifier: ISC
#include "ipsec/link/batch.hpp"
#include "ipsec/esp/sa.hpp"

#include <algorithm>

namespace encsync::link {

void plan_runs(std::span<const std::size_t> inner_sizes, std::vector<Run>& runs) {
    runs.clear();
    std::size_t i = 0;
    while (i < inner_sizes.size()) {
        const std::size_t first = i;
        std::size_t smallest = inner_sizes[i];
        std::size_t wire_size = esp::sealed_size(inner_sizes[i]);
        for (i++; i < inner_sizes.size() && i - first < kMaxSegments; i++) {
            const std::size_t size = inner_sizes[i];
            const std::size_t larger = std::max(wire_size, esp::sealed_size(size));
            if (!esp::OutboundSa::can_pad(smallest, larger) ||
                (i - first + 1) * larger > kMaxGsoBytes)
                break;
            wire_size = larger;
            if (!esp::OutboundSa::can_pad(size, wire_size)) { // too short for padding to do:
                i++;                                          // it can only be the last
                break;
            }
            smallest = std::min(smallest, size);
        }
        runs.push_back({first, i - first, wire_size});
    }
}

} // namespace encsync::link
