// SPDX-License-Identifier: ISC
#include "util/log.hpp"

#include <cstdlib>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace encsync::log {
namespace {

// The output of a process whose stderr is a pipe and whose JOURNAL_STREAM names `journal`.
std::string written(bool journal) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        struct stat file = {};
        ::fstat(journal ? ends[1] : ends[0], &file);
        const auto inode = file.st_ino + (journal ? 0 : 1);
        ::setenv("JOURNAL_STREAM", fmt::format("{}:{}", file.st_dev, inode).c_str(), 1);
        ::setenv("TZ", "XYZ-5:30", 1);
        ::dup2(ends[1], STDERR_FILENO);
        warning("peer {}: down", "minnie");
        debug("not shown");
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string out(200, '\0');
    const ssize_t size = ::read(ends[0], out.data(), out.size());
    ::close(ends[0]);
    ::waitpid(child, nullptr, 0);
    out.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    return out;
}

TEST(Log, TheJournalIsToldTheLevel) {
    EXPECT_EQ(written(true), "<4>peer minnie: down\n");
}

// Control: the variable is set, but stderr is something else.
TEST(Log, AnybodyElseIsToldTheTime) {
    const std::string line = written(false);
    constexpr std::size_t kTime = 24; // 2026-11-27T23:51:48+0530
    ASSERT_GT(line.size(), kTime);
    EXPECT_EQ(line.substr(kTime), " encsyncd: peer minnie: down\n");
    std::tm fields{};
    ASSERT_NE(::strptime(line.c_str(), "%Y-%m-%dT%H:%M:%S+0530 ", &fields), nullptr) << line;
    EXPECT_LE(std::abs(std::difftime(::timegm(&fields) - 5 * 3600 - 1800, std::time(nullptr))), 5);
}

} // namespace
} // namespace encsync::log
