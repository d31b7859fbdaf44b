// SPDX-License-Identifier: ISC
#include "ipsec/plugin/charon_user.hpp"

#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <pwd.h>
#include <sstream>
#include <string_view>
#include <unistd.h>

namespace encsync::supervisor {
namespace {

constexpr uid_t kNobody = 65534;
constexpr uid_t kFirstDynamic = 61184, kLastDynamic = 65519;

// The user ids of running processes, and for each the name of one that is not of encsync's.
using Users = std::map<uid_t, std::string>;

bool is_ours(std::string_view program) {
    return program == "encsync-ike" || program == "charon"; // of another encsyncd
}

Users running() {
    Users users;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
        const std::string pid = entry.path().filename();
        if (pid.find_first_not_of("0123456789") != pid.npos)
            continue;
        std::ifstream status(entry.path() / "status");
        std::string program;
        for (std::string line; std::getline(status, line);) {
            if (line.starts_with("Name:\t"))
                program = line.substr(6);
            if (!line.starts_with("Uid:\t"))
                continue;
            std::istringstream ids(line.substr(5)); // real, effective, saved, file system
            for (uid_t uid; ids >> uid;) {
                std::string& other = users[uid];
                if (!is_ours(program) && other.empty())
                    other = fmt::format("{}, pid {}", program, pid);
            }
        }
    }
    return users;
}

Result<CharonUser> unused() {
    const Users users = running();
    // Two encsyncds that start at the same time begin their search at different ids.
    constexpr uid_t kCount = kLastDynamic - kFirstDynamic + 1;
    const auto first = static_cast<uid_t>(::getpid());
    for (uid_t n = 0; n < kCount; n++) {
        const uid_t uid = kFirstDynamic + (first + n) % kCount;
        if (!users.contains(uid) && ::getpwuid(uid) == nullptr)
            return CharonUser{uid, uid};
    }
    return Error{fmt::format("no unused user id from {} to {} to run charon as", kFirstDynamic,
                             kLastDynamic)};
}

} // namespace

Result<CharonUser> charon_user(const std::string& name) {
    const passwd* user = ::getpwnam(name.empty() ? "encsync" : name.c_str());
    if (user == nullptr)
        return name.empty() ? unused() : Error{fmt::format("no user '{}' to run charon as", name)};
    if (user->pw_uid == 0)
        return Error{fmt::format("charon is not to run as root (charonuser={})", name)};
    const CharonUser found{user->pw_uid, user->pw_gid};
    const std::string shown = user->pw_name;
    if (found.uid == kNobody)
        return Error{
            fmt::format("charon is not to run as {}, whose processes could kill it: give it "
                        "a user of its own (charonuser)",
                        shown)};
    const Users users = running();
    if (const auto other = users.find(found.uid); other != users.end() && !other->second.empty())
        return Error{
            fmt::format("charon is not to run as {}, as another program does ({}) and could "
                        "kill it: give it a user of its own (charonuser)",
                        shown, other->second)};
    return found;
}

} // namespace encsync::supervisor
