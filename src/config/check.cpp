// SPDX-License-Identifier: ISC
#include "config/check.hpp"

#include "config/options.hpp"
#include "config/values.hpp"
#include "pfsync/convert.hpp"
#include "util/peer_id.hpp"

#include <algorithm>
#include <array>
#include <fmt/core.h>
#include <strings.h>

namespace encsync::config {

namespace {

// IKE identities of the type FQDN are compared like host names.
bool same_id(const std::string& a, const std::string& b) {
    return ::strcasecmp(a.c_str(), b.c_str()) == 0;
}

// The options of a conn with type=cable; all others are about IKE and ESP.
constexpr std::array<std::string_view, 22> kOfCables = {
    "left",     "right",      "type",       "syncdev",     "multicast", "speakers", "mac", "ifmap",
    "wire",     "maxupd",     "maxstates",  "nosync",      "refuse",    "auto",     "mtu", "accept",
    "creators", "maxpackets", "maxinserts", "maxrequests", "maxclears", "maxshare"};
constexpr std::array<std::string_view, 5> kOnlyOfCables = {"syncdev", "multicast", "speakers",
                                                           "mac", "ifmap"};

class Checker {
  public:
    Checker(const Setup& setup, const PlacedConn& placed, Report& report)
        : setup_(setup), placed_(placed), conn_(placed.conn), report_(report) {}

    void run() {
        addresses();
        if (usable("type") && conn_.is_cable())
            return cable();
        not_for_this_type(
            [](std::string_view name) { return std::ranges::count(kOnlyOfCables, name) != 0; });
        if (conn_.is_group() && usable("type"))
            fail({"right"}, "right=%multicast is of type=cable only");
        lifetimes();
        authentication();
        if (usable("type") && conn_.type == Type::transport && setup_.ipsec == Ipsec::kernel)
            fail({"type"}, "type=transport needs ipsec=userspace: an xfrm interface takes tunnel "
                           "mode only");
        if (usable("leftid") && usable("rightid") && same_id(conn_.leftid, conn_.rightid))
            fail({"leftid", "rightid"}, fmt::format("the peer's id is our own, '{}'", conn_.leftid),
                 given("rightid") ? "" : "the conn has the peer's name, or a rightid");
    }

  private:
    bool given(std::string_view name) const { return placed_.origins.contains(name); }
    bool usable(std::string_view name) const {
        const auto found = placed_.origins.find(name);
        return found == placed_.origins.end() || found->second.valid;
    }
    // Reported at the nearest of the settings concerned; at the conn if none was given.
    void fail(std::initializer_list<std::string_view> names, const std::string& message,
              const std::string& hint = {}) {
        const Origin* best = nullptr;
        for (const std::string_view name : names) {
            const auto found = placed_.origins.find(name);
            if (found != placed_.origins.end() && (!best || found->second.rank >= best->rank))
                best = &found->second;
        }
        report_.error(best ? best->entry->value_at : placed_.at, message, hint);
    }

    // Those given as near as the type, or nearer. What a conn inherits and does not need is not
    // reported.
    template<class Unwanted>
    void not_for_this_type(Unwanted unwanted) {
        const auto type = placed_.origins.find("type");
        const std::size_t rank = type == placed_.origins.end() ? 0 : type->second.rank;
        for (const auto& [name, origin] : placed_.origins)
            if (origin.rank >= rank && unwanted(name))
                fail({name},
                     conn_.is_cable()
                         ? fmt::format("{} is about IKE and ESP, and this is a cable", name)
                         : fmt::format("{} is of type=cable only", name),
                     name == "syncdev" ? "the interface that shows the packets of all tunnels "
                                         "belongs in 'config setup'"
                                       : "");
    }

