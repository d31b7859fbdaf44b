// SPDX-License-Identifier: ISC
#include "cli/doctor.hpp"

#include "cli/firewall.hpp"
#include "cli/live_check.hpp"
#include "cli/program.hpp"
#include "cli/render.hpp"
#include "cli/socket_address.hpp"
#include "config/config.hpp"
#include "control/client.hpp"
#include "control/request.hpp"
#include "util/fd.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <netinet/in.h>
#include <optional>
#include <sys/timex.h>
#include <unistd.h>

namespace encsync::cli {

namespace {

namespace json = boost::json;
using Grade = Finding::Grade;

constexpr const char* kCharon = "/usr/lib/ipsec/charon";
constexpr int kSmallMtu = 1280;
constexpr std::uint64_t kFull = 90;            // percent
constexpr std::uint64_t kEntriesPerBucket = 8; // more make look-ups slow

class Doctor {
  public:
    Doctor(const Options& options, std::string proc) : options_(options), proc_(std::move(proc)) {}

    std::vector<Finding> run() {
        if (::geteuid() != 0)
            add(Grade::note, "user", "not root: what only root may read is not looked at");
        configuration();
        ask_daemon();
        if (config_) {
            machine();
            charon();
            const json::value rules = ruleset();
            for (const config::Conn& conn : config_->conns)
                if (!conn.is_cable()) {
                    way(conn);
                    firewall(conn, rules);
                }
        }
        if (!config_ || config_->setup.table != "relay")
            state_table();
        clock();
        daemon();
        return std::move(found_);
    }

  private:
    void add(Grade grade, std::string about, std::string text) {
        found_.push_back({grade, std::move(about), std::move(text)});
    }

    // ---- what it is to be ------------------------------------------------------------------

    void configuration() {
        auto loaded = config::load(options_.config);
        for (const config::Diagnostic& d : loaded.diagnostics)
            add(d.severity == config::Severity::error ? Grade::bad : Grade::note, "configuration",
                fmt::format("{}:{}: {}{}{}", d.file, d.line, d.message, d.hint.empty() ? "" : "; ",
                            d.hint));
        config_ = std::move(loaded.config);
        if (config_)
            add(Grade::good, "configuration",
                fmt::format("{}: node {}, {} conn{}", options_.config, config_->setup.node,
                            config_->conns.size(), config_->conns.size() == 1 ? "" : "s"));
    }

    void machine() {
        const LiveFindings live = check_live(*config_, options_.run_dir);
        for (const std::string& fault : live.faults)
            add(Grade::bad, "this machine", fault);
        for (const std::string& age : live.ages)
            add(Grade::note, "keys", age);
        if (live.faults.empty() && live.ages.empty())
            add(Grade::good, "this machine", "has the addresses, interfaces and keys of the conns");
    }

    // ---- IKE and ESP -----------------------------------------------------------------------

    void charon() {
        if (::access(kCharon, X_OK) != 0)
            add(Grade::bad, "charon",
                fmt::format("{}: {}; apt install strongswan-charon libstrongswan-standard-plugins",
                            kCharon, std::strerror(errno)));
        else
            add(Grade::good, "charon", std::string(kCharon) + " is there");
    }

