// SPDX-License-Identifier: ISC
#include "traced.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <elf.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

namespace encsync::keys {

namespace {

#if defined(__x86_64__)

using Registers = user_regs_struct;

bool get(pid_t child, Registers& into) {
    return ::ptrace(PTRACE_GETREGS, child, nullptr, &into) == 0;
}
void put(pid_t child, const Registers& from) {
    ::ptrace(PTRACE_SETREGS, child, nullptr, &from);
}

bool is_write(std::uint64_t call) {
    return call == SYS_write || call == SYS_pwrite64;
}

// Of a file: what is written to the test's own output is not the store's.
bool changes_files(const Registers& at) {
    switch (at.orig_rax) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_fsync:
    case SYS_fdatasync:
    case SYS_ftruncate:
        return at.rdi > 2;
    case SYS_open:
        return (at.rsi & O_CREAT) != 0;
    case SYS_openat:
        return (at.rdx & O_CREAT) != 0;
    case SYS_rename:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_unlink:
    case SYS_unlinkat:
    case SYS_link:
    case SYS_linkat:
    case SYS_mkdir:
    case SYS_mkdirat:
    case SYS_rmdir:
    case SYS_chmod:
    case SYS_fchmod:
        return true;
    default:
        return false;
    }
}

// To the next stop at a system call, where registers are read. False: the child has ended, with
// `status`.
bool next_call(pid_t child, int& status) {
    int deliver = 0;
    for (;;) {
        if (::ptrace(PTRACE_SYSCALL, child, nullptr, deliver) != 0 ||
            ::waitpid(child, &status, 0) != child)
            return false;
        if (!WIFSTOPPED(status))
            return false;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80))
            return true;
        deliver = WSTOPSIG(status);
    }
}

void kill_and_wait(pid_t child, int& status) {
    ::kill(child, SIGKILL);
    while (::waitpid(child, &status, 0) == child && !WIFSIGNALED(status) && !WIFEXITED(status))
        ;
}

void strike(pid_t child, Registers at, Strike how, int& status) {
    if (how == Strike::torn) {
        if (is_write(at.orig_rax)) {
            at.rdx = (at.rdx + 1) / 2;
            put(child, at);
        }
        if (!next_call(child, status)) // its end
            return;
    }
    if (how != Strike::full)
        return kill_and_wait(child, status);
    at.orig_rax = ~std::uint64_t{0}; // no call at all
    put(child, at);
    Registers after{};
    if (next_call(child, status) && get(child, after)) {
        after.rax = static_cast<std::uint64_t>(-ENOSPC);
        put(child, after);
        while (next_call(child, status))
            ;
    }
}

#endif

} // namespace

Traced trace([[maybe_unused]] const std::function<bool()>& operation, [[maybe_unused]] Where where,
             [[maybe_unused]] bool* succeeded) {
#if defined(__x86_64__)
    const pid_t child = ::fork();
    if (child == 0) {
        if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0)
            ::_exit(2);
        ::raise(SIGSTOP);
        ::_exit(operation() ? 0 : 1);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        return Traced::not_permitted;
    if (::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) !=
        0) {
        kill_and_wait(child, status);
        return Traced::not_permitted;
    }
    Traced outcome = Traced::not_reached;
    for (int seen = 0; next_call(child, status);) {
        Registers at{};
        if (!get(child, at))
            break;
        if (changes_files(at) && seen++ == where.call) {
            outcome = Traced::struck;
            strike(child, at, where.strike, status);
            break;
        }
        if (!next_call(child, status)) // its end
            break;
    }
    if (succeeded != nullptr)
        *succeeded = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return outcome;
#else
    return Traced::not_permitted;
#endif
}

} // namespace encsync::keys
