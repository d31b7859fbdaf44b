// SPDX-License-Identifier: ISC
// With a /proc of the test. tests/lab/test_machine.py uses the real one.
#include "daemon/machine.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace encsync::daemon {
namespace {

using namespace std::chrono_literals;

class MachineTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "/machine.XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        proc_ = name;
        for (const char* directory : {"sys/net/netfilter", "net", "sys/net/ipv4/conf/all",
                                      "sys/net/ipv4/conf/lo", "sys/net/ipv4/conf/outside"})
            std::filesystem::create_directories(proc_ + "/" + directory);
        set("events", 1);
        set("max", 1000);
        set("buckets", 1000);
        set("count", 10);
        set("tcp_loose", 0);
        set("tcp_be_liberal", 0);
        dropped(7);
        for (const char* interface : {"all", "lo", "outside"})
            reverse_path(interface, 1);
        known_.states = 10;
        known_.peers = {{"minnie", 10, sync::TcpTracking{}}, {"pf", 0, std::nullopt}};
    }
    void TearDown() override { std::filesystem::remove_all(proc_); }

    void write(const std::string& file, const std::string& text) {
        std::ofstream(proc_ + "/" + file) << text << "\n";
    }
    void set(const std::string& name, std::uint64_t value) {
        write("sys/net/netfilter/nf_conntrack_" + name, std::to_string(value));
    }
    void dropped(unsigned packets) {
        write("net/netstat", "TcpExt: SyncookiesSent IPReversePathFilter TW\nTcpExt: 99 " +
                                 std::to_string(packets) + " 5\nIpExt: InOctets\nIpExt: 12");
    }
    void reverse_path(const std::string& interface, unsigned mode) {
        write("sys/net/ipv4/conf/" + interface + "/rp_filter", std::to_string(mode));
    }
    void open() { machine_.emplace(MachineOptions{.proc = proc_}); }
    // The names of its complaints; with a "!" if it breaks syncing. Each is one that metrics count.
    std::string complaints(std::chrono::seconds later = 1s) {
        known_.now += later;
        machine_->look(known_);
        std::string names;
        for (const Complaint& c : machine_->complaints()) {
            names += (names.empty() ? "" : ", ") + c.name + (c.breaks ? "!" : "");
            EXPECT_TRUE(std::ranges::count(kComplaints, c.name.substr(0, c.name.find(' '))) == 1)
                << c.name;
        }
        return names;
    }
    const std::string& text() { return machine_->complaints().at(0).text; }

    std::string proc_;
    Known known_;
    std::optional<Machine> machine_;
};

TEST_F(MachineTest, IsSilentWhereNothingIsWrong) {
    open();
    EXPECT_EQ(complaints(), "");
    EXPECT_EQ(complaints(), "");
    EXPECT_FALSE(machine_->missed_events());
    EXPECT_EQ(machine_->tracking(), sync::TcpTracking{});
}

TEST_F(MachineTest, IsSilentWhereTheKernelTellsNothing) {
    std::filesystem::remove_all(proc_ + "/sys");
    std::filesystem::remove_all(proc_ + "/net");
    open();
    EXPECT_EQ(complaints(), "");
    EXPECT_EQ(complaints(), "");
    EXPECT_EQ(machine_->tracking(), std::nullopt);
}

TEST_F(MachineTest, SetsEventsBack) {
    open();
    complaints();
    set("events", 0);
    EXPECT_EQ(complaints(), "");
    EXPECT_TRUE(machine_->missed_events());
    std::string value;
    std::ifstream(proc_ + "/sys/net/netfilter/nf_conntrack_events") >> value;
    EXPECT_EQ(value, "1");
    EXPECT_EQ(complaints(), "");
    EXPECT_FALSE(machine_->missed_events());
    set("events", 2); // not off
    EXPECT_EQ(complaints(), "");
    EXPECT_FALSE(machine_->missed_events());
}

