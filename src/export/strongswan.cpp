// SPDX-License-Identifier: ISC
// A strongSwan at the other end of the tunnel: swanctl.conf, and of strongswan.conf what its
// userspace ESP and other ports than the usual need. docs/ipsec.md explains both.
#include "config/options.hpp"
#include "config/values.hpp"
#include "export/systems.hpp"

namespace encsync::exporter {

namespace {

using config::Authby;
using config::Conn;
using ike::CredentialKind;

// Of one end: who it is, and how it proves it.
std::string end(std::string_view name, const std::string& id, std::string_view how) {
    return fmt::format("        {} {{\n"
                       "            id = {}\n"
                       "            {}\n"
                       "        }}\n",
                       name, id, how);
}

// "local" and "remote", as the peer sees them.
std::string ends(const Conn& conn) {
    constexpr const char* kLine = "\n            ";
    const std::string own = conn.rightid + ".pem", ours = conn.leftid + ".pem";
    if (conn.authby == Authby::psk)
        return end("local", conn.rightid, "auth = psk") + end("remote", conn.leftid, "auth = psk");
    if (!conn.file(CredentialKind::ca).empty())
        return end("local", conn.rightid, fmt::format("auth = pubkey{}certs = {}", kLine, own)) +
               end("remote", conn.leftid, fmt::format("auth = pubkey{}cacerts = ca.pem", kLine));
    return end("local", conn.rightid, fmt::format("auth = pubkey{}pubkeys = {}", kLine, own)) +
           end("remote", conn.leftid, fmt::format("auth = pubkey{}pubkeys = {}", kLine, ours));
}

// Files that this text cannot have.
void credentials(std::string_view folder, const Conn& conn, Exported& out) {
    const std::string own = conn.rightid + ".pem";
    if (conn.in_store(CredentialKind::psk))
        out.notes.push_back(
            fmt::format("the secret is what encsync keys psk make {} FILE puts into "
                        "FILE; write that for it",
                        conn.rightid));
    else if (conn.authby == Authby::psk)
        out.notes.push_back(
            fmt::format("write the content of {} for the secret", conn.file(CredentialKind::psk)));
    if (conn.authby == Authby::psk)
        return;
    out.notes.push_back(fmt::format("its private key is {}/swanctl/private/{}", folder, own));
    if (!conn.file(CredentialKind::ca).empty()) {
        out.notes.push_back(fmt::format("its certificate is {0}/swanctl/x509/{1}; the authority of "
                                        "leftcert is {0}/swanctl/x509ca/ca.pem",
                                        folder, own));
        return;
    }
    out.notes.push_back(fmt::format("its public key is {}/swanctl/pubkey/{}; here, run encsync "
                                    "keys trust --name {} {}",
                                    folder, own, conn.rightid, own));
    out.notes.push_back(fmt::format("what encsync keys export --pem prints here is "
                                    "{}/swanctl/pubkey/{}.pem there",
                                    folder, conn.leftid));
}

std::string selector(const net::Address& address) {
    return fmt::format("{}/{}[240]", to_string(address), address.is_v6() ? 128 : 32);
}

// Userspace ESP and other ports.
std::string charon_settings(std::string_view folder, const Request& request, bool userspace) {
    const auto& [setup, conn, there] = request;
    std::string text;
    if (setup.ikeport != 500 || setup.natport != 4500)
        text += fmt::format("    port = {}\n    port_nat_t = {}\n", setup.ikeport, setup.natport);
    if (userspace)
        text += "    plugins {\n"
                "        kernel-libipsec {\n"
                "            allow_peer_ts = yes\n"
                "        }\n"
                "        kernel-netlink {\n"
                "            fwmark = !240\n"
                "        }\n"
                "        socket-default {\n"
                "            fwmark = 240\n"
                "        }\n"
                "    }\n";
    return text.empty()
               ? ""
               : file(fmt::format("{}/strongswan.conf", folder)) + "charon {\n" + text + "}\n\n";
}

} // namespace

std::string steps_for_next_key(const config::Setup& setup, const config::Conn& conn,
                               const std::string& pem) {
    if (conn.is_cable() || conn.authby == Authby::psk || config::is_told_of_keys(setup, conn))
        return {};
    if (const auto& leftcert = conn.file(CredentialKind::certificate); !leftcert.empty())
        return fmt::format(
            "{0}, by certificate: let the authority certify this key for {1},\n"
            "and {2}. encsyncd tries it each minute,\n"
            "beside the tunnel; 'encsync keys status' shows when {0} has accepted it.\n"
            "{3}",
            conn.name, conn.leftid,
            conn.in_store(CredentialKind::certificate)
                ? fmt::format("run 'encsync keys cert import {} FILE' with that", conn.rightid)
                : fmt::format("put that into {}, and run 'encsync reload'", leftcert),
            pem);
    return fmt::format(
        "{0} is not told by encsync. There, with strongSwan: a file beside {1}.pem,\n"
        "# ---- /etc/swanctl/pubkey/{1}-next.pem\n"
        "{2}"
        "# ---- /etc/swanctl/swanctl.conf, remote of the connection with {3}\n"
        "            pubkeys = {1}.pem, {1}-next.pem\n"
        "and 'swanctl --load-all'. encsyncd tries the new key each minute, beside the tunnel.\n"
        "Once 'encsync keys status' shows that the older one is gone, remove {1}.pem there.\n",
        conn.name, conn.leftid, pem, to_string(conn.left.ip));
}

std::string strongswan_secret(const std::string& node, const std::string& file) {
    return fmt::format("secrets {{\n"
                       "    ike-{} {{\n"
                       "        secret = \"the content of {}\"\n"
                       "    }}\n"
                       "}}\n",
                       node, file);
}

Result<Exported> strongswan(const Request& request) {
    return strongswan_in("/etc", request);
}

Result<Exported> strongswan_in(std::string_view folder, const Request& request) {
    const auto& [setup, conn, there] = request;
    if (conn.is_cable())
        return Error{"it is a cable, without IPsec"};
    Exported out;
    if (conn.wire == config::Wire::encsync)
        out.notes.emplace_back("wire= is encsync: set the dialect that the peer speaks");
    // Its userspace ESP has no 64-bit sequence numbers.
    const bool userspace = conn.esp.find("noesn") != std::string::npos;
    if (!userspace)
        out.notes.emplace_back("its charon must use the kernel's ESP; for kernel-libipsec end esp= "
                               "with -noesn here");
    credentials(folder, conn, out);
    const std::string name = setup.node;
    out.text = charon_settings(folder, request, userspace) +
               file(fmt::format("{}/swanctl/swanctl.conf", folder)) +
               fmt::format("connections {{\n"
                           "    {} {{\n"
                           "        version = 2\n"
                           "        local_addrs = {}\n"
                           "        remote_addrs = {}\n",
                           name, to_string(conn.right.ip), to_string(conn.left.ip));
    if (setup.ikeport != 500)
        out.text += fmt::format("        remote_port = {}\n", setup.ikeport);
    out.text += fmt::format("        proposals = {}\n"
                            "        encap = yes\n"
                            "        mobike = no\n"
                            "        dpd_delay = {}s\n",
                            config::without_mlkem(conn.ike), conn.dpddelay.count());
    out.text += ends(conn);
    out.text += fmt::format(
        "        children {{\n"
        "            {} {{\n"
        "                local_ts = {}\n"
        "                remote_ts = {}\n"
        "                esp_proposals = {}\n"
        "                mode = {}\n"
        "{}"
        "            }}\n"
        "        }}\n"
        "    }}\n"
        "}}\n",
        name, selector(conn.right.ip), selector(conn.left.ip), conn.esp,
        conn.type == config::Type::transport ? "transport" : "tunnel",
        // This end waits to be called.
        conn.startup == config::Auto::add ? "                start_action = start\n" : "");
    if (conn.authby == Authby::psk)
        out.text += strongswan_secret(
            name, conn.in_store(CredentialKind::psk) ? "FILE" : conn.file(CredentialKind::psk));
    return out;
}

} // namespace encsync::exporter
