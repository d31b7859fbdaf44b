// SPDX-License-Identifier: ISC
#include "table/filter.hpp"

#include "net/protocol.hpp"

#include <algorithm>
#include <array>

namespace encsync::table {

namespace {

using net::Address;

bool is_between_firewalls(std::uint8_t proto) {
    switch (proto) {
    case net::kVrrp:
    case net::kPfsync:
    case IPPROTO_ESP:
    case IPPROTO_AH:
    case IPPROTO_IGMP:
        return true;
    default:
        return false;
    }
}

// 500, and 4500 behind NAT (RFC 7296, 3948).
bool is_ipsec(const state::Flow& flow) {
    const auto fits = [](std::uint16_t port) { return port == 500 || port == 4500; };
    return flow.key.proto == IPPROTO_UDP &&
           (fits(flow.key.orig.sport) || fits(flow.key.orig.dport) || fits(flow.reply.sport));
}

} // namespace

void LocalAddresses::add_to(Set& set, const Address& address, std::uint32_t interface) {
    auto& on = set[address];
    if (std::find(on.begin(), on.end(), interface) == on.end())
        on.push_back(interface);
}

void LocalAddresses::remove_from(Set& set, const Address& address, std::uint32_t interface) {
    const auto at = set.find(address);
    if (at == set.end())
        return;
    std::erase(at->second, interface);
    if (at->second.empty())
        set.erase(at);
}

void LocalAddresses::leave(const Address& address) {
    std::erase(left_, address);
    if (left_.size() >= kMaxLeft)
        left_.erase(left_.begin());
    left_.push_back(address);
}

void LocalAddresses::add(const Address& address, std::uint32_t interface) {
    changes_ += !is_local(address);
    add_to(local_, address, interface);
    std::erase(left_, address);
}

void LocalAddresses::remove(const Address& address, std::uint32_t interface) {
    if (!is_local(address))
        return;
    remove_from(local_, address, interface);
    if (!is_local(address)) {
        changes_++;
        leave(address);
    }
}

void LocalAddresses::interface_up(std::uint32_t interface, bool up) {
    for (const auto& [address, on] : local_)
        if (std::find(on.begin(), on.end(), interface) == on.end())
            continue;
        else if (up)
            std::erase(left_, address);
        else if (on.size() == 1)
            leave(address);
}

void LocalAddresses::add_broadcast(const Address& address, std::uint32_t interface) {
    add_to(broadcast_, address, interface);
}

void LocalAddresses::remove_broadcast(const Address& address, std::uint32_t interface) {
    remove_from(broadcast_, address, interface);
}

void LocalAddresses::clear() {
    for (const auto& [address, on] : local_)
        leave(address);
    changes_++;
    local_.clear();
    broadcast_.clear();
}

bool LocalAddresses::is_local(const Address& address) const {
    return local_.find(address) != local_.end();
}

bool LocalAddresses::has_left(const Address& address) const {
    return std::find(left_.begin(), left_.end(), address) != left_.end();
}

bool LocalAddresses::is_broadcast(const Address& address) const {
    return broadcast_.find(address) != broadcast_.end();
}

bool Filter::was_local(const Address& address) const {
    return addresses_.is_local(address) || addresses_.has_left(address);
}

// local: one of its real ends is (or was) this firewall.
std::optional<Ignored> Filter::by_addresses(const state::Flow& flow, bool local) const {
    const state::Tuple &orig = flow.key.orig, &reply = flow.reply;
    const Address orig_dst = with_family(orig.dst, flow.key.family),
                  reply_src = with_family(reply.src, flow.key.family);
    const std::array ends = {with_family(orig.src, flow.key.family), orig_dst, reply_src,
                             with_family(reply.dst, flow.key.family)};
    const auto any = [&](auto fits) { return std::ranges::any_of(ends, fits); };
    if (is_between_firewalls(flow.key.proto))
        return Ignored::protocol;
    if (any([](const Address& a) { return a.is_loopback(); }))
        return Ignored::loopback;
    if (any([](const Address& a) { return a.is_multicast() || a == net::kIpv4Broadcast; }) ||
        addresses_.is_broadcast(orig_dst) || addresses_.is_broadcast(reply_src))
        return Ignored::multicast;
    if (any([](const Address& a) { return a.is_unspecified(); }))
        return Ignored::unspecified;
    if (local && is_ipsec(flow))
        return Ignored::ipsec;
    if (local && !options_.sync_local)
        return Ignored::local;
    for (const net::Prefix& p : options_.ignore)
        if (any([&](const Address& a) { return p.contains(a); }))
            return Ignored::prefix;
    return std::nullopt;
}

// The source of replies is the real destination. The destination of replies does not count: with
// masquerading it is the firewall for every flow.
std::optional<Ignored> Filter::ignored(const state::Flow& flow) const {
    const auto is_local = [&](const state::Address& address) {
        return addresses_.is_local(with_family(address, flow.key.family));
    };
    if (const auto why =
            by_addresses(flow, is_local(flow.key.orig.src) || is_local(flow.reply.src)))
        return why;
    if (options_.nosync.matches_for_life(flow))
        return Ignored::nosync;
    if (options_.nosync.matches_by_mark(flow))
        return Ignored::nosync_mark;
    return std::nullopt;
}

std::optional<Ignored> Filter::refused(const state::Flow& flow) const {
    const auto was = [&](const state::Address& address) {
        return was_local(with_family(address, flow.key.family));
    };
    return by_addresses(flow, was(flow.key.orig.src) || was(flow.reply.src));
}

// If a function translates it, the connection is to a host behind the firewall: to the given
// address, or to the end of the master that is not its sender.
std::optional<Ignored> Filter::refused(const state::Expectation& expectation) const {
    state::Flow flow;
    flow.key = {expectation.tuple, expectation.master.zone, expectation.proto,
                expectation.master.family};
    const state::Address anybody{};
    if (flow.key.orig.src == anybody) // not known yet
        flow.key.orig.src = expectation.master.orig.src;
    if (expectation.has_nat && !expectation.function.empty())
        flow.key.orig.dst = expectation.nat_address != anybody ? expectation.nat_address
                            : expectation.nat_reply            ? expectation.master.orig.src
                                                               : expectation.master.orig.dst;
    flow.reply = state::inverse(flow.key);
    return refused(flow);
}

} // namespace encsync::table
