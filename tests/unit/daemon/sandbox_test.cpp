// SPDX-License-Identifier: ISC
#include "daemon/sandbox.hpp"

#include "tests/unit/trial.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace encsync::daemon {
namespace {

using trial::kKilled;

struct Row {
    const char* what;
    bool (*action)();
    int confined, free; // results of trial()
};

const Row kRows[] = {
    {"nothing", [] { return true; }, 0, 0},
    {"a program",
     [] {
         char* const argv[] = {nullptr};
         return ::execv("/nonexistent", argv) == 0;
     },
     kKilled, ENOENT},
    {"mount", [] { return ::mount("none", "/nonexistent", "tmpfs", 0, nullptr) == 0; }, kKilled,
     ENOENT},
    {"namespace", [] { return ::unshare(CLONE_NEWUTS) == 0; }, kKilled, 0},
    {"kernel module", [] { return ::syscall(SYS_init_module, nullptr, 0, "") == 0; }, kKilled, -1},
    {"another user", [] { return ::setuid(65534) == 0; }, kKilled, 0},
    {"a packet socket", [] { return ::socket(AF_PACKET, SOCK_RAW, 0) >= 0; }, EPERM, 0},
    {"a socket", [] { return ::socket(AF_INET, SOCK_DGRAM, 0) >= 0; }, 0, 0},
    {"netlink", [] { return ::socket(AF_NETLINK, SOCK_RAW, 12) >= 0; }, 0, 0},
    {"port 500",
     [] {
         const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
         sockaddr_in at{};
         at.sin_family = AF_INET;
         at.sin_addr.s_addr = htonl(0x7f000063); // 127.0.0.99
         at.sin_port = htons(500);
         return ::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0;
     },
     0, 0},
    {"a file", [] { return ::open("/etc/passwd", O_RDONLY) >= 0; }, 0, 0},
    {"another's file", [] { return ::chown("/nonexistent", 1, 1) == 0; }, EPERM, ENOENT},
    {"memory",
     [] {
         return ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
                MAP_FAILED;
     },
     0, 0},
    {"code",
     [] {
         return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
                MAP_FAILED;
     },
     EPERM, 0},
    {"niceness", [] { return ::setpriority(PRIO_PROCESS, 0, 1) == 0; }, EPERM, 0},
};

class Sandbox : public testing::TestWithParam<Row> {};

TEST_P(Sandbox, AllowsWhatIsNeededAndNothingElse) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root";
    const Row& row = GetParam();
    EXPECT_EQ(trial::outcome([] { return bool(confine({})); }, row.action), row.confined);
    if (row.free >= 0) { // not tried on the machine that runs the test
        EXPECT_EQ(trial::outcome([] { return true; }, row.action), row.free);
    }
}

// Landlock: a kernel without it is detected, and is no failure.
TEST(SandboxFiles, ChangeInOneDirectoryOnly) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root";
    char name[] = "/tmp/encsync-sandbox-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    const std::string place = name, run = place + "/run", other = place + "/other";
    ASSERT_EQ(::mkdir(run.c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(other.c_str(), 0755), 0);
    const auto confined = [&] { return bool(confine({.writable = run})); };
    const auto free = [] { return true; };
    const auto make = [](const std::string& file) {
        return [=] { return ::open(file.c_str(), O_WRONLY | O_CREAT, 0600) >= 0; };
    };
    const auto rename = [](const std::string& from, const std::string& to) {
        return [=] { return std::rename(from.c_str(), to.c_str()) == 0; };
    };
    const auto remove = [](const std::string& file) {
        return [=] { return ::unlink(file.c_str()) == 0; };
    };
    const int refused =
        ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0
            ? EACCES
            : 0;

    EXPECT_EQ(trial::outcome(confined, make(run + "/new")), 0);
    EXPECT_EQ(trial::outcome(confined, rename(run + "/new", run + "/role")), 0);
    EXPECT_EQ(trial::outcome(confined, remove(run + "/role")), 0);
    EXPECT_EQ(trial::outcome(confined, [] { return ::open("/dev/null", O_RDWR) >= 0; }), 0);

    EXPECT_EQ(trial::outcome(confined, make(other + "/new")), refused);
    EXPECT_EQ(trial::outcome(free, make(other + "/new")), 0);
    EXPECT_EQ(trial::outcome(confined, make(other + "/new")), refused); // an existing one
    EXPECT_EQ(
        trial::outcome(confined, [&] { return ::open((other + "/new").c_str(), O_RDONLY) >= 0; }),
        0);
    EXPECT_EQ(trial::outcome(confined, remove(other + "/new")), refused);
    std::filesystem::remove_all(place);
}

// systemd-nspawn's filter answers so to all system calls that it does not know.
TEST(SandboxFiles, GoWithoutLandlockWhereAContainerForbidsIt) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root";
    const auto confined = [](int number) {
        return [number] {
            const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
            return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0) == 0 &&
                   seccomp_load(filter) == 0 && bool(confine({.writable = "/tmp"}));
        };
    };
    const auto nothing = [] { return true; };
    EXPECT_EQ(trial::outcome(confined(SCMP_SYS(landlock_create_ruleset)), nothing), 0);
    EXPECT_NE(trial::outcome(confined(SCMP_SYS(capset)), nothing), 0); // this one is needed
}

TEST(SandboxRaw, SocketsOnlyForWhoeverNeedsThem) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root";
    const auto raw = [] { return ::socket(AF_INET, SOCK_RAW, 240) >= 0; };
    const auto confined = [](bool raw_sockets) {
        return [=] { return bool(confine({.writable = {}, .raw_sockets = raw_sockets})); };
    };
    EXPECT_EQ(trial::outcome(confined(true), raw), 0);
    EXPECT_EQ(trial::outcome(confined(false), raw), EPERM);
}

// The process that writes keys.
TEST(SandboxNetwork, IsGivenUpIfItIsNotNeeded) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root";
    const auto confined = [](bool network) {
        return [=] { return bool(confine({.writable = {}, .network = network})); };
    };
    for (const int family : {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}) {
        const auto make = [=] { return ::socket(family, SOCK_DGRAM, 0) >= 0; };
        EXPECT_EQ(trial::outcome(confined(true), make), 0) << family;
        EXPECT_EQ(trial::outcome(confined(false), make), EPERM) << family;
        const auto pair = [=] {
            int ends[2];
            return ::socketpair(family, SOCK_DGRAM, 0, ends) == 0;
        };
        EXPECT_EQ(trial::outcome(confined(false), pair), EPERM) << family;
    }
}

INSTANTIATE_TEST_SUITE_P(Rows, Sandbox, testing::ValuesIn(kRows), [](const auto& row) {
    std::string name = row.param.what;
    for (char& c : name)
        c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
    return name;
});

} // namespace
} // namespace encsync::daemon
