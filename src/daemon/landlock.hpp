// SPDX-License-Identifier: ISC
// Restricts this process to changing files in one directory only. Reading is still controlled by
// file permissions. landlock(7), in kernels since 5.13.
//
//     auto done = write_only_beneath("/run/encsync");     // false: there is no Landlock here
#pragma once

#include "util/result.hpp"

#include <string>

namespace encsync::daemon {

// With no_new_privs set; irreversible. An empty name: nowhere. /dev/null can always be written.
Result<bool> write_only_beneath(const std::string& directory);

} // namespace encsync::daemon
