// SPDX-License-Identifier: ISC
// Takes from this process the right to change files anywhere but in one directory. Reading stays
// what the files' permissions say. landlock(7), in kernels since 5.13.
//
//     auto done = write_only_beneath("/run/encsync");     // false: this kernel has no Landlock
#pragma once

#include "util/result.hpp"

#include <string>

namespace encsync::daemon {

// With no_new_privs set; there is no way back. An empty name: nowhere. /dev/null takes all it gets.
Result<bool> write_only_beneath(const std::string& directory);

} // namespace encsync::daemon
