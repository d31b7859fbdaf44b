// SPDX-License-Identifier: ISC
#include "util/log.hpp"

#include <cstdlib>
#include <syslog.h>
#include <unistd.h>

namespace encsync::log {

namespace {
Level threshold = Level::info;
bool syslog_only = false;
const bool to_journal = std::getenv("JOURNAL_STREAM") != nullptr;
} // namespace

void set_level(Level level) { threshold = level; }

bool enabled(Level level) { return level <= threshold; }

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
    const std::string out = to_journal ? fmt::format("<{}>{}\n", static_cast<int>(level), line)
                                       : fmt::format("encsyncd: {}\n", line);
    // One write per line, so that lines of several processes don't mix. A log that cannot be
    // written has nowhere to be reported.
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, out.data(), out.size());
}

} // namespace encsync::log
