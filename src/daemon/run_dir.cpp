// SPDX-License-Identifier: ISC
#include "daemon/run_dir.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
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
    if (!in)
        return std::nullopt;
    return std::string{std::istreambuf_iterator<char>(in), {}};
}

Result<void> RunDir::write(const char* name, const std::string& text) const {
    const std::string path = path_ + "/" + name, fresh = path + ".new";
    std::ofstream out(fresh, std::ios::trunc);
    out << text;
    out.close();
    if (!out || std::rename(fresh.c_str(), path.c_str()) != 0)
        return Error{fmt::format("cannot write {}: {}", path, std::strerror(errno))};
    return {};
}

std::optional<sync::Role> RunDir::role() const {
    const auto text = read(kRole);
    for (const sync::Role role : {sync::Role::automatic, sync::Role::active, sync::Role::standby})
        if (text && *text == fmt::format("{}\n", sync::to_string(role)))
            return role;
    return std::nullopt;
}

Result<void> RunDir::remember_role(sync::Role role) const {
    return write(kRole, fmt::format("{}\n", sync::to_string(role)));
}

bool RunDir::table_kept() const {
    return read(kTable) == where();
}

Result<void> RunDir::remember_table() const {
    return write(kTable, where());
}

} // namespace encsync::daemon
