// SPDX-License-Identifier: ISC
// What encsyncd gives up once everything is open: all capabilities but a few, every program but
// itself, the files of the system but for reading, and the system calls that it has no use for.
//
//     ... open everything, charon's launcher too ...
//     if (auto confined = daemon::confine({.writable = run_dir}); !confined)
//         return confined.error();                  // no sandbox, no start
//
// What a network daemon never does (start a program, trace another process, mount, load code into
// the kernel) ends the process at once. Any other system call that is not on the list fails with
// EPERM, and the kernel logs it: a new C library that calls something else shall not take the
// firewall's states down. capabilities(7), landlock(7),
// seccomp(2).
#pragma once

#include "util/result.hpp"

#include <string>

namespace encsync::daemon {

struct Confinement {
    std::string writable;     // the directory in which alone files may still be changed
    bool raw_sockets = false; // keep CAP_NET_RAW: a reload opens more of them
};

// There is no way back. One thread only.
Result<void> confine(const Confinement& confinement);

} // namespace encsync::daemon
