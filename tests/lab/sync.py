# SPDX-License-Identifier: ISC
"""encsync on the nodes of a lab: configuration, keys, daemon, command.

    mickey = Encsync(pair.mickey, {"minnie": SYNC["minnie"]}, left=SYNC["mickey"])
    minnie = Encsync(pair.minnie, {"mickey": SYNC["mickey"]}, left=SYNC["minnie"])
    introduce(mickey, minnie)                   creates, exports and trusts keys
    mickey.start(), minnie.start()
    wait_in_step(mickey, minnie)
"""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Callable, Iterable

from lab import LabError, Node, Process, descendants, start_time, wait_for
from pair import SYNC, FirewallPair, bin_dir


def built() -> bool:
    return all((bin_dir() / name).exists() for name in ("encsyncd", "encsync"))


class Encsync:
    """One instance on one node. peers: name to address. setup and conn: further keywords of the
    configuration, for `config setup` and for every conn. each: for one conn, by its name."""

    # Of the command: the release build if there is one, as a sanitized program takes a third of a
    # second of a processor to start, and a run of all tests starts it thousands of times. Its own
    # tests do not (conftest.py).
    commands = Path(os.environ.get("ENCSYNC_RELEASE_DIR", bin_dir()))

    def __init__(self, node: Node, peers: dict[str, str], left: str,
                 setup: dict[str, str] | None = None, conn: dict[str, str] | None = None,
                 each: dict[str, dict[str, str]] | None = None):
        self.node, self.peers, self.left = node, dict(peers), left
        self.setup, self.conn, self.each = dict(setup or {}), dict(conn or {}), dict(each or {})
        self.name = node.name
        self.config = node.dir / "encsync.conf"
        self.run_dir = node.volatile / "encsync"
        self.key_dir = node.dir / "keys"
        self.run_dir.mkdir(exist_ok=True)
        self.daemon: Process | None = None
        self.prefix: tuple[str | Path, ...] = ()  # of the daemon's command line
        self.write_config()

    def write_config(self) -> None:
        setup = {"node": self.name, "table": "conntrack", "syncdev": "enc0",
                 "ipsec": "userspace", "keydir": str(self.key_dir), **self.setup}
        lines = ["config setup", *(f"\t{k}={v}" for k, v in setup.items())]
        lines += ["", "conn %default", f"\tleft={self.left}"]
        lines += [f"\t{k}={v}" for k, v in self.conn.items()]
        for name, address in self.peers.items():
            lines += ["", f"conn {name}", f"\tright={address}"]
            lines += [f"\t{k}={v}" for k, v in {"auto": "start", **self.each.get(name, {})}.items()]
        self.config.write_text("\n".join(lines) + "\n")

    # -- the command --

    def argv(self, *args: str | Path) -> list:
        """The command line, also for keepalived's scripts."""
        return self._argv_of(self.commands / "encsync", *args)

    def _argv_of(self, program: Path, *args: str | Path) -> list:
        return [program, "--config", self.config, "--run-dir", self.run_dir, *args]

    def ready_argv(self) -> list:
        return self.argv("status", "--ready")

    def check_argv(self) -> list:
        """keepalived's check, as conf/keepalived.conf has it: who serves is not asked."""
        ready = " ".join(map(str, self.ready_argv()))
        return ["/bin/sh", "-c", f"'grep -qx active {self.run_dir}/role || {ready}'"]

    def command(self, *args: str | Path, check: bool = True,
                timeout: float = 30) -> subprocess.CompletedProcess:
        return self.node.run(*self.argv(*args), check=check, timeout=timeout)

    def json(self, *args: str) -> dict | list:
        return json.loads(self.command(*args, "--json").stdout)

    # -- requests on the control socket without the command: tests that wait send many, and a
    # -- sanitized program takes longer to start than all the rest

    def ask(self, command: str) -> dict | list | None:
        """The answer to a request without fields; None if there is no answer."""
        line = b""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(30)
            try:
                control.connect(str(self.run_dir / "control.sock"))
                control.sendall(json.dumps({"command": command}).encode() + b"\n")
                while not line.endswith(b"\n"):
                    piece = control.recv(65536)
                    if not piece:
                        return None
                    line += piece
            except (FileNotFoundError, ConnectionError):
                return None
            except TimeoutError:
                raise LabError(f"{self.name}: encsyncd does not answer to {command}") from None
        answer = json.loads(line)
        if not answer["ok"]:
            raise LabError(f"{self.name}: encsyncd refuses {command}: {answer['error']}")
        return answer["result"]

    def status(self) -> dict | None:
        """None if there is no answer."""
        return self.ask("status")

    def ready(self) -> bool:
        return bool((self.status() or {}).get("ready"))

    def peer(self, name: str) -> dict | None:
        for peer in (self.status() or {}).get("peers", []):
            if peer["name"] == name:
                return peer
        return None

    def refused(self) -> dict[str, int]:
        """Counts by reason of packets that the policy refused."""
        status = self.status() or {}
        return status.get("policy", {}).get("refused", {})

    def spis(self, *peers: str) -> set[tuple[str, str, str]]:
        """The SAs with these peers (all of them, without a name): peer, direction, SPI."""
        return {(sa["peer"], sa["direction"], sa["spi"]) for sa in self.ask("sas") or ()
                if not peers or sa["peer"] in peers}

    def reload(self, check: bool = True) -> subprocess.CompletedProcess:
        """Writes the current configuration, and reloads it."""
        self.write_config()
        return self.command("reload", check=check)

    def states_text(self) -> str:
        return self.command("states", "--json", check=False).stdout

    # -- keys --

    def init_keys(self) -> None:
        self.command("keys", "init")

    def export_key(self) -> Path:
        file = self.node.dir / f"{self.name}.pub"
        file.write_text(self.command("keys", "export").stdout)
        return file

    def trust(self, file: Path) -> None:
        self.command("keys", "trust", file)

    def start_pairing(self, *args: str) -> Process:
        return self.node.start(*self.argv("pair", *args), name="pair", stdin=True)

    # -- the daemon --

    def daemon_argv(self) -> list:
        return [bin_dir() / "encsyncd", "--config", self.config, "--run-dir", self.run_dir,
                "--foreground"]

    def start(self) -> None:
        if self.daemon is not None and self.daemon.running:
            raise LabError(f"encsyncd runs already on {self.name}")
        self.daemon = self.node.start(*self.prefix, *self.daemon_argv(), name="encsyncd")

        def answers():
            if not self.daemon.running:
                raise LabError(f"encsyncd ended with status {self.daemon.status} on "
                               f"{self.name}:\n{self.daemon.last_words()}")
            return self.status() is not None

        wait_for(answers, 60, f"encsyncd to answer on {self.name}")

    def stop(self) -> None:
        status = self.daemon.stop()
        if status != 0:
            raise LabError(f"encsyncd on {self.name} ended with status {status}, not 0:\n"
                           f"{self.daemon.last_words()}")

    def kill(self) -> None:
        """SIGKILL to encsyncd only. Its charon must end by itself."""
        charons = self.charons()
        self.daemon.kill()
        wait_for(lambda: not any(start_time(pid) for pid in charons), 15,
                 f"charon to die with its encsyncd on {self.name}")

    def signal_all(self, number: int) -> None:
        """To encsyncd and all that it has started: SIGSTOP makes a peer that says nothing."""
        for pid in self.daemon.tree():
            os.kill(pid, number)

    def restart(self) -> None:
        self.kill()
        self.start()

    def charons(self) -> list[int]:
        """The pids of charon among this daemon's descendants."""
        found = []
        for pid in descendants([self.daemon.pid]):
            try:
                if Path(f"/proc/{pid}/comm").read_text().strip().startswith("charon"):
                    found.append(pid)
            except OSError:
                pass
        return found

    def log(self) -> str:
        """The log of all runs on this node."""
        return "".join(p.output() + p.errors() for p in self.node.processes
                       if p.name == "encsyncd")


