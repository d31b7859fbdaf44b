# SPDX-License-Identifier: ISC
"""The AppArmor profile of the Debian package, enforced by Debian's kernel, beside that of Debian's
charon. The programs are where the package has them, and each node has its own /etc/encsync,
/var/lib/encsync and /run/encsync, as the profile names these."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import conntrack
import sync
from lab import Node, wait_for
from pair import SERVER, SYNC, FirewallPair, bin_dir, repository

PLACES = {"conf": "/etc/encsync", "lib": "/var/lib/encsync", "volatile": "/run/encsync"}
IN_PLACE = 'while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"'


class Installed(sync.Encsync):
    """An instance whose files are in the usual places, which it sees alone."""

    def __init__(self, node: Node, peer: str, **setup: str):
        self.folders = {place: node.dir / name for name, place in PLACES.items()}
        for place, folder in self.folders.items():
            folder.mkdir(mode=0o700)
            Path(place).mkdir(exist_ok=True)
        super().__init__(node, {peer: SYNC[peer]}, left=SYNC[node.name],
                         setup={"keydir": "/var/lib/encsync/keys", **setup})
        self.config = self.folders["/etc/encsync"] / "encsync.conf"
        self.run_dir = self.folders["/run/encsync"]
        self.write_config()

    def in_place(self) -> list[str | Path]:
        binds = [path for place, folder in self.folders.items() for path in (folder, place)]
        return ["unshare", "--mount", "sh", "-c", IN_PLACE, "sh", *binds, "--"]

    def argv(self, *args) -> list:
        return [*self.in_place(), "/usr/bin/encsync", *args]

    def daemon_argv(self) -> list:
        return [*self.in_place(), "/usr/sbin/encsyncd", "--foreground"]


def denials() -> list[str]:
    said = subprocess.run(["dmesg"], check=True, capture_output=True, text=True).stdout
    return [line for line in said.splitlines() if 'apparmor="DENIED"' in line]


@pytest.fixture(scope="module", autouse=True)
def enforced():
    subprocess.run(["mount", "-t", "securityfs", "securityfs", "/sys/kernel/security"])
    Path("/usr/lib/encsync").mkdir(exist_ok=True)
    for source, place in ((bin_dir() / "encsyncd", "/usr/sbin"), (bin_dir() / "encsync", "/usr/bin"),
                          (bin_dir().parent / "lib/libstrongswan-encsync.so", "/usr/lib/encsync")):
        shutil.copy(source, place)
    profiles = [repository() / "conf/apparmor/usr.sbin.encsyncd",
                "/etc/apparmor.d/usr.lib.ipsec.charon"]
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache", *profiles], check=True)
    yield
    subprocess.run(["apparmor_parser", "--remove", *profiles], check=True)


@pytest.fixture
def both(fresh) -> tuple[FirewallPair, Installed, Installed]:
    pair = FirewallPair(fresh)
    mickey = Installed(pair.mickey, "minnie", ipsec="kernel")
    minnie = Installed(pair.minnie, "mickey", ipsec="userspace")
    sync.introduce(mickey, minnie)
    return pair, mickey, minnie


def confinement(pid: int) -> str:
    return Path(f"/proc/{pid}/attr/current").read_text().strip()


def test_a_pair_works_under_it(both):
    pair, mickey, minnie = both
    before = len(denials())
    for instance in (mickey, minnie):
        instance.start()
    sync.wait_in_step(mickey, minnie, timeout=120)
    for instance in (mickey, minnie):
        processes = [instance.daemon.pid, *instance.charons()]
        assert len(processes) == 2
        assert {confinement(pid) for pid in processes} == {"encsyncd (enforce)"}
    conntrack.insert(pair.mickey, "10.0.0.10", SERVER[0], 1, 2)
    wait_for(lambda: pair.flows(pair.minnie), 60, "the flow to arrive", 0.5)
    mickey.command("keys", "rotate", "--what", "sa")
    mickey.command("reload")
    sync.wait_in_step(mickey, minnie, timeout=120)
    minnie.stop()
    mickey.stop()
    assert denials()[before:] == []


def test_it_forbids_what_is_no_business_of_encsyncd(both):
    _, mickey, _ = both
    for name in ("shadow", "mine"):
        elsewhere = Path("/etc") / name
        if not elsewhere.exists():
            elsewhere.write_text(mickey.config.read_text())
        before = len(denials())
        done = mickey.node.run(*mickey.in_place(), "/usr/sbin/encsyncd", "--foreground", "--config",
                               elsewhere, check=False)
        assert done.returncode == 1 and "Permission denied" in done.stderr
        [line] = denials()[before:]
        assert re.search(rf'profile="encsyncd" name="{elsewhere}"', line), line
