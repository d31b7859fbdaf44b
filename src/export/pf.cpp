// SPDX-License-Identifier: ISC
// pf firewalls on a cable: hostname.if(5), rc.conf(5) with pfsync(4), and OPNsense's settings.
#include "config/options.hpp"
#include "export/systems.hpp"

namespace encsync::exporter {

namespace {

using config::Wire;

constexpr unsigned kDefaultMaxupd = 128; // pfsync(4)

// What FreeBSD's ifconfig calls the version: "1400" of "freebsd-1400". Empty: another dialect, or
// wire does not say.
std::string_view version(Wire wire) {
    const auto dialect = config::dialect_of(wire);
    const std::string_view name = dialect ? pfsync::traits(*dialect).name : "";
    const auto dash = name.find('-');
    return dash == name.npos ? "" : name.substr(dash + 1);
}

// Why a firewall with this system is not at the other end; empty: it may be. direct: it may also be
// a peer in IPsec.
std::string misfit(const config::Conn& conn, std::string_view name, std::string_view system,
                   bool direct = false) {
    if (!conn.is_cable() && !(direct && conn.type == config::Type::transport))
        return fmt::format("{} needs type=cable (docs/cables.md){}", name,
                           direct
                               ? ", or type=transport: its pfsync passes ESP in transport mode only"
                               : ": its pfsync does not pass its own IPsec");
    const auto dialect = config::dialect_of(conn.wire);
    if (conn.wire == Wire::automatic || (dialect && pfsync::traits(*dialect).system == system))
        return {};
    std::string wires;
    for (const pfsync::Dialect each : pfsync::kAllDialects)
        if (pfsync::traits(each).system == system)
            wires += fmt::format("{}{}", wires.empty() ? "" : " or ", pfsync::traits(each).name);
    return fmt::format("{} needs wire={}", name, wires);
}

// The firewalls at the other end.
std::string ends(const config::Conn& conn, std::string_view between) {
    std::string out;
    for (const config::Address& each : conn.senders())
        out += fmt::format("{}{}", out.empty() ? "" : between, to_string(each.ip));
    return out;
}

void note_several(const config::Conn& conn, Exported& out) {
    if (conn.is_group())
        out.notes.push_back(fmt::format("this is the same on each of {}", ends(conn, ", ")));
}

std::string interface(const Request& request, Exported& out) {
    note_several(request.conn, out);
    if (!request.there.interface.empty())
        return request.there.interface;
    out.notes.push_back(fmt::format("write the name of the interface that has {} for IF, or give "
                                    "--interface",
                                    ends(request.conn, " or ")));
    return "IF";
}

std::string pf_rule(const std::string& interface) {
    return file("/etc/pf.conf, before other rules") +
           fmt::format("pass quick on {} proto pfsync keep state (no-sync)\n", interface);
}

// Where its packets go: unicast to us, or to the group that its pfsync has by default.
std::string syncpeer(const config::Conn& conn) {
    if (!conn.multicast)
        return to_string(conn.left.ip);
    return conn.left.ip.is_v6() ? "ff12::f0" : "";
}

// What both systems' ifconfig takes besides.
std::string more(const Request& request) {
    std::string words;
    if (request.conn.maxupd != kDefaultMaxupd)
        words += fmt::format(" maxupd {}", request.conn.maxupd);
    if (request.setup.defer)
        words += " defer";
    return words;
}

} // namespace

Result<Exported> openbsd(const Request& request) {
    const config::Conn& conn = request.conn;
    if (auto why = misfit(conn, "OpenBSD", "OpenBSD"); !why.empty())
        return Error{std::move(why)};
    if (conn.left.ip.is_v6())
        return Error{"OpenBSD speaks pfsync over IPv4 only"};
    Exported out;
    const std::string device = interface(request, out), peer = syncpeer(conn);
    out.text = file("/etc/hostname.pfsync0") +
               fmt::format("up syncdev {}{}{}\n", device, peer.empty() ? "" : " syncpeer " + peer,
                           more(request)) +
               "\n" + pf_rule(device);
    return out;
}

Result<Exported> freebsd(const Request& request) {
    const config::Conn& conn = request.conn;
    if (auto why = misfit(conn, "FreeBSD", "FreeBSD", true); !why.empty())
        return Error{std::move(why)};
    Exported out;
    const std::string device = interface(request, out), peer = syncpeer(conn);
    std::string words = more(request);
    if (const auto number = version(conn.wire); !number.empty())
        words += fmt::format(" version {}", number);
    if (conn.wire == Wire::freebsd_1301)
        out.notes.emplace_back("FreeBSD 13 has no \"version\", and speaks 1301 only: leave it out "
                               "there");
    out.text = file("/etc/rc.conf") + "pfsync_enable=\"YES\"\n" +
               fmt::format("pfsync_syncdev=\"{}\"\n", device);
    if (!peer.empty())
        out.text += fmt::format("pfsync_syncpeer=\"{}\"\n", peer);
    if (!words.empty())
        out.text += fmt::format("pfsync_ifconfig=\"{}\"\n", words.substr(1));
    out.text += "\n" + pf_rule(device);
    if (conn.is_cable())
        return out;
    auto ipsec = strongswan_in("/usr/local/etc", request); // as its package is installed
    if (!ipsec)
        return ipsec;
    out.text += "\n" + ipsec->text;
    out.notes.insert(out.notes.end(), ipsec->notes.begin(), ipsec->notes.end());
    out.notes.emplace_back("this has not been tried on FreeBSD");
    return out;
}

Result<Exported> opnsense(const Request& request) {
    const config::Conn& conn = request.conn;
    if (auto why = misfit(conn, "OPNsense", "FreeBSD"); !why.empty())
        return Error{std::move(why)};
    const std::string peer = syncpeer(conn);
    const std::string_view number = version(conn.wire);
    const std::string device = request.there.interface.empty()
                                   ? "the one with " + ends(conn, " or ")
                                   : request.there.interface;
    Exported out;
    note_several(conn, out);
    out.text = file("System: High Availability: Settings") +
               fmt::format("Synchronize all states via: {}\n", device) +
               fmt::format("Synchronize Peer IP: {}\n", peer.empty() ? "(leave it empty)" : peer);
    if (!number.empty())
        out.text += fmt::format("Compatibility (pfsyncversion): {}\n", number);
    out.text += "\n" + file("Firewall: Rules: that interface") +
                fmt::format("Pass, protocol PFSYNC, from {} and {}\n", ends(conn, ", "),
                            to_string(conn.left.ip));
    return out;
}

} // namespace encsync::exporter
