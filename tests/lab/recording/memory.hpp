// SPDX-License-Identifier: ISC
// All that a process has in its memory and a folder in its files.
#pragma once

#include "util/bytes.hpp"
#include "util/result.hpp"

#include <functional>
#include <string>
#include <sys/types.h>

namespace encsync::recording {

// Called with each area: where it is ("charon 1234 [heap] 55d0c0de0000"), and its bytes.
using Look = std::function<void(const std::string& where, Bytes bytes)>;

// What can be read and is not merely a file that was mapped and not changed. Needs to be root.
Result<void> each_area(pid_t process, const Look& look);
// A file, or all in a folder and below. Sockets and pipes hold nothing.
Result<void> each_file(const std::string& path, const Look& look);

} // namespace encsync::recording
