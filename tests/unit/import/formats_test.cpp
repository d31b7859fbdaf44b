// SPDX-License-Identifier: ISC
// How the format is found, and how --left is used.
#include "read.hpp"

namespace encsync::importer {
namespace {

TEST(Detect, ByName) {
    EXPECT_EQ(detect("/etc/hostname.pfsync0", "x"), Format::openbsd);
    EXPECT_EQ(detect("/etc/rc.conf", "x"), Format::freebsd);
    EXPECT_EQ(detect("rc.conf.local", "x"), Format::freebsd);
    EXPECT_EQ(detect("/etc/rc.conf.d/pfsync", "x"), Format::freebsd);
    EXPECT_EQ(detect("/etc/conntrackd/conntrackd.conf", "x"), Format::conntrackd);
    EXPECT_EQ(detect("notes.txt", "x"), std::nullopt);
    EXPECT_EQ(detect("config.xml", "x"), std::nullopt); // two systems have a file of this name
}

TEST(Detect, ByContent) {
    EXPECT_EQ(detect("-", "# c\nup syncdev em0\n"), Format::openbsd);
    EXPECT_EQ(detect("-", "sshd_enable=YES\npfsync_enable=YES\n"), Format::freebsd);
    EXPECT_EQ(detect("-", "$ sudo ifconfig pfsync0 syncdev em0\n"), Format::ifconfig);
    EXPECT_EQ(detect("-", "pfsync0: flags=41<UP,RUNNING> mtu 1500\n"), Format::ifconfig);
    EXPECT_EQ(detect("-", "# c\nSync {\n}\n"), Format::conntrackd);
    EXPECT_EQ(detect("-", "General{\n}\n"), Format::conntrackd);
    EXPECT_EQ(detect("-", "<?xml version='1.0'?>\n<opnsense>"), Format::opnsense);
    EXPECT_EQ(detect("-", "<!-- c -->\n<pfsense>"), Format::pfsense);
    EXPECT_EQ(detect("-", "<opnsenses>"), std::nullopt);
    EXPECT_EQ(detect("-", "<html>"), std::nullopt);
    EXPECT_EQ(detect("-", "hello\n"), std::nullopt);
}

TEST(Detect, AnUnknownFormatIsRefusedWithTheKnownOnes) {
    const std::string error = read_text("hello\n").error;
    for (const std::string& name : format_names())
        EXPECT_NE(error.find(name), std::string::npos) << error;
    EXPECT_EQ(format_named("pf"), std::nullopt);
}

TEST(Format, TheOneNamedIsUsed) {
    EXPECT_EQ(read_text("<pfsense/>", Format::opnsense).error,
              "f: its outermost element is <pfsense>, not <opnsense>");
    EXPECT_EQ(read_text("syncdev em0\n", Format::conntrackd).error, "f: it has no Sync section");
}

TEST(Left, IsUsedIfItFitsThePeer) {
    const Imported v4 =
        read_text("syncpeer 10.0.0.2 syncdev em0\n", {}, {"2001:db8::1", "10.0.0.1", "10.0.0.3"});
    EXPECT_NE(v4.config.find("\tleft=10.0.0.1\n"), std::string::npos) << v4.config;
    EXPECT_TRUE(v4.complete);
    EXPECT_EQ(v4.notes, "f: --left 2001:db8::1: not used: the peer is 10.0.0.2\n"
                        "f: --left 10.0.0.3: not used: left is 10.0.0.1\n");
}

TEST(Left, OfTheFileCounts) {
    const Imported got = read_text("Sync { Mode FTFW { }\n UDP {\n IPv4_address 10.0.0.1\n"
                                   " IPv4_Destination_Address 10.0.0.2\n } }\n",
                                   {}, {"10.0.0.9"});
    EXPECT_NE(got.config.find("\tleft=10.0.0.1\n"), std::string::npos) << got.config;
    EXPECT_EQ(got.notes, "f: --left 10.0.0.9: not used: left is 10.0.0.1\n");
}

TEST(Left, DoesNotMakeUpForAPeerOfAnotherFamily) {
    const Imported got = read_text("syncpeer 10.0.0.2 syncdev em0\n", {}, {"2001:db8::1"});
    EXPECT_FALSE(got.complete);
    expect_loads(got);
}

TEST(Names, ANodeThatIsCalledPeerGetsAnotherPeer) {
    const Imported got = read_text("hostname=\"peer\"\npfsync_syncdev=em0\npfsync_enable=YES\n"
                                   "pfsync_syncpeer=10.0.0.2\nifconfig_em0=\"10.0.0.1/24\"\n");
    EXPECT_TRUE(got.complete);
    expect_loads(got);
}

} // namespace
} // namespace encsync::importer
