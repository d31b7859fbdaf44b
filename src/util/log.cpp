// SPDX-License-Identifier: ISC
#include "util/log.hpp"

#include <cstdlib>
#include <ctime>
#include <fmt/chrono.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

namespace encsync::log {

namespace {
Level threshold = Level::info;
bool syslog_only = false;

// The variable is inherited, also by processes whose stderr is redirected: systemd.exec(5).
bool is_journal(int fd) {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat file = {};
    return stream != nullptr && ::fstat(fd, &file) == 0 &&
           fmt::format("{}:{}", file.st_dev, file.st_ino) == stream;
}

std::string local_time() {
    const std::time_t now = std::time(nullptr);
    std::tm fields{};
    ::localtime_r(&now, &fields);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S%z}", fields);
}

} // namespace

void set_level(Level level) {
    threshold = level;
}

bool enabled(Level level) {
    return level <= threshold;
}

void to_syslog() {
    ::openlog("encsyncd", LOG_PID, LOG_DAEMON);
    syslog_only = true;
}

void write(Level level, std::string_view line) {
    if (!enabled(level))
        return;
    if (syslog_only) {
        ::syslog(static_cast<int>(level), "%.*s", static_cast<int>(line.size()), line.data());
        return;
    }
    static const bool to_journal = is_journal(STDERR_FILENO);
    const std::string out = to_journal ? fmt::format("<{}>{}\n", static_cast<int>(level), line)
                                       : fmt::format("{} encsyncd: {}\n", local_time(), line);
    // One write per line, so that lines of several processes don't mix. If writing the log fails,
    // there is no place to report it.
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, out.data(), out.size());
}

} // namespace encsync::log