    void cable() {
        not_for_this_type(
            [](std::string_view name) { return std::ranges::count(kOfCables, name) == 0; });
        if (!given("syncdev"))
            fail({"type"},
                 fmt::format("conn {} has no syncdev, the cable's interface", conn_.name));
        const std::string& scope = conn_.left.scope;
        if (!scope.empty() && given("syncdev") && usable("syncdev") && scope != conn_.syncdev)
            fail({"syncdev"},
                 fmt::format("left {} is not on {}", to_string(conn_.left), conn_.syncdev));
        if (setup_.table != "relay" && given("ifmap"))
            fail({"ifmap"}, "ifmap needs table=relay: no other table has states that are bound to "
                            "an interface");
        check_speakers(setup_, placed_, report_);
        if (conn_.wire == Wire::encsync && usable("wire") && !conn_.is_group())
            report_.warning(placed_.origins.at("type").entry->value_at,
                            fmt::format("conn {}: pfsync in clear between two encsync nodes: "
                                        "whoever reaches the cable can read, insert, change and "
                                        "clear states",
                                        conn_.name),
                            "type=tunnel protects it");
    }

    void addresses() {
        if (!given("left"))
            fail({}, fmt::format("conn {} has no left, this firewall's address", conn_.name));
        if (!given("right"))
            fail({}, fmt::format("conn {} has no right, the peer's address", conn_.name));
        if (!given("left") || !given("right") || !usable("left") || !usable("right"))
            return;
        if (conn_.left.ip.family != conn_.right.ip.family)
            fail({"left", "right"}, fmt::format("left {} and right {} are of different families",
                                                to_string(conn_.left), to_string(conn_.right)));
        else if (conn_.left == conn_.right)
            fail({"left", "right"},
                 fmt::format("left and right are the same address, {}", to_string(conn_.left)));
        scopes();
        const auto dialect = dialect_of(conn_.wire);
        if (conn_.right.ip.is_v6() && usable("wire") && dialect && !traits(*dialect).ipv6)
            fail({"right", "wire"}, fmt::format("{} speaks pfsync over IPv4 only, and right is {}",
                                                traits(*dialect).releases, to_string(conn_.right)));
        constexpr std::uint16_t kLeastIpv6Mtu = 1280; // RFC 8200, section 5
        if (conn_.left.ip.is_v6() && usable("mtu") && conn_.mtu < kLeastIpv6Mtu)
            fail({"mtu"}, fmt::format("mtu {} is too small for IPv6, which needs {}", conn_.mtu,
                                      kLeastIpv6Mtu));
    }

    void scopes() {
        const std::string &left = conn_.left.scope, &right = conn_.right.scope;
        if (conn_.left.ip.family != conn_.right.ip.family || (left.empty() && right.empty()))
            return;
        const std::string ends =
            fmt::format("left {} and right {}", to_string(conn_.left), to_string(conn_.right));
        if (left.empty() || right.empty())
            fail({"left", "right"}, fmt::format("{} are not both link-local", ends));
        else if (left != right)
            fail({"left", "right"}, fmt::format("{} are on different interfaces", ends));
        else if (setup_.ipsec == Ipsec::kernel && !conn_.is_cable())
            fail({"left", "right"}, "link-local addresses need ipsec=userspace: the kernel's IPsec "
                                    "states have no scope");
    }

    void lifetimes() {
        // a must be longer than b; equal is allowed unless strict.
        const auto not_shorter = [&](std::string_view a, std::chrono::seconds a_value,
                                     std::string_view b, std::chrono::seconds b_value,
                                     bool strict) {
            if (!usable(a) || !usable(b) || a_value > b_value || (!strict && a_value == b_value))
                return;
            fail({a, b}, fmt::format("{} ({}) must {} {} ({})", a, format_duration(a_value),
                                     strict ? "be longer than" : "not be shorter than", b,
                                     format_duration(b_value)));
        };
        not_shorter("lifetime", conn_.lifetime, "margintime", conn_.margintime, true);
        not_shorter("ikelifetime", conn_.ikelifetime, "lifetime", conn_.lifetime, false);
        not_shorter("dpdtimeout", conn_.dpdtimeout, "dpddelay", conn_.dpddelay, false);
    }

