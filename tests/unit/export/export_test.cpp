// SPDX-License-Identifier: ISC
// What a peer is to paste, for each system; and who is refused. A real strongSwan takes its text in
// tests/lab/test_stock_peer.py.
#include "export/export.hpp"

#include "config/files.hpp"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace encsync::exporter {
namespace {

// A config setup with `setup`, and one conn with `conn`, each line indented.
Result<Exported> run(std::string_view system, const std::string& conn,
                     const std::string& setup = {}, const There& there = {.interface = "em2"}) {
    const auto loaded =
        config::parse_text("config setup\n\tnode=mickey\n" + setup + "conn donald\n" + conn);
    EXPECT_TRUE(loaded.config) << config::render(loaded.diagnostics);
    if (!loaded.config)
        return Error{"not parsed"};
    return export_config(system, loaded.config->setup, loaded.config->conns.front(), there);
}

std::string text(const Result<Exported>& made) {
    return made ? made->text : "refused: " + made.error().text;
}

const std::string kCable = "\tleft=172.16.0.1\n\tright=172.16.0.2\n\ttype=cable\n\tsyncdev=eth2\n";
const std::string kTunnel = "\tleft=192.0.2.1\n\tright=192.0.2.2\n";
constexpr const char* kRule = "\n# ---- /etc/pf.conf, before other rules\n"
                              "pass quick on em2 proto pfsync keep state (no-sync)\n";

// For a conn with `conn` while the identity is rotated; the key as text.
std::string steps(const std::string& conn, const std::string& setup = {}) {
    const auto loaded =
        config::parse_text("config setup\n\tnode=mickey\n" + setup + "conn donald\n" + conn);
    EXPECT_TRUE(loaded.config) << config::render(loaded.diagnostics);
    return loaded.config
               ? steps_for_next_key(loaded.config->setup, loaded.config->conns.front(), "KEY\n")
               : "not parsed";
}

TEST(NextKey, IsToldToAnEncsyncNodeInsideTheTunnel) {
    EXPECT_EQ(steps(kTunnel), "");
    // Behind a relay's conn is another gateway, whatever it passes on.
    EXPECT_EQ(steps(kTunnel + "\twire=openbsd\n" + "conn daisy\n" + kCable + "\twire=openbsd\n",
                    "\ttable=relay\n"),
              "");
}

TEST(NextKey, ConcernsNoPeerThatAcceptsEachKeyOrHasNone) {
    EXPECT_EQ(steps(kTunnel + "\twire=openbsd\n\tauthby=psk\n"), "");
    EXPECT_EQ(steps(kCable + "\twire=openbsd\n"), "");
}

TEST(NextKey, IsAddedByHandElsewhere) {
    const std::string text = steps(kTunnel + "\twire=openbsd\n");
    EXPECT_NE(text.find("/etc/swanctl/pubkey/mickey-next.pem\nKEY\n"), std::string::npos) << text;
    EXPECT_NE(text.find("pubkeys = mickey.pem, mickey-next.pem\n"), std::string::npos) << text;
    EXPECT_NE(text.find("with 192.0.2.1\n"), std::string::npos) << text;
}

// Also by an encsync node, as nobody tells it inside the tunnel.
TEST(NextKey, NeedsACertificateWhereThereIsOne) {
    for (const char* wire : {"encsync", "openbsd"}) {
        const std::string text =
            steps(kTunnel + "\tleftcert=/etc/encsync/mickey.crt\n\twire=" + wire + "\n");
        EXPECT_NE(text.find("put that into /etc/encsync/mickey.crt"), std::string::npos) << text;
    }
    EXPECT_NE(steps(kTunnel + "\tleftcert=store\n")
                  .find("run 'encsync keys cert import donald FILE' with that"),
              std::string::npos);
}

TEST(OpenBsd, OnACable) {
    EXPECT_EQ(text(run("openbsd", kCable + "\twire=openbsd\n")),
              std::string("# ---- /etc/hostname.pfsync0\n"
                          "up syncdev em2 syncpeer 172.16.0.1\n") +
                  kRule);
    EXPECT_EQ(text(run("openbsd", kCable + "\twire=openbsd\n\tmulticast=yes\n\tmaxupd=64\n",
                       "\tdefer=yes\n")),
              std::string("# ---- /etc/hostname.pfsync0\n"
                          "up syncdev em2 maxupd 64 defer\n") +
                  kRule);
}

TEST(OpenBsd, RefusesWhatItCannotBe) {
    EXPECT_EQ(text(run("openbsd", kTunnel + "\twire=openbsd\n")),
              "refused: conn donald: OpenBSD needs type=cable (docs/cables.md): its pfsync does "
              "not pass its own IPsec");
    EXPECT_EQ(text(run("openbsd", kCable + "\twire=freebsd-1400\n")),
              "refused: conn donald: OpenBSD needs wire=openbsd");
    EXPECT_EQ(text(run("openbsd", "\tleft=fd00::1\n\tright=fd00::2\n\ttype=cable\n"
                                  "\tsyncdev=eth2\n\twire=auto\n")),
              "refused: conn donald: OpenBSD speaks pfsync over IPv4 only");
}

TEST(FreeBsd, OnACable) {
    EXPECT_EQ(text(run("freebsd", kCable + "\twire=freebsd-1400\n\tmaxupd=64\n")),
              std::string("# ---- /etc/rc.conf\n"
                          "pfsync_enable=\"YES\"\n"
                          "pfsync_syncdev=\"em2\"\n"
                          "pfsync_syncpeer=\"172.16.0.1\"\n"
                          "pfsync_ifconfig=\"maxupd 64 version 1400\"\n") +
                  kRule);
    EXPECT_EQ(text(run("freebsd", "\tleft=fe80::1%eth2\n\tright=fe80::2%eth2\n\ttype=cable\n"
                                  "\tsyncdev=eth2\n\twire=auto\n\tmulticast=yes\n")),
              std::string("# ---- /etc/rc.conf\n"
                          "pfsync_enable=\"YES\"\n"
                          "pfsync_syncdev=\"em2\"\n"
                          "pfsync_syncpeer=\"ff12::f0\"\n") +
                  kRule);
    const auto old = run("freebsd", kCable + "\twire=freebsd-1301\n\tmulticast=yes\n");
    EXPECT_EQ(text(old), std::string("# ---- /etc/rc.conf\n"
                                     "pfsync_enable=\"YES\"\n"
                                     "pfsync_syncdev=\"em2\"\n"
                                     "pfsync_ifconfig=\"version 1301\"\n") +
                             kRule);
    EXPECT_EQ(old->notes, std::vector<std::string>{"FreeBSD 13 has no \"version\", and speaks 1301 "
                                                   "only: leave it out there"});
}

// Several firewalls on one cable: the same text for each.
TEST(SeveralOnACable, AreToldApartByNothing) {
    const std::string conn = "\tleft=172.16.0.1\n\tright=%multicast\n\ttype=cable\n\tsyncdev=eth2\n"
                             "\tspeakers=172.16.0.2,172.16.0.3\n";
    const std::string relay = "\ttable=relay\n";
    const std::string there = "conn daisy\n\tleft=192.0.2.1\n\tright=192.0.2.2\n\twire=";
    const auto openbsd = run("openbsd", conn + "\twire=openbsd\n" + there + "openbsd\n", relay, {});
    EXPECT_EQ(text(openbsd), "# ---- /etc/hostname.pfsync0\n"
                             "up syncdev IF\n"
                             "\n# ---- /etc/pf.conf, before other rules\n"
                             "pass quick on IF proto pfsync keep state (no-sync)\n");
    EXPECT_EQ(openbsd->notes,
              (std::vector<std::string>{"this is the same on each of 172.16.0.2, 172.16.0.3",
                                        "write the name of the interface that has 172.16.0.2 or "
                                        "172.16.0.3 for IF, or give --interface"}));
    EXPECT_EQ(
        text(run("opnsense", conn + "\twire=freebsd-1400\n" + there + "freebsd-1400\n", relay, {})),
        "# ---- System: High Availability: Settings\n"
        "Synchronize all states via: the one with 172.16.0.2 or 172.16.0.3\n"
        "Synchronize Peer IP: (leave it empty)\n"
        "Compatibility (pfsyncversion): 1400\n"
        "\n"
        "# ---- Firewall: Rules: that interface\n"
        "Pass, protocol PFSYNC, from 172.16.0.2, 172.16.0.3 and 172.16.0.1\n");
}

// pfsync(4) there, and the strongSwan of its packages; between the two addresses of the conn.
TEST(FreeBsd, InTransportMode) {
    const auto made = run("freebsd", kTunnel + "\twire=freebsd-1400\n\ttype=transport\n");
    ASSERT_TRUE(made) << text(made);
    EXPECT_NE(made->text.find("pfsync_syncpeer=\"192.0.2.1\"\n"), std::string::npos);
    EXPECT_NE(made->text.find("# ---- /usr/local/etc/swanctl/swanctl.conf\n"), std::string::npos);
    EXPECT_NE(made->text.find("mode = transport\n"), std::string::npos);
    EXPECT_EQ(made->text.find(" /etc/swanctl"), std::string::npos);
    EXPECT_EQ(made->notes.back(), "this has not been tried on FreeBSD");
    EXPECT_EQ(std::ranges::count_if(made->notes,
                                    [](const std::string& note) {
                                        return note.find(" /etc/swanctl") != std::string::npos;
                                    }),
              0);
}

TEST(FreeBsd, RefusesWhatItCannotBe) {
    for (const char* wire : {"\twire=openbsd\n", "\twire=encsync\n"})
        EXPECT_EQ(text(run("freebsd", kCable + wire)),
                  "refused: conn donald: FreeBSD needs wire=freebsd-1301 or freebsd-1400 or "
                  "freebsd-1500");
    EXPECT_EQ(text(run("freebsd", kTunnel + "\twire=freebsd-1400\n")),
              "refused: conn donald: FreeBSD needs type=cable (docs/cables.md), or type=transport: "
              "its pfsync passes ESP in transport mode only");
}

TEST(OpnSense, OnACable) {
    EXPECT_EQ(text(run("opnsense", kCable + "\twire=freebsd-1400\n", "", {})),
              "# ---- System: High Availability: Settings\n"
              "Synchronize all states via: the one with 172.16.0.2\n"
              "Synchronize Peer IP: 172.16.0.1\n"
              "Compatibility (pfsyncversion): 1400\n"
              "\n"
              "# ---- Firewall: Rules: that interface\n"
              "Pass, protocol PFSYNC, from 172.16.0.2 and 172.16.0.1\n");
    EXPECT_TRUE(text(run("opnsense", kTunnel)).starts_with("refused: "));
}

TEST(Interface, IsSaidToBeMissing) {
    const auto made = run("openbsd", kCable + "\twire=openbsd\n", "", {});
    ASSERT_TRUE(made);
    EXPECT_NE(made->text.find("up syncdev IF syncpeer 172.16.0.1\n"), std::string::npos);
    EXPECT_EQ(made->notes, std::vector<std::string>{
                               "write the name of the interface that has 172.16.0.2 for IF, "
                               "or give --interface"});
}

// The examples of the documentation are what is printed for them.
TEST(Documentation, ShowsWhatIsPrinted) {
    std::ifstream in(ENCSYNC_CABLES_MD);
    const std::string cables(std::istreambuf_iterator<char>(in), {});
    for (const auto& [system, wire] :
         {std::pair{"openbsd", "openbsd"}, std::pair{"freebsd", "freebsd-1400"}}) {
        std::istringstream lines(text(run(system, kCable + "\twire=" + wire + std::string("\n"))));
        for (std::string line; std::getline(lines, line);) {
            if (line.empty() || line[0] == '#')
                continue;
            EXPECT_NE(cables.find(line), std::string::npos) << line;
        }
    }
}

TEST(StrongSwan, WithAPresharedKey) {
    const auto made = run("strongswan",
                          kTunnel + "\tauthby=psk\n\tsecretfile=/etc/psk\n\twire=openbsd\n"
                                    "\ttype=transport\n\tauto=add\n",
                          "\tikeport=1500\n\tnatport=1501\n");
    EXPECT_EQ(text(made), "# ---- /etc/strongswan.conf\n"
                          "charon {\n"
                          "    port = 1500\n"
                          "    port_nat_t = 1501\n"
                          "}\n"
                          "\n"
                          "# ---- /etc/swanctl/swanctl.conf\n"
                          "connections {\n"
                          "    mickey {\n"
                          "        version = 2\n"
                          "        local_addrs = 192.0.2.2\n"
                          "        remote_addrs = 192.0.2.1\n"
                          "        remote_port = 1500\n"
                          "        proposals = aes256gcm16-prfsha384-curve25519\n"
                          "        encap = yes\n"
                          "        mobike = no\n"
                          "        dpd_delay = 1s\n"
                          "        local {\n"
                          "            id = donald\n"
                          "            auth = psk\n"
                          "        }\n"
                          "        remote {\n"
                          "            id = mickey\n"
                          "            auth = psk\n"
                          "        }\n"
                          "        children {\n"
                          "            mickey {\n"
                          "                local_ts = 192.0.2.2/32[240]\n"
                          "                remote_ts = 192.0.2.1/32[240]\n"
                          "                esp_proposals = aes256gcm16-curve25519-esn\n"
                          "                mode = transport\n"
                          "                start_action = start\n"
                          "            }\n"
                          "        }\n"
                          "    }\n"
                          "}\n"
                          "secrets {\n"
                          "    ike-mickey {\n"
                          "        secret = \"the content of /etc/psk\"\n"
                          "    }\n"
                          "}\n");
    EXPECT_EQ(made->notes,
              (std::vector<std::string>{"its charon must use the kernel's ESP; for kernel-libipsec "
                                        "end esp= with -noesn here",
                                        "write the content of /etc/psk for the secret"}));
}

TEST(StrongSwan, WithAPresharedKeyInTheStore) {
    const auto made = run("strongswan", kTunnel + "\tauthby=psk\n\twire=openbsd\n");
    ASSERT_TRUE(made);
    EXPECT_NE(made->text.find("        secret = \"the content of FILE\"\n"), std::string::npos);
    EXPECT_EQ(made->notes.back(), "the secret is what encsync keys psk make donald FILE puts into "
                                  "FILE; write that for it");
}

TEST(StrongSwan, SaysWhichFilesItNeeds) {
    const auto raw = run("strongswan", kTunnel + "\tesp=aes256gcm16-curve25519-noesn\n");
    ASSERT_TRUE(raw);
    EXPECT_NE(raw->text.find("pubkeys = donald.pem"), std::string::npos);
    EXPECT_NE(raw->text.find("kernel-libipsec"), std::string::npos);
    EXPECT_EQ(raw->notes,
              (std::vector<std::string>{
                  "wire= is encsync: set the dialect that the peer speaks",
                  "its private key is /etc/swanctl/private/donald.pem",
                  "its public key is /etc/swanctl/pubkey/donald.pem; here, run encsync keys trust "
                  "--name donald donald.pem",
                  "what encsync keys export --pem prints here is /etc/swanctl/pubkey/mickey.pem "
                  "there"}));
    const auto certified = run("strongswan", kTunnel + "\tleftcert=/c\n\trightca=/ca\n");
    ASSERT_TRUE(certified);
    EXPECT_NE(certified->text.find("certs = donald.pem"), std::string::npos);
    EXPECT_NE(certified->text.find("cacerts = ca.pem"), std::string::npos);
    EXPECT_EQ(text(run("strongswan", kCable + "\twire=openbsd\n")),
              "refused: conn donald: it is a cable, without IPsec");
}

TEST(Export, KnowsItsSystems) {
    EXPECT_EQ(system_names(),
              (std::vector<std::string>{"openbsd", "freebsd", "opnsense", "strongswan"}));
    EXPECT_EQ(text(run("windows", kTunnel)), "refused: there is no system 'windows' to export to");
}

} // namespace
} // namespace encsync::exporter