    void way(const config::Conn& conn) {
        const std::string about = "conn " + conn.name;
        if (!daemon_ && trouble_.empty())
            for (const std::uint16_t port : {config_->setup.ikeport, config_->setup.natport})
                if (is_taken(conn.left, port))
                    return add(Grade::bad, about,
                               fmt::format("another program has UDP port {} of {}, perhaps another "
                                           "IKE daemon: ss -ulpn shows it (systemctl disable --now "
                                           "strongswan-starter)",
                                           port, config::to_string(conn.left)));
        const SocketAddress left = socket_address(conn.left, 0),
                            right = socket_address(conn.right, config_->setup.ikeport);
        const Fd fd(::socket(right.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
        // An address that is not there is what machine() says.
        if (!fd || ::bind(fd.get(), left.get(), left.size) != 0)
            return;
        const std::string to = config::to_string(conn.right);
        if (::connect(fd.get(), right.get(), right.size) != 0)
            return add(
                Grade::bad, about,
                fmt::format("no way to {}: {}; ip route get {}", to, std::strerror(errno), to));
        int mtu = 0;
        socklen_t size = sizeof mtu;
        const bool v6 = right.family() == AF_INET6;
        if (::getsockopt(fd.get(), v6 ? int{IPPROTO_IPV6} : int{IPPROTO_IP}, v6 ? IPV6_MTU : IP_MTU,
                         &mtu, &size) != 0)
            mtu = 0;
        if (mtu != 0 && mtu < kSmallMtu)
            return add(
                Grade::note, about,
                fmt::format("the MTU towards {} is {}: few states fit into a packet", to, mtu));
        add(Grade::good, about, fmt::format("there is a route to {}, with an MTU of {}", to, mtu));
    }

    // Of nftables, and of iptables if it is made of it. Null if it cannot be read.
    static json::value ruleset() {
        const auto output = output_of({"nft", "--json", "list", "ruleset"});
        json::error_code error;
        return output ? json::parse(*output, error) : json::value();
    }

    // What lets the peer in, before all other rules of that chain.
    std::string opening(const Chain& chain, const config::Conn& conn) const {
        const config::Setup& setup = config_->setup;
        const std::string peer = net::to_string(conn.right.ip);
        const bool v6 = conn.right.ip.is_v6();
        if (chain.table == "filter" && chain.name == "INPUT") // iptables reads no rule of nft
            return fmt::format("{} -I INPUT -s {} -p udp -m multiport --dports {},{} -j ACCEPT",
                               v6 ? "ip6tables" : "iptables", peer, setup.ikeport, setup.natport);
        const std::string ports = fmt::format("{{ {}, {} }}", setup.ikeport, setup.natport);
        return fmt::format(
            "nft 'insert rule {} {} {} {} saddr {} udp sport {} udp dport {} accept'", chain.family,
            chain.table, chain.name, v6 ? "ip6" : "ip", peer, ports, ports);
    }

    void firewall(const config::Conn& conn, const json::value& rules) {
        for (const std::uint16_t port : {config_->setup.ikeport, config_->setup.natport})
            if (const auto chain = closed_chain(rules, {conn.right.ip, conn.left.ip, port}))
                return add(Grade::bad, kFirewall,
                           fmt::format("chain {} of table {} {} drops UDP port {} from {}, as no "
                                       "rule accepts it: {}, and in the file that it comes from",
                                       chain->name, chain->family, chain->table, port,
                                       net::to_string(conn.right.ip), opening(*chain, conn)));
    }

    static bool is_taken(const config::Address& address, std::uint16_t port) {
        const SocketAddress at = socket_address(address, port);
        const Fd fd(::socket(at.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
        return fd && ::bind(fd.get(), at.get(), at.size) != 0 && errno == EADDRINUSE;
    }

    // ---- the kernel's state table ----------------------------------------------------------

    std::optional<std::uint64_t> netfilter(const char* name) const {
        std::ifstream file(proc_ + "/sys/net/netfilter/" + name);
        std::uint64_t value = 0;
        return file >> value ? std::optional(value) : std::nullopt;
    }

    void state_table() {
        constexpr const char* about = "conntrack";
        const auto max = netfilter("nf_conntrack_max"), count = netfilter("nf_conntrack_count");
        if (!max || !count)
            return add(Grade::bad, about,
                       "the kernel has no state table here: modprobe nf_conntrack");
        const std::size_t before = found_.size();
        if (netfilter("nf_conntrack_events") == 0 &&
            ::access((proc_ + "/sys/net/netfilter/nf_conntrack_events").c_str(), W_OK) != 0)
            add(Grade::bad, about,
                "net.netfilter.nf_conntrack_events is 0 and cannot be set from here: the kernel "
                "would report no flow; sysctl -w net.netfilter.nf_conntrack_events=1 on the host");
        if (*count == 0)
            add(Grade::note, about,
                "the state table is empty: without a rule that asks for a state (ct state in "
                "nftables) the kernel tracks nothing in this network namespace");
        if (*max != 0 && *count * 100 >= *max * kFull)
            add(Grade::note, about,
                fmt::format("{} of {} entries are in use: raise net.netfilter.nf_conntrack_max, on "
                            "all nodes alike",
                            *count, *max));
        if (const auto buckets = netfilter("nf_conntrack_buckets");
            buckets && *buckets != 0 && *max / *buckets >= kEntriesPerBucket)
            add(Grade::note, about,
                fmt::format("{} buckets for up to {} entries make look-ups slow: raise "
                            "net.netfilter.nf_conntrack_buckets",
                            *buckets, *max));
        if (found_.size() == before)
            add(Grade::good, about, fmt::format("{} of {} entries are in use", *count, *max));
    }

    void clock() {
        timex time{};
        if (::adjtimex(&time) == TIME_ERROR)
            add(Grade::note, "clock",
                "not synchronized: certificates, the ages of keys and the times of logs depend on "
                "it; systemd-timesyncd or chrony");
        else
            add(Grade::good, "clock", "synchronized");
    }

    // ---- encsyncd --------------------------------------------------------------------------

    void ask_daemon() {
        auto client = control::Client::connect_if_running(options_.run_dir);
        if (!client) {
            trouble_ = client.error().text;
            return;
        }
        if (!*client)
            return;
        auto status = (*client)->call({{"command", "status"}});
        if (!status || !status->is_object())
            trouble_ = status ? "encsyncd has answered with something else than its status"
                              : status.error().text;
        else
            daemon_ = std::move(status->as_object());
    }

    static bool is_true(const json::object& fields, const char* name) {
        const auto* value = fields.if_contains(name);
        return value != nullptr && *value == true;
    }

    void daemon() {
        constexpr const char* about = "encsyncd";
        if (!trouble_.empty())
            return add(Grade::bad, about, trouble_);
        if (!daemon_)
            return add(Grade::bad, about,
                       fmt::format("does not run in {}: systemctl start encsync; journalctl -u "
                                   "encsync says why it has ended",
                                   options_.run_dir));
        if (is_true(*daemon_, "ready"))
            add(Grade::good, about, "ready: this node may be promoted");
        else
            add(Grade::bad, about, fmt::format("not ready: {}", control::text(*daemon_, "why")));
        if (const auto version = control::text(*daemon_, "version"); version != ENCSYNC_VERSION)
            add(Grade::note, about,
                fmt::format("it is release {}, and this command is {}: systemctl restart encsync",
                            version, ENCSYNC_VERSION));
        for (const json::object& complaint : list("machine"))
            add(Grade::note, "kernel", std::string(control::text(complaint, "text")));
        for (const json::object& peer : list("peers"))
            one_peer(peer);
    }

    void one_peer(const json::object& peer) {
        const std::string about = fmt::format("peer {}", control::text(peer, "name"));
        const auto error = control::text(peer, "last_error");
        if (control::text(peer, "state") != "up")
            add(Grade::bad, about, fmt::format("not up{}{}", error.empty() ? "" : ": ", error));
        else if (!is_true(peer, "in_step"))
            add(Grade::note, about, "up, but not in step yet");
        else
            add(Grade::good, about, "up and in step");
    }

    std::vector<json::object> list(const char* name) const {
        std::vector<json::object> out;
        const auto* value = daemon_->if_contains(name);
        if (value != nullptr && value->is_array())
            for (const json::value& each : value->get_array())
                if (each.is_object())
                    out.push_back(each.get_object());
        return out;
    }

    const Options& options_;
    const std::string proc_;
    std::optional<config::Config> config_;
    std::optional<json::object> daemon_; // its status
    std::string trouble_;                // why there is none, though it runs
    std::vector<Finding> found_;
};

std::string_view name_of(Grade grade) {
    return grade == Grade::good ? "ok" : grade == Grade::note ? "note" : "bad";
}

} // namespace

std::vector<Finding> examine(const Options& options, const std::string& proc) {
    return Doctor(options, proc).run();
}

int doctor(const Options& options) {
    const std::vector<Finding> found = examine(options);
    const bool good =
        std::ranges::none_of(found, [](const Finding& each) { return each.grade == Grade::bad; });
    if (options.json) {
        json::array all;
        for (const Finding& each : found)
            all.push_back(
                {{"grade", name_of(each.grade)}, {"about", each.about}, {"text", each.text}});
        print_json({{"ok", good}, {"findings", std::move(all)}});
        return good ? 0 : 1;
    }
    std::size_t width = 0;
    for (const Finding& each : found)
        width = std::max(width, each.about.size());
    for (const Finding& each : found)
        fmt::print("{:<4}  {:<{}}  {}\n", name_of(each.grade), each.about, width, clean(each.text));
    return good ? 0 : 1;
}

} // namespace encsync::cli
