// SPDX-License-Identifier: ISC
#include "import/pfsync_words.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>

namespace encsync::importer {

namespace {

constexpr unsigned kRest = ~0U; // all words up to the end of the line

struct PfsyncWord {
    std::string_view name;
    unsigned values; // words that belong to it
    Fate fate;
    std::string_view text; // the advice, or why nothing is needed
    void (*carry)(Migration&, unsigned, const std::string&) = nullptr;
};

void clear_syncdev(Migration& found, unsigned, const std::string&) {
    found.syncdev.clear();
    found.interface.clear();
}

void clear_syncpeer(Migration& found, unsigned, const std::string&) {
    found.right.reset();
    found.peer_named = false;
}

void maxupd(Migration& found, unsigned line, const std::string& number) {
    found.set_maxupd(line, number);
}

void defer(Migration& found, unsigned, const std::string&) {
    found.defer = true;
}

void no_defer(Migration& found, unsigned, const std::string&) {
    found.defer = false;
}

constexpr std::string_view kNoAddress =
    "encsync's interface has no address: the ends of the tunnel are left and right";
constexpr std::string_view kNoTables =
    "encsync has no routing tables of its own: run it in the network namespace of the sync network";
constexpr std::string_view kMtu =
    "set mtu= in the conn if the path to the peer carries less than 1500 bytes";
constexpr std::string_view kOnlyName = "describes the interface to people";

constexpr std::array kWords = {
    PfsyncWord{"syncdev", 1, Fate::carried, "", set_syncdev},
    PfsyncWord{"syncif", 1, Fate::carried, "", set_syncdev}, // its older name
    PfsyncWord{"-syncdev", 0, Fate::carried, "", clear_syncdev},
    PfsyncWord{"-syncif", 0, Fate::carried, "", clear_syncdev},
    PfsyncWord{"syncpeer", 1, Fate::carried, "", set_syncpeer},
    PfsyncWord{"-syncpeer", 0, Fate::carried, "", clear_syncpeer},
    PfsyncWord{"maxupd", 1, Fate::carried, "", maxupd},
    PfsyncWord{"defer", 0, Fate::carried, "", defer},
    PfsyncWord{"-defer", 0, Fate::carried, "", no_defer},
    PfsyncWord{"version", 1, Fate::carried, "", set_version},
    PfsyncWord{"up", 0, Fate::needless, "encsyncd brings its interface up"},
    PfsyncWord{"create", 0, Fate::needless, "encsyncd makes its interface"},
    PfsyncWord{"down", 0, Fate::noted, "pf did not sync; encsync does once its service is enabled"},
    PfsyncWord{"destroy", 0, Fate::noted, "to stop syncing: systemctl disable --now encsync"},
    PfsyncWord{"inet", kRest, Fate::noted, kNoAddress},
    PfsyncWord{"inet6", kRest, Fate::noted, kNoAddress},
    PfsyncWord{"-inet", 0, Fate::needless, kNoAddress},
    PfsyncWord{"-inet6", 0, Fate::needless, kNoAddress},
    PfsyncWord{"mtu", 1, Fate::noted, kMtu},
    PfsyncWord{"rdomain", 1, Fate::noted, kNoTables},
    PfsyncWord{"fib", 1, Fate::noted, kNoTables},
    PfsyncWord{"tunnelfib", 1, Fate::noted, kNoTables},
    PfsyncWord{"vnet", 1, Fate::noted, kNoTables},
    PfsyncWord{"-rdomain", 0, Fate::needless, kNoTables},
    PfsyncWord{
        "group", 1, Fate::noted,
        "if the group is for carp's demotion counter: keepalived asks encsync status --ready"},
    PfsyncWord{"-group", 1, Fate::needless, "encsync's interface is in no group"},
    PfsyncWord{"description", 1, Fate::needless, kOnlyName},
    PfsyncWord{"descr", 1, Fate::needless, kOnlyName},
    PfsyncWord{"-description", 0, Fate::needless, kOnlyName},
    PfsyncWord{"-descr", 0, Fate::needless, kOnlyName},
    PfsyncWord{"debug", 0, Fate::noted, "set loglevel=debug in config setup"},
    PfsyncWord{"-debug", 0, Fate::needless, "that is encsync's default"},
    PfsyncWord{"priority", 1, Fate::needless, "no route leads over the interface"},
    PfsyncWord{"metric", 1, Fate::needless, "no route leads over the interface"},
    PfsyncWord{"llprio", 1, Fate::noted,
               "give UDP 500 and 4500 to the peer a priority with nftables or tc"},
    PfsyncWord{"rtlabel", 1, Fate::needless, "no route leads over the interface"},
};

// The advice where pf syncs by multicast.
constexpr std::string_view kGroup =
    "encsync sends to one address, through IPsec: set right= to the other firewall's, and add a "
    "conn for each further one; on a cable, a node with table=relay hears several pf firewalls "
    "with right=%multicast and speakers=, see docs/cables.md";

bool is_enc(std::string_view name) {
    return name.starts_with("enc") && name.size() > 3 &&
           name.find_first_not_of("0123456789", 3) == std::string_view::npos;
}

// 0xffffff00 or 255.255.255.0; none: it is no mask.
std::optional<unsigned> mask_length(std::string_view text) {
    std::uint32_t mask = 0;
    if (text.starts_with("0x")) {
        const auto [end, error] =
            std::from_chars(text.data() + 2, text.data() + text.size(), mask, 16);
        if (error != std::errc{} || end != text.data() + text.size())
            return {};
    } else {
        const auto address = net::parse_address(text);
        if (!address || address->is_v6())
            return {};
        for (std::size_t i = 0; i < 4; i++)
            mask = mask << 8 | address->bytes[i];
    }
    unsigned length = 0;
    for (; length < 32 && (mask & 0x80000000U) != 0; length++)
        mask <<= 1;
    return mask == 0 ? std::optional(length) : std::nullopt;
}

} // namespace

void set_syncdev(Migration& found, unsigned line, const std::string& interface) {
    std::string name;
    if (interface.empty()) // as if it were not given
        return;
    if (config::read_interface(interface, name))
        return found.note(line, fmt::format("syncdev {}", interface),
                          "encsync finds the way to the peer by its address");
    found.interface = name;
    if (found.peer_line == 0)
        found.peer_line = line;
    // enc0 is encsync's own default.
    if (is_enc(name))
        found.syncdev = name == "enc0" ? "" : name;
}

void set_syncpeer(Migration& found, unsigned line, const std::string& address) {
    if (address.empty()) // as if it were not given
        return;
    const std::size_t percent = address.find('%');
    const auto ip = net::parse_address(std::string_view(address).substr(0, percent));
    if (ip && ip->is_link_local()) {
        found.right.reset();
        found.peer_named = true;
        found.peer_line = line;
        return found.note(
            line, fmt::format("peer {}", address),
            fmt::format("set right={}%INTERFACE, with the name that the interface has "
                        "on Linux, and left likewise",
                        to_string(*ip)));
    }
    if (ip && ip->is_multicast()) {
        found.right.reset();
        found.peer_named = true;
        found.peer_line = line;
        return found.note(line, fmt::format("peer {}, a multicast address", address), kGroup);
    }
    found.set_right(line, address);
}

void set_version(Migration& found, unsigned line, const std::string& version) {
    if (version == "1301" || version == "1400" || version == "1500")
        found.wire = "freebsd-" + version;
    else
        found.note(line, fmt::format("version {}", version),
                   "wire=auto is written: encsync finds out what the peer sends");
}

void read_pfsync_words(Migration& found, unsigned line, std::span<const Word> words) {
    for (std::size_t i = 0; i < words.size(); i++) {
        const std::string& name = words[i].text;
        const auto row = std::find_if(kWords.begin(), kWords.end(),
                                      [&](const PfsyncWord& each) { return each.name == name; });
        if (row == kWords.end()) {
            found.note(line, fmt::format("unknown word '{}'", name),
                       "see pfsync(4) and ifconfig(8) of that system, and docs/configuration.md");
            continue;
        }
        const std::size_t rest = words.size() - i - 1;
        if (row->values != kRest && row->values > rest) {
            found.note(line, fmt::format("{} without a value", name), "set it by hand");
            return;
        }
        const std::size_t values = std::min<std::size_t>(row->values, rest);
        const std::string value = values == 0 ? "" : words[i + 1].text;
        if (values > 0 && words[i + 1].expands)
            found.note(line, fmt::format("{} {}", name, value),
                       "set it by hand: its value is made by a shell");
        else if (row->fate == Fate::carried)
            row->carry(found, line, value);
        else if (row->fate == Fate::noted)
            found.note(line, values == 0 ? name : fmt::format("{} {}", name, value), row->text);
        i += values;
    }
}

void read_interface_words(Migration& found, unsigned line, const std::string& interface,
                          std::span<const Word> words) {
    const auto word = [&](std::size_t i) -> std::string {
        return i < words.size() ? words[i].text : "";
    };
    std::size_t i = word(0) == "inet" || word(0) == "inet6" ? 1 : 0;
    i += word(i) == "alias" ? 1 : 0;
    std::string address = word(i).substr(0, word(i).find('%'));
    if (net::parse_address(address)) {
        unsigned at = static_cast<unsigned>(i) + 1;
        at += word(at) == "-->" ? 2 : 0; // the other end of a point-to-point link
        at += word(at) == "netmask" ? 1 : 0;
        if (word(at) == "prefixlen")
            address += "/" + word(at + 1U);
        else if (const auto length = mask_length(word(at)); length && *length > 0)
            address += fmt::format("/{}", *length);
    }
    if (net::parse_prefix(address))
        found.add_own(interface, address);
    const auto is_vhid = [](const Word& each) { return each.text.starts_with("vhid"); };
    // Its password is among the other words.
    if (std::any_of(words.begin(), words.end(), is_vhid))
        found.note(line, fmt::format("{}: a CARP address", interface),
                   "make it a vrrp_instance of keepalived, see docs/operation.md");
}

void finish_pfsync(Migration& found) {
    if (!found.peer_named)
        found.note(found.peer_line, "no peer is named: pf sends to a multicast address", kGroup);
    if (found.wire.empty())
        found.wire = "auto";
}

} // namespace encsync::importer
