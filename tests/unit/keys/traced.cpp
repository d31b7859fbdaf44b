// SPDX-License-Identifier: ISC
#include "traced.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <elf.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

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

// That may change files. The child stops at these only: at each call, it would take twice as long.
constexpr std::array kCalls{SYS_write,     SYS_pwrite64, SYS_writev,   SYS_fsync,  SYS_fdatasync,
                            SYS_ftruncate, SYS_open,     SYS_openat,   SYS_rename, SYS_renameat,
                            SYS_renameat2, SYS_unlink,   SYS_unlinkat, SYS_link,   SYS_linkat,
                            SYS_mkdir,     SYS_mkdirat,  SYS_rmdir,    SYS_chmod,  SYS_fchmod};

bool stop_at_calls() {
    std::vector<sock_filter> program{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (const auto call : kCalls) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1));
        program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
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
    default:
        return true;
    }
}

// To the next stop at one of these calls, or with PTRACE_SYSCALL to the end of the one it stands
// before. False: the child has ended, with `status`.
bool next_stop(pid_t child, int& status, decltype(PTRACE_CONT) how = PTRACE_CONT) {
    int deliver = 0;
    for (;;) {
        if (::ptrace(how, child, nullptr, deliver) != 0 || ::waitpid(child, &status, 0) != child)
            return false;
        if (!WIFSTOPPED(status))
            return false;
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8) ||
            WSTOPSIG(status) == (SIGTRAP | 0x80))
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
    switch (how) {
    case Strike::torn:
        at.rdx = (at.rdx + 1) / 2;
        put(child, at);
        if (!next_stop(child, status, PTRACE_SYSCALL))
            return;
        [[fallthrough]];
    case Strike::crash:
        return kill_and_wait(child, status);
    case Strike::full:
        at.orig_rax = ~std::uint64_t{0}; // no call at all
        at.rax = static_cast<std::uint64_t>(-ENOSPC);
        put(child, at);
        while (next_stop(child, status))
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
        if (!stop_at_calls())
            ::_exit(2);
        ::_exit(operation() ? 0 : 1);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        return Traced::not_permitted;
    if (::ptrace(PTRACE_SETOPTIONS, child, nullptr,
                 PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL) != 0) {
        kill_and_wait(child, status);
        return Traced::not_permitted;
    }
    Traced outcome = Traced::not_reached;
    for (int seen = 0; next_stop(child, status);) {
        Registers at{};
        if (!get(child, at))
            break;
        const bool counts =
            changes_files(at) && (where.strike != Strike::torn || is_write(at.orig_rax));
        if (counts && seen++ == where.call) {
            outcome = Traced::struck;
            strike(child, at, where.strike, status);
            break;
        }
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
        return Traced::not_permitted;
    if (succeeded != nullptr)
        *succeeded = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return outcome;
#else
    return Traced::not_permitted;
#endif
}

} // namespace encsync::keys
