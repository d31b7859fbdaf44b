// SPDX-License-Identifier: ISC
#include "policy/ruleset.hpp"

#include "net/protocol.hpp"
#include "policy/generation.hpp"
#include "util/log.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cctype>
#include <fmt/format.h>
#include <net/if.h>
#include <nftables/libnftables.h>

namespace encsync::policy {

namespace {

const std::string kTable = fmt::format("inet {}", kTableName);
const std::string kBridgeTable = fmt::format("bridge {}", kTableName);
// Before defragmentation (-400) and everything else.
constexpr int kFirst = -450;
// If other programs change rules at the same time, this many attempts are made.
constexpr int kTries = 20;
// "raw": before conntrack (-200).
constexpr int kRaw = -300;
// After source NAT (100), and before conntrack confirms the flow.
constexpr int kBehindNat = 101;

constexpr std::array<const char*, 5> kCounters{"not_through_tunnel_in", "not_through_tunnel_out",
                                               "not_through_tunnel_forward", "wrong_mac",
                                               "tap_copies"};
constexpr const char* kBridgeCounter = "not_through_tunnel_bridge";

// No name from the configuration may change the meaning of nft's input.
bool is_interface_name(const std::string& name) {
    return !name.empty() && name.size() < IFNAMSIZ &&
           std::all_of(name.begin(), name.end(), [](unsigned char c) {
               return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
           });
}

std::string match_address(const char* side, const net::Address& address) {
    if (address.is_unspecified())
        return {};
    return fmt::format("{} {} {} ", address.is_v6() ? "ip6" : "ip", side, to_string(address));
}

std::string match_ports(const char* side, const std::vector<std::uint16_t>& ports) {
    if (ports.empty())
        return {};
    return fmt::format("udp {} {{ {} }} ", side, fmt::join(ports, ", "));
}

// Datagrams from one end to the other. The match is never empty: with any address and any port on
// both sides the rule would untrack all UDP.
std::string untrack(const Tunnel& t, bool outbound) {
    const auto& [from, to] = outbound ? std::tie(t.left, t.right) : std::tie(t.right, t.left);
    const auto& [from_ports, to_ports] =
        outbound ? std::tie(t.left_ports, t.right_ports) : std::tie(t.right_ports, t.left_ports);
    if ((from.is_unspecified() && to.is_unspecified()) || (from_ports.empty() && to_ports.empty()))
        return {};
    const std::string interface =
        t.interface.empty()
            ? ""
            : fmt::format("{} \"{}\" ", outbound ? "oifname" : "iifname", t.interface);
    const char* family = t.left.is_v6() ? "ipv6" : "ipv4";
    return fmt::format("        {}meta nfproto {} {}{}{}{}notrack\n", interface, family,
                       match_address("saddr", from), match_address("daddr", to),
                       match_ports("sport", from_ports), match_ports("dport", to_ports));
}

std::string chain(const char* name, const char* hook, int priority, const std::string& rules) {
    return fmt::format("    chain {} {{\n"
                       "        type filter hook {} priority {}; policy accept;\n"
                       "{}    }}\n",
                       name, hook, priority, rules);
}

std::string drop(const std::string& match, const char* counter) {
    return fmt::format("        {}meta l4proto {} counter name \"{}\" drop\n", match, net::kPfsync,
                       counter);
}

// Kernel ESP: packets from this peer's inbound states, and packets to where its policy applies. nft
// can match the state of inbound packets only.
std::string through_tunnel(const RulesetOptions& options, bool outbound) {
    std::string rules;
    for (const Tunnel& t : options.tunnels) {
        if (!t.reqid)
            continue;
        const auto& [from, to] = outbound ? std::tie(t.left, t.right) : std::tie(t.right, t.left);
        rules += fmt::format(
            "        {} \"{}\" {}{}{}meta l4proto {} accept\n", outbound ? "oifname" : "iifname",
            options.syncdev, outbound ? "" : fmt::format("ipsec in reqid {} ", *t.reqid),
            match_address("saddr", from), match_address("daddr", to), net::kPfsync);
    }
    return rules;
}

// The packet's own header, not what follows extension headers.
std::string pfsync_in(const net::Address& address) {
    return fmt::format("{} {}", address.is_v6() ? "ip6 nexthdr" : "ip protocol", net::kPfsync);
}

// Of its card, or of another one ("!= "); nothing if that is not known.
std::string match_frame(const char* mac_is, const Speaker& speaker) {
    return speaker.mac ? fmt::format("ether saddr {}{} ", mac_is, to_string(*speaker.mac)) : "";
}

std::string from_cables(const RulesetOptions& options) {
    std::string rules;
    for (const Cable& c : options.cables)
        for (const Speaker& speaker : c.speakers) {
            const net::Address& from = speaker.address;
            const auto on = [&](const char* mac_is) {
                return fmt::format("iifname \"{}\" {}{}", c.interface, match_frame(mac_is, speaker),
                                   match_address("saddr", from));
            };
            rules += fmt::format(
                "        {}{}{}{} accept\n", on(""), match_address("daddr", c.destination),
                from.is_v6() ? "ip6 hoplimit 255 " : "ip ttl 255 ip frag-off & 0x3fff == 0 ",
                pfsync_in(from));
            // For its own name; without this rule it would be dropped, too.
            if (speaker.mac)
                rules += drop(on("!= "), "wrong_mac");
        }
    return rules;
}

std::string to_cables(const RulesetOptions& options) {
    std::string rules;
    for (const Cable& c : options.cables) {
        const auto send_to = [&](const net::Address& to) {
            rules += fmt::format("        oifname \"{}\" {}{}{} accept\n", c.interface,
                                 match_address("saddr", c.left), match_address("daddr", to),
                                 pfsync_in(to));
        };
        if (c.multicast)
            send_to(c.destination);
        else
            std::ranges::for_each(c.speakers, send_to, &Speaker::address);
    }
    return rules;
}

// Frames that a bridge here passes on between its ports; what is for this machine itself comes to
// the table above. What the firewalls of a cable say to each other over it is their own affair.
std::string bridge_table(const RulesetOptions& options) {
    if (!options.bridge)
        return {};
    std::string rules;
    for (const Cable& c : options.cables)
        for (const Speaker& speaker : c.speakers)
            rules +=
                fmt::format("        {}{}{} accept\n", match_frame("", speaker),
                            match_address("saddr", speaker.address), pfsync_in(speaker.address));
    return fmt::format("table {} {{\n    counter {} {{ }}\n{}}}\n", kBridgeTable, kBridgeCounter,
                       chain("forward", "forward", kFirst, rules + drop("", kBridgeCounter)));
}

std::vector<std::string> tables(const RulesetOptions& options) {
    return options.bridge ? std::vector{kTable, kBridgeTable} : std::vector{kTable};
}

// Commands of one transaction, which replaces all tables. Each is added first, so that deleting it
// cannot fail.
std::string replacement(const RulesetOptions& options) {
    std::string commands;
    for (const std::string& table : tables(options))
        commands += fmt::format("add table {0}\ndelete table {0}\n", table);
    return commands + ruleset_text(options);
}

// The queued packets have their final addresses, and are not in the conntrack table yet.
std::string defer(const RulesetOptions& options) {
    if (!options.defer_queue)
        return {};
    std::string rules = "        oifname \"lo\" accept\n";
    rules += fmt::format("        meta l4proto {} accept\n", net::kPfsync);
    if (!options.own_ports.empty())
        rules += fmt::format("        {}accept\n", match_ports("sport", options.own_ports));
    rules += fmt::format("        ip daddr {{ 224.0.0.0/4, 255.255.255.255 }} accept\n"
                         "        ip6 daddr ff00::/8 accept\n"
                         "        ct state new ct status & confirmed == 0 queue num {} bypass\n",
                         *options.defer_queue);
    return chain("first_packets", "postrouting", kBehindNat, rules);
}

// No packet passes through this chain; its rule makes the kernel register conntrack's hooks.
std::string track(const RulesetOptions& options) {
    return options.track ? "    chain track {\n        ct state invalid\n    }\n" : "";
}

using Counts = std::map<std::string, std::uint64_t>;

// {"nftables": [{"metainfo": ...}, {"counter": {"name": ..., "packets": ...}}, ...]}
Result<Counts> read_counters(const std::string& text) {
    boost::system::error_code error;
    const auto root = boost::json::parse(text, error);
    const auto* object = error ? nullptr : root.if_object();
    const auto* list = object != nullptr ? object->if_contains("nftables") : nullptr;
    if (list == nullptr || !list->is_array())
        return Error{"nftables: its list of counters cannot be read"};
    Counts out;
    for (const auto& item : list->get_array()) {
        const auto* entry = item.is_object() ? item.get_object().if_contains("counter") : nullptr;
        if (entry == nullptr || !entry->is_object())
            continue;
        const auto* name = entry->get_object().if_contains("name");
        const auto* packets = entry->get_object().if_contains("packets");
        if (name == nullptr || !name->is_string() || packets == nullptr)
            return Error{"nftables: a counter without name or packets"};
        out[std::string(name->get_string())] = packets->to_number<std::uint64_t>(error);
        if (error)
            return Error{"nftables: a counter that is no number"};
    }
    return out;
}

} // namespace

std::string ruleset_text(const RulesetOptions& options) {
    std::string counters, in, out;
    for (const char* name : kCounters)
        counters += fmt::format("    counter {} {{ }}\n", name);
    for (const Tunnel& t : options.tunnels) {
        in += untrack(t, false);
        out += untrack(t, true);
    }
    // Kernel ESP and cables show packets on an interface, and they must be kept out of conntrack
    // here.
    const bool kernel =
        std::ranges::any_of(options.tunnels, [](const Tunnel& t) { return t.reqid.has_value(); });
    const std::string tap =
        kernel ? "" : drop(fmt::format("iifname \"{}\" ", options.syncdev), "tap_copies");
    if (kernel || !options.cables.empty())
        for (std::string* rules : {&in, &out})
            *rules += fmt::format("        meta l4proto {} notrack\n", net::kPfsync);
    const std::string delivered = through_tunnel(options, false) + from_cables(options);
    return fmt::format("table {} {{\n", kTable) + counters +
           chain("receive", "prerouting", kFirst,
                 tap + delivered + drop("", "not_through_tunnel_in")) +
           // Again after defragmentation: the upper-layer protocol may be in a later fragment.
           chain("receive_whole", "input", kFirst, delivered + drop("", "not_through_tunnel_in")) +
           chain("forward", "forward", kFirst, drop("", "not_through_tunnel_forward")) +
           chain("send", "output", kFirst,
                 through_tunnel(options, true) + to_cables(options) +
                     drop("", "not_through_tunnel_out")) +
           chain("own_tunnel_in", "prerouting", kRaw, in) +
           chain("own_tunnel_out", "output", kRaw, out) + defer(options) + track(options) + "}\n" +
           bridge_table(options);
}

struct Ruleset::Impl {
    explicit Impl(Generation g) : generation(std::move(g)) {}

