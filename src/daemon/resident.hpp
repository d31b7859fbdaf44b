// SPDX-License-Identifier: ISC
// How much memory this process has in use.
#pragma once

#include <cstdint>
#include <fstream>
#include <unistd.h>

namespace encsync::daemon {

inline std::uint64_t resident_bytes() { // proc(5)
    std::ifstream statm("/proc/self/statm");
    std::uint64_t size = 0, resident = 0;
    statm >> size >> resident;
    return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

} // namespace encsync::daemon
