#include "table/filter.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <fmt/core.h>
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
        break;
    }
    return "prefix";
}

Result<Prefix> Prefix::parse(std::string_view text) {
    const std::size_t slash = text.find('/');
    const std::string address(text.substr(0, slash));
    Prefix out;
    if (::inet_pton(AF_INET, address.c_str(), out.address.bytes.data()) == 1) {
        out.family = Family::inet;
        out.length = 32;
    } else if (::inet_pton(AF_INET6, address.c_str(), out.address.bytes.data()) == 1) {
        out.family = Family::inet6;
        out.length = 128;
    } else {
        return Error{fmt::format("\"{}\" is no IPv4 or IPv6 address", address)};
    }
    if (slash == std::string_view::npos)
        return out;
    const std::string_view bits = text.substr(slash + 1);
    std::uint8_t length = 0;
    const auto [end, error] = std::from_chars(bits.data(), bits.data() + bits.size(), length);
    if (bits.empty() || error != std::errc{} || end != bits.data() + bits.size() ||
        length > out.length)
        return Error{fmt::format("\"{}\" is no prefix length (0 to {})", bits, out.length)};
    out.length = length;
    return out;
}

bool Prefix::contains(const Address& other, Family of) const {
    if (of != family)
        return false;
    const std::size_t whole = length / 8;
    if (!std::equal(address.bytes.begin(), address.bytes.begin() + whole, other.bytes.begin()))
        return false;
    const int rest = length % 8;
    return rest == 0 || ((address.bytes[whole] ^ other.bytes[whole]) >> (8 - rest)) == 0;
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

void LocalAddresses::add(Family family, const Address& address, std::uint32_t interface) {
    add_to(local_, {family, address}, interface);
}

void LocalAddresses::remove(Family family, const Address& address, std::uint32_t interface) {
    remove_from(local_, {family, address}, interface);
}

void LocalAddresses::add_broadcast(const Address& address, std::uint32_t interface) {
    add_to(broadcast_, {Family::inet, address}, interface);
}

void LocalAddresses::remove_broadcast(const Address& address, std::uint32_t interface) {
    remove_from(broadcast_, {Family::inet, address}, interface);
}

void LocalAddresses::clear() {
    local_.clear();
    broadcast_.clear();
}

bool LocalAddresses::is_local(const Address& address, Family family) const {
    return local_.find({family, address}) != local_.end();
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
    for (const Prefix& p : options_.ignore)
        if (p.contains(orig.src, family) || p.contains(orig.dst, family) ||
            p.contains(flow.reply.src, family) || p.contains(flow.reply.dst, family))
            return Ignored::prefix;
    return std::nullopt;
}

} // namespace encsync::table
