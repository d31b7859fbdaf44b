// SPDX-License-Identifier: ISC
// encsync check, of a file alone and whether this machine can run it, and encsync doctor.
#include "../keys/certificates.hpp"
#include "cli/doctor.hpp"
#include "command.hpp"
#include "keys/store.hpp"

#include <arpa/inet.h>
#include <array>
#include <ifaddrs.h>
#include <net/if.h>

namespace encsync {
namespace {

TEST_F(Command, ChecksAConfiguration) {
    write(dir_ / "good.conf", "config setup\n\tnode=mickey\n\nconn minnie\n\tleft=192.0.2.1\n"
                              "\tright=192.0.2.2\n");
    const auto good = run({"check", dir_ / "good.conf"});
    EXPECT_EQ(good.status, 0) << good.err;
    EXPECT_EQ(good.out, (dir_ / "good.conf").string() + ": good; node mickey, 1 peer\n");
    write(dir_ / "bad.conf", "config setup\n\tnod=mickey\n");
    const auto bad = run({"check", dir_ / "bad.conf"});
    EXPECT_EQ(bad.status, 1);
    EXPECT_EQ(bad.out, "");
    EXPECT_NE(bad.err.find("did you mean 'node'?"), std::string::npos) << bad.err;
    const auto as_json = run({"check", dir_ / "bad.conf", "--json"});
    EXPECT_EQ(as_json.status, 1);
    const auto report = json::parse(as_json.out);
    EXPECT_EQ(report.at("ok"), false);
    EXPECT_EQ(report.at("diagnostics").at(0).at("line"), 2);
    EXPECT_EQ(run({"check", dir_ / "none.conf"}).status, 1);
    write(dir_ / "empty.conf", "");
    const auto empty = run({"check", dir_ / "empty.conf"});
    EXPECT_EQ(empty.status, 0);
    EXPECT_TRUE(empty.out.ends_with("no peer: nothing is kept in step with anybody\n"));
}

std::string own_address() {
    ifaddrs* first = nullptr;
    if (::getifaddrs(&first) != 0)
        return {};
    std::string out;
    for (const ifaddrs* at = first; at != nullptr; at = at->ifa_next) {
        std::array<char, INET_ADDRSTRLEN> text{};
        if (at->ifa_addr != nullptr && at->ifa_addr->sa_family == AF_INET &&
            (at->ifa_flags & IFF_LOOPBACK) == 0 &&
            ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr,
                        text.data(), text.size()) != nullptr)
            out = text.data();
    }
    ::freeifaddrs(first);
    return out;
}

// Configurations that are valid, but cannot run here.
TEST_F(Command, ChecksTheMachine) {
    const auto keydir = dir_ / "keys", file = dir_ / "live.conf";
    const auto faults = [&] {
        const auto outcome = run({"check", "--live", file});
        EXPECT_EQ(outcome.status, 1);
        EXPECT_TRUE(outcome.err.ends_with("not usable on this machine\n")) << outcome.err;
        EXPECT_EQ(run({"check", file}).status, 0); // control: only the file
        return outcome.err;
    };
    const auto has = [](const std::string& all, const std::string& line) {
        EXPECT_NE(all.find(line + "\n"), std::string::npos) << all;
    };
    const std::string setup = "config setup\n\tnode=mickey\n\tkeydir=" + keydir.string() + "\n";
    write(file, setup + "\tsyncdev=encsync-none\n\tcharonuser=no-such-user\n"
                        "\nconn minnie\n\tleft=198.51.100.1\n\tright=198.51.100.2\n");
    auto found = faults();
    has(found, "charonuser no-such-user: there is no such user");
    has(found, "conn minnie: left 198.51.100.1 is no address of this machine");
    has(found, keydir.string() + ": no keys here; 'encsync keys init' makes them");
    EXPECT_EQ(found.find("syncdev"), std::string::npos) << found;

    ASSERT_EQ(run({"keys", "init", "--name", "goofy"}).status, 0);
    write(file, setup + "\nconn minnie\n\tleft=198.51.100.1\n\tright=198.51.100.2\n");
    found = faults();
    has(found, "the identity in " + keydir.string() +
                   " is that of 'goofy', but this node is "
                   "'mickey'");
    has(found, "conn minnie: no key of 'minnie' is trusted; run encsync pair on both, or bring its "
               "public key and run encsync "
               "keys trust");
    const std::string conn = setup + "\nconn minnie\n\tleft=198.51.100.1\n\tright=198.51.100.2\n";
    write(file, conn + "\tauthby=psk\n");
    has(faults(),
        "conn minnie: there is no preshared key with 'minnie'; 'encsync keys psk make "
        "minnie FILE' makes one, 'encsync keys psk import minnie FILE' takes one that the "
        "peer has");
    write_private("psk", "sixteen and more");
    ASSERT_EQ(run({"keys", "psk", "import", "minnie", dir_ / "psk"}).status, 0);
    found = faults();
    EXPECT_EQ(found.find("key with"), std::string::npos) << found; // control
    EXPECT_EQ(found.find("is trusted"), std::string::npos) << found;
    write(file, conn + "\tleftcert=store\n\trightca=store\n");
    found = faults();
    has(found, "conn minnie: there is no certificate for 'minnie' in the key store; 'encsync keys "
               "cert import minnie FILE' puts one there");
    has(found, "conn minnie: there is no authority for 'minnie' in the key store; 'encsync keys "
               "cert import --authority minnie FILE' puts its certificate there");
    const auto authority =
        keys::make_certificate({keys::unix_now() - 60, keys::unix_now() + 9999, nullptr, true});
    write(dir_ / "ca", {reinterpret_cast<const char*>(authority.data()), authority.size()});
    ASSERT_EQ(run({"keys", "cert", "import", "--authority", "minnie", dir_ / "ca"}).status, 0);
    found = faults();
    EXPECT_EQ(found.find("no authority"), std::string::npos) << found; // control
    EXPECT_NE(found.find("the authority for minnie in the key store expires in less than a day"),
              std::string::npos)
        << found;
    write(file, conn);
    const auto as_json = run({"check", "--live", "--json", file});
    EXPECT_EQ(as_json.status, 1);
    const auto report = json::parse(as_json.out);
    EXPECT_EQ(report.at("ok"), false);
    EXPECT_EQ(report.at("live").as_array().size(), 3u);

    // A configuration that can run here: any address of this machine, and keys of that name.
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);
    write(dir_ / "minnie.pub", as_minnie({"keys", "export"}).out);
    ASSERT_EQ(run({"keys", "trust", dir_ / "minnie.pub"}).status, 0);
    const std::string mine = own_address();
    if (mine.empty())
        GTEST_SKIP() << "this machine has no address that another could reach";
    write(file, "config setup\n\tnode=goofy\n\tkeydir=" + keydir.string() +
                    "\n\tsyncdev=encsync-none\nconn minnie\n\tleft=" + mine +
                    "\n\tright=198.51.100.2\n");
    const auto good = run({"check", "--live", file});
    EXPECT_EQ(good.status, 0) << good.err;
    EXPECT_TRUE(good.out.ends_with(": good; node goofy, 1 peer\n")) << good.out;

