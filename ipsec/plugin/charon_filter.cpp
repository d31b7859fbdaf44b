// SPDX-License-Identifier: ISC
#include "ipsec/plugin/charon_filter.hpp"

#include <cerrno>
#include <initializer_list>
#include <sched.h>
#include <seccomp.h>
#include <sys/socket.h>

namespace encsync::supervisor {

namespace {

// clang-format off
constexpr int kRefused[] = {
    // Memory of other processes.
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
    // The shape of the file system; namespaces, in which one would be root again.
    SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(move_mount), SCMP_SYS(open_tree),
    SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(unshare), SCMP_SYS(setns),
    // Loading kernel code, and calls that kernel exploits use.
    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load), SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup), SCMP_SYS(personality),
    // The kernel's key rings.
    SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(keyctl),
};
// clang-format on

} // namespace

bool filter_charon() {
    const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == nullptr) {
        errno = ENOMEM;
        return false;
    }
    int result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
    const auto refuse = [&](int call, int error, std::initializer_list<scmp_arg_cmp> when = {}) {
        // A call that this architecture lacks has a negative number and is never made.
        if (result == 0 && call >= 0)
            result = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(static_cast<unsigned>(error)),
                                            call, static_cast<unsigned>(when.size()), when.begin());
    };
    for (const int call : kRefused)
        refuse(call, EPERM);
    // Another way to create a user namespace. The filter cannot see the arguments of clone3;
    // without it, libc creates threads with clone.
    refuse(SCMP_SYS(clone), EPERM, {{0, SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER}});
    refuse(SCMP_SYS(clone3), ENOSYS);
    // No network, not even the empty one: syslog's kind of socket is the only one.
    refuse(SCMP_SYS(socket), EPERM, {{0, SCMP_CMP_NE, AF_UNIX, 0}});
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    errno = -result;
    return result == 0;
}

} // namespace encsync::supervisor
