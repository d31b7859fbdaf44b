// SPDX-License-Identifier: ISC
#include "ipsec/plugin/charon_filter.hpp"

#include "tests/unit/trial.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace encsync::supervisor {
namespace {

struct Row {
    const char* what;
    bool (*action)();
    int confined, free; // results of trial::outcome
};

bool new_user_namespace(long flags) {
    const long child = ::syscall(SYS_clone, CLONE_NEWUSER | flags, 0, 0, 0, 0);
    if (child == 0)
        ::_exit(0);
    return child > 0;
}

const Row kRows[] = {
    {"Nothing", [] { return true; }, 0, 0},
    {"SyslogSocket", [] { return ::socket(AF_UNIX, SOCK_DGRAM, 0) >= 0; }, 0, 0},
    {"NetworkSocket", [] { return ::socket(AF_INET, SOCK_DGRAM, 0) >= 0; }, EPERM, 0},
    {"Netlink", [] { return ::socket(AF_NETLINK, SOCK_RAW, 0) >= 0; }, EPERM, 0},
    {"Mount", [] { return ::mount("none", "/nonexistent", "tmpfs", 0, nullptr) == 0; }, EPERM,
     ENOENT},
    {"UserNamespaceByUnshare", [] { return ::unshare(CLONE_NEWUSER) == 0; }, EPERM, 0},
    {"UserNamespaceByClone", [] { return new_user_namespace(SIGCHLD); }, EPERM, 0},
    {"UserNamespaceAmongOthers", [] { return new_user_namespace(CLONE_NEWNET | SIGCHLD); }, EPERM,
     0},
    {"Clone3", [] { return ::syscall(SYS_clone3, nullptr, 0) == 0; }, ENOSYS, EINVAL},
    {"AnotherProcess", [] { return ::fork() >= 0; }, 0, 0}, // the launcher forks charons
    {"Trace", [] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0; }, EPERM, 0},
};

class CharonFilter : public testing::TestWithParam<Row> {};

TEST_P(CharonFilter, RefusesWhatWouldGetItMore) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root";
    const auto confine = [] {
        return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && filter_charon();
    };
    EXPECT_EQ(trial::outcome(confine, GetParam().action), GetParam().confined);
    const int free = trial::outcome([] { return true; }, GetParam().action);
    if (free == EPERM && std::string(GetParam().what).starts_with("UserNamespace"))
        GTEST_SKIP() << "nobody makes user namespaces here: a chroot";
    EXPECT_EQ(free, GetParam().free);
}

INSTANTIATE_TEST_SUITE_P(Rows, CharonFilter, testing::ValuesIn(kRows),
                         [](const auto& row) { return std::string(row.param.what); });

} // namespace
} // namespace encsync::supervisor
