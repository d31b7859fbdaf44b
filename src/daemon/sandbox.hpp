// SPDX-License-Identifier: ISC
// The privileges that encsyncd drops once everything is open: all capabilities but a few, starting
// programs, writing files outside one directory, and the system calls that it does not need.
//
//     ... open everything, charon's launcher too ...
//     if (auto confined = daemon::confine({.writable = run_dir}); !confined)
//         return confined.error();                  // no sandbox, no start
//
// Calls that a network daemon never makes (start a program, trace another process, mount, load code
// into the kernel) end the process at once. Any other system call that is not on the list fails
// with EPERM, and the kernel logs it, because a call that a newer C library makes must not end
// syncing. capabilities(7), landlock(7), seccomp(2).
#pragma once

#include "util/result.hpp"

#include <string>

namespace encsync::daemon {

struct Confinement {
    std::string writable;     // the only directory in which files may still be changed
    bool raw_sockets = false; // keep CAP_NET_RAW: a reload opens more of them
    bool network = true;      // false: no capability, and no socket
};

// Irreversible. For a process with one thread only.
Result<void> confine(const Confinement& confinement);

} // namespace encsync::daemon