def introduce(*instances: Encsync) -> None:
    """Creates an identity for each, and lets each trust those of its peers."""
    files = {}
    for instance in instances:
        instance.init_keys()
        files[instance.name] = instance.export_key()
    for instance in instances:
        for peer in instance.peers:
            if peer in files:
                instance.trust(files[peer])


def code_shown(process: Process, patience: float = 20) -> str:
    """By `encsync pair`, which asks about it then."""
    def code() -> str | None:
        found = re.search(r"^ {4}(\d{4} \d{4})$", process.output(), re.M)
        if not found and not process.running:
            raise LabError(f"encsync pair ended on {process.node.name}:\n{process.last_words()}")
        return found[1] if found else None

    return wait_for(code, patience, f"{process.node.name} to show a code")


def pair_keys(*instances: Encsync) -> None:
    """As two people at two screens do: encsync pair on both, the codes compared, yes. Of several, each
    with each."""
    for a, b in itertools.combinations(instances, 2):
        both = [a.start_pairing(b.name), b.start_pairing(a.name)]
        codes = {code_shown(process) for process in both}
        if len(codes) != 1:
            raise LabError(f"{a.name} and {b.name} show different codes: {sorted(codes)}")
        for process in both:
            process.say("yes")
        for process in both:
            if process.wait() != 0:
                raise LabError(f"not paired:\n{process.last_words()}")


