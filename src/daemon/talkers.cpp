// SPDX-License-Identifier: ISC
#include "daemon/talkers.hpp"

#include "control/filter.hpp"
#include "net/protocol.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::daemon {

Talkers::Who Talkers::who(const state::Key& key) const {
    if (by_ != TalkersBy::service)
        return {by_ == TalkersBy::source ? key.orig.src : key.orig.dst, key.family, 0, 0};
    return {{}, {}, key.proto, net::is_icmp(key.proto) ? std::uint16_t{0} : key.orig.dport};
}

std::string Talkers::name(const Who& who) const {
    if (by_ != TalkersBy::service)
        return to_string(with_family(who.address, who.family));
    const std::string proto = net::protocol_name(who.proto);
    return who.port == 0 ? proto : fmt::format("{} {}", proto, who.port);
}

void Talkers::add(const state::Key& key) {
    const Who each = who(key);
    if (const auto at = counts_.find(each); at != counts_.end())
        at->second++;
    else if (counts_.size() < kPlaces)
        counts_.emplace(each, 1);
    else
        for (auto other = counts_.begin(); other != counts_.end();)
            other = --other->second == 0 ? counts_.erase(other) : std::next(other);
}

std::vector<std::pair<std::string, std::uint64_t>> Talkers::top(std::size_t most) const {
    std::vector<std::pair<Who, std::uint64_t>> all(counts_.begin(), counts_.end());
    const auto end = all.begin() + static_cast<std::ptrdiff_t>(std::min(most, all.size()));
    std::ranges::partial_sort(all, end, [](const auto& a, const auto& b) {
        return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    std::vector<std::pair<std::string, std::uint64_t>> out;
    std::transform(all.begin(), end, std::back_inserter(out),
                   [&](const auto& each) { return std::pair(name(each.first), each.second); });
    return out;
}

} // namespace encsync::daemon
