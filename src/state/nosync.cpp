// SPDX-License-Identifier: ISC
#include "state/nosync.hpp"

#include <netinet/in.h>

namespace encsync::state {

namespace {

// Not GRE, whose keys stand in the place of ports.
bool has_ports(std::uint8_t proto) {
    switch (proto) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
    case IPPROTO_DCCP:
        return true;
    default:
        return false;
    }
}

} // namespace

bool NoSyncRule::matches(const Flow& flow) const {
    const Family family = flow.key.family;
    const Tuple &orig = flow.key.orig, &reply = flow.reply;
    if (mark && !mark->contains(flow.mark))
        return false;
    if (proto && *proto != flow.key.proto)
        return false;
    if (zone && *zone != zone_id(flow))
        return false;
    if (ports && !(has_ports(flow.key.proto) &&
                   (ports->contains(orig.dport) || ports->contains(reply.sport))))
        return false;
    if (src && !src->contains(orig.src, family) && !src->contains(reply.dst, family))
        return false;
    if (dst && !dst->contains(orig.dst, family) && !dst->contains(reply.src, family))
        return false;
    return std::all_of(nets.begin(), nets.end(), [&](const Prefix& net) {
        return net.contains(orig.src, family) || net.contains(orig.dst, family) ||
               net.contains(reply.src, family) || net.contains(reply.dst, family);
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