    // An identity that the rotation by age should have replaced long ago.
    fs::remove_all(keydir);
    auto store = keys::Store::create(keydir);
    ASSERT_TRUE(store && store->init("goofy", keys::unix_now() - 30 * 86400));
    ASSERT_EQ(run({"keys", "trust", dir_ / "minnie.pub"}).status, 0);
    const auto rotated_at = [&](const std::string& age) {
        write(file, "config setup\n\tnode=goofy\n\tkeydir=" + keydir.string() +
                        "\n\tsyncdev=encsync-none\n\trotate=" + age +
                        "\nconn minnie\n\tleft=" + mine + "\n\tright=198.51.100.2\n");
        return run({"check", "--live", file});
    };
    EXPECT_EQ(rotated_at("25d").status, 0);
    const auto overdue = rotated_at("20d");
    EXPECT_EQ(overdue.status, 1);
    EXPECT_NE(overdue.err.find("should have been replaced after 20 days"), std::string::npos)
        << overdue.err;

    // Certificates that expire. OpenSSL 3.0 has no -not_after, and 3.5 takes no -days in the past.
    const auto certified = [&](const std::string& days) {
        const std::string ca = dir_ / "ca.pem", key = dir_ / "ca.key", request = dir_ / "ca.csr";
        const std::string sign =
            "openssl x509 -req -in " + request + " -signkey " + key + " -out " + ca;
        const std::string date = "$(date -u -d '" + days + " days' +%Y%m%d%H%M%SZ)";
        const std::string command =
            "openssl req -new -newkey ed25519 -nodes -subj /CN=ca -keyout " + key + " -out " +
            request + " 2>/dev/null && { " + sign + " -days " + days + " 2>/dev/null || " + sign +
            " -not_before 20200101000000Z -not_after " + date + " 2>/dev/null; }";
        EXPECT_EQ(std::system(command.c_str()), 0);
        write(file, "config setup\n\tnode=goofy\n\tkeydir=" + keydir.string() +
                        "\n\tsyncdev=encsync-none\nconn minnie\n\tleft=" + mine +
                        "\n\tright=198.51.100.2\n\trightca=" + ca + "\n");
        return run({"check", "--live", file});
    };
    EXPECT_EQ(certified("40").status, 0);
    const auto soon = certified("20");
    EXPECT_EQ(soon.status, 1);
    EXPECT_NE(soon.err.find("ca.pem expires in "), std::string::npos) << soon.err;
    EXPECT_TRUE(soon.err.ends_with(": usable, but not for long\n")) << soon.err;
    const auto over = certified("-1");
    EXPECT_EQ(over.status, 1);
    EXPECT_NE(over.err.find("ca.pem expired 1 day ago, at "), std::string::npos) << over.err;
    EXPECT_TRUE(over.err.ends_with(": not usable on this machine\n")) << over.err;
}

