# SPDX-License-Identifier: ISC
"""A local user without privilege: what the files, processes and sockets of encsyncd give away. Each
attempt also runs as root, who may: the control."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab import PYTHON, descendants

pytestmark = pytest.mark.daemon

NOBODY = 65534
# Each prints what it got; an error is the refusal.
ATTEMPTS = {
    "memory": "open('/proc/{pid}/mem', 'rb')",
    "environment": "open('/proc/{pid}/environ', 'rb').read()",
    "descriptors": "os.listdir('/proc/{pid}/fd')",
    "maps": "open('/proc/{pid}/maps').read()",
    "signal": "os.kill({pid}, 0)",
    "priority": "os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
    "trace": "trace({pid})",
    "raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 240)",
    "packet socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
}
TRY = """
import ctypes, os, socket, sys
def trace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(0x4206, pid, 0, 0) != 0:  # PTRACE_SEIZE
        raise OSError(ctypes.get_errno(), "ptrace")
if len(sys.argv) > 2:
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
try:
    eval(sys.argv[1])
except (PermissionError, ProcessLookupError) as error:
    sys.exit(f"refused: {error}")
"""


def attempt(node, code: str, uid: int | None):
    return node.run(PYTHON, "-c", TRY, code, *([] if uid is None else [uid]), check=False)


def processes(instance) -> list[int]:
    """encsyncd, its key process, charon and the launcher."""
    every = [instance.daemon.pid, *descendants([instance.daemon.pid])]
    return [pid for pid in every
            if Path(f"/proc/{pid}/comm").read_text().strip().startswith(("encsync", "charon"))]


@pytest.mark.parametrize("name", ATTEMPTS)
def test_processes_are_closed(pair, instances, name):
    mickey = instances[0]
    found = processes(mickey)
    assert len(found) >= 3
    for pid in found:
        code = ATTEMPTS[name].format(pid=pid)
        done = attempt(pair.mickey, code, NOBODY)
        assert done.returncode == 1 and "refused" in done.stderr, (name, pid, done)
    if name != "trace":  # control
        assert attempt(pair.mickey, ATTEMPTS[name].format(pid=os.getpid()), None).returncode == 0
    assert mickey.ready()


def test_files_are_closed(instances):
    """Nothing secret is readable, nothing at all writable by others."""
    mickey = instances[0]
    secret = [file for file in mickey.key_dir.rglob("*") if file.is_file()]
    assert secret
    for file in [*secret, *mickey.run_dir.rglob("*")]:
        assert file.lstat().st_mode & 0o002 == 0 or file.is_symlink(), file
    assert mickey.key_dir.stat().st_mode & 0o077 == 0


def test_a_crash_leaves_no_memory(instances):
    for pid in processes(instances[0]):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        core = next(line.split() for line in limits if line.startswith("Max core file size"))
        dumpable = os.stat(f"/proc/{pid}/mem").st_uid == 0  # of root, if not dumpable
        assert core[4] == "0" or dumpable, (pid, core)


def test_the_control_socket_is_for_its_user(pair, instances):
    """Another user may not even connect, so he cannot take its places either."""
    path = str(instances[0].run_dir / "control.sock")
    code = f"socket.socket(socket.AF_UNIX).connect({path!r})"
    done = attempt(pair.mickey, code, NOBODY)
    assert done.returncode == 1 and "refused" in done.stderr
    assert attempt(pair.mickey, code, None).returncode == 0  # control
