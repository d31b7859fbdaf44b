# SPDX-License-Identifier: ISC
"""Runs the program of a systemd unit in the sandbox that the unit describes, without systemd.

    sandbox.py encsync.service --bind DIR:/run/encsync --rw /run/encsync [-- COMMAND...]

Each directive is implemented with the same means of the kernel that systemd uses: a mount
namespace, the capability bounding set, no_new_privs, seccomp filters (by libseccomp, with the
system call sets that `systemd-analyze syscall-filter` prints). An unknown directive is an error, so
that none seems to be tested without being so. The program needs no other file of the tests, because
it is started inside a network namespace.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)

# Directives that do not affect what the program may do, or need a real service manager.
ELSEWHERE = {
    "Type", "ExecReload", "Restart", "RestartSec", "KillMode", "TimeoutStopSec",
    "RuntimeDirectory", "RuntimeDirectoryPreserve", "StateDirectory", "StateDirectoryMode",
    "SystemCallErrorNumber",  # always EPERM here
    "PrivateMounts",          # always the case here
    "ProtectKernelLogs", "ProtectClock", "ProtectKernelModules", "ProtectHostname",
    #                           implied by capabilities and system calls that are denied
    "RestrictSUIDSGID", "KeyringMode", "SystemCallArchitectures",
}


def fail(what: str) -> None:
    sys.exit(f"sandbox: {what}")


def checked(status: int, what: str) -> None:
    if status != 0:
        fail(f"{what}: {os.strerror(ctypes.get_errno())}")


# ---- the unit --------------------------------------------------------------------------------


def read_unit(path: Path) -> dict[str, str]:
    """The [Service] section. A directive given twice would be a list, which no unit here has."""
    found: dict[str, str] = {}
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line.strip() and line[0] not in "#;":
            name, value = line.split("=", 1)
            if name in found:
                fail(f"{name} is there twice")
            found[name] = value
    return found


# ---- file system -----------------------------------------------------------------------------

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 1, 2, 4, 8, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1


def mount(source: str, target: str | Path, kind: str | None, flags: int, data: str = "") -> None:
    status = libc.mount(source.encode(), os.fsencode(target), kind.encode() if kind else None,
                        ctypes.c_ulong(flags), data.encode())
    checked(status, f"mount {target}")


def writable(path: str, yes: bool) -> None:
    """Of everything that is mounted at and below it."""
    change = (ctypes.c_uint64 * 4)(0 if yes else MOUNT_ATTR_RDONLY, MOUNT_ATTR_RDONLY if yes else 0,
                                   0, 0)
    checked(libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE,
                         ctypes.byref(change), ctypes.sizeof(change)), f"mount_setattr {path}")


def change_etc(overlay: Path) -> None:
    """A copy of /etc, with the files of `overlay` over it."""
    copy = Path("/mnt")
    mount("tmpfs", copy, "tmpfs", 0, "mode=0755")
    shutil.copytree("/etc", copy, symlinks=True, dirs_exist_ok=True,
                    ignore=lambda _dir, names: [n for n in names if n == "alternatives"])
    shutil.copytree(overlay, copy, dirs_exist_ok=True)
    mount(str(copy), "/etc", None, MS_BIND)


def change_devices(allowed: str) -> None:
    """DevicePolicy=closed: the devices that every program may use, and those of DeviceAllow."""
    devices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", allowed]
    hold = {device: os.open(device, os.O_PATH) for device in devices}
    mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=0755")
    for device, fd in hold.items():
        os.makedirs(os.path.dirname(device), exist_ok=True)
        Path(device).touch()
        mount(f"/proc/self/fd/{fd}", device, None, MS_BIND)
        os.close(fd)


def furnish(unit: dict[str, str], args: argparse.Namespace) -> None:
    checked(libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    if args.etc:
        change_etc(args.etc)
    binds = [bind.split(":", 1) for bind in args.bind]
    held = [(os.open(source, os.O_PATH), target) for source, target in binds]
    for place in {"/run", "/var/lib"} & {os.path.dirname(target) for _, target in binds}:
        mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for fd, target in held:
        os.makedirs(target, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", target, None, MS_BIND)
        os.close(fd)
    if unit.pop("PrivateTmp") == "yes":
        for place in ("/tmp", "/var/tmp"):
            mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    if unit.pop("DevicePolicy") == "closed":
        change_devices(unit.pop("DeviceAllow").split()[0])
    if unit.pop("ProtectHome") == "yes":
        for place in ("/home", "/root"):
            mount("tmpfs", place, "tmpfs", MS_RDONLY, "mode=0000")
    if unit.pop("ProtectProc") == "ptraceable":
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=ptraceable")
    if unit.pop("ProtectSystem") == "strict":
        writable("/", False)
        for place in ["/dev", "/proc", "/sys", "/tmp", "/var/tmp", *args.rw]:
            writable(place, True)
    if unit.pop("ProtectKernelTunables") == "yes":
        mount("/proc/sys", "/proc/sys", None, MS_BIND)
        writable("/proc/sys", False)
        writable("/sys", False)
    unit.pop("ProtectControlGroups")  # part of /sys


# ---- capabilities and system calls -----------------------------------------------------------

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE").split()


def bound(allowed: set[str]) -> None:
    for number, name in enumerate(CAPABILITIES):
        if f"CAP_{name}" not in allowed:
            # EINVAL: this kernel is older than the capability.
            if libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0 and \
                    ctypes.get_errno() != errno.EINVAL:
                fail(f"CAP_{name} cannot be dropped: {os.strerror(ctypes.get_errno())}")


class Comparison(ctypes.Structure):
    """scmp_arg_cmp: number of the argument, operator, and the value it is compared with."""
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64),
                ("b", ctypes.c_uint64)]


NE, EQ, GE, MASKED_EQ = 1, 4, 5, 7


class Filter:
    """One seccomp filter. Only rules that differ from its default."""

    ALLOW = 0x7FFF0000

    def __init__(self, default: int = ALLOW):
        self.lib = ctypes.CDLL("libseccomp.so.2")
        self.lib.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.lib.seccomp_init(ctypes.c_uint32(default)))

    @staticmethod
    def error(number: int) -> int:
        return 0x00050000 | number

    def add(self, action: int, call: str, *conditions: tuple[int, int, int, int]) -> None:
        number = self.lib.seccomp_syscall_resolve_name(call.encode())
        if number < 0:  # not on this architecture
            return
        array = (Comparison * len(conditions))(*conditions)
        status = self.lib.seccomp_rule_add_array(self.context, ctypes.c_uint32(action), number,
                                                 len(conditions), array)
        if status != 0:
            fail(f"seccomp rule for {call}: {os.strerror(-status)}")

    def load(self) -> None:
        status = self.lib.seccomp_load(self.context)
        if status != 0:
            fail(f"seccomp filter: {os.strerror(-status)}")


def system_calls(words: list[str]) -> set[str]:
    found: set[str] = set()
    for word in words:
        if not word.startswith("@"):
            found.add(word)
            continue
        text = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", word],
                              capture_output=True, text=True, check=True).stdout
        lines = [line.strip() for line in text.splitlines()[1:]]
        found |= system_calls([line for line in lines if line and line[0] != "#"])
    return found


def allow_calls(words: list[str]) -> Filter:
    calls = Filter(Filter.error(errno.EPERM))
    for call in system_calls(["@default", *words]):
        calls.add(Filter.ALLOW, call)
    return calls


def restrict_families(names: list[str]) -> Filter:
    import socket
    allowed = {int(getattr(socket, name)) for name in names}
    calls = Filter()
    refusal = Filter.error(errno.EAFNOSUPPORT)
    for family in set(range(64)) - allowed:
        calls.add(refusal, "socket", (0, EQ, family, 0))
    calls.add(refusal, "socket", (0, GE, 64, 0))
    return calls


NAMESPACES = {"mnt": CLONE_NEWNS, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000,
              "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000}


def restrict_namespaces(allowed: list[str]) -> Filter:
    calls = Filter()
    refusal = Filter.error(errno.EPERM)
    for flag in (flag for name, flag in NAMESPACES.items() if name not in allowed):
        for call, arg in (("unshare", 0), ("clone", 0), ("setns", 1)):
            calls.add(refusal, call, (arg, MASKED_EQ, flag, flag))
    calls.add(refusal, "setns", (1, EQ, 0, 0))
    calls.add(Filter.error(errno.ENOSYS), "clone3")  # its flags cannot be seen; libc uses clone
    return calls


def deny_write_execute() -> Filter:
    write_execute, execute, shm_execute = 2 | 4, 4, 0o100000
    calls = Filter()
    refusal = Filter.error(errno.EPERM)
    calls.add(refusal, "mmap", (2, MASKED_EQ, write_execute, write_execute))
    calls.add(refusal, "mprotect", (2, MASKED_EQ, execute, execute))
    calls.add(refusal, "pkey_mprotect", (2, MASKED_EQ, execute, execute))
    calls.add(refusal, "shmat", (2, MASKED_EQ, shm_execute, shm_execute))
    return calls


def refuse_unless(call: str, arg: int, value: int) -> Filter:
    calls = Filter()
    calls.add(Filter.error(errno.EPERM), call, (arg, NE, value, 0))
    return calls


# ---- everything together ---------------------------------------------------------------------


def enter(unit: dict[str, str], args: argparse.Namespace) -> None:
    filters = []
    filters.append(restrict_families(unit.pop("RestrictAddressFamilies").split()))
    filters.append(restrict_namespaces(unit.pop("RestrictNamespaces").split()))
    if unit.pop("MemoryDenyWriteExecute") == "yes":
        filters.append(deny_write_execute())
    if unit.pop("RestrictRealtime") == "yes":
        filters.append(refuse_unless("sched_setscheduler", 1, os.SCHED_OTHER))
    if unit.pop("LockPersonality") == "yes":
        filters.append(refuse_unless("personality", 0, 0xFFFFFFFF))
    calls = [word for word in unit.pop("SystemCallFilter").split() if word not in args.without]
    filters.append(allow_calls(calls))  # last: it may not allow seccomp(2) itself

    furnish(unit, args)
    os.umask(int(unit.pop("UMask"), 8))
    memlock = int(unit.pop("LimitMEMLOCK").removesuffix("M")) << 20
    _, most = resource.getrlimit(resource.RLIMIT_MEMLOCK)  # a container may limit us to less
    memlock = memlock if most == resource.RLIM_INFINITY else min(memlock, most)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (memlock, memlock))
    core = int(unit.pop("LimitCORE"))
    resource.setrlimit(resource.RLIMIT_CORE, (core, core))
    bound(set(unit.pop("CapabilityBoundingSet").split()) - set(args.without))
    if unit.pop("NoNewPrivileges") == "yes":
        checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if left := set(unit) - ELSEWHERE:
        fail(f"not known here: {', '.join(sorted(left))}")
    for each in filters:
        each.load()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("unit", type=Path)
    parser.add_argument("--etc", type=Path, help="a directory to lay over a copy of /etc")
    parser.add_argument("--bind", action="append", default=[], metavar="SOURCE:TARGET")
    parser.add_argument("--rw", action="append", default=[], metavar="TARGET")
    parser.add_argument("--without", action="append", default=[],
                        metavar="CAPABILITY|SYSTEMCALL", help="more strictly than the unit")
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    args, instead = parser.parse_args(words[:split]), words[split + 1:]
    if platform.machine() != "x86_64":
        fail("this knows the system calls of x86_64 only")
    unit = read_unit(args.unit)
    command = shlex.split(unit.pop("ExecStart"))
    enter(unit, args)
    os.chdir("/")
    command = instead or command
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
