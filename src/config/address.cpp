// SPDX-License-Identifier: ISC
#include "config/text.hpp"
#include "config/values.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <fmt/core.h>

namespace encsync::config {

namespace {

bool parse_numeric(std::string_view text, Address& out) {
    const std::string copy(text);
    out = {};
    out.ipv6 = text.find(':') != std::string_view::npos;
    return ::inet_pton(out.ipv6 ? AF_INET6 : AF_INET, copy.c_str(), out.bytes.data()) == 1;
}

bool bit(const Address& address, unsigned number) {
    return (address.bytes[number / 8] >> (7 - number % 8) & 1) != 0;
}

unsigned width(const Address& address) {
    return address.ipv6 ? 128 : 32;
}

constexpr std::array<std::uint8_t, 16> kLoopback6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

bool is_link_local(const Address& address) {
    return address.ipv6 && address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80;
}

// Why an address cannot be one end of a sync link; nothing if it can.
std::string_view not_a_host(const Address& address) {
    const auto& b = address.bytes;
    if (std::all_of(b.begin(), b.end(), [](std::uint8_t byte) { return byte == 0; }))
        return "the unspecified address is nobody's";
    if (address.ipv6) {
        if (b[0] == 0xff)
            return "this is a multicast address";
        if (address.bytes == kLoopback6)
            return "a loopback address reaches no other machine";
        const bool zeros =
            std::all_of(b.begin(), b.begin() + 10, [](auto byte) { return byte == 0; });
        if (zeros && b[10] == 0xff && b[11] == 0xff)
            return "write an IPv4 address as such, not mapped into IPv6";
        return {};
    }
    if (b[0] == 0)
        return "addresses in 0.0.0.0/8 are nobody's";
    if (b[0] == 127)
        return "a loopback address reaches no other machine";
    if ((b[0] & 0xf0) == 0xe0)
        return "this is a multicast address";
    if ((b[0] & 0xf0) == 0xf0)
        return "this is a broadcast or reserved address";
    return {};
}

} // namespace

std::string to_string(const Address& address) {
    char text[INET6_ADDRSTRLEN] = {};
    ::inet_ntop(address.ipv6 ? AF_INET6 : AF_INET, address.bytes.data(), text, sizeof text);
    return address.scope.empty() ? text : fmt::format("{}%{}", text, address.scope);
}

std::string to_string(const Prefix& prefix) {
    return fmt::format("{}/{}", to_string(prefix.network), prefix.bits);
}

bool Prefix::contains(const Address& address) const {
    if (address.ipv6 != network.ipv6)
        return false;
    for (unsigned i = 0; i < bits; i++)
        if (bit(address, i) != bit(network, i))
            return false;
    return true;
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
    Address address;
    if (!parse_numeric(number, address))
        return Problem{fmt::format("'{}' is no IP address", number), 0,
                       "host names are not looked up; write 192.0.2.1 or 2001:db8::1"};
    if (const std::string_view reason = not_a_host(address); !reason.empty())
        return Problem{std::string(reason), 0, {}};
    const bool scoped = percent != std::string_view::npos;
    if (scoped && !is_link_local(address))
        return Problem{"only a link-local address (fe80::/10) has a scope", percent, {}};
    if (!scoped && is_link_local(address))
        return Problem{"a link-local address needs a scope, the interface that it is on", 0,
                       fmt::format("write {}%eth0", number)};
    if (scoped) {
        if (Verdict problem = read_scope(text.substr(percent + 1), address.scope)) {
            problem->offset += percent + 1;
            return problem;
        }
    }
    out = address;
    return {};
}

Verdict read_prefix(std::string_view text, Prefix& out) {
    const std::size_t slash = text.find('/');
    const std::string_view network = text.substr(0, slash);
    if (!parse_numeric(network, out.network))
        return Problem{fmt::format("'{}' is no IP address", network), 0, {}};
    const unsigned most = width(out.network);
    std::uint32_t bits = most;
    if (slash != std::string_view::npos) {
        const std::string_view length = text.substr(slash + 1);
        // 0 would mean everything: a firewall that keeps nothing in step, by a slip of the hand.
        if (length.empty() || read_number(length, {1, most}, bits))
            return Problem{
                fmt::format("a prefix length is from 1 to {} here", most), slash + 1, {}};
    }
    Prefix masked = out;
    masked.bits = static_cast<std::uint8_t>(bits);
    for (unsigned i = bits; i < most; i++)
        masked.network.bytes[i / 8] &= static_cast<std::uint8_t>(~(0x80 >> i % 8));
    if (masked.network != out.network)
        return Problem{fmt::format("'{}' has bits set beyond its prefix", text), 0,
                       did_you_mean(to_string(masked))};
    out = masked;
    return {};
}

Verdict read_prefixes(std::string_view text, std::vector<Prefix>& out) {
    std::vector<Prefix> prefixes;
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t comma = std::min(text.find(',', start), text.size());
        const std::string_view item = trim(text.substr(start, comma - start));
        if (item.empty())
            return Problem{
                "a prefix is missing beside the comma", std::min(comma, text.size() - 1), {}};
        Prefix prefix;
        if (Verdict problem = read_prefix(item, prefix)) {
            problem->offset += static_cast<std::size_t>(item.data() - text.data());
            return problem;
        }
        prefixes.push_back(prefix);
        start = comma + 1;
    }
    out = std::move(prefixes);
    return {};
}

} // namespace encsync::config
