// SPDX-License-Identifier: ISC
#include "import/conntrackd.hpp"

#include <algorithm>
#include <fmt/core.h>

namespace encsync::importer {

namespace {

// A link-local address is nothing without its interface.
std::string scoped(const std::string& address, const std::string& interface) {
    const auto ip = net::parse_address(address);
    return ip && ip->is_link_local() && !interface.empty() ? address + "%" + interface : address;
}

void take(Migration& found, const Channel& channel) {
    found.interface = channel.interface;
    found.peer_line = channel.line;
    if (channel.transport == "Multicast") {
        if (!channel.own.empty())
            found.set_left(channel.address_line, channel.own);
        found.note(channel.line, fmt::format("Multicast to {}", channel.address), kOneAddress);
    } else {
        if (!channel.address.empty())
            found.set_left(channel.address_line, scoped(channel.address, channel.interface));
        if (channel.destination.empty())
            found.note(channel.line, fmt::format("{} without a destination", channel.transport),
                       "set right= to the other firewall's address");
        else
            found.set_right(channel.destination_line,
                            scoped(channel.destination, channel.interface));
        // A link without the interface's address is left to --left.
        found.peer_line = channel.line;
    }
    if (channel.port_line != 0)
        found.note(channel.port_line, fmt::format("port {}", channel.port),
                   "accept UDP 500 and 4500 from the peer instead, see docs/operation.md");
    if (channel.transport == "TCP")
        found.note(channel.line, "TCP", "encsync uses UDP, and repeats what is lost");
}

} // namespace

void take_channels(Migration& found, const std::vector<Channel>& channels) {
    // A multicast link does not say who the peer is.
    const auto rank = [](const Channel& each) {
        return (each.transport == "Multicast" ? 0 : 2) + (each.preferred ? 1 : 0);
    };
    const auto chosen =
        std::max_element(channels.begin(), channels.end(),
                         [&](const Channel& a, const Channel& b) { return rank(a) < rank(b); });
    for (auto each = channels.begin(); each != channels.end(); ++each)
        if (each == chosen)
            take(found, *each);
        else
            found.note(each->line,
                       fmt::format("another link, {}{}{}", each->transport,
                                   each->interface.empty() ? "" : " over ", each->interface),
                       "encsync has one conn for a peer: bond the two links, or route left and "
                       "right over both; if it leads to another firewall, add a conn");
}

} // namespace encsync::importer
