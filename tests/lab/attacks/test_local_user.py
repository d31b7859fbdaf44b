# SPDX-License-Identifier: ISC
"""A local user without privilege: what the files, processes and sockets of encsyncd give away. Each
attempt also runs where nothing protects: the control."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

import sync
from lab import PYTHON, descendants, start_time, wait_for

pytestmark = pytest.mark.daemon

NOBODY = 65534
# Each prints what it got; an error is the refusal.
ATTEMPTS = {
    "memory": "open(f'/proc/{pid}/mem', 'rb')",
    "environment": "open(f'/proc/{pid}/environ', 'rb').read()",
    "descriptors": "os.listdir(f'/proc/{pid}/fd')",
    "maps": "open(f'/proc/{pid}/maps').read()",
    "trace": "trace(pid)",
    "signal": "os.kill(pid, signal.SIGSEGV)",
    "priority": "os.setpriority(os.PRIO_PROCESS, pid, 19)",
    "limits": "resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))",
}
# Not refused to another process of charon's own user.
OWN_USER_MAY = {"signal", "priority", "limits"}
# With the pid "own": on a process of its own.
TRY = """
import ctypes, os, resource, signal, socket, subprocess, sys
def trace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(0x4206, pid, 0, 0) != 0:  # PTRACE_SEIZE
        raise PermissionError(ctypes.get_errno(), "ptrace")
code, pid, uid = sys.argv[1:]
uid = int(uid)
os.setgroups([]); os.setgid(uid); os.setuid(uid)
child = subprocess.Popen(["cat"], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(b"-"); child.stdout.read(1)  # it runs: an exec makes a process readable again
pid = child.pid if pid == "own" else int(pid)
try:
    eval(code)
except PermissionError as error:
    sys.exit(f"refused: {error}")
finally:
    child.kill()
"""


def attempt(node, code: str, uid: int, pid: int | str = "own") -> str:
    """Empty if it succeeded."""
    done = node.run(PYTHON, "-c", TRY, code, pid, uid, check=False)
    assert (done.returncode == 0) != done.stderr.startswith("refused"), done
    return done.stderr


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def user_of(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if line.startswith("Uid:"))
    return int(line.split()[1])


def processes(instance) -> list[int]:
    """encsyncd, its key process, the launcher and charon."""
    every = [instance.daemon.pid, *descendants([instance.daemon.pid])]
    found = []
    for pid in every:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if name_of(pid).startswith(("encsync", "charon")):
                found.append(pid)
    assert len(found) >= 3 and instance.charons()[0] in found
    return found


@pytest.mark.parametrize("name", ATTEMPTS)
def test_processes_are_closed(pair, instances, name):
    mickey, code = instances[0], ATTEMPTS[name]
    assert not attempt(pair.mickey, code, NOBODY)  # control: on its own process
    for pid in processes(mickey):
        assert attempt(pair.mickey, code, NOBODY, pid), (name, name_of(pid))
    (charon,) = mickey.charons()
    user = user_of(charon)
    assert user not in (0, NOBODY)
    assert not attempt(pair.mickey, code, user)  # control: charon's user, another program
    if name not in OWN_USER_MAY:
        for pid in processes(mickey):
            assert attempt(pair.mickey, code, user, pid), (name, name_of(pid))
    assert mickey.ready()


@pytest.mark.parametrize("code", ["socket.socket(socket.AF_INET, socket.SOCK_RAW, 240)",
                                  "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"])
def test_raw_sockets_are_roots(pair, instances, code):
    for user in (NOBODY, user_of(instances[0].charons()[0])):
        assert attempt(pair.mickey, code, user)
    assert not attempt(pair.mickey, code, 0)  # control


def test_files_are_closed(pair, instances):
    """Nothing secret is readable, nothing at all writable by others."""
    mickey = instances[0]
    secret = [file for file in mickey.key_dir.rglob("*") if file.is_file()]
    assert secret
    for file in secret:
        code = f"open({str(file)!r})"
        for user in (NOBODY, user_of(mickey.charons()[0])):
            assert attempt(pair.mickey, code, user), file
        assert not attempt(pair.mickey, code, 0)  # control
    for file in [*secret, *mickey.run_dir.rglob("*")]:
        assert file.lstat().st_mode & 0o002 == 0 or file.is_symlink(), file
    assert mickey.key_dir.stat().st_mode & 0o077 == 0


def test_the_control_socket_is_for_its_user(pair, instances):
    """Another user may not even connect, so he cannot take its places either."""
    path = str(instances[0].run_dir / "control.sock")
    code = f"socket.socket(socket.AF_UNIX).connect({path!r})"
    for user in (NOBODY, user_of(instances[0].charons()[0])):
        assert attempt(pair.mickey, code, user)
    assert not attempt(pair.mickey, code, 0)  # control


@contextlib.contextmanager
def core_dumps(folder: Path):
    """Those of the whole machine go to this folder meanwhile."""
    folder.mkdir()
    folder.chmod(0o777)
    pattern = Path("/proc/sys/kernel/core_pattern")
    before = pattern.read_text()
    pattern.write_text(f"{folder}/core.%p\n")
    try:
        yield
    finally:
        pattern.write_text(before)


def test_a_crash_leaves_no_memory(pair, instances):
    """Although dumps of any size are permitted."""
    mickey, folder = instances[0], pair.lab.dir / "cores"
    permit = "sh", "-c", 'ulimit -c unlimited && exec "$@"', "sh"
    mickey.stop()
    mickey.prefix = permit
    mickey.start()
    sync.wait_in_step(*instances)
    charons = mickey.charons()
    others = [pid for pid in processes(mickey) if pid not in charons]
    # encsyncd may write into its run directory, and nowhere else.
    for folder, pids in ((pair.lab.dir / "cores", charons), (mickey.run_dir / "cores", others)):
        with core_dumps(folder):
            controls = set()
            for user in {user_of(pid) for pid in pids}:
                if user and folder.is_relative_to(mickey.run_dir):
                    continue  # it is root's alone
                # Control: a process of this user leaves one.
                control = pair.mickey.start(*permit, "setpriv", "--reuid", user, "--regid", user,
                                            "--clear-groups", "sleep", "600", name="sleep")
                wait_for(lambda: name_of(control.pid) == "sleep", 10, "the control to run")
                control.signal(signal.SIGSEGV)
                assert control.wait() == -signal.SIGSEGV
                controls.add(f"core.{control.pid}")
            assert controls
            started = {pid: start_time(pid) for pid in pids}
            for pid in pids:  # all at once: none is to see another one's end
                os.kill(pid, signal.SIGSEGV)
            wait_for(lambda: not any(start_time(pid) == at for pid, at in started.items()), 30,
                     "all of them to die")
            # Others on the machine may leave one there, too.
            ours = controls | {f"core.{pid}" for pid in pids}
            assert {file.name for file in folder.iterdir()} & ours == controls
    assert mickey.daemon.wait() != 0
    mickey.prefix = ()
    mickey.start()
    sync.wait_in_step(*instances)
