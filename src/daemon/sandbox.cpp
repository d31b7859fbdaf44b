// SPDX-License-Identifier: ISC
#include "daemon/sandbox.hpp"

#include "daemon/landlock.hpp"
#include "util/log.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <initializer_list>
#include <linux/capability.h>
#include <memory>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <type_traits>
#include <unistd.h>

namespace encsync::daemon {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// ---- capabilities --------------------------------------------------------------------------

constexpr int kCapabilities[] = {
    CAP_NET_ADMIN,        // conntrack entries, nftables, buffers of full size for new sockets
    CAP_NET_BIND_SERVICE, // port 500, when a reload names another address of ours
};

Error failed(std::string_view what, int error = errno) {
    return Error{fmt::format("sandbox: {}: {}", what, std::strerror(error))};
}

Result<void> drop_capabilities(const Confinement& confinement) {
    std::uint64_t kept = 0;
    for (const int cap : kCapabilities)
        if (confinement.network)
            kept |= std::uint64_t{1} << cap;
    if (confinement.raw_sockets)
        kept |= std::uint64_t{1} << CAP_NET_RAW; // ipsec=kernel, when a reload brings a peer
    if constexpr (kSanitized)
        kept |= std::uint64_t{1} << CAP_SYS_PTRACE; // LeakSanitizer reads us when we end

    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct now[2]{};
    if (::syscall(SYS_capget, &header, now) != 0)
        return failed("capget");
    // Running a program restores no capabilities.
    for (int cap = 0; ::prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        if ((now[0].effective >> CAP_SETPCAP & 1) != 0 && (kept >> cap & 1) == 0 &&
            ::prctl(PR_CAPBSET_DROP, cap) != 0)
            return failed("bounding set");
    __user_cap_data_struct wanted[2]{};
    for (unsigned half = 0; half < 2; half++)
        wanted[half].effective = wanted[half].permitted =
            static_cast<std::uint32_t>(kept >> 32 * half) & now[half].permitted;
    if (::syscall(SYS_capset, &header, wanted) != 0)
        return failed("capset");
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
        return failed("ambient capabilities");
    return {};
}

// ---- system calls --------------------------------------------------------------------------

// clang-format off
// This process never makes these calls; code that was injected by an attacker may.
constexpr int kDeadly[] = {
    // Other programs, other processes.
    SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(clone3),
    // Memory of other processes.
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
    // Changes of the file system's layout; namespaces.
    SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(move_mount), SCMP_SYS(open_tree),
    SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(unshare), SCMP_SYS(setns),
    // Loading kernel code.
    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load), SCMP_SYS(bpf), SCMP_SYS(perf_event_open),
    // Used by exploits, or to bypass this filter.
    SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup),
    // The kernel's key rings.
    SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(keyctl),
    // Changing the user.
    SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setresuid), SCMP_SYS(setresgid),
    // The system clock, reboot, swap.
    SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(settimeofday), SCMP_SYS(clock_settime),
};

constexpr int kAllowed[] = {
    // Packets, netlink, charon's channel, the control socket, syslog.
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg),
    SCMP_SYS(sendmmsg),
    // Sockets of peers that a reload adds, of clients of the control socket; the channel and the
    // output of a new charon. socket and socketpair are below.
    SCMP_SYS(bind), SCMP_SYS(connect), SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4),
    SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown), SCMP_SYS(pipe2),
    // The event loop, its timers, its locks.
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
    SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime), SCMP_SYS(poll),
    SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(futex),
    // Descriptors; ioctl for FIONBIO, the state of enc0, and TCGETS by stdio.
    SCMP_SYS(close), SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(fcntl),
    SCMP_SYS(ioctl),
    // Configuration and keys when they are reloaded; /proc, for the holder of a port; the run
    // directory's few files. File permissions decide which files may be opened.
    SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat),
    SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(statfs), SCMP_SYS(fstatfs), SCMP_SYS(lseek),
    SCMP_SYS(pread64), SCMP_SYS(getdents64), SCMP_SYS(access), SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getcwd),
    SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(unlink),
    SCMP_SYS(unlinkat), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(fsync), SCMP_SYS(fdatasync),
    SCMP_SYS(ftruncate), SCMP_SYS(flock), SCMP_SYS(umask), SCMP_SYS(chmod), SCMP_SYS(fchmod),
    // Memory; that of keys is locked and guarded. mmap and mprotect are below.
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(mlock),
    SCMP_SYS(munlock),
    // Time and random numbers.
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(getrandom), SCMP_SYS(sched_yield),
    // Signals, and exiting: abort(3), and the launcher's end.
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall), SCMP_SYS(tgkill), SCMP_SYS(exit),
    SCMP_SYS(exit_group), SCMP_SYS(wait4),
    // Our ids and the system's name.
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
    SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrusage),
    SCMP_SYS(prlimit64), SCMP_SYS(getrlimit), SCMP_SYS(rseq), SCMP_SYS(set_robust_list),
};
// clang-format on

