// SPDX-License-Identifier: ISC
#include "table/filter.hpp"

#include <algorithm>
#include <array>
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

bool is_unspecified(const Address& a) {
    return a == Address{};
}

// 500, and 4500 behind NAT (RFC 7296, 3948).
bool is_ipsec(const state::Flow& flow) {
    const auto fits = [](std::uint16_t port) { return port == 500 || port == 4500; };
    return flow.key.proto == IPPROTO_UDP &&
           (fits(flow.key.orig.sport) || fits(flow.key.orig.dport) || fits(flow.reply.sport));
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
    case Ignored::unspecified:
        return "unspecified";
    case Ignored::ipsec:
        return "ipsec";
    case Ignored::local:
        return "local";
    case Ignored::prefix:
        return "prefix";
    case Ignored::nosync:
        return "nosync";
    case Ignored::nosync_mark:
        return "nosync_mark";
    case Ignored::refuse:
        break;
    }
    return "refuse";
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
    changes_ += !is_local(address, family);
    add_to(local_, {family, address}, interface);
    std::erase(left_, Name{family, address});
}

void LocalAddresses::remove(Family family, const Address& address, std::uint32_t interface) {
    if (!is_local(address, family))
        return;
    remove_from(local_, {family, address}, interface);
    if (!is_local(address, family)) {
        changes_++;
        leave({family, address});
    }
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
    changes_++;
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

bool Filter::was_local(const Address& address, Family family) const {
    return addresses_.is_local(address, family) || addresses_.has_left(address, family);
}

// local: where it begins or where it really ends, this firewall is (or was).
std::optional<Ignored> Filter::by_addresses(const state::Flow& flow, bool local) const {
    const state::Tuple &orig = flow.key.orig, &reply = flow.reply;
    const Family family = flow.key.family;
    const std::array ends = {&orig.src, &orig.dst, &reply.src, &reply.dst};
    const auto any = [&](auto fits) {
        return std::ranges::any_of(ends, [&](const Address* a) { return fits(*a); });
    };
    if (is_between_firewalls(flow.key.proto))
        return Ignored::protocol;
    if (any([&](const Address& a) { return is_loopback(a, family); }))
        return Ignored::loopback;
    if (any([&](const Address& a) { return is_multicast(a, family); }) ||
        (family == Family::inet &&
         (addresses_.is_broadcast(orig.dst) || addresses_.is_broadcast(reply.src))))
        return Ignored::multicast;
    if (any(is_unspecified))
        return Ignored::unspecified;
    if (local && is_ipsec(flow))
        return Ignored::ipsec;
    if (local && !options_.sync_local)
        return Ignored::local;
    for (const state::Prefix& p : options_.ignore)
        if (any([&](const Address& a) { return p.contains(a, family); }))
            return Ignored::prefix;
    return std::nullopt;
}

// Where it really ends is where replies come from. Where replies go is no sign: with masquerading
// that is the firewall for every flow.
std::optional<Ignored> Filter::ignored(const state::Flow& flow) const {
    const Family family = flow.key.family;
    if (const auto why = by_addresses(flow, addresses_.is_local(flow.key.orig.src, family) ||
                                                addresses_.is_local(flow.reply.src, family)))
        return why;
    if (options_.nosync.matches_for_life(flow))
        return Ignored::nosync;
    if (options_.nosync.matches_by_mark(flow))
        return Ignored::nosync_mark;
    return std::nullopt;
}

std::optional<Ignored> Filter::refused(const state::Flow& flow) const {
    const Family family = flow.key.family;
    return by_addresses(flow,
                        was_local(flow.key.orig.src, family) || was_local(flow.reply.src, family));
}

// One that a function translates goes on to somebody behind the firewall: to an address that is
// told, or to that end of the master which is not its sender.
std::optional<Ignored> Filter::refused(const state::Expectation& expectation) const {
    state::Flow flow;
    flow.key = {expectation.tuple, expectation.master.zone, expectation.proto,
                expectation.master.family};
    if (is_unspecified(flow.key.orig.src)) // whoever it will be
        flow.key.orig.src = expectation.master.orig.src;
    if (expectation.has_nat && !expectation.function.empty())
        flow.key.orig.dst = !is_unspecified(expectation.nat_address) ? expectation.nat_address
                            : expectation.nat_reply                  ? expectation.master.orig.src
                                                                     : expectation.master.orig.dst;
    flow.reply = state::inverse(flow.key);
    return refused(flow);
}

} // namespace encsync::table
