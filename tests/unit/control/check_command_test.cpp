// SPDX-License-Identifier: ISC
// encsync check: of a file alone, and whether this machine can run it.
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

    // Certificates that expire: days is what openssl is told.
    const auto certified = [&](const std::string& days) {
        const std::string ca = dir_ / "ca.pem", key = dir_ / "ca.key", request = dir_ / "ca.csr";
        const std::string command =
            "openssl req -new -newkey ed25519 -nodes -subj /CN=ca -keyout " + key + " -out " +
            request + " 2>/dev/null && openssl x509 -req -in " + request + " -signkey " + key +
            " -days " + days + " -out " + ca + " 2>/dev/null";
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

} // namespace
} // namespace encsync
