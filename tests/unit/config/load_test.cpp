// SPDX-License-Identifier: ISC
// From text to values: defaults, inheritance, includes, limits, and truncated files.
#include "files.hpp"

#include "config/disk.hpp"
#include "config/options.hpp"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace encsync::config {
namespace {

using std::chrono::seconds;

constexpr std::string_view kRich = "# two peers\r\n"
                                   "include setup.conf\n"
                                   "\n"
                                   "conn %default\n"
                                   "\tleft = 192.168.1.100 # ours\n"
                                   "\tike=\"chacha20poly1305-prfsha512-ecp384\"\n"
                                   "\tlifetime=30m\n"
                                   "conn slow\n"
                                   "    auto=ignore\n"
                                   "    dpddelay=3s\n"
                                   "    dpdtimeout=1m\n"
                                   "conn minnie\n"
                                   "\tright=192.168.1.101\n"
                                   "\tmaxupd=255\n"
                                   "\tmaxstates=5000\n"
                                   "\tcreators=a1b2c3d4, 00000007\n"
                                   "\tmaxpackets=1\n\tmaxinserts=2\n\tmaxrequests=3\n"
                                   "\tmaxclears=4\n\tmaxshare=60\n\taccept=proto tcp\n"
                                   "\tnosync=net 10.9.0.0/24 and zone 7\n"
                                   "\trefuse=dst 10.9.0.0/24\n"
                                   "\twire=openbsd\n"
                                   "conn goofy\n"
                                   "\talso=slow\n"
                                   "\tauto=add\n"
                                   "\tsyncpeer=192.168.1.102\n"
                                   "\trightid=goofy.example\n"
                                   "\tleftid=mickey-2\n"
                                   "\tmargintime=1m\n"
                                   "\tlifepackets=1000000\n"
                                   "\tmtu=640";
const std::map<std::string, std::string> kRichFiles = {
    {"setup.conf", "config setup\n\tnode=m1\n\ttable=memory\n\tsyncdev=enc1\n\trole=standby\n"
                   "\tignore=10.0.0.0/8, fd00::/8\n\tloglevel=debug\n\tsynclocal=yes\n"
                   "\tkeydir=\"/etc/my keys # "
                   "here\"\n\tkeypassphrase=/etc/pass\n\tikeport=1500\n\tnatport=14500\n"
                   "\tjoinwait=1m\n\tcharonuser=_charon\n\tsandbox=no\n\tipsec=auto\n\tdelay="
                   "1500ms\n\tdeferqueue=7\n\treserve=20\n\tmetricslisten=[::1]:9240\n"
                   "\tnosync=mark 0x10/0xf0, proto udp and port 53\n"
                   "\trefuse=zone 9, proto udp\n"}};

TEST(Load, EveryValueArrives) {
    const Loaded loaded = parse_text(kRich, kRichFiles);
    ASSERT_TRUE(loaded.config) << render(loaded.diagnostics);
    EXPECT_TRUE(loaded.diagnostics.empty());
    const auto& setup = loaded.config->setup;
    EXPECT_EQ(setup.node, "m1");
    EXPECT_EQ(setup.table, "memory");
    EXPECT_EQ(setup.syncdev, "enc1");
    EXPECT_EQ(setup.ipsec, Ipsec::automatic);
    EXPECT_EQ(setup.keydir, "/etc/my keys # here");
    EXPECT_EQ(setup.keypassphrase, "/etc/pass");
    EXPECT_EQ(setup.role, Role::standby);
    EXPECT_EQ(setup.ikeport, 1500);
    EXPECT_EQ(setup.natport, 14500);
    EXPECT_EQ(setup.joinwait, seconds(60));
    EXPECT_EQ(setup.charonuser, "_charon");
    EXPECT_FALSE(setup.sandbox);
    EXPECT_EQ(setup.loglevel, log::Level::debug);
    EXPECT_TRUE(setup.synclocal);
    ASSERT_EQ(setup.ignore.size(), 2u);
    EXPECT_EQ(to_string(setup.ignore[1]), "fd00::/8");
    EXPECT_EQ(setup.delay, std::chrono::milliseconds(1500));
    EXPECT_FALSE(setup.defer);
    EXPECT_EQ(setup.deferqueue, 7);
    EXPECT_EQ(setup.reserve, 20);
    EXPECT_EQ(to_string(setup.metricslisten), "[::1]:9240");
    ASSERT_EQ(setup.nosync.size(), 2u);
    EXPECT_EQ(setup.nosync[0].mark, (state::MarkMatch{0x10, 0xf0}));
    EXPECT_EQ(setup.nosync[1].proto, 17);
    ASSERT_EQ(setup.refuse.size(), 2u);
    EXPECT_EQ(setup.refuse[0].zone, 9);
    EXPECT_EQ(setup.nosync[1].ports, (net::PortRange{53, 53}));

    ASSERT_EQ(loaded.config->conns.size(), 2u);
    const Conn& minnie = loaded.config->conns[0];
    EXPECT_EQ(minnie.name, "minnie");
    EXPECT_EQ(to_string(minnie.left), "192.168.1.100");
    EXPECT_EQ(to_string(minnie.right), "192.168.1.101");
    EXPECT_EQ(minnie.leftid, "m1");
    EXPECT_EQ(minnie.rightid, "minnie");
    EXPECT_EQ(minnie.ike, "chacha20poly1305-prfsha512-ecp384");
    EXPECT_EQ(minnie.lifetime, seconds(1800));
    EXPECT_EQ(minnie.margintime, seconds(180));
    EXPECT_EQ(minnie.lifepackets, 0u);
    EXPECT_EQ(minnie.maxupd, 255);
    EXPECT_EQ(minnie.maxstates, 5000u);
    EXPECT_EQ(minnie.creators, (std::vector<std::uint32_t>{0xa1b2c3d4, 7}));
    EXPECT_EQ(minnie.maxpackets, 1u);
    EXPECT_EQ(minnie.maxinserts, 2u);
    EXPECT_EQ(minnie.maxrequests, 3u);
    EXPECT_EQ(minnie.maxclears, 4u);
    EXPECT_EQ(minnie.maxshare, 60);
    ASSERT_EQ(minnie.accept.size(), 1u);
    EXPECT_EQ(minnie.accept[0].proto, 6);
    ASSERT_EQ(minnie.nosync.size(), 1u);
    EXPECT_EQ(to_string(minnie.nosync[0].nets.at(0)), "10.9.0.0/24");
    EXPECT_EQ(minnie.nosync[0].zone, 7);
    ASSERT_EQ(minnie.refuse.size(), 1u);
    EXPECT_EQ(to_string(minnie.refuse[0].dst.value()), "10.9.0.0/24");
    EXPECT_EQ(minnie.wire, Wire::openbsd);
    EXPECT_EQ(minnie.startup, Auto::start);
    EXPECT_EQ(minnie.dpdtimeout, seconds(5));

    const Conn& goofy = loaded.config->conns[1];
    EXPECT_EQ(goofy.name, "goofy");
    EXPECT_EQ(to_string(goofy.right), "192.168.1.102");
    EXPECT_EQ(goofy.leftid, "mickey-2");
    EXPECT_EQ(goofy.rightid, "goofy.example");
    EXPECT_EQ(goofy.dpddelay, seconds(3));
    EXPECT_EQ(goofy.dpdtimeout, seconds(60));
    EXPECT_EQ(goofy.margintime, seconds(60));
    EXPECT_EQ(goofy.lifepackets, 1000000u);
    EXPECT_EQ(goofy.startup, Auto::add);
    EXPECT_EQ(goofy.mtu, 640);
    EXPECT_EQ(goofy.maxupd, 128);
    EXPECT_TRUE(goofy.nosync.empty());
    EXPECT_TRUE(goofy.refuse.empty());
    EXPECT_TRUE(goofy.accept.empty());
    EXPECT_TRUE(goofy.creators.empty());
    EXPECT_EQ(goofy.maxclears, 10u);
    EXPECT_EQ(goofy.maxshare, 100);
}

TEST(Load, CutShortAnywhereItIsAConfigOrADiagnostic) {
    for (std::size_t size = 0; size <= kRich.size(); size++) {
        const Loaded loaded = parse_text(kRich.substr(0, size), kRichFiles);
        bool errors = false;
        for (const Diagnostic& d : loaded.diagnostics) {
            errors = errors || d.severity == Severity::error;
            EXPECT_FALSE(d.message.empty());
            EXPECT_EQ(d.line == 0, d.column == 0);
        }
        EXPECT_EQ(loaded.config.has_value(), !errors) << "cut at " << size;
        EXPECT_TRUE(loaded.config || !loaded.diagnostics.empty()) << "cut at " << size;
        render(loaded.diagnostics);
    }
}

TEST(Load, Defaults) {
    const Loaded loaded = parse_text("conn minnie\n\tleft=192.0.2.1\n\tright=192.0.2.2\n");
    ASSERT_TRUE(loaded.config) << render(loaded.diagnostics);
    config::Setup setup; // not Test::Setup
    setup.node = "mickey";
    setup.syncdev = "enc0";
    setup.keydir = "/var/lib/encsync/keys";
    setup.ikeport = 500;
    setup.natport = 4500;
    setup.joinwait = seconds(30);
    setup.sweep = seconds(60);
    setup.loglevel = log::Level::info;
    setup.deferqueue = 240;
    setup.reserve = 5;
    setup.table = "conntrack";
    EXPECT_EQ(loaded.config->setup, setup);
    Conn conn = loaded.config->conns.at(0);
    EXPECT_EQ(conn.ike, default_ike());
    EXPECT_EQ(conn.esp, "aes256gcm16-curve25519-esn");
    EXPECT_EQ(conn.ikelifetime, seconds(14400));
    EXPECT_EQ(conn.lifetime, seconds(3600));
    EXPECT_EQ(conn.margintime, seconds(360));
    EXPECT_EQ(conn.dpddelay, seconds(1));
    EXPECT_EQ(conn.dpdtimeout, seconds(5));
    EXPECT_EQ(conn.maxupd, 128);
    EXPECT_EQ(conn.mtu, 1500);
    EXPECT_EQ(conn.wire, Wire::encsync);
    EXPECT_EQ(conn.startup, Auto::start);
    EXPECT_EQ(conn.leftid, "mickey");
    EXPECT_EQ(conn.rightid, "minnie");
}

TEST(Load, ShortLifetimesKeepAMargin) {
    const Loaded loaded =
        parse_text("conn a\n\tleft=192.0.2.1\n\tright=192.0.2.2\n\tlifetime=2s\n");
    ASSERT_TRUE(loaded.config) << render(loaded.diagnostics);
    EXPECT_EQ(loaded.config->conns[0].margintime, seconds(1));
}

TEST(Load, HostNames) {
    Files files;
    const std::string_view conn = "conn a\n\tleft=192.0.2.1\n\tright=192.0.2.2\n";
    files.host = "(none)";
    EXPECT_EQ(render(parse(conn, "t.conf", files).diagnostics),
              "t.conf: error: the host's name, '(none)', cannot be a node's\n"
              "write node=NAME in 'config setup'\n");
    files.host = "";
    EXPECT_FALSE(parse(conn, "t.conf", files).config);
    EXPECT_TRUE(parse("config setup\n\tnode=b\n" + std::string(conn), "t.conf", files).config);
}

// ---- inheritance -------------------------------------------------------------------------------

std::uint16_t mtu_of(std::string_view text, std::string_view name) {
    const Loaded loaded = parse_text(text);
    if (!loaded.config) {
        ADD_FAILURE() << render(loaded.diagnostics);
        return 0;
    }
    for (const Conn& conn : loaded.config->conns)
        if (conn.name == name)
            return conn.mtu;
    ADD_FAILURE() << "no conn " << name;
    return 0;
}

constexpr const char* kPeer = "conn peer\n\tleft=192.0.2.1\n\tright=192.0.2.2\n\tauto=start\n";

TEST(Inherit, NearestWins) {
    const std::string peer = kPeer;
    const std::string a = "conn a\n\tauto=ignore\n\tmtu=1001\n";
    const std::string b = "conn b\n\tauto=ignore\n\tmtu=1002\n";
    const std::string c = "conn c\n\tauto=ignore\n\talso=a\n";
    const std::string defaults = "conn %default\n\tmtu=1000\n";
    EXPECT_EQ(mtu_of(peer, "peer"), 1500);
    EXPECT_EQ(mtu_of(peer + defaults, "peer"), 1000); // wherever %default is
    EXPECT_EQ(mtu_of(peer + "\talso=a\n" + defaults + a, "peer"), 1001);
    EXPECT_EQ(mtu_of(peer + "\talso=a\n\talso=b\n" + a + b, "peer"), 1002);
    EXPECT_EQ(mtu_of(peer + "\talso=b\n\talso=a\n" + a + b, "peer"), 1001);
    EXPECT_EQ(mtu_of(peer + "\talso=b\n\talso=c\n" + a + b + c, "peer"), 1001);
    EXPECT_EQ(mtu_of(peer + "\talso=b\n\tmtu=1003\n" + b + defaults, "peer"), 1003);
    // Inherited in two ways: a counts where it comes last, after b.
    EXPECT_EQ(mtu_of(peer + "\talso=a\n\talso=b\n\talso=c\n" + a + b + c, "peer"), 1002);
}

TEST(Inherit, AutoIgnoreIsInheritedWithAWarning) {
    const Loaded loaded =
        parse_text("conn a\n\tauto=ignore\nconn b\n\talso=a\n\tleft=192.0.2.1\n"
                   "\tright=192.0.2.2\nconn c\n\tleft=192.0.2.1\n\tright=192.0.2.3\n");
    ASSERT_TRUE(loaded.config);
    ASSERT_EQ(loaded.config->conns.size(), 1u);
    EXPECT_EQ(loaded.config->conns[0].name, "c");
    ASSERT_EQ(loaded.diagnostics.size(), 1u);
    EXPECT_EQ(loaded.diagnostics[0].severity, Severity::warning);
    EXPECT_EQ(loaded.diagnostics[0].message,
              "conn b is ignored: it inherits auto=ignore from line 2");
}

// A dense web of also= has too many paths to follow each one.
TEST(Inherit, ManyWaysAreNotWalkedOneByOne) {
    std::string text;
    for (int i = 0; i < 60; i++) {
        text += fmt::format("conn n{}\n\tauto=ignore\n", i);
        for (int j = i + 1; j < 60; j++)
            text += fmt::format("\talso=n{}\n", j);
    }
    EXPECT_EQ(mtu_of(text + "\tmtu=1111\n" + kPeer + "\talso=n0\n", "peer"), 1111);
    EXPECT_FALSE(parse_text(text + "\talso=n0\n").config); // now all are loops
}

TEST(Inherit, TheNearestNoSyncReplacesOthers) {
    const Loaded loaded = parse_text("conn %default\n\tleft=192.0.2.1\n\tnosync=zone 1\n"
                                     "conn a\n\tright=192.0.2.2\n\tnosync=zone 2, zone 3\n"
                                     "conn b\n\tright=192.0.2.3\n");
    ASSERT_TRUE(loaded.config) << render(loaded.diagnostics);
    ASSERT_EQ(loaded.config->conns[0].nosync.size(), 2u);
    EXPECT_EQ(loaded.config->conns[0].nosync[0].zone, 2);
    ASSERT_EQ(loaded.config->conns[1].nosync.size(), 1u);
    EXPECT_EQ(loaded.config->conns[1].nosync[0].zone, 1);
}

TEST(Load, EveryDialectHasItsWord) {
    const std::pair<const char*, Wire> words[] = {
        {"encsync", Wire::encsync},           {"openbsd", Wire::openbsd},
        {"freebsd-1301", Wire::freebsd_1301}, {"freebsd-1400", Wire::freebsd_1400},
        {"freebsd-1500", Wire::freebsd_1500}, {"auto", Wire::automatic}};
    for (const auto& [word, wire] : words) {
        const Loaded loaded = parse_text(
            fmt::format("conn a\n\tleft=192.0.2.1\n\tright=192.0.2.2\n\twire={}\n", word));
        ASSERT_TRUE(loaded.config) << word;
        EXPECT_EQ(loaded.config->conns[0].wire, wire) << word;
    }
}

TEST(Load, DeferIsTaken) {
    const Loaded loaded = parse_text("config setup\n\tdefer=yes\n\tdelay=0\n");
    ASSERT_TRUE(loaded.config) << render(loaded.diagnostics);
    EXPECT_TRUE(loaded.config->setup.defer);
}

// ---- limits ------------------------------------------------------------------------------------

std::string peers(int count) {
    std::string text = "conn %default\n\tleft=192.0.2.100\n";
    for (int i = 1; i <= count; i++)
        text += fmt::format("conn p{}\n\tright=192.0.2.{}\n", i, i);
    return text;
}

TEST(Limits, Conns) {
    const Loaded most = parse_text(peers(15));
    ASSERT_TRUE(most.config) << render(most.diagnostics);
    EXPECT_EQ(most.config->conns.size(), 15u);
    EXPECT_EQ(rendered(peers(16)), "t.conf:33:6: error: 16 conns; 15 are the most\n"
                                   "conn p16\n"
                                   "     ^\n");
    EXPECT_TRUE(parse_text(peers(15) + "conn more\n\tauto=ignore\n").config);
}

TEST(Limits, Sections) {
    std::string text;
    for (unsigned i = 0; i < kMaxSections; i++)
        text += fmt::format("conn a{}\n\tauto=ignore\n", i);
    EXPECT_TRUE(parse_text(text).config);
    const std::string shown = rendered(text + "config setup\n\tnode=x\n");
    EXPECT_EQ(shown, "t.conf:513:1: error: more than 256 sections\nconfig setup\n^\n");
}

TEST(Limits, Nul) {
    using namespace std::string_literals;
    EXPECT_EQ(rendered("config setup\n\tnode=a\0b\n"s),
              "t.conf:2:8: error: the line holds a NUL byte\n"
              "\tnode=a?b\n"
              "\t      ^\n");
}

TEST(Limits, LineEndsAndByteOrderMark) {
    const char* files[] = {
        "conn a\n\tleft=192.0.2.1\n\tright=192.0.2.2\n",
        "conn a\r\n\tleft=192.0.2.1\r\n\tright=192.0.2.2\r\n",
        ("\xef\xbb\xbf"
         "conn a\n  left = 192.0.2.1\n \t right\t=\t192.0.2.2"),
        "conn a#b\n\n \t \n#c\n\t#d\n\tleft=\"192.0.2.1\"#e\n\tright=192.0.2.2#f",
    };
    const Loaded first = parse_text(files[0]);
    ASSERT_TRUE(first.config);
    for (const char* file : files)
        EXPECT_EQ(parse_text(file).config, first.config) << file << rendered(file);
}

// ---- include -----------------------------------------------------------------------------------

TEST(Include, OrderAndPlaces) {
    const Loaded loaded = parse_text("include conf.d/*\nconn last\n\tright=192.0.2.4\n",
                                     {{"conf.d/1", "conn %default\n\tleft=192.0.2.1\n"},
                                      {"conf.d/2", "conn b\n\tright=192.0.2.2\n"},
                                      {"conf.d/3", "conn c\n\tright=192.0.2.3"},
                                      {"other", "conn d\n\tright=192.0.2.9\n"}});
    ASSERT_TRUE(loaded.config) << render(loaded.diagnostics);
    ASSERT_EQ(loaded.config->conns.size(), 3u);
    EXPECT_EQ(loaded.config->conns[0].name, "b");
    EXPECT_EQ(loaded.config->conns[1].name, "c");
    EXPECT_EQ(loaded.config->conns[2].name, "last");
    // Wildcards may match nothing; a plain name must exist.
    EXPECT_TRUE(parse_text("include none.d/*\n").config);
    EXPECT_FALSE(parse_text("include none.d/x\n").config);
}

TEST(Include, ErrorsSayWhichFile) {
    EXPECT_EQ(rendered("conn a\n\tauto=ignore\ninclude b\n\tmtu=1000\nconn c\n\tmtu=1\n",
                       {{"b", "conn a\n\tbad=1\n"}}),
              "t.conf:4:2: error: a setting needs a section above it: an include ends the one "
              "before\n\tmtu=1000\n\t^\n"
              "t.conf:5:6: error: conn c has no left, this firewall's address\nconn c\n     ^\n"
              "t.conf:5:6: error: conn c has no right, the peer's address\nconn c\n     ^\n"
              "t.conf:6:6: error: mtu: '1' is not from 640 to 9000\n\tmtu=1\n\t    ^\n"
              "b:1:6: error: conn a is already there on t.conf line 1\nconn a\n     ^\n"
              "b:2:2: error: unknown keyword 'bad'\n\tbad=1\n\t^\n");
}

TEST(Include, ASectionDoesNotReachIntoAnIncludedFile) {
    EXPECT_EQ(rendered("conn a\n\tauto=ignore\ninclude b\n", {{"b", "\tmtu=1000\n"}}),
              "b:1:2: error: a setting needs a section above it ('config setup' or 'conn NAME')\n"
              "\tmtu=1000\n"
              "\t^\n");
}

TEST(Include, Loops) {
    EXPECT_EQ(rendered("include b\n", {{"b", "include c\n"}, {"c", "include b\n"}}),
              "c:1:9: error: the include is a loop: b -> c -> b\n"
              "include b\n"
              "        ^\n");
    EXPECT_EQ(rendered("include t.conf\n"),
              "t.conf:1:9: error: the include is a loop: t.conf -> t.conf\n"
              "include t.conf\n"
              "        ^\n");
}

TEST(Include, Depth) {
    std::map<std::string, std::string> files;
    for (int i = 1; i < 12; i++)
        files[fmt::format("f{}", i)] = fmt::format("include f{}\n", i + 1);
    files["f8"] = "conn a\n\tauto=ignore\n"; // the eighth is the deepest allowed
    EXPECT_TRUE(parse_text("include f1\n", files).config);
    files["f8"] = "include f9\n";
    EXPECT_EQ(rendered("include f1\n", files),
              "f8:1:9: error: includes are nested more than 8 deep\n"
              "include f9\n"
              "        ^\n");
}

TEST(Include, NumberOfFiles) {
    // Each file includes the next one twice: without a limit, the last is read 2^8 times.
    std::map<std::string, std::string> files;
    for (int i = 1; i < 8; i++)
        files[fmt::format("f{}", i)] =
            fmt::format("include f{0}\ninclude f{0}\ninclude f{0}\n", i + 1);
    files["f8"] = "";
    const std::string shown = rendered("include f1\n", files);
    EXPECT_NE(shown.find("error: more than 255 files are included"), std::string::npos);
}

TEST(Include, Sizes) {
    std::map<std::string, std::string> files = {{"b", std::string(kMaxFileSize, '\n')}};
    EXPECT_TRUE(parse_text("include b\n", files).config);
    files["b"] += '\n';
    EXPECT_EQ(rendered("include b\n", files), "t.conf:1:9: error: b has more than 1048576 bytes\n"
                                              "include b\n"
                                              "        ^\n");
}

// ---- on disk -----------------------------------------------------------------------------------

class OnDisk : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "encsync-config-XXXXXX");
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        dir_ = name;
        std::filesystem::create_directory(dir_ / "conf.d");
    }
    void TearDown() override { std::filesystem::remove_all(dir_); }

    std::string write(const std::string& name, std::string_view text) {
        std::ofstream(dir_ / name, std::ios::binary) << text;
        return dir_ / name;
    }
    std::string message(const std::string& path) {
        const Loaded loaded = load(path);
        return loaded.diagnostics.empty() ? "" : loaded.diagnostics[0].message;
    }

    std::filesystem::path dir_;
};

