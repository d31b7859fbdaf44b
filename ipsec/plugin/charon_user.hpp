// SPDX-License-Identifier: ISC
// The unprivileged user that charon and its launcher run as. No other program may run as it,
// because a process may kill every process of its own user.
#pragma once

#include "util/result.hpp"

#include <string>
#include <sys/types.h>

namespace encsync::supervisor {

struct CharonUser {
    uid_t uid;
    gid_t gid;
};

// By its name. Empty: `encsync`; if there is no such user, an id that nobody uses, from the range
// that systemd reserves for dynamic users (61184 to 65519). Refused: root, nobody, and a user of
// another running program. Sees all processes only as root.
Result<CharonUser> charon_user(const std::string& name);

} // namespace encsync::supervisor
