// SPDX-License-Identifier: ISC
// One line to stderr per call: with a prefix of the syslog level for journald if stderr is the
// journal (sd-daemon(3)), and with the local time otherwise:
// "2026-11-27T18:21:48+0100 encsyncd: peer minnie: up".
//
//     log::info("peer {}: up", name);
#pragma once

#include <fmt/core.h>
#include <string_view>

namespace encsync::log {

enum class Level { error = 3, warning = 4, notice = 5, info = 6, debug = 7 };

// Messages above this level are dropped. Default: info.
void set_level(Level level);
bool enabled(Level level);
// Switches to syslog(3), facility daemon: for a process without a terminal.
void to_syslog();
void write(Level level, std::string_view line);

template<class... A>
void error(fmt::format_string<A...> f, A&&... a) {
    write(Level::error, fmt::format(f, std::forward<A>(a)...));
}
template<class... A>
void warning(fmt::format_string<A...> f, A&&... a) {
    write(Level::warning, fmt::format(f, std::forward<A>(a)...));
}
template<class... A>
void notice(fmt::format_string<A...> f, A&&... a) {
    write(Level::notice, fmt::format(f, std::forward<A>(a)...));
}
template<class... A>
void info(fmt::format_string<A...> f, A&&... a) {
    write(Level::info, fmt::format(f, std::forward<A>(a)...));
}
template<class... A>
void debug(fmt::format_string<A...> f, A&&... a) {
    if (enabled(Level::debug))
        write(Level::debug, fmt::format(f, std::forward<A>(a)...));
}

} // namespace encsync::log
