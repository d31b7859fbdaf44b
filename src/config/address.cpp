// SPDX-License-Identifier: ISC
#include "config/text.hpp"
#include "config/values.hpp"

#include <algorithm>
#include <fmt/core.h>

namespace encsync::config {

namespace {

// Why an address cannot be one end of a sync link; nothing if it can.
std::string_view not_a_host(const net::Address& address) {
    if (address.is_unspecified())
        return "the unspecified address is nobody's";
    if (address.is_multicast())
        return "this is a multicast address";
    if (address.is_loopback())
        return "a loopback address reaches no other machine";
    if (address.is_v4_mapped())
        return "write an IPv4 address as such, not mapped into IPv6";
    if (address.is_v6())
        return {};
    if (address.bytes[0] == 0)
        return "addresses in 0.0.0.0/8 are nobody's";
    if ((address.bytes[0] & 0xf0) == 0xf0)
        return "this is a broadcast or reserved address";
    return {};
}

} // namespace

std::string to_string(const Address& address) {
    const std::string ip = to_string(address.ip);
    return address.scope.empty() ? ip : fmt::format("{}%{}", ip, address.scope);
}

namespace {

Verdict read_scope(std::string_view text, std::string& out) {
    if (text.empty())
        return Problem{"an interface is missing behind the '%'", 0, {}};
    if (text.find_first_not_of("0123456789") == std::string_view::npos)
        return Problem{
            "write the interface's name; its number changes when it goes and comes back", 0, {}};
    return read_interface(text, out);
}

} // namespace

Verdict read_address(std::string_view text, Address& out) {
    if (text[0] == '%')
        return Problem{fmt::format("'{}': encsync needs the address itself", text), 0, {}};
    if (const std::size_t at = text.find('/'); at != std::string_view::npos)
        return Problem{"this is one address, without a prefix length", at, {}};
    const std::size_t percent = text.find('%');
    const std::string_view number = text.substr(0, percent);
    const auto ip = net::parse_address(number);
    if (!ip)
        return Problem{fmt::format("'{}' is no IP address", number), 0,
                       "host names are not looked up; write 192.0.2.1 or 2001:db8::1"};
    if (const std::string_view reason = not_a_host(*ip); !reason.empty())
        return Problem{std::string(reason), 0, {}};
    const bool scoped = percent != std::string_view::npos;
    if (scoped && !ip->is_link_local())
        return Problem{"only a link-local address (fe80::/10) has a scope", percent, {}};
    if (!scoped && ip->is_link_local())
        return Problem{"a link-local address needs a scope, the interface that it is on", 0,
                       fmt::format("write {}%eth0", number)};
    Address address{*ip, {}};
    if (scoped) {
        if (Verdict problem = read_scope(text.substr(percent + 1), address.scope)) {
            problem->offset += percent + 1;
            return problem;
        }
    }
    out = address;
    return {};
}

Verdict read_prefix(std::string_view text, net::Prefix& out) {
    const std::size_t slash = text.find('/');
    const std::string_view network = text.substr(0, slash);
    const auto ip = net::parse_address(network);
    if (!ip)
        return Problem{fmt::format("'{}' is no IP address", network), 0, {}};
    const unsigned most = net::address_width(ip->family);
    std::uint32_t length = most;
    if (slash != std::string_view::npos) {
        const std::string_view number = text.substr(slash + 1);
        // Length 0 would match everything: a typo would stop all syncing.
        if (number.empty() || read_number(number, {1, most}, length))
            return Problem{
                fmt::format("a prefix length is from 1 to {} here", most), slash + 1, {}};
    }
    const net::Prefix prefix{*ip, static_cast<std::uint8_t>(length)};
    if (prefix != prefix.masked())
        return Problem{fmt::format("'{}' has bits set beyond its prefix", text), 0,
                       did_you_mean(to_string(prefix.masked()))};
    out = prefix;
    return {};
}

Verdict read_prefixes(std::string_view text, std::vector<net::Prefix>& out) {
    std::vector<net::Prefix> prefixes;
    for (const std::string_view item : list_items(text)) {
        const auto offset = static_cast<std::size_t>(item.data() - text.data());
        if (item.empty())
            return Problem{
                "a prefix is missing beside the comma", std::min(offset, text.size() - 1), {}};
        net::Prefix prefix;
        if (Verdict problem = read_prefix(item, prefix)) {
            problem->offset += offset;
            return problem;
        }
        prefixes.push_back(prefix);
    }
    out = std::move(prefixes);
    return {};
}

} // namespace encsync::config