    // Runs commands; returns their output, or the first line of nft's error.
    Result<std::string> run(const std::string& commands, unsigned flags = 0) {
        nft_ctx_output_set_flags(nft.get(), flags);
        const int failed = nft_run_cmd_from_buffer(nft.get(), commands.c_str());
        std::string output = nft_ctx_get_output_buffer(nft.get());
        const std::string complaint = nft_ctx_get_error_buffer(nft.get());
        if (failed != 0)
            return Error{"nftables: " + complaint.substr(0, complaint.find('\n'))};
        return output;
    }

    Result<std::string> listing() {
        std::string both;
        for (const std::string& table : tables(options)) {
            auto one = run("list table " + table, NFT_CTX_OUTPUT_STATELESS);
            if (!one)
                return one;
            both += *one;
        }
        return both;
    }

    bool would_take(const RulesetOptions& other) {
        nft_ctx_set_dry_run(nft.get(), true);
        const auto checked_only = run(replacement(other));
        nft_ctx_set_dry_run(nft.get(), false);
        return static_cast<bool>(checked_only);
    }

    Result<void> install() {
        const std::string commands = replacement(options);
        // verify() compares with the kernel's listing after the change, so no other program may
        // have changed anything in between: then the generation has increased by more than one.
        for (int tries = 0; tries < kTries; tries++) {
            auto first = generation.read();
            if (!first)
                return first.error();
            if (auto done = run(commands); !done)
                return done.error();
            auto listed = listing();
            auto last = generation.read();
            if (!last)
                return last.error();
            if (!listed || *last != *first + 1)
                continue;
            installed_text = *listed;
            checked = *last;
            in_place = true;
            return {};
        }
        return Error{"nftables: others change the rules faster than ours can be put in place"};
    }

