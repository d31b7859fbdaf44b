# SPDX-License-Identifier: ISC
"""Debian machines with a real systemd as nodes of a lab: systemd-nspawn in the node's namespace.

    machine = Machine(pair.mickey, root, packages=folder)
    machine.run("apt-get", "install", "-y", "/packages/encsync.deb")

All of them share the root, read-only; what each writes is kept in memory and gone when it ends. No
network but that of the node.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lab import LabError, Node, descendants, wait_for

CGROUPS = Path("/sys/fs/cgroup")


PREFIX = f"encsync-lab-{os.getpid()}-"


def hierarchies() -> list[Path]:
    """Where systemd keeps its groups: one hierarchy, or those of the older kind beside it."""
    old = [CGROUPS / name for name in ("systemd", "unified")]
    return [path for path in old if path.is_dir()] or [CGROUPS]


def groups() -> list[Path]:
    """Those of this process's machines."""
    return [group for path in hierarchies() for group in path.glob(f"{PREFIX}*")]


def remove_groups(those: list[Path]) -> None:
    for group in those:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)


class Machine:
    def __init__(self, node: Node, root: Path, packages: Path):
        self.node = node
        self.groups = [path / f"{PREFIX}{node.netns}" for path in hierarchies()]
        for group in self.groups:
            group.mkdir()
        # Each in a group of its own: it makes others below, by names that are always the same.
        join = ('while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; '
                'shift; exec "$@"')
        self.process = node.start(
            "sh", "-c", join, "sh", *self.groups, "--",
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot",
            f"--directory={root}", "--volatile=overlay", f"--machine={node.name}",
            f"--network-namespace-path=/run/netns/{node.netns}", "--console=pipe",
            "--capability=CAP_NET_ADMIN", "--bind=/dev/net/tun",
            f"--bind-ro={packages}:/packages", name="machine")
        self.leader = wait_for(self._leader, 30, f"the first process of {node.name}")
        wait_for(self._booted, 90, f"{node.name} to boot", poll=0.3)

    def _leader(self) -> int | None:
        if not self.process.running:
            raise LabError(f"systemd-nspawn ended:\n{self.process.last_words(30)}")
        for pid in descendants([self.process.pid]):
            try:
                if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                    return pid
            except OSError:
                pass
        return None

    def _booted(self) -> bool:
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        if state == "degraded":
            raise LabError(self.run("systemctl", "--failed", "--no-pager", check=False).stdout)
        return state == "running"

    def run(self, *command: str | Path, check: bool = True, timeout: float = 180,
            input: str | None = None) -> subprocess.CompletedProcess:
        done = subprocess.run(self.argv(*command), capture_output=True, text=True, timeout=timeout,
                              input=input, stdin=None if input is not None else subprocess.DEVNULL)
        if check and done.returncode != 0:
            more = self.journal() if command[0] == "systemctl" else ""
            raise LabError(f"{self.node.name}: {' '.join(map(str, command))}: status "
                           f"{done.returncode}: {done.stdout}{done.stderr}{more}")
        return done

    def argv(self, *command: str | Path) -> list[str]:
        return ["nsenter", f"--target={self.leader}", "--all", "--root", "--wdns=/", "env", "-i",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *map(str, command)]

    def apt(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        return self.run("apt-get", "-q", "-y", *arguments, check=check, timeout=300)

    def active(self, unit: str = "encsync.service") -> bool:
        return self.run("systemctl", "is-active", unit, check=False).stdout.strip() == "active"

    def programs(self) -> set[str]:
        """The names of what runs there."""
        return set(self.run("sh", "-c", "cat /proc/[0-9]*/comm", check=False).stdout.split())

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "-u", "encsync", check=False).stdout

    def end(self) -> None:
        """Power off, in order; then nothing of it is left."""
        self.run("systemctl", "poweroff", check=False)
        self.process.wait(60)
        remove_groups(self.groups)
