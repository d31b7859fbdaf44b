// SPDX-License-Identifier: ISC
#include "keys/directory.hpp"

#include "keys/io.hpp"
#include "keys/secret.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>

namespace encsync::keys {

namespace {

constexpr std::string_view kTemporary = ".new-";

Error failed(std::string_view what, const std::string& path, int error) {
    return Error{fmt::format("{}: {}: {}", path, what, std::strerror(error))};
}

Result<void> check_private(int fd, const std::string& path, bool directory) {
    struct stat info {};
    if (::fstat(fd, &info) != 0)
        return failed("cannot look at it", path, errno);
    if (!directory && !S_ISREG(info.st_mode))
        return Error{fmt::format("{}: not a regular file", path)};
    if (info.st_uid != ::geteuid())
        return Error{fmt::format("{}: belongs to user {}, not to user {} who reads it", path,
                                 info.st_uid, ::geteuid())};
    const mode_t allowed = directory ? 0700 : 0600;
    if ((info.st_mode & 07777 & ~allowed) != 0)
        return Error{fmt::format("{}: mode {:04o} lets others in; it must be {:04o}", path,
                                 info.st_mode & 07777, allowed)};
    return {};
}

} // namespace

Result<Directory> Directory::open(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd && errno == ENOENT)
        return Error{fmt::format("{}: no keys here; 'encsync keys init' makes them", path)};
    if (!fd)
        return failed("cannot open the key directory", path, errno);
    if (auto ok = check_private(fd.get(), path, true); !ok)
        return ok.error();
    return Directory(path, std::move(fd));
}

Result<Directory> Directory::create(const std::string& path) {
    const auto parent = std::filesystem::path(path).parent_path();
    std::error_code error;
    if (!parent.empty())
        std::filesystem::create_directories(parent, error);
    if (error)
        return Error{fmt::format("{}: cannot be made: {}", parent.string(), error.message())};
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        return failed("cannot make the key directory", path, errno);
    return open(path);
}

Result<Fd> Directory::lock() const {
    return lock(LOCK_EX);
}

Result<Fd> Directory::lock_unless_held() const {
    return lock(LOCK_EX | LOCK_NB);
}

Result<Fd> Directory::lock(int operation) const {
    // A description of its own: flock(2) belongs to the description, not to the descriptor.
    Fd fd(::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd)
        return failed("cannot open the key directory", path_, errno);
    int status;
    while ((status = ::flock(fd.get(), operation)) != 0 && errno == EINTR)
        ;
    if (status != 0 && errno == EWOULDBLOCK)
        return Fd();
    if (status != 0)
        return failed("cannot lock the key directory", path_, errno);
    (void)remove_all(kTemporary); // their writer is gone; if they stay, they do no harm
    return fd;
}

