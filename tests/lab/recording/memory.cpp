// SPDX-License-Identifier: ISC
#include "tests/lab/recording/memory.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <unistd.h>
#include <vector>

namespace encsync::recording {
namespace {

// More is a sanitizer's shadow, of which nobody could read all.
constexpr std::uint64_t kLargest = std::uint64_t{1} << 32;

struct Mapping {
    std::uint64_t begin = 0, end = 0;
    bool readable = false, writable = false;
    std::string name;

    // What the kernel put there cannot be read, and has no secret of the process.
    bool kernels() const { return name.starts_with("[v"); }
    bool wanted() const {
        return readable && !kernels() && (writable || name.empty() || name[0] == '[');
    }
};

bool parse(const std::string& line, Mapping& mapping) {
    std::array<char, 5> mode{};
    int path = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %*x %*s %*d %n", &mapping.begin, &mapping.end,
                    mode.data(), &path) < 3)
        return false;
    mapping.readable = mode[0] == 'r';
    mapping.writable = mode[1] == 'w';
    mapping.name = path > 0 ? line.substr(static_cast<std::size_t>(path)) : "";
    return true;
}

std::string first_line(const std::string& file) {
    std::ifstream in(file);
    std::string line;
    std::getline(in, line);
    return line;
}

bool read_at(int fd, std::uint64_t at, std::vector<std::uint8_t>& into) {
    for (std::size_t done = 0; done < into.size();) {
        const ssize_t got =
            ::pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += static_cast<std::size_t>(got);
    }
    return true;
}

// Most of a stack was never used: pages that are zero are left out.
void look_at_pages(const std::string& name, std::uint64_t begin, Bytes area, const Look& look) {
    static constexpr std::array<std::uint8_t, 4096> kZero{};
    const auto is_zero = [&](std::size_t at) {
        return std::memcmp(&area[at], kZero.data(), kZero.size()) == 0;
    };
    for (std::size_t at = 0, end = 0; at < area.size(); at = end) {
        const bool zero = is_zero(at);
        for (end = at; end < area.size() && is_zero(end) == zero;)
            end += kZero.size();
        if (!zero)
            look(fmt::format("{} {:x}", name, begin + at), area.subspan(at, end - at));
    }
}

Result<void> look_at_file(const std::filesystem::path& file, const Look& look) {
    std::ifstream in(file, std::ios::binary);
    const std::vector<char> text{std::istreambuf_iterator<char>(in), {}};
    if (!in)
        return Error{file.string() + ": cannot be read"};
    look(file.string(), {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    return {};
}

} // namespace

Result<void> each_area(pid_t process, const Look& look) {
    const std::string proc = fmt::format("/proc/{}", process);
    const int memory = ::open((proc + "/mem").c_str(), O_RDONLY | O_CLOEXEC);
    if (memory < 0)
        return Error{fmt::format("{}/mem: {}", proc, std::strerror(errno))};
    const std::string name = fmt::format("{} {}", first_line(proc + "/comm"), process);
    std::ifstream maps(proc + "/maps");
    std::vector<std::uint8_t> area;
    Result<void> done;
    for (std::string line; done && std::getline(maps, line);) {
        Mapping mapping;
        if (!parse(line, mapping) || !mapping.wanted())
            continue;
        if (mapping.end - mapping.begin > kLargest) {
            done = Error{name + " was built with a sanitizer: too much memory to search"};
            break;
        }
        area.resize(mapping.end - mapping.begin);
        if (read_at(memory, mapping.begin, area))
            look_at_pages(name + " " + (mapping.name.empty() ? "-" : mapping.name), mapping.begin,
                          area, look);
        else
            done = Error{fmt::format("{}: {}: {}", name, line, std::strerror(errno))};
    }
    ::close(memory);
    return done;
}

Result<void> each_file(const std::string& path, const Look& look) {
    if (!std::filesystem::is_directory(path))
        return look_at_file(path, look);
    for (const auto& each : std::filesystem::recursive_directory_iterator(path))
        if (each.is_regular_file())
            if (auto done = look_at_file(each.path(), look); !done)
                return done;
    return {};
}

} // namespace encsync::recording