// Of sockets: the control socket's and syslog's, the peers', conntrack's and nftables'.
constexpr int kFamilies[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

// Additional calls of the sanitizers in a test build: LeakSanitizer clones a tracer of us when we
// exit, and the shadow memory is managed.
constexpr int kForSanitizers[] = {
    SCMP_SYS(clone), SCMP_SYS(ptrace),           SCMP_SYS(prctl),   SCMP_SYS(sched_getaffinity),
    SCMP_SYS(msync), SCMP_SYS(process_vm_readv), SCMP_SYS(getdents)};

bool is_for_sanitizers(int call) {
    for (const int each : kForSanitizers)
        if (each == call)
            return kSanitized;
    return false;
}

class Filter {
  public:
    Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(EPERM))) {
        if (!context_)
            error_ = -ENOMEM;
        else
            check(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_LOG, 1));
    }

    void rule(std::uint32_t action, int call, std::initializer_list<scmp_arg_cmp> when = {}) {
        // A call that this architecture lacks has a negative number and is never made.
        if (error_ == 0 && call >= 0)
            check(seccomp_rule_add_array(context_.get(), action, call,
                                         static_cast<unsigned>(when.size()), when.begin()));
    }

    Result<void> load() {
        if (error_ == 0)
            check(seccomp_load(context_.get()));
        if (error_ != 0)
            return failed("seccomp", -error_);
        return {};
    }

  private:
    void check(int result) {
        if (error_ == 0 && result < 0)
            error_ = result;
    }
    struct Release {
        void operator()(void* context) const { seccomp_release(context); }
    };
    std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, Release> context_;
    int error_ = 0;
};

Result<void> filter_system_calls(const Confinement& confinement) {
    Filter filter;
    for (const int call : kDeadly)
        if (!is_for_sanitizers(call))
            filter.rule(SCMP_ACT_KILL_PROCESS, call);
    for (const int call : kAllowed)
        filter.rule(SCMP_ACT_ALLOW, call);
    for (const int family : kFamilies)
        for (const int call : {SCMP_SYS(socket), SCMP_SYS(socketpair)})
            if (confinement.network)
                filter.rule(SCMP_ACT_ALLOW, call,
                            {{0, SCMP_CMP_EQ, static_cast<scmp_datum_t>(family), 0}});
    // No memory may become executable.
    for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)})
        filter.rule(SCMP_ACT_ALLOW, call, {{2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}});
    if constexpr (kSanitized) {
        for (const int call : kForSanitizers)
            filter.rule(SCMP_ACT_ALLOW, call);
    } else {
        filter.rule(SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone)); // no thread, no process
    }
    return filter.load();
}

} // namespace

Result<void> confine(const Confinement& confinement) {
    if (auto dropped = drop_capabilities(confinement); !dropped)
        return dropped;
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return failed("no_new_privs");
    const auto files = write_only_beneath(confinement.writable);
    if (!files)
        return files.error();
    if (!*files)
        log::notice("sandbox: there is no Landlock here, so encsyncd may still change files");
    return filter_system_calls(confinement);
}

} // namespace encsync::daemon
