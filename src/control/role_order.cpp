// SPDX-License-Identifier: ISC
#include "control/role_order.hpp"

#include <charconv>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <sstream>
#include <unistd.h>

namespace encsync::control {

namespace {

// Pids wrap around, but few are used within one tick: a distance of more than half of the smallest
// usual pid_max (32768) means that they have wrapped.
constexpr std::uint32_t kRound = 16384;

struct Stat {
    pid_t parent = 0;
    std::uint64_t started = 0;
};

std::optional<Stat> stat_of(pid_t pid) {
    std::ifstream in(fmt::format("/proc/{}/stat", pid));
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const auto name_end = text.rfind(')'); // a name may contain anything
    if (name_end == text.npos)
        return std::nullopt;
    std::istringstream fields(text.substr(name_end + 1));
    Stat stat;
    std::string skipped;
    fields >> skipped >> stat.parent; // the 3rd and 4th of proc_pid_stat(5)
    for (int n = 5; n < 22; n++)
        fields >> skipped;
    fields >> stat.started;
    return fields ? std::optional(stat) : std::nullopt;
}

template<class T>
bool read_number(std::string_view& text, T& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{})
        return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

} // namespace

RoleOrder RoleOrder::now() {
    timespec time{};
    ::clock_gettime(CLOCK_BOOTTIME, &time);
    const auto hz = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
    return {static_cast<std::uint64_t>(time.tv_sec) * hz +
                static_cast<std::uint64_t>(time.tv_nsec) / (1'000'000'000 / hz),
            static_cast<std::uint32_t>(::getpid())};
}

RoleOrder RoleOrder::of_caller() {
    // keepalived makes each of its scripts the leader of a process group. Other programs do not:
    // the leader may be a shell that has run for weeks, and the command it starts now is new.
    const pid_t pid = started_by_keepalived() ? ::getpgrp() : ::getpid();
    const auto stat = stat_of(pid);
    return stat ? RoleOrder{stat->started, static_cast<std::uint32_t>(pid)} : now();
}

Result<RoleOrder> RoleOrder::parse(std::string_view text) {
    RoleOrder order;
    std::string_view rest = text;
    if (!read_number(rest, order.ticks) || !rest.starts_with(' '))
        return Error{"an order is the ticks and the pid of a process"};
    rest.remove_prefix(1);
    if (!read_number(rest, order.pid) || !rest.empty())
        return Error{"an order is the ticks and the pid of a process"};
    return order;
}

std::string RoleOrder::text() const {
    return fmt::format("{} {}", ticks, pid);
}

bool RoleOrder::before(const RoleOrder& other) const {
    if (ticks != other.ticks)
        return ticks < other.ticks;
    return pid < other.pid ? other.pid - pid <= kRound : pid - other.pid > kRound;
}

bool is_keepalived(pid_t pid) {
    std::error_code error;
    const auto program = std::filesystem::read_symlink(fmt::format("/proc/{}/exe", pid), error);
    // "keepalived (deleted)" after an upgrade
    return !error && program.filename().string().starts_with("keepalived");
}

std::optional<pid_t> started_by_keepalived() {
    const auto leader = stat_of(::getpgrp());
    return leader && is_keepalived(leader->parent) ? std::optional(leader->parent) : std::nullopt;
}

} // namespace encsync::control
