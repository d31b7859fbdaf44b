// SPDX-License-Identifier: ISC
#include "import/migration.hpp"

#include "config/text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::importer {

namespace {

// A value of the other file, as a note shows it.
std::string shown(std::string_view text) {
    constexpr std::size_t kMost = 100;
    std::string out = config::printable(text.substr(0, kMost));
    std::replace(out.begin(), out.end(), '\t', ' ');
    return text.size() > kMost ? out + "..." : out;
}

std::string reason_of(const config::Problem& problem) {
    return shown(problem.message);
}

// The network of one end contains the other.
bool reaches(const Own& own, const config::Address& address) {
    return own.address.contains(address.ip);
}

} // namespace

Error fault(unsigned line, std::string_view reason) {
    constexpr std::size_t kMost = 400; // it may have words of the file
    reason = reason.substr(0, kMost);
    return {line == 0 ? fmt::format(" {}", reason) : fmt::format("{}: {}", line, reason)};
}

void Migration::note(unsigned line, std::string_view what, std::string_view advice) {
    if (notes.size() == kMaxNotes) {
        dropped_++;
        return;
    }
    std::string text = config::printable(advice);
    std::replace(text.begin(), text.end(), '\t', ' ');
    notes.push_back({line, shown(what), std::move(text)});
}

void Migration::set_node(unsigned line, std::string_view name) {
    // encsync's names are host names without their domain, as uname -n usually has them.
    const std::string_view host = name.substr(0, name.find('.'));
    std::string out;
    if (host.empty())
        return note(line, "the host's name is empty", "set node= by hand");
    if (const auto problem = config::read_name(host, out))
        return note(line, fmt::format("host name {}", shown(name)),
                    fmt::format("set node= by hand: {}", reason_of(*problem)));
    node = out;
}

void Migration::set_left(unsigned line, std::string_view address) {
    config::Address out;
    if (address.empty())
        return note(line, "this firewall's address is empty", "set left= by hand");
    if (const auto problem = config::read_address(address, out))
        return note(line, fmt::format("own address {}", shown(address)),
                    fmt::format("set left= by hand: {}", reason_of(*problem)));
    left = out;
}

void Migration::set_right(unsigned line, std::string_view address) {
    config::Address out;
    peer_line = line;
    peer_named = true;
    right.reset();
    if (address.empty())
        return note(line, "the peer's address is empty", "set right= by hand");
    const auto ip = net::parse_address(address.substr(0, address.find('%')));
    if (ip && ip->is_multicast())
        return note(line, fmt::format("peer {}, a multicast address", shown(address)), kOneAddress);
    if (const auto problem = config::read_address(address, out))
        return note(line, fmt::format("peer {}", shown(address)),
                    fmt::format("set right= by hand: {}", reason_of(*problem)));
    right = out;
}

void Migration::set_maxupd(unsigned line, std::string_view number) {
    std::uint32_t out = 0;
    if (number.empty() || config::read_number(number, {0, 255}, out))
        return note(line, fmt::format("maxupd {}", shown(number)),
                    "set maxupd= by hand: it is a number from 0 to 255");
    maxupd = out;
}

void Migration::add_rule(unsigned line, std::string rule) {
    if (std::find(nosync.begin(), nosync.end(), rule) != nosync.end())
        return;
    std::vector<state::NoSyncRule> rules;
    if (const auto problem = config::read_nosync(rule, rules))
        return note(line, rule, fmt::format("set nosync= by hand: {}", reason_of(*problem)));
    if (nosync.size() == kMaxRules)
        return note(line, rule,
                    fmt::format("nosync has at most {} rules: join prefixes, or filter by a mark",
                                kMaxRules));
    nosync.push_back(std::move(rule));
}

void Migration::add_own(std::string on_interface, std::string_view address_and_length) {
    const auto prefix = net::parse_prefix(address_and_length);
    config::Address usable;
    // What cannot be left, as a loopback address, is of no interest.
    if (prefix && !config::read_address(to_string(prefix->network), usable))
        own.push_back({std::move(on_interface), *prefix});
}

void Migration::choose_left(const std::vector<config::Address>& lefts) {
    const auto fits = [this](const config::Address& address) {
        return !right || (address.ip.family == right->ip.family && address.scope == right->scope);
    };
    for (const config::Address& given : lefts) {
        if (!left && fits(given))
            left = given;
        else if (left != given)
            note(0, fmt::format("--left {}", to_string(given)),
                 left ? fmt::format("not used: left is {}", to_string(*left))
                      : fmt::format("not used: the peer is {}", to_string(*right)));
    }
    if (left)
        return;
    // The address on the interface that syncs; else one whose network has the peer.
    const Own* found = nullptr;
    for (const Own& each : own)
        if (!found && fits({each.address.network, {}}) && each.interface == interface)
            found = &each;
    for (const Own& each : own)
        if (!found && right && reaches(each, *right))
            found = &each;
    if (found)
        left = config::Address{found->address.network, {}};
    else
        note(peer_line, "this firewall's own address is not in the file",
             interface.empty() || interface.starts_with("enc")
                 ? "set left=, or import again with --left ADDRESS"
                 : fmt::format("set left= to the address that {} has here, or import again with "
                               "--left ADDRESS",
                               interface));
}

// Two values that are each valid may still not fit each other.
void Migration::check_ends() {
    if (!complete())
        return;
    std::string_view reason;
    if (left->ip.family != right->ip.family)
        reason = "left and right must be of one family";
    else if (*left == *right)
        reason = "left and right must differ";
    else if (left->scope != right->scope)
        reason = "left and right must be on one interface";
    if (reason.empty())
        return;
    note(peer_line, fmt::format("left {} and right {}", to_string(*left), to_string(*right)),
         fmt::format("set right= by hand: {}", reason));
    right.reset();
}

void Migration::finish(const std::vector<config::Address>& lefts) {
    choose_left(lefts);
    check_ends();
    if (right && right->ip.is_v6() && wire == "freebsd-1301") {
        note(peer_line, "version 1301 with an IPv6 peer",
             "wire=auto is written: FreeBSD before 14 has pfsync over IPv4 only");
        wire = "auto";
    }
    std::stable_sort(notes.begin(), notes.end(),
                     [](const Note& a, const Note& b) { return a.line < b.line; });
    if (dropped_ > 0)
        notes.push_back({0, fmt::format("more notes ({})", dropped_),
                         "they are not listed; import again when the first ones are settled"});
}

} // namespace encsync::importer
