# SPDX-License-Identifier: ISC
"""The installed encsyncd in the sandbox of its unit, in step with a peer; and that each exception
of the sandbox is needed. See sandbox.py."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import conntrack
import sync
from lab import PYTHON, Lab, LabError, wait_for

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="sandbox.py knows x86_64")

SANDBOX = Path(__file__).with_name("sandbox.py")
ADDRESS = {"mickey": "192.168.1.100", "minnie": "192.168.1.101"}
CAPABILITIES = {"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN",
                "CAP_SETPCAP", "CAP_SETUID", "CAP_SETGID", "CAP_CHOWN"}


class Installed(sync.Encsync):
    """encsync as its unit starts it: the installed programs, in the real directories."""

    def __init__(self, node, destdir: Path, unit: Path, peers: dict[str, str]):
        self.state_dir = node.dir / "state"
        self.state_dir.mkdir(mode=0o700)
        super().__init__(node, peers, left=ADDRESS[node.name],
                         setup={"keydir": str(self.state_dir / "keys")})
        self.destdir, self.unit = destdir, unit
        self.etc = node.dir / "etc"
        (self.etc / "encsync").mkdir(parents=True)
        # With the default keydir.
        inside = [line for line in self.config.read_text().splitlines() if "keydir" not in line]
        (self.etc / "encsync/encsync.conf").write_text("\n".join(inside) + "\n")
        self._add_user()
        self.ready_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ready_socket.bind(str(self.run_dir / "notify"))

    def _add_user(self) -> None:
        for name in ("passwd", "group"):
            shutil.copy(f"/etc/{name}", self.etc)
        root = self.node.dir / "sysusers"
        shutil.copytree(self.etc, root / "etc")
        rules = self.destdir / "usr/local/lib/sysusers.d/encsync.conf"
        subprocess.run(["systemd-sysusers", f"--root={root}", "-"], check=True,
                       input=rules.read_bytes())
        for name in ("passwd", "group"):
            shutil.copy(root / "etc" / name, self.etc)
        self.uid = next(int(line.split(":")[2]) for line in
                        (self.etc / "passwd").read_text().splitlines()
                        if line.startswith("encsync:"))

    def sandbox(self, *more: str | Path) -> list:
        return [PYTHON, SANDBOX, self.unit, "--etc", self.etc,
                "--bind", f"{self.destdir}/usr/local:/usr/local",
                "--bind", f"{self.run_dir}:/run/encsync", "--rw", "/run/encsync",
                "--bind", f"{self.state_dir}:/var/lib/encsync", "--rw", "/var/lib/encsync", *more]

    def start(self, *more: str | Path) -> None:
        # Leaks are tested by the lab tests; LeakSanitizer needs ptrace.
        self.daemon = self.node.start(
            *self.sandbox(*more), name="encsyncd",
            env={"NOTIFY_SOCKET": "/run/encsync/notify", "ASAN_OPTIONS": "detect_leaks=0"})

    def told_ready(self) -> bool:
        try:
            return self.ready_socket.recv(64, socket.MSG_DONTWAIT) == b"READY=1"
        except BlockingIOError:
            return False

    def wait_ready(self) -> None:
        def told():
            if not self.daemon.running:
                raise LabError(f"encsyncd ended:\n{self.daemon.last_words()}")
            return self.told_ready()

        wait_for(told, 20, "encsyncd to say that it is up", 0.1)

    def says(self, text: str) -> None:
        wait_for(lambda: text in self.daemon.errors(), 15,
                 f"encsyncd to say '{text}' (it said: {self.daemon.errors()})", 0.1)

    def in_sandbox(self, *command: str) -> subprocess.CompletedProcess:
        return self.node.run(*self.sandbox("--", *command), check=False)


@pytest.fixture(scope="module")
def both(destdir, unit):
    """mickey as installed, not started; minnie as built, running; a cable between them."""
    with Lab() as lab:
        nodes = lab.node("mickey"), lab.node("minnie")
        lab.cable(nodes[0], "sync", nodes[1], "sync")
        for node in nodes:
            node.ip(f"addr add {ADDRESS[node.name]}/24 dev sync", "link set sync up")
        mickey = Installed(nodes[0], destdir, unit, {"minnie": ADDRESS["minnie"]})
        minnie = sync.Encsync(nodes[1], {"mickey": ADDRESS["mickey"]}, left=ADDRESS["minnie"])
        sync.introduce(mickey, minnie)
        minnie.start()
        yield mickey, minnie
        mickey.ready_socket.close()
    assert lab.leftovers() == []


@pytest.fixture
def mickey(both):
    yield both[0]
    both[0].node.kill_all()
    while both[0].told_ready():
        pass


def proc_status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


# ---- it works in the sandbox -----------------------------------------------------------------


def test_in_step_with_a_peer(mickey, both):
    mickey.start()
    mickey.wait_ready()
    sync.wait_in_step(*both)
    conntrack.insert(both[1].node, "10.0.0.30", "203.0.113.10", 2000, 443)
    wait_for(lambda: any(flow.orig.sport == 2000 for flow in conntrack.table(mickey.node)), 10,
             "minnie's flow to reach mickey", 0.1)

    encsyncd = proc_status(mickey.daemon.pid)
    assert (encsyncd["NoNewPrivs"], encsyncd["Seccomp"]) == ("1", "2")
    assert bin(int(encsyncd["CapBnd"], 16)).count("1") == 2  # it has already dropped the others
    charon = proc_status(mickey.charons()[0])
    assert charon["Uid"].split() == [str(mickey.uid)] * 4
    assert {charon[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16}

    mickey.command("role", "standby")
    mickey.stop()
    assert not mickey.told_ready()  # only once
    assert (mickey.run_dir / "role").read_text().splitlines()[0] == "standby"


def test_a_restart_keeps_the_role(mickey):
    mickey.start()
    mickey.wait_ready()
    assert mickey.status()["role"] == "standby"
    mickey.command("role", "auto")
    mickey.stop()


def test_a_charon_that_hangs_is_ended(mickey):
    mickey.start()
    mickey.wait_ready()
    [charon] = wait_for(mickey.charons, 10, "charon to start", 0.1)
    os.kill(charon, signal.SIGSTOP)
    mickey.stop()
    wait_for(lambda: not Path(f"/proc/{charon}").exists(), 10, "charon to end")


# ---- and needs each exception ----------------------------------------------------------------


def test_the_unit_gives_these_and_no_more(unit):
    [line] = [line for line in unit.read_text().splitlines()
              if line.startswith("CapabilityBoundingSet=")]
    assert set(line.split("=")[1].split()) == CAPABILITIES


@pytest.mark.parametrize("without, says", [
    ("CAP_NET_ADMIN", "encsyncd: "),
    ("CAP_NET_BIND_SERVICE", "192.168.1.100:500: Permission denied"),
    ("CAP_SYS_ADMIN", "charon cannot be started: unshare: Operation not permitted"),
    ("CAP_CHOWN", "charon cannot be started: chown /run: Operation not permitted"),
    ("CAP_SETPCAP", "charon cannot be started: drop capabilities: Operation not permitted"),
    ("CAP_SETGID", "charon cannot be started: setgroups: Operation not permitted"),
    ("CAP_SETUID", "charon cannot be started: setuid: Operation not permitted"),
    ("mount", "charon cannot be started: mount /: Operation not permitted"),
    ("seccomp", "charon cannot be started: seccomp: Operation not supported"),
])
def test_nothing_works_without(mickey, without, says):
    mickey.start("--without", without)
    mickey.says(says)
    assert not mickey.ready()


# ---- the sandbox denies everything else ------------------------------------------------------

TRIES = {
    "touch /etc/encsync/new": "Read-only file system",
    "touch /usr/local/new": "Read-only file system",
    "ls /root": "Permission denied",
    "sh -c 'echo 1 > /proc/sys/net/netfilter/nf_conntrack_events'": "Read-only file system",
    "cat /proc/1/environ": "No such file or directory",
    "unshare --user true": "Operation not permitted",
    "umount /tmp": "must be superuser",
    "ls /dev/kmsg": "No such file or directory",
    f"{PYTHON} -c 'import socket; socket.socket(socket.AF_PACKET)'": "not supported by protocol",
    f"{PYTHON} -c 'import mmap; mmap.mmap(-1, 4096, prot=6)'": "Operation not permitted",
    f"{PYTHON} -c 'import os; os.sched_setscheduler(0, 1, os.sched_param(1))'":
        "Operation not permitted",
}


@pytest.mark.parametrize("command", TRIES)
def test_refused(mickey, command):
    done = mickey.in_sandbox("/bin/sh", "-c", command)
    assert done.returncode != 0 and TRIES[command] in done.stderr


@pytest.mark.parametrize("command", [
    "touch /run/encsync/new", "touch /var/lib/encsync/new", "touch /tmp/new", "ls /etc/encsync",
    "unshare --net true", "mount -t tmpfs tmpfs /run", "ls /dev/net/tun",
    f"{PYTHON} -c 'import socket; socket.socket(socket.AF_NETLINK, 2, 12)'",
    f"{PYTHON} -c 'import mmap; mmap.mmap(-1, 4096, prot=2)'",
])
def test_not_refused(mickey, command):
    done = mickey.in_sandbox("/bin/sh", "-c", command)
    assert done.returncode == 0, done.stderr


def test_an_unknown_directive_is_not_passed_over(mickey, unit, tmp_path):
    changed = tmp_path / "encsync.service"
    changed.write_text(unit.read_text().replace("[Install]", "PrivateMagic=yes\n\n[Install]"))
    done = subprocess.run([PYTHON, SANDBOX, changed, "--", "/bin/true"], capture_output=True,
                          text=True)
    assert done.returncode == 1 and "not known here: PrivateMagic" in done.stderr
