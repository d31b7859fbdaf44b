// SPDX-License-Identifier: ISC
#include "daemon/landlock.hpp"

#include "util/fd.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace encsync::daemon {

namespace {

// Executing files, writing files, creating and removing directory entries; then the rights that the
// second and the third version of the interface add: moving to another directory, and truncating
// (which headers before Linux 6.2 do not have).
constexpr std::uint64_t kTruncate = std::uint64_t{1} << 14;
constexpr std::uint64_t kRights[] = {
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
        LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
        LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
        LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM,
    LANDLOCK_ACCESS_FS_REFER,
    kTruncate,
};

// The control socket, and the few files beside it.
constexpr std::uint64_t kBeneath = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                   LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                                   kTruncate;

Error failed(std::string_view what) {
    return Error{fmt::format("sandbox: Landlock: {}: {}", what, std::strerror(errno))};
}

Result<void> allow(const Fd& rules, const std::string& path, std::uint64_t rights) {
    const Fd place(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!place)
        return failed(path);
    landlock_path_beneath_attr rule{};
    rule.allowed_access = rights;
    rule.parent_fd = place.get();
    if (::syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        return failed(path);
    return {};
}

} // namespace

Result<bool> write_only_beneath(const std::string& directory) {
    const long version =
        ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
    // Not built in, not switched on, or a container's filter does not know it.
    if (version < 0 && (errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM))
        return false;
    if (version < 0)
        return failed("version");
    landlock_ruleset_attr handled{};
    for (long known = 0; known < std::min<long>(version, std::size(kRights)); known++)
        handled.handled_access_fs |= kRights[known];
    const Fd rules(static_cast<int>(
        ::syscall(SYS_landlock_create_ruleset, &handled, sizeof handled.handled_access_fs, 0)));
    if (!rules)
        return failed("rules");
    if (!directory.empty())
        if (auto done = allow(rules, directory, kBeneath & handled.handled_access_fs); !done)
            return done.error();
    const auto to_file = LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;
    if (auto done = allow(rules, "/dev/null", to_file & handled.handled_access_fs); !done)
        return done.error();
    if (::syscall(SYS_landlock_restrict_self, rules.get(), 0) != 0)
        return failed("restrict");
    return true;
}

} // namespace encsync::daemon
