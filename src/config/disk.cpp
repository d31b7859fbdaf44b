// SPDX-License-Identifier: ISC
#include "config/disk.hpp"

#include "util/fd.hpp"

#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <fmt/core.h>
#include <glob.h>
#include <sys/stat.h>
#include <system_error>

namespace encsync::config {

namespace {

std::string reason(int error) {
    return std::generic_category().message(error);
}

} // namespace

std::vector<std::string> Disk::expand(const std::string& pattern,
                                      const std::string& including_file) {
    std::string path = pattern;
    if (!path.starts_with('/')) {
        const std::size_t slash = including_file.rfind('/');
        if (slash != std::string::npos)
            path = including_file.substr(0, slash + 1) + path;
    }
    if (path.find_first_of("*?[") == std::string::npos)
        return {path};
    std::vector<std::string> found;
    glob_t matches{};
    if (::glob(path.c_str(), 0, nullptr, &matches) == 0)
        found.assign(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    ::globfree(&matches);
    return found;
}

Result<std::string> Disk::read(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd)
        return Error{reason(errno)};
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0)
        return Error{reason(errno)};
    if (S_ISDIR(status.st_mode))
        return Error{reason(EISDIR)};
    if (!S_ISREG(status.st_mode))
        return Error{"Not a regular file"};
    const Error too_large{fmt::format("it has more than {} bytes", kMaxFileSize)};
    if (status.st_size > static_cast<off_t>(kMaxFileSize))
        return too_large;
    std::string text;
    char buffer[16384];
    for (;;) {
        const ssize_t size = ::read(fd.get(), buffer, sizeof buffer);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return Error{reason(errno)};
        if (size == 0)
            return text;
        text.append(buffer, static_cast<std::size_t>(size));
        if (text.size() > kMaxFileSize) // it grew meanwhile
            return too_large;
    }
}

std::string Disk::host_name() {
    char name[HOST_NAME_MAX + 1] = {};
    return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

} // namespace encsync::config
