# SPDX-License-Identifier: ISC
"""What the processes may still do while they run, according to /proc. All other tests of the lab
show that it is enough: the sandbox is the default."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import conntrack
import sync
from lab import descendants, start_time, wait_for
from pair import SERVER, FirewallPair

pytestmark = pytest.mark.daemon

ROOT = Path(__file__).resolve().parents[2]
# As they are installed; ./run test builds them. Sanitizers need more privileges.
RELEASE = ROOT / "build/bin"
NET_BIND_SERVICE, NET_ADMIN, SYS_PTRACE = 1 << 10, 1 << 12, 1 << 19
FILTERED = "2"  # SECCOMP_MODE_FILTER


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def capabilities(pid: int) -> set[int]:
    """In all five sets together."""
    told = status(pid)
    return {int(told[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}


def daemon_pid(instance) -> int:
    """The pid of encsyncd itself, below the program that started it in its namespace."""
    for pid in [instance.daemon.pid, *descendants([instance.daemon.pid])]:
        if status(pid)["Name"] == "encsyncd":
            return pid
    raise AssertionError("encsyncd does not run")


@pytest.fixture(params=["here", "release"])
def programs(request, monkeypatch):
    if request.param == "release":
        if not (RELEASE / "encsyncd").exists():
            pytest.skip(f"nothing is built in {RELEASE}")
        monkeypatch.setenv("ENCSYNC_BIN_DIR", str(RELEASE))
    return request.param


def test_little_is_left_to_each_process(fresh, programs):
    pair = FirewallPair(fresh)
    instances = sync.equip(pair)
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    mickey, _ = instances
    daemon, (charon,) = daemon_pid(mickey), mickey.charons()
    told = status(daemon)
    extra = 0 if programs == "release" else SYS_PTRACE
    assert told["Seccomp"] == FILTERED and told["NoNewPrivs"] == "1"
    for name in ("CapPrm", "CapEff"):
        assert int(told[name], 16) | extra == NET_ADMIN | NET_BIND_SERVICE | extra
    assert int(told["CapBnd"], 16) | extra == NET_ADMIN | NET_BIND_SERVICE | extra
    assert int(told["CapInh"], 16) == int(told["CapAmb"], 16) == 0
    launcher = int(status(charon)["PPid"])
    assert status(launcher)["Name"] == "encsync-ike"
    for pid in (charon, launcher):
        told = status(pid)
        assert capabilities(pid) == {0} and told["NoNewPrivs"] == "1"
        assert told["Seccomp"] == FILTERED
        assert "0" not in told["Uid"].split()
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink(f"/proc/{daemon}/ns/net")

    # With these privileges: another charon, another peer, keys and configuration again, and stop.
    os.kill(charon, signal.SIGKILL)
    wait_for(lambda: mickey.charons() not in ([], [charon]), 15, "another charon")
    sync.wait_in_step(*instances, timeout=30)
    mickey.peers["donald"] = "192.168.1.102"
    assert "added donald" in mickey.reload().stdout
    mickey.command("keys", "rotate", "--what", "identity")
    mickey.command("role", "active")
    assert mickey.command("policy", "verify").returncode == 0
    pair.mickey.run("nft", "delete", "table", "inet", "encsync")
    wait_for(lambda: "inet encsync" in pair.mickey.run("nft", "list", "tables").stdout, 10,
             "the ruleset to be put back")
    pair.mickey.ip("link del enc0")
    wait_for(lambda: "enc0 is gone; it is made again" in mickey.log(), 10, "enc0 to be made again")
    pair.mickey.run("ip", "link", "show", "up", "dev", "enc0")
    conntrack.insert(pair.mickey, "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: pair.flows(pair.minnie), 10, "a flow to arrive")
    mickey.stop()
    wait_for(lambda: not start_time(launcher), 10, "the launcher to end")


def test_without_a_launcher_it_ends(fresh):
    """It cannot start another charon: its service manager has to restart it."""
    pair = FirewallPair(fresh)
    mickey, _ = sync.equip(pair)
    mickey.start()
    (charon,) = wait_for(mickey.charons, 10, "charon")
    os.kill(int(status(charon)["PPid"]), signal.SIGKILL)
    assert mickey.daemon.wait() == 1
    assert "charon cannot be started any more" in mickey.log()
    wait_for(lambda: not start_time(charon), 10, "charon to end")


def test_it_can_be_left_out(fresh):
    pair = FirewallPair(fresh)
    mickey, _ = sync.equip(pair, setup={"sandbox": "no"})
    mickey.start()
    (charon,) = wait_for(mickey.charons, 10, "charon")
    told = status(daemon_pid(mickey))
    assert told["Seccomp"] == "0" and int(told["CapEff"], 16) & ~(NET_ADMIN | NET_BIND_SERVICE)
    assert "sandbox=no" in mickey.log()
    assert capabilities(charon) == {0}  # control: charon never has any
