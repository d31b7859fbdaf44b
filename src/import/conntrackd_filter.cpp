// SPDX-License-Identifier: ISC
// The filters of conntrackd, as rules of nosync. They differ in what they compare: conntrackd takes
// the addresses of the two end systems, nosync also those after NAT.
#include "import/conntrackd.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <netinet/in.h>
#include <strings.h>

namespace encsync::importer {

namespace {

struct Protocol {
    const char* theirs;
    std::string_view ours; // empty: its number
    std::uint8_t number;
    bool tracked = true; // by the kernel, by more than its number
};

constexpr std::array kProtocols = {
    Protocol{"TCP", "tcp", IPPROTO_TCP},
    Protocol{"UDP", "udp", IPPROTO_UDP},
    Protocol{"ICMP", "icmp", IPPROTO_ICMP},
    Protocol{"IPv6-ICMP", "icmp6", IPPROTO_ICMPV6},
    Protocol{"SCTP", "sctp", IPPROTO_SCTP},
    Protocol{"DCCP", "dccp", IPPROTO_DCCP},
    Protocol{"UDPLite", "udplite", IPPROTO_UDPLITE},
    Protocol{"GRE", "gre", IPPROTO_GRE},
    Protocol{"VRRP", "", 112, false},
    Protocol{"IGMP", "", IPPROTO_IGMP, false},
};

// Of a word that is a name or a number; none: it is neither.
std::optional<std::uint8_t> number_of(const std::string& word) {
    for (const Protocol& each : kProtocols)
        if (::strcasecmp(each.theirs, word.c_str()) == 0)
            return each.number;
    std::uint32_t number = 0;
    if (word.empty() || config::read_number(word, {0, 255}, number))
        return {};
    return static_cast<std::uint8_t>(number);
}

std::string name_of(std::uint8_t number) {
    for (const Protocol& each : kProtocols)
        if (each.number == number && !each.ours.empty())
            return std::string(each.ours);
    return std::to_string(number);
}

// 10.0.0.0/8 for 10.1.2.3/8: conntrackd ignores the bits behind the length, nosync refuses them.
std::optional<net::Prefix> network_of(const std::string& text) {
    const auto prefix = net::parse_prefix(text);
    return prefix ? std::optional(prefix->masked()) : std::nullopt;
}

void ignore_network(Migration& found, unsigned line, const net::Prefix& network) {
    const std::string text = to_string(network);
    if (network.network.is_loopback() && network.length >= 8)
        return; // never synced anyway
    if (network.length == net::address_width(network.network.family)) {
        const std::string host = to_string(network.network);
        found.note(line, fmt::format("Address Ignore {}", host),
                   "nothing to do if it is an address of a firewall: its own flows are not synced. "
                   "A rule would also match all flows that are translated to it");
        auto& rules = found.possible_rules;
        if (rules.size() < kMaxRules &&
            std::find(rules.begin(), rules.end(), "net " + host) == rules.end())
            rules.push_back("net " + host);
    } else if (network.length == 0) {
        // A prefix of length 0 is no rule, because it is so often a mistake. Two halves are.
        const bool v6 = network.network.is_v6();
        found.add_rule(line, v6 ? "net ::/1" : "net 0.0.0.0/1");
        found.add_rule(line, v6 ? "net 8000::/1" : "net 128.0.0.0/1");
    } else {
        found.add_rule(line, "net " + text);
        found.note(line, fmt::format("Address Ignore {}", text),
                   "it is a rule of nosync, which also matches addresses after NAT: remove it if "
                   "connections are translated to an address of this network");
    }
}

} // namespace

void take_protocols(Migration& found, const Statement& filter, bool accept) {
    std::vector<std::string> listed;
    for (const Statement& line : filter.block)
        for (const std::string& word : line.words) {
            const auto number = number_of(word);
            if (!number)
                found.note(line.line, fmt::format("protocol {}", word),
                           "write a rule with its number, nosync=proto N");
            else if (accept)
                listed.push_back(name_of(*number));
            else
                found.add_rule(line.line, "proto " + name_of(*number));
        }
    if (!accept)
        return;
    if (listed.empty())
        return found.note(filter.line, "Protocol Accept without a protocol",
                          "all protocols are synced: write rules, nosync=proto udp");
    for (const Protocol& each : kProtocols)
        if (each.tracked &&
            std::find(listed.begin(), listed.end(), name_of(each.number)) == listed.end())
            found.add_rule(filter.line, "proto " + name_of(each.number));
    found.note(filter.line, fmt::format("Protocol Accept {}", fmt::join(listed, " ")),
               "nosync names what is not synced: the other protocols that conntrack knows. Further "
               "ones, as ESP that passes through, need a rule with their number");
}

void take_addresses(Migration& found, const Statement& filter, bool accept) {
    bool all_ipv4 = false, all_ipv6 = false;
    std::string listed;
    for (const Statement& line : filter.block)
        for (std::size_t i = 0; i < line.words.size(); i++) {
            const std::string& key = line.words[i];
            if (key != "IPv4_address" && key != "IPv6_address") {
                found.note(line.line, fmt::format("unknown word '{}'", key),
                           "if it is an address, write a rule, nosync=net PREFIX");
                continue;
            }
            if (++i == line.words.size()) {
                found.note(line.line, fmt::format("{} without an address", key),
                           "write a rule, nosync=net PREFIX");
                break;
            }
            const std::string& word = line.words[i];
            const auto network = network_of(word);
            if (!network)
                found.note(line.line, fmt::format("{} {}", key, word),
                           "it is no address and no network: write a rule, nosync=net PREFIX");
            else if (!accept)
                ignore_network(found, line.line, *network);
            else {
                (network->network.is_v6() ? all_ipv6 : all_ipv4) |= network->length == 0;
                listed += " " + to_string(*network);
            }
        }
    if (accept && !(all_ipv4 && all_ipv6))
        found.note(filter.line, fmt::format("Address Accept{}", listed),
                   "flows of all addresses are synced: nosync names only what is not. Write rules "
                   "for the other networks, nosync=net PREFIX");
}

} // namespace encsync::importer
