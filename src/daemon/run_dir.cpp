// SPDX-License-Identifier: ISC
#include "daemon/run_dir.hpp"

#include "util/fd.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sys/file.h>
#include <sys/stat.h>

namespace encsync::daemon {

namespace {

constexpr const char* kRole = "role";
constexpr const char* kTable = "table";

// This boot and this network namespace, in one line.
std::string where() {
    std::ifstream boot("/proc/sys/kernel/random/boot_id");
    std::string id;
    std::getline(boot, id);
    struct stat net {};
    ::stat("/proc/self/ns/net", &net);
    return fmt::format("{} {}\n", id, net.st_ino);
}

} // namespace

Result<void> RunDir::prepare() const {
    std::error_code error;
    std::filesystem::create_directories(path_, error);
    if (error)
        return Error{fmt::format("cannot make the run directory {}: {}", path_, error.message())};
    return {};
}

std::optional<std::string> RunDir::read(const char* name) const {
    std::ifstream in(path_ + "/" + name);
    std::string text;
    std::getline(in, text, '\0'); // all of it
    return in.is_open() && !in.bad() ? std::optional(text) : std::nullopt;
}

Result<void> RunDir::write(const char* name, const std::string& text) const {
    // The daemon and the command may write at the same time.
    const std::string path = path_ + "/" + name, fresh = fmt::format("{}.{}", path, ::getpid());
    std::ofstream out(fresh, std::ios::trunc);
    out << text;
    out.close();
    if (out && std::rename(fresh.c_str(), path.c_str()) == 0)
        return {};
    const int reason = errno;
    ::unlink(fresh.c_str());
    return Error{fmt::format("cannot write {}: {}", path, std::strerror(reason))};
}

// The role alone on the first line: scripts read it.
std::optional<RequestedRole> RunDir::role() const {
    const auto text = read(kRole).value_or("");
    const auto end = std::min(text.find('\n'), text.size());
    for (const sync::Role role : {sync::Role::automatic, sync::Role::active, sync::Role::standby}) {
        if (text.compare(0, end, sync::to_string(role)) != 0)
            continue;
        RequestedRole requested{role, {}};
        auto rest = std::string_view(text).substr(end);
        if (rest.size() > 2)
            if (auto order = control::RoleOrder::parse(rest.substr(1, rest.size() - 2)))
                requested.order = *order;
        // Of an earlier boot, in a directory that is not a tmpfs.
        if (control::RoleOrder::now().ticks < requested.order.ticks)
            requested.order = {};
        return requested;
    }
    return std::nullopt;
}

Result<void> RunDir::remember_role(const RequestedRole& requested) const {
    return write(kRole,
                 fmt::format("{}\n{}\n", sync::to_string(requested.role), requested.order.text()));
}

Result<std::optional<RequestedRole>> RunDir::leave_role(const RequestedRole& requested) const {
    const std::string path = path_ + "/role.lock";
    const Fd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock || ::flock(lock.get(), LOCK_EX) != 0)
        return Error{fmt::format("cannot lock {}: {}", path, std::strerror(errno))};
    if (const auto former = role(); former && requested.order.before(former->order))
        return former;
    if (auto written = remember_role(requested); !written)
        return written.error();
    return std::optional<RequestedRole>();
}

bool RunDir::table_kept() const {
    return read(kTable) == where();
}

Result<void> RunDir::remember_table() const {
    return write(kTable, where());
}

} // namespace encsync::daemon