def wait_in_step(*instances: Encsync, timeout: float = 20) -> None:
    """Waits until each is ready and up with all of its peers among these."""
    names = {instance.name for instance in instances}

    def in_step(instance: Encsync) -> bool:
        status = instance.status()
        return bool(status) and status["ready"] and all(
            peer["state"] == "up" for peer in status["peers"] if peer["name"] in names)

    for instance in instances:
        wait_for(lambda: in_step(instance), timeout,
                 f"{instance.name} to be in step with {sorted(names - {instance.name})}", 0.1)


def wait_settled(*instances: Encsync, timeout: float = 40) -> None:
    """In step, and no SA is about to be replaced: if there are preshared keys, the first is in use."""
    wait_in_step(*instances, timeout=timeout)
    names = {instance.name for instance in instances}

    def settled(instance: Encsync) -> bool:
        return all(peer.get("ppk", {}).get("step", "settled") == "settled"
                   and len(instance.spis(peer["name"])) == 2
                   for peer in instance.json("peers") if peer["name"] in names)

    for instance in instances:
        wait_for(lambda: settled(instance), timeout, f"{instance.name}'s SAs to stay", 0.2)


def equip(pair: FirewallPair, acquaint: Callable[..., None] = introduce,
          **options) -> list[Encsync]:
    """encsync on each firewall of a pair, each a peer of every other, keys exchanged. Not
    started."""
    instances = [Encsync(node, {o.name: SYNC[o.name] for o in pair.firewalls if o is not node},
                         left=SYNC[node.name], **options) for node in pair.firewalls]
    acquaint(*instances)
    return instances


def begin(pair: FirewallPair, **options) -> list[Encsync]:
    """The same, running and in step. No keepalived."""
    instances = equip(pair, **options)
    for instance in instances:
        instance.start()
    wait_in_step(*instances)
    return instances


def promote(pair: FirewallPair, instances: Iterable[Encsync]) -> None:
    """keepalived on each firewall, which checks encsync's readiness; the first becomes active."""
    for instance in instances:
        pair.start_keepalived(instance.node, ready=instance.check_argv(),
                              follow=instance.argv("keepalived", "--group", "firewall"))
        if instance.node is pair.firewalls[0]:
            pair.wait_owner(instance.node)
