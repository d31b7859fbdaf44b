// SPDX-License-Identifier: ISC
#include "table/filter.hpp"

#include <algorithm>
#include <netinet/in.h>

namespace encsync::table {

namespace {

using state::Address;
using state::Family;

constexpr std::uint8_t kVrrp = 112, kPfsync = 240;

bool is_between_firewalls(std::uint8_t proto) {
    switch (proto) {
    case kVrrp:
    case kPfsync:
    case IPPROTO_ESP:
    case IPPROTO_AH:
    case IPPROTO_IGMP:
        return true;
    default:
        return false;
    }
}

bool is_loopback(const Address& a, Family family) {
    if (family == Family::inet)
        return a.bytes[0] == 127;
    return a.bytes[15] == 1 &&
           std::all_of(a.bytes.begin(), a.bytes.end() - 1, [](auto b) { return b == 0; });
}

bool is_multicast(const Address& a, Family family) {
    if (family == Family::inet6)
        return a.bytes[0] == 0xff;
    return (a.bytes[0] & 0xf0) == 0xe0 ||
           std::all_of(a.bytes.begin(), a.bytes.begin() + 4, [](auto b) { return b == 0xff; });
}

} // namespace

const char* to_string(Ignored why) {
    switch (why) {
    case Ignored::protocol:
        return "protocol";
    case Ignored::loopback:
        return "loopback";
    case Ignored::multicast:
        return "multicast";
    case Ignored::local:
        return "local";
    case Ignored::prefix:
        return "prefix";
    case Ignored::nosync:
        return "nosync";
    case Ignored::nosync_mark:
        break;
    }
    return "nosync_mark";
}

void LocalAddresses::add_to(Set& set, const Name& name, std::uint32_t interface) {
    auto& on = set[name];
    if (std::find(on.begin(), on.end(), interface) == on.end())
        on.push_back(interface);
}

void LocalAddresses::remove_from(Set& set, const Name& name, std::uint32_t interface) {
    const auto at = set.find(name);
    if (at == set.end())
        return;
    std::erase(at->second, interface);
    if (at->second.empty())
        set.erase(at);
}

void LocalAddresses::leave(const Name& name) {
    std::erase(left_, name);
    if (left_.size() >= kMaxLeft)
        left_.erase(left_.begin());
    left_.push_back(name);
}

void LocalAddresses::add(Family family, const Address& address, std::uint32_t interface) {
    add_to(local_, {family, address}, interface);
    std::erase(left_, Name{family, address});
}

void LocalAddresses::remove(Family family, const Address& address, std::uint32_t interface) {
    if (!is_local(address, family))
        return;
    remove_from(local_, {family, address}, interface);
    if (!is_local(address, family))
        leave({family, address});
}

void LocalAddresses::interface_up(std::uint32_t interface, bool up) {
    for (const auto& [name, on] : local_)
        if (std::find(on.begin(), on.end(), interface) == on.end())
            continue;
        else if (up)
            std::erase(left_, name);
        else if (on.size() == 1)
            leave(name);
}

void LocalAddresses::add_broadcast(const Address& address, std::uint32_t interface) {
    add_to(broadcast_, {Family::inet, address}, interface);
}

void LocalAddresses::remove_broadcast(const Address& address, std::uint32_t interface) {
    remove_from(broadcast_, {Family::inet, address}, interface);
}

void LocalAddresses::clear() {
    for (const auto& [name, on] : local_)
        leave(name);
    local_.clear();
    broadcast_.clear();
}

bool LocalAddresses::is_local(const Address& address, Family family) const {
    return local_.find({family, address}) != local_.end();
}

bool LocalAddresses::has_left(const Address& address, Family family) const {
    return std::find(left_.begin(), left_.end(), Name{family, address}) != left_.end();
}

bool LocalAddresses::is_broadcast(const Address& address) const {
    return broadcast_.find({Family::inet, address}) != broadcast_.end();
}

std::optional<Ignored> Filter::ignored(const state::Flow& flow) const {
    const state::Tuple& orig = flow.key.orig;
    const Family family = flow.key.family;
    if (is_between_firewalls(flow.key.proto))
        return Ignored::protocol;
    if (is_loopback(orig.src, family) || is_loopback(orig.dst, family))
        return Ignored::loopback;
    if (is_multicast(orig.dst, family) ||
        (family == Family::inet && addresses_.is_broadcast(orig.dst)))
        return Ignored::multicast;
    // Where it really ends is where replies come from. Where replies go is no sign: with
    // masquerading that is the firewall for every flow.
    if (!options_.sync_local &&
        (addresses_.is_local(orig.src, family) || addresses_.is_local(flow.reply.src, family)))
        return Ignored::local;
    for (const state::Prefix& p : options_.ignore)
        if (p.contains(orig.src, family) || p.contains(orig.dst, family) ||
            p.contains(flow.reply.src, family) || p.contains(flow.reply.dst, family))
            return Ignored::prefix;
    if (options_.nosync.matches_for_life(flow))
        return Ignored::nosync;
    if (options_.nosync.matches_by_mark(flow))
        return Ignored::nosync_mark;
    return std::nullopt;
}

} // namespace encsync::table