TEST_F(OnDisk, IncludesAreRelativeToTheFileTheyStandIn) {
    const std::string path =
        write("a.conf", "config setup\n\tnode=mickey\ninclude conf.d/*.conf\n");
    write("conf.d/2.conf", "include inner\n");
    write("conf.d/inner", "conn minnie\n\tright=192.0.2.2\n");
    write("conf.d/1.conf", "conn %default\n\tleft=192.0.2.1\n");
    write("conf.d/not", "nonsense\n");
    const Loaded loaded = load(path);
    ASSERT_TRUE(loaded.config) << render(loaded.diagnostics);
    EXPECT_EQ(loaded.config->conns.at(0).name, "minnie");

    const std::string absolute = write("b.conf", "include " + path + "\n");
    EXPECT_EQ(load(absolute).config, loaded.config);
}

TEST_F(OnDisk, WhatCannotBeRead) {
    EXPECT_EQ(message(dir_ / "none"), "cannot read it: No such file or directory");
    EXPECT_EQ(message(dir_), "cannot read it: Is a directory");
    ASSERT_EQ(::mkfifo((dir_ / "pipe").c_str(), 0600), 0);
    EXPECT_EQ(message(dir_ / "pipe"), "cannot read it: Not a regular file");
    write("large", std::string(kMaxFileSize + 1, '\n'));
    EXPECT_EQ(message(dir_ / "large"), "cannot read it: it has more than 1048576 bytes");
    write("fits", std::string(kMaxFileSize, '\n'));
    EXPECT_TRUE(load(dir_ / "fits").config);
    const std::string secret = write("secret", "");
    ASSERT_EQ(::chmod(secret.c_str(), 0), 0);
    if (::geteuid() != 0) { // root reads everything
        EXPECT_EQ(message(secret), "cannot read it: Permission denied");
    }
    EXPECT_EQ(render(load(dir_ / "none").diagnostics),
              (dir_ / "none").string() + ": error: cannot read it: No such file or directory\n");
}

TEST_F(OnDisk, FilesThatIncludeEachOther) {
    write("conf.d/b.conf", "include ../a.conf\n");
    EXPECT_FALSE(load(write("a.conf", "include conf.d/b.conf\n")).config);
    std::filesystem::create_symlink(dir_ / "c.conf", dir_ / "d.conf");
    EXPECT_FALSE(load(write("c.conf", "include d.conf\n")).config);
}

TEST(Host, HasAName) {
    Disk disk;
    EXPECT_FALSE(disk.host_name().empty());
}

} // namespace
} // namespace encsync::config
