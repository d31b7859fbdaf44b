// SPDX-License-Identifier: GPL-2.0-or-later
#include "ipsec/plugin/strongswan/half_open.hpp"

#include <utility>

namespace encsync::plugin {

std::optional<IkeSpis> HalfOpen::begin(PeerId peer, const IkeSpis& id, std::uint32_t random) {
    std::vector<IkeSpis>& begun = begun_[peer];
    if (begun.size() < kPlaces) {
        begun.push_back(id);
        return std::nullopt;
    }
    return std::exchange(begun[random % kPlaces], id);
}

void HalfOpen::end(const IkeSpis& id) {
    for (std::vector<IkeSpis>& begun : begun_)
        std::erase(begun, id);
}

} // namespace encsync::plugin
