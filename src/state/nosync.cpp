// SPDX-License-Identifier: ISC
#include "state/nosync.hpp"

#include <algorithm>

namespace encsync::state {

bool NoSyncRule::matches(const Flow& flow) const {
    const Tuple &orig = flow.key.orig, &reply = flow.reply;
    const auto holds = [&](const net::Prefix& prefix, const Address& address) {
        return prefix.contains(with_family(address, flow.key.family));
    };
    if (mark && !mark->contains(flow.mark))
        return false;
    if (proto && *proto != flow.key.proto)
        return false;
    if (zone && *zone != zone_id(flow))
        return false;
    // GRE has keys in place of ports; they do not count as ports.
    if (ports && !(net::has_ports(flow.key.proto) &&
                   (ports->contains(orig.dport) || ports->contains(reply.sport))))
        return false;
    if (src && !holds(*src, orig.src) && !holds(*src, reply.dst))
        return false;
    if (dst && !holds(*dst, orig.dst) && !holds(*dst, reply.src))
        return false;
    return std::all_of(nets.begin(), nets.end(), [&](const net::Prefix& net) {
        return holds(net, orig.src) || holds(net, orig.dst) || holds(net, reply.src) ||
               holds(net, reply.dst);
    });
}

NoSync::NoSync(std::vector<NoSyncRule> rules) : rules_(std::move(rules)) {
    const auto end = std::stable_partition(rules_.begin(), rules_.end(),
                                           [](const NoSyncRule& rule) { return !rule.mark; });
    lasting_ = static_cast<std::size_t>(end - rules_.begin());
}

bool NoSync::matches_for_life(const Flow& flow) const {
    return std::any_of(rules_.begin(), rules_.begin() + static_cast<std::ptrdiff_t>(lasting_),
                       [&](const NoSyncRule& rule) { return rule.matches(flow); });
}

bool NoSync::matches_by_mark(const Flow& flow) const {
    return std::any_of(rules_.begin() + static_cast<std::ptrdiff_t>(lasting_), rules_.end(),
                       [&](const NoSyncRule& rule) { return rule.matches(flow); });
}

} // namespace encsync::state