Result<Fd> Directory::open_file(const char* name) const {
    // Not blocking: a FIFO in the file's place must not block us before its type is checked.
    Fd fd(::openat(fd_.get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!fd && errno == ENOENT)
        return fd;
    if (!fd && errno == ELOOP)
        return Error{fmt::format("{}: is a symbolic link", path_of(name))};
    if (!fd)
        return failed("cannot open it", path_of(name), errno);
    if (auto ok = check_private(fd.get(), path_of(name), false); !ok)
        return ok.error();
    return fd;
}

Result<std::optional<std::size_t>> Directory::read(const char* name, MutableBytes into) const {
    const auto fd = open_file(name);
    if (!fd)
        return fd.error();
    if (!*fd)
        return std::optional<std::size_t>();
    const auto size = read_all(fd->get(), into);
    if (!size)
        return failed("cannot read it", path_of(name), errno);
    if (*size == into.size())
        return Error{fmt::format("{}: longer than {} bytes", path_of(name), into.size() - 1)};
    return size;
}

Result<std::optional<std::string>> Directory::read_text(const char* name, std::size_t most) const {
    const auto fd = open_file(name);
    if (!fd)
        return fd.error();
    if (!*fd)
        return std::optional<std::string>();
    struct stat info {};
    if (::fstat(fd->get(), &info) != 0)
        return failed("cannot look at it", path_of(name), errno);
    // One more byte shows whether it has grown meanwhile.
    std::string text(std::min(static_cast<std::size_t>(info.st_size), most) + 1, '\0');
    const auto size =
        read_all(fd->get(), {reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
    if (!size)
        return failed("cannot read it", path_of(name), errno);
    if (*size > most)
        return Error{fmt::format("{}: longer than {} bytes", path_of(name), most)};
    // What was added since is not whole yet, or is read the next time.
    text.resize(std::min(*size, static_cast<std::size_t>(info.st_size)));
    return std::optional(std::move(text));
}

Result<bool> Directory::has(const char* name) const {
    struct stat info {};
    if (::fstatat(fd_.get(), name, &info, AT_SYMLINK_NOFOLLOW) == 0)
        return true;
    if (errno == ENOENT)
        return false;
    return failed("cannot look at it", path_of(name), errno);
}

Result<void> Directory::write(const char* name, Bytes content) const {
    const std::string temporary = fmt::format("{}{:08x}", kTemporary, randombytes_random());
    const auto attempt = [&]() -> Result<void> {
        Fd fd(::openat(fd_.get(), temporary.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (!fd)
            return failed("cannot write", path_of(name), errno);
        if (!write_and_sync(fd.get(), content))
            return failed("cannot write", path_of(name), errno);
        return rename(temporary.c_str(), name);
    };
    auto result = attempt();
    if (!result)
        ::unlinkat(fd_.get(), temporary.c_str(), 0);
    return result;
}

Result<void> Directory::append(const char* name, std::size_t keep, Bytes content) const {
    Fd fd(::openat(fd_.get(), name,
                   O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                   0600));
    if (!fd)
        return failed("cannot write", path_of(name), errno);
    if (auto ok = check_private(fd.get(), path_of(name), false); !ok)
        return ok;
    const auto end = static_cast<off_t>(keep);
    struct stat info {};
    // Only if it must: the file may be one to which one can but append (chattr +a).
    if (::fstat(fd.get(), &info) != 0 || (info.st_size > end && ::ftruncate(fd.get(), end) != 0))
        return failed("cannot write", path_of(name), errno);
    if (!write_and_sync(fd.get(), content)) {
        const Error error = failed("cannot write", path_of(name), errno);
        if (::ftruncate(fd.get(), end) != 0)
            return Error{error.text + "; its end is cut short"};
        return error;
    }
    return sync();
}

Result<void> Directory::rename(const char* from, const char* to) const {
    if (::renameat(fd_.get(), from, fd_.get(), to) != 0)
        return failed("cannot put it in place", path_of(to), errno);
    return sync();
}

Result<void> Directory::remove(const char* name) const {
    if (::unlinkat(fd_.get(), name, 0) != 0)
        return failed("cannot remove it", path_of(name), errno);
    return sync();
}

Result<void> Directory::sync() const {
    if (::fsync(fd_.get()) != 0)
        return failed("cannot sync the key directory", path_, errno);
    return {};
}

bool Directory::is_at(const std::string& path) const {
    struct stat here {
    }, there{};
    return ::fstat(fd_.get(), &here) == 0 && ::lstat(path.c_str(), &there) == 0 &&
           here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

Result<void> Directory::clear() const {
    if (auto ok = remove_all(""); !ok)
        return ok;
    return sync();
}

Result<std::vector<std::string>> Directory::names(std::string_view prefix) const {
    const int fd = ::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed("cannot open the key directory", path_, errno);
    const auto close = [](DIR* d) { ::closedir(d); };
    const std::unique_ptr<DIR, decltype(close)> listing(::fdopendir(fd), close);
    if (!listing) {
        ::close(fd);
        return failed("cannot list the key directory", path_, errno);
    }
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(listing.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != ".." && name.starts_with(prefix))
            names.emplace_back(name);
    }
    std::ranges::sort(names);
    return names;
}

Result<void> Directory::remove_all(std::string_view prefix) const {
    auto all = names(prefix);
    if (!all)
        return all.error();
    for (const std::string& name : *all)
        if (::unlinkat(fd_.get(), name.c_str(), 0) != 0)
            return failed("cannot remove it", path_of(name.c_str()), errno);
    return {};
}

} // namespace encsync::keys
