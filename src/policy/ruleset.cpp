// SPDX-License-Identifier: ISC
#include "policy/ruleset.hpp"

#include "net/protocol.hpp"
#include "policy/generation.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cctype>
#include <fmt/format.h>
#include <net/if.h>
#include <nftables/libnftables.h>

namespace encsync::policy {

namespace {

constexpr const char* kTable = "inet encsync";
// Before defragmentation (-400) and everything else.
constexpr int kFirst = -450;
// Of several programs that set up a firewall at once, each is done some time.
constexpr int kTries = 20;
// "raw": before conntrack (-200).
constexpr int kRaw = -300;
// Behind source NAT (100), and before conntrack confirms the flow.
constexpr int kBehindNat = 101;

constexpr std::array<const char*, 4> kCounters{"not_through_tunnel_in", "not_through_tunnel_out",
                                               "not_through_tunnel_forward", "tap_copies"};

// What nft reads must not be of an administrator's typing error.
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

// Datagrams from one end to the other. Some restriction there always is: with any address and
// any port on both sides the rule would untrack all UDP.
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

// Kernel ESP: what came out of this peer's states, and what goes to where its policy is. nft
// knows the state of what comes in only.
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

// What waits there has its final addresses, and is in no table yet.
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

// No packet passes through it; that it is there makes the kernel register conntrack's hooks.
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
    // Kernel ESP shows packets on syncdev itself, and keeping them out of conntrack is up to us.
    const bool kernel =
        std::ranges::any_of(options.tunnels, [](const Tunnel& t) { return t.reqid.has_value(); });
    const std::string tap =
        kernel ? "" : drop(fmt::format("iifname \"{}\" ", options.syncdev), "tap_copies");
    if (kernel)
        for (std::string* rules : {&in, &out})
            *rules += fmt::format("        meta l4proto {} notrack\n", net::kPfsync);
    const std::string delivered = through_tunnel(options, false);
    return fmt::format("table {} {{\n", kTable) + counters +
           chain("receive", "prerouting", kFirst,
                 tap + delivered + drop("", "not_through_tunnel_in")) +
           // Once more behind defragmentation: the protocol of a packet may lie in a later
           // fragment.
           chain("receive_whole", "input", kFirst, delivered + drop("", "not_through_tunnel_in")) +
           chain("forward", "forward", kFirst, drop("", "not_through_tunnel_forward")) +
           chain("send", "output", kFirst,
                 through_tunnel(options, true) + drop("", "not_through_tunnel_out")) +
           chain("own_tunnel_in", "prerouting", kRaw, in) +
           chain("own_tunnel_out", "output", kRaw, out) + defer(options) + track(options) + "}\n";
}

struct Ruleset::Impl {
    explicit Impl(Generation g) : generation(std::move(g)) {}

    // Runs commands; their output, or the first line of nft's complaint.
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
        return run(fmt::format("list table {}", kTable), NFT_CTX_OUTPUT_STATELESS);
    }

    bool would_take(const RulesetOptions& other) {
        nft_ctx_set_dry_run(nft.get(), true);
        const auto checked_only =
            run(fmt::format("add table {0}\ndelete table {0}\n{1}", kTable, ruleset_text(other)));
        nft_ctx_set_dry_run(nft.get(), false);
        return static_cast<bool>(checked_only);
    }

    Result<void> install() {
        // Added first, so that deleting it cannot fail; all three in one transaction.
        const std::string commands =
            fmt::format("add table {0}\ndelete table {0}\n{1}", kTable, ruleset_text(options));
        // What the kernel lists afterwards is what verify() compares with, so nobody else may have
        // changed anything between: then the generation has moved by more than our one step.
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

    // What the kernel has counted in the table that is there now.
    Result<Counts> current() {
        // Not `list counters`: nft 1.0.6 would read every table and set there is for it, and begin
        // again whenever somebody changes one.
        auto json = run(fmt::format("list table {}", kTable), NFT_CTX_OUTPUT_JSON);
        if (!json)
            return json.error();
        return read_counters(*json);
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
    std::string installed_text; // as the kernel lists it
    std::uint32_t checked = 0;  // the generation in which it was found in place
    bool in_place = true;       // what verify() found in that generation
    Counts before;              // of tables that are gone
    Counts seen;                // of the present one, when last read
};

Ruleset::Ruleset(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ruleset::Ruleset(Ruleset&&) noexcept = default;
Ruleset& Ruleset::operator=(Ruleset&&) noexcept = default;
Ruleset::~Ruleset() = default;

Result<Ruleset> Ruleset::install(RulesetOptions options) {
    // Asked first: libnftables exits the process where it cannot open its socket.
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
    const RulesetOptions old = std::exchange(impl_->options, std::move(options));
    auto done = reinstall();
    if (done)
        return done;
    // Which part of it does the kernel not have?
    RulesetOptions rest = std::exchange(impl_->options, old);
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
    // What was counted up to now, if it is there still.
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
    // Where it is gone, what was seen last stands.
    if (auto now = impl_->current(); now)
        for (const auto& [name, packets] : *now)
            impl_->seen[name] = std::max(impl_->seen[name], packets);
    for (const char* name : kCounters)
        out.counters[name] = impl_->before[name] + impl_->seen[name];
    return out;
}

std::string Ruleset::text() const {
    return ruleset_text(impl_->options);
}

Result<void> Ruleset::remove() {
    if (auto done = impl_->run(fmt::format("delete table {}", kTable)); !done)
        return done.error();
    return {};
}

} // namespace encsync::policy
