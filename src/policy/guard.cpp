// SPDX-License-Identifier: ISC
#include "policy/guard.hpp"

#include "net/protocol.hpp"
#include "pfsync/parse.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>

namespace encsync::policy {

namespace {

constexpr std::size_t kIp4Size = 20, kIp6Size = 40;

// IANA's IPv6 extension header types, except fragments.
bool is_extension(std::uint8_t next_header) {
    switch (next_header) {
    case 0:   // hop-by-hop options
    case 43:  // routing
    case 51:  // authentication
    case 60:  // destination options
    case 135: // mobility
    case 139: // host identity
    case 140: // shim6
        return true;
    default:
        return false;
    }
}
constexpr std::uint8_t kFragmentHeader = 44;

// Source or destination of a packet with a complete header.
net::Address source(Bytes p) {
    return p[0] >> 4U == 6 ? net::Address::read(&p[8], net::Family::inet6)
                           : net::Address::read(&p[12], net::Family::inet);
}
net::Address destination(Bytes p) {
    return p[0] >> 4U == 6 ? net::Address::read(&p[24], net::Family::inet6)
                           : net::Address::read(&p[16], net::Family::inet);
}

Reason check_ip4(Bytes p) {
    const unsigned words = p[0] & 0x0fU;
    if (words > 5)
        return Reason::ip_options;
    if (words < 5 || load_be<std::uint16_t>(&p[2]) != p.size())
        return Reason::bad_ip_length;
    // More fragments, or an offset. DF and the reserved bit do not matter.
    if ((load_be<std::uint16_t>(&p[6]) & 0x3fffU) != 0)
        return Reason::fragment;
    return p[9] == net::kPfsync ? Reason::accept : Reason::not_pfsync;
}

Reason check_ip6(Bytes p) {
    const std::uint8_t next_header = p[6];
    if (is_extension(next_header))
        return Reason::ip_options;
    if (load_be<std::uint16_t>(&p[4]) != p.size() - kIp6Size)
        return Reason::bad_ip_length;
    if (next_header == kFragmentHeader)
        return Reason::fragment;
    return next_header == net::kPfsync ? Reason::accept : Reason::not_pfsync;
}

} // namespace

Checked check(Bytes inner, const Selectors& selectors, pfsync::Expected dialect) {
    if (inner.empty())
        return {Reason::short_packet, {}};
    const unsigned version = inner[0] >> 4U;
    if (version != 4 && version != 6)
        return {Reason::bad_ip_version, {}};
    const bool ipv6 = version == 6;
    const std::size_t header = ipv6 ? kIp6Size : kIp4Size;
    if (inner.size() < header)
        return {Reason::short_packet, {}};
    if (const Reason why = ipv6 ? check_ip6(inner) : check_ip4(inner); why != Reason::accept)
        return {why, {}};
    if (std::ranges::find(selectors.sources, source(inner)) == selectors.sources.end())
        return {Reason::wrong_source, {}};
    if (selectors.destination != destination(inner))
        return {Reason::wrong_destination, {}};
    if (inner[ipv6 ? 7 : 8] != pfsync::kTtl)
        return {Reason::bad_ttl, {}};
    const Bytes payload = inner.subspan(header);
    const Reason why = reason_of(pfsync::check(payload, dialect));
    return {why, why == Reason::accept ? payload : Bytes{}};
}

namespace {

// The values of `wire` for a dialect.
std::string wires(pfsync::Dialect dialect) {
    const auto name = pfsync::to_string(dialect);
    return dialect == pfsync::kOwnDialect ? fmt::format("encsync or {}", name) : std::string(name);
}

std::string expected_version(pfsync::Expected dialect) {
    if (!dialect) {
        std::set<unsigned> versions;
        for (const pfsync::Dialect each : pfsync::kAllDialects)
            versions.insert(pfsync::version_of(each));
        return fmt::format("versions {} are known (wire=auto)", fmt::join(versions, " and "));
    }
    return fmt::format("version {} was expected (wire={})", pfsync::version_of(*dialect),
                       wires(*dialect));
}

std::string version_used(Bytes payload, std::optional<pfsync::Dialect>& used_dialect) {
    const std::uint8_t version = payload[pfsync::common::header::version];
    if (const auto shown = pfsync::detect(payload))
        used_dialect = shown;
    const auto known = pfsync::dialects_of(version);
    std::string name;
    if (used_dialect && version == pfsync::version_of(*used_dialect))
        name = wires(*used_dialect);
    else if (known.size() == 1)
        name = wires(known.front());
    else if (!known.empty())
        name = fmt::format("{}'s", traits(known.front()).system);
    return name.empty() ? fmt::format("{}", version) : fmt::format("{} ({})", version, name);
}

// "10.0.0.2 or 10.0.0.3"
std::string any_of(const std::vector<net::Address>& addresses) {
    std::string out;
    for (const net::Address& each : addresses)
        out += (out.empty() ? "" : " or ") + to_string(each);
    return out;
}

} // namespace

std::string explain(Reason why, Bytes inner, const Selectors& selectors, pfsync::Expected dialect,
                    std::optional<pfsync::Dialect>& used_dialect) {
    const bool ipv6 = !inner.empty() && inner[0] >> 4U == 6;
    switch (why) {
    case Reason::wrong_source:
        return fmt::format("its packets are from {}, and {} was expected", to_string(source(inner)),
                           any_of(selectors.sources));
    case Reason::wrong_destination:
        return fmt::format("its packets are for {}, and {} was expected",
                           to_string(destination(inner)), to_string(selectors.destination));
    case Reason::bad_ttl:
        return fmt::format("its packets have TTL {}, and {} was expected", inner[ipv6 ? 7 : 8],
                           pfsync::kTtl);
    case Reason::not_pfsync:
        return fmt::format("its packets are of protocol {}, and pfsync's {} was expected",
                           inner[ipv6 ? 6 : 9], net::kPfsync);
    case Reason::pfsync_bad_version:
        return fmt::format("it speaks pfsync version {}, and {}",
                           version_used(inner.subspan(ipv6 ? kIp6Size : kIp4Size), used_dialect),
                           expected_version(dialect));
    case Reason::packet_rate:
        return "it sends more packets a second than maxpackets";
    default:
        return fmt::format("its packets are malformed ({})", to_string(why));
    }
}

} // namespace encsync::policy