    // The counters of the current tables in the kernel.
    Result<Counts> current() {
        Counts all;
        for (const std::string& table : tables(options)) {
            // Not `list counters`: for that, nft 1.0.6 would read every table and set, and begin
            // again whenever another program changes one.
            auto json = run("list table " + table, NFT_CTX_OUTPUT_JSON);
            if (!json)
                return json.error();
            auto counts = read_counters(*json);
            if (!counts)
                return counts;
            all.merge(*counts);
        }
        return all;
    }

    void carry_over() {
        for (auto& [name, packets] : seen)
            before[name] += packets;
        seen.clear();
    }

    RulesetOptions options;
    Generation generation;
    struct Free {
        void operator()(nft_ctx* c) const { nft_ctx_free(c); }
    };
    std::unique_ptr<nft_ctx, Free> nft;
    std::string installed_text; // as listed by the kernel
    std::uint32_t checked = 0;  // the generation that was last compared
    bool in_place = true;       // the result of that comparison
    Counts before;              // of former tables
    Counts seen;                // of the current one, when last read
};

Ruleset::Ruleset(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ruleset::Ruleset(Ruleset&&) noexcept = default;
Ruleset& Ruleset::operator=(Ruleset&&) noexcept = default;
Ruleset::~Ruleset() = default;

Result<Ruleset> Ruleset::install(RulesetOptions options) {
    // Tried first: libnftables exits the process if it cannot open its socket.
    auto generation = Generation::open();
    if (!generation)
        return generation.error();
    auto impl = std::make_unique<Impl>(std::move(*generation));
    impl->nft.reset(nft_ctx_new(NFT_CTX_DEFAULT));
    if (!impl->nft || nft_ctx_buffer_output(impl->nft.get()) != 0 ||
        nft_ctx_buffer_error(impl->nft.get()) != 0)
        return Error{"nftables: no memory"};
    Ruleset ruleset(std::move(impl));
    if (auto done = ruleset.change(std::move(options)); !done)
        return done.error();
    return ruleset;
}

Result<void> Ruleset::change(RulesetOptions options) {
    if (!is_interface_name(options.syncdev))
        return Error{fmt::format("nftables: \"{}\" is no interface name", options.syncdev)};
    for (const Tunnel& t : options.tunnels)
        if (!t.interface.empty() && !is_interface_name(t.interface))
            return Error{fmt::format("nftables: \"{}\" is no interface name", t.interface)};
    for (const Cable& c : options.cables)
        if (!is_interface_name(c.interface))
            return Error{fmt::format("nftables: \"{}\" is no interface name", c.interface)};
    const RulesetOptions old = std::exchange(impl_->options, std::move(options));
    auto done = reinstall();
    if (done)
        return done;
    // Find out which part of it the kernel lacks.
    RulesetOptions rest = std::exchange(impl_->options, old);
    if (std::exchange(rest.bridge, false) && impl_->would_take(rest)) {
        log::warning("the kernel's nftables know no bridges: protocol 240 that passes one of this "
                     "machine's is not dropped ({})",
                     done.error().text);
        return change(std::move(rest));
    }
    if (rest.defer_queue) {
        rest.defer_queue.reset();
        if (impl_->would_take(rest))
            return Error{"defer=yes needs a kernel whose nftables can queue packets (nft_queue, "
                         "CONFIG_NFT_QUEUE); this one says: " +
                         done.error().text};
    }
    return done;
}

Result<void> Ruleset::reinstall() {
    // Keep the counters of the former table, if it still exists.
    if (!impl_->installed_text.empty())
        if (auto now = impl_->current(); now)
            for (const auto& [name, packets] : *now)
                impl_->seen[name] = std::max(impl_->seen[name], packets);
    if (auto done = impl_->install(); !done)
        return done;
    impl_->carry_over();
    return {};
}

Result<bool> Ruleset::verify() {
    auto now = impl_->generation.read();
    if (!now)
        return now.error();
    if (*now == impl_->checked)
        return impl_->in_place;
    auto listed = impl_->listing();
    impl_->in_place = listed && *listed == impl_->installed_text;
    impl_->checked = *now;
    return impl_->in_place;
}

Result<RulesetStatus> Ruleset::status() {
    auto in_place = verify();
    if (!in_place)
        return in_place.error();
    RulesetStatus out;
    out.installed = *in_place;
    // If the table is gone, the counters last read remain.
    if (auto now = impl_->current(); now)
        for (const auto& [name, packets] : *now)
            impl_->seen[name] = std::max(impl_->seen[name], packets);
    for (const char* name : kCounters)
        out.counters[name] = impl_->before[name] + impl_->seen[name];
    out.counters[kBridgeCounter] = impl_->before[kBridgeCounter] + impl_->seen[kBridgeCounter];
    return out;
}

std::string Ruleset::text() const {
    return ruleset_text(impl_->options);
}

Result<void> Ruleset::remove() {
    for (const std::string& table : tables(impl_->options))
        if (auto done = impl_->run("delete table " + table); !done)
            return done.error();
    return {};
}

} // namespace encsync::policy