    void authentication() {
        if (!usable("authby"))
            return;
        for (const Option& option : options()) {
            if (!option.credential)
                continue;
            const Authby authby = option.credential->authby;
            if (conn_.authby != authby && given(option.name))
                fail({option.name},
                     fmt::format("{} is of authby={} only", option.name, word_of(authby)));
        }
        const bool other = dialect_of(conn_.wire) && setup_.table != "relay";
        if (conn_.ppk == PpkUse::required && usable("ppk") && usable("wire") &&
            (other || !conn_.by_trusted_key()))
            fail({"ppk"}, fmt::format("ppk=required is for encsync nodes that trust each other's "
                                      "keys, and {} is none",
                                      conn_.name));
    }

    const Setup& setup_;
    const PlacedConn& placed_;
    const Conn& conn_;
    Report& report_;
};

const Origin* origin(const PlacedConn& placed, std::string_view name) {
    const auto found = placed.origins.find(name);
    return found == placed.origins.end() ? nullptr : &found->second;
}

// Two conns must not share a value that distinguishes peers. Reported at the second one's own
// setting; if both inherit it from one line, or neither has it, at the second conn.
template<class Same>
void check_unique(const std::vector<PlacedConn>& conns, std::size_t index, std::string_view name,
                  const std::string& value, Same same, Report& report) {
    const PlacedConn& second = conns[index];
    const Origin* mine = origin(second, name);
    for (std::size_t i = 0; i < index; i++) {
        const PlacedConn& first = conns[i];
        const Origin* other = origin(first, name);
        if ((mine && !mine->valid) || (other && !other->valid) || !same(first.conn, second.conn))
            continue;
        const bool own = mine && (!other || mine->entry != other->entry);
        report.error(own ? mine->entry->value_at : second.at,
                     fmt::format("{} {} is already that of conn {} ({})", name, value,
                                 first.conn.name, describe(first.at, second.at)));
        return;
    }
}

// A relay passes on every state, so there is none to keep out.
constexpr std::array<std::string_view, 11> kNotOfRelays = {
    "nosync",   "refuse",     "maxupd",      "delay",     "ignore",  "accept",
    "creators", "maxinserts", "maxrequests", "maxclears", "maxshare"};

void check_no_effect(const Origins& origins, Report& report) {
    for (const std::string_view name : kNotOfRelays)
        if (const auto given = origins.find(name); given != origins.end())
            report.error(
                given->second.entry->value_at,
                fmt::format("{} has no effect with table=relay, which passes on every state",
                            name));
}

// Between a cable and a gateway with another dialect, states are translated, and lose something.
void warn_of_losses(const std::vector<PlacedConn>& conns, const PlacedConn& gateway,
                    Report& report) {
    const auto theirs = dialect_of(gateway.conn.wire);
    for (const PlacedConn& cable : conns) {
        const auto ours = dialect_of(cable.conn.wire);
        if (!cable.conn.is_cable() || !theirs || !ours || ours == theirs)
            continue;
        std::string list;
        const pfsync::Losses losses = pfsync::possible_losses(*ours, *theirs);
        for (std::size_t n = 0; n < pfsync::kLossKinds; n++)
            if (const auto loss = static_cast<pfsync::Loss>(n); losses.contains(loss))
                list += fmt::format("{}{}", list.empty() ? "" : ", ", pfsync::describe(loss));
        const Origin* wire = origin(gateway, "wire");
        report.warning(wire ? wire->entry->value_at : gateway.at,
                       fmt::format("conn {}: between {} and {} of conn {}, states are translated, "
                                   "without: {}",
                                   gateway.conn.name, to_string(*theirs), to_string(*ours),
                                   cable.conn.name, list),
                       "states of two families (af-to) do not pass at all; see docs/gateway.md");
        return; // once for each gateway
    }
}

void check_relay(const std::vector<PlacedConn>& conns, Report& report) {
    bool cable = false, gateway = false;
    for (const PlacedConn& placed : conns) {
        const Conn& conn = placed.conn;
        (conn.is_cable() ? cable : gateway) = true;
        const Origin* wire = origin(placed, "wire");
        const Place& at = wire ? wire->entry->value_at : placed.at;
        if (wire && !wire->valid)
            continue;
        if (!dialect_of(conn.wire))
            report.error(
                at,
                fmt::format("conn {}: table=relay needs the dialect of the firewalls", conn.name),
                "wire=openbsd, or one of FreeBSD's");
        else if (!conn.is_cable())
            warn_of_losses(conns, placed, report);
        check_no_effect(placed.origins, report);
    }
    if (!conns.empty() && !(cable && gateway))
        report.error(conns.front().at,
                     cable ? "table=relay needs a conn to the gateway of another site"
                           : "table=relay needs a conn with type=cable, to a firewall");
}

} // namespace

void check_setup(const Setup& setup, const Origins& origins, Report& report) {
    const auto origin_of = [&](std::string_view name) {
        const auto found = origins.find(name);
        return found == origins.end() ? nullptr : &found->second;
    };
    if (setup.table == "relay")
        check_no_effect(origins, report);
    else if (const Origin* ack = origin_of("deferack"))
        report.error(ack->entry->value_at,
                     "deferack has no effect without table=relay: this node is no gateway");
    const Origin* defer = origin_of("defer");
    if (defer && defer->valid && setup.defer) {
        if (setup.delay.count() != 0)
            report.error(origin_of("delay")->entry->value_at,
                         "delay and defer=yes contradict each other: a packet cannot wait for an "
                         "announcement that is put off");
        if (setup.table != "conntrack")
            report.error(defer->entry->value_at,
                         "defer=yes needs table=conntrack: other tables see no packets");
    }
    const Origin* ike = origin_of("ikeport");
    const Origin* nat = origin_of("natport");
    const Origin* said = nat ? nat : ike; // the defaults differ
    if (!said || (ike && !ike->valid) || (nat && !nat->valid) || setup.ikeport != setup.natport)
        return;
    report.error(said->entry->value_at,
                 fmt::format("ikeport and natport are the same, {}", setup.natport));
}

void check_conns(const Setup& setup, const std::vector<PlacedConn>& conns, Report& report) {
    for (std::size_t i = 0; i < conns.size(); i++) {
        Checker(setup, conns[i], report).run();
        const Conn& conn = conns[i].conn;
        // Scopes do not count: IKE does not know them.
        const auto same_right = [](const Conn& a, const Conn& b) {
            return a.right != Address{} && a.right.ip == b.right.ip && !a.is_group();
        };
        const auto same_rightid = [](const Conn& a, const Conn& b) {
            return same_id(a.rightid, b.rightid);
        };
        check_unique(conns, i, "right",
                     to_string(conn.right) +
                         (conn.right.scope.empty() ? "" : ", whatever its scope,"),
                     same_right, report);
        check_unique(conns, i, "rightid", conn.rightid, same_rightid, report);
        // Each would be sent what is for the other.
        const auto same_group = [](const Conn& a, const Conn& b) {
            return a.is_cable() && b.is_cable() && a.syncdev == b.syncdev &&
                   a.left.ip.family == b.left.ip.family && (a.multicast || b.multicast);
        };
        check_unique(conns, i, "syncdev", conn.syncdev + ", where one of them is multicast,",
                     same_group, report);
        check_known_speakers(conns, conns[i], report);
    }
    if (setup.table == "relay")
        check_relay(conns, report);
    if (conns.size() > kMaxPeers)
        report.error(conns[kMaxPeers].at,
                     fmt::format("{} conns; {} are the most", conns.size(), kMaxPeers));
}

} // namespace encsync::config