// With a /proc of the test; tests/lab/test_doctor.py uses the real one.
TEST_F(Command, TheDoctorLooksAtTheStateTable) {
    const auto netfilter = dir_ / "proc/sys/net/netfilter";
    std::filesystem::create_directories(netfilter);
    const auto set = [&](const char* name, int value) {
        write(netfilter / name, std::to_string(value) + "\n");
    };
    cli::Options options;
    options.config = dir_ / "encsync.conf";
    options.run_dir = dir_;
    const auto about_table = [&] {
        std::string text;
        for (const cli::Finding& found : cli::examine(options, dir_ / "proc"))
            if (found.about == "conntrack")
                text += (found.grade == cli::Finding::Grade::good   ? "ok: "
                         : found.grade == cli::Finding::Grade::note ? "note: "
                                                                    : "bad: ") +
                        found.text + "\n";
        return text;
    };
    EXPECT_EQ(about_table(), "bad: the kernel has no state table here: modprobe nf_conntrack\n");
    set("nf_conntrack_max", 1000);
    set("nf_conntrack_count", 899);
    set("nf_conntrack_buckets", 200);
    set("nf_conntrack_events", 2);
    EXPECT_EQ(about_table(), "ok: 899 of 1000 entries are in use\n");
    set("nf_conntrack_count", 900);
    EXPECT_TRUE(about_table().starts_with("note: 900 of 1000 entries are in use: raise"));
    set("nf_conntrack_max", 60); // of so few, too
    set("nf_conntrack_count", 53);
    EXPECT_TRUE(about_table().starts_with("ok: "));
    set("nf_conntrack_max", 1000);
    set("nf_conntrack_count", 0);
    EXPECT_TRUE(about_table().starts_with("note: the state table is empty"));
    set("nf_conntrack_count", 10);
    set("nf_conntrack_buckets", 125);
    EXPECT_TRUE(about_table().starts_with("note: 125 buckets for up to 1000 entries"));
}

TEST_F(Command, TheDoctorSaysWhatEncsyncdSays) {
    const auto lines = [&](const std::string& about) {
        std::string text;
        const json::value said = json::parse(run({"doctor", "--json"}).out);
        for (const json::value& each : said.at("findings").as_array())
            if (each.at("about") == about.c_str())
                text += std::string(each.at("grade").as_string()) + ": " +
                        std::string(each.at("text").as_string());
        return text;
    };
    EXPECT_TRUE(lines("encsyncd").starts_with("bad: does not run in " + dir_.string()));
    start({{"status",
            {{"ready", false},
             {"why", "no ruleset"},
             {"version", "0.0.1"},
             {"machine", json::array{{{"name", "rp_filter"}, {"text", "packets were dropped"}}}},
             {"peers",
              json::array{
                  {{"name", "minnie"}, {"state", "up"}, {"in_step", true}},
                  {{"name", "goofy"}, {"state", "up"}, {"in_step", false}},
                  {{"name", "donald"}, {"state", "down"}, {"last_error", "no \x1b key"}}}}}}});
    EXPECT_TRUE(
        lines("encsyncd").starts_with("bad: not ready: no rulesetnote: it is release 0.0.1"));
    EXPECT_EQ(lines("kernel"), "note: packets were dropped");
    EXPECT_EQ(lines("peer minnie"), "ok: up and in step");
    EXPECT_EQ(lines("peer goofy"), "note: up, but not in step yet");
    EXPECT_EQ(lines("peer donald"), "bad: not up: no \x1b key");
    const auto plain = run({"doctor"});
    EXPECT_EQ(plain.status, 1);
    EXPECT_EQ(plain.out.find('\x1b'), std::string::npos); // nothing that a terminal would obey
    stop();
    start({{"status", "nonsense"}});
    EXPECT_TRUE(lines("encsyncd").starts_with("bad: encsyncd has answered with something else"));
    stop();
}

} // namespace
} // namespace encsync