TEST_F(MachineTest, ComplainsOfEventsThatItCannotSet) {
    const std::string file = proc_ + "/sys/net/netfilter/nf_conntrack_events";
    std::filesystem::remove(file);
    open();
    set("events", 0);
    EXPECT_EQ(complaints(), "nf_conntrack_events!");
    EXPECT_FALSE(machine_->missed_events());
    set("events", 1);
    EXPECT_EQ(complaints(), "");
    EXPECT_TRUE(machine_->missed_events());
    set("events", 2);
    EXPECT_EQ(complaints(), "");
    EXPECT_FALSE(machine_->missed_events());
}

TEST_F(MachineTest, ComplainsOfATableThatIsTooSmallForAPeer) {
    open();
    known_.peers[0].states = 1000;
    EXPECT_EQ(complaints(), "");
    known_.peers[0].states = 1001;
    EXPECT_EQ(complaints(), "nf_conntrack_max");
    EXPECT_NE(text().find("minnie has 1001 states: they"), std::string::npos) << text();
    known_.peers[0].states = 900;
    EXPECT_EQ(complaints(), "");
    set("count", 111); // 101 of them are not synced
    EXPECT_EQ(complaints(), "nf_conntrack_max");
    EXPECT_NE(text().find("900 states, beside 101 here"), std::string::npos) << text();
    set("max", 0); // no limit
    EXPECT_EQ(complaints(), "");
}

TEST_F(MachineTest, KnowsTheRoomThatIsLeftBesideTheReserve) {
    open();
    EXPECT_EQ(machine_->room(0), 990);
    EXPECT_EQ(machine_->room(5), 940);
    set("count", 960);
    EXPECT_EQ(machine_->room(5), -10);
    set("max", 0); // no limit
    EXPECT_EQ(machine_->room(5), std::nullopt);
    std::filesystem::remove(proc_ + "/sys/net/netfilter/nf_conntrack_max");
    EXPECT_EQ(machine_->room(5), std::nullopt);
}

TEST_F(MachineTest, ComplainsOfBucketsThatAreTooFew) {
    open();
    set("buckets", 2);
    set("count", 15);
    EXPECT_EQ(complaints(), "");
    set("count", 16);
    EXPECT_EQ(complaints(), "nf_conntrack_buckets");
    EXPECT_NE(text().find("set it to 1000"), std::string::npos) << text();
}

TEST_F(MachineTest, ComplainsOfAPeerThatJudgesTcpOtherwise) {
    open();
    known_.peers[0].tracking = {true, true};
    EXPECT_EQ(complaints(), "nf_conntrack_tcp_loose minnie, nf_conntrack_tcp_be_liberal minnie");
    set("tcp_loose", 1);
    set("tcp_be_liberal", 1);
    EXPECT_EQ(complaints(), "");
    EXPECT_EQ(machine_->tracking(), (sync::TcpTracking{true, true}));
    known_.peers[0].tracking.reset(); // it does not send it
    EXPECT_EQ(complaints(), "");
}

TEST_F(MachineTest, ComplainsOfPacketsThatTheReversePathFilterDropped) {
    open();
    EXPECT_EQ(complaints(), ""); // strict, but nothing was dropped since the start
    dropped(9);
    EXPECT_EQ(complaints(), "rp_filter");
    EXPECT_NE(text().find("dropped 2 packets"), std::string::npos) << text();
    EXPECT_NE(text().find("rp_filter=1 on outside"), std::string::npos) << text();
}

TEST_F(MachineTest, ComplainsOfOneThatDeletesManyEntries) {
    open();
    known_.removed_by_others = 60; // an operator's command
    EXPECT_EQ(complaints(), "");
    known_.removed_by_others += 60;
    EXPECT_EQ(complaints(90s), "");
    known_.removed_by_others += 60;
    EXPECT_EQ(complaints(), "removed_by_others");
    EXPECT_EQ(complaints(59s), "removed_by_others");
    EXPECT_EQ(complaints(3s), "");
}

} // namespace
} // namespace encsync::daemon
