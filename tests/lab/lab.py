# SPDX-License-Identifier: ISC
"""Networks made of Linux network namespaces, for the demo, the tests and the benchmark.

A Lab makes nodes (one namespace each), cables (veth pairs) and switches (a bridge in a namespace
of its own), runs commands and keeps processes in them, and removes all of it in reverse order: at
the end, after an exception, after SIGINT, SIGTERM or SIGHUP.

    with Lab() as lab:
        a, b = lab.node("a"), lab.node("b")
        lab.cable(a, "eth0", b, "eth0")
        a.ip("addr add 10.0.0.1/24 dev eth0")
        a.run("ping", "-c1", "10.0.0.2")

Names: a namespace is called es<pid>-<node>, so any number of labs can run at the same time. Nothing
is made in the namespace of the caller; with strict=True it is an error if at the end anything is
there that was not there before (outside.py). Each lab has a folder of its own (lab.dir), with the
stderr of every process that it started.

The lab of the firewall pair is drawn in pair.py.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable, Iterable, Iterator, TypeVar

import netlink
from outside import Outside

PYTHON = "/usr/bin/python3"
# One file per lab: what is needed to remove it later.
STATE_DIR = Path(os.environ.get("ENCSYNC_LAB_STATE_DIR", "/run/encsync-lab"))
NETNS_DIR = Path("/run/netns")

T = TypeVar("T")


class LabError(Exception):
    """An operation of the lab failed; the message is for the user."""


def wait_for(predicate: Callable[[], T], timeout: float, what: str, poll: float = 0.02,
             exactly: bool = False) -> T:
    """Waits until the predicate holds and returns its value; LabError(what) if it never does. The
    timeout is for a machine that does nothing else: a busy one has at least a minute, unless
    exactly that time is to pass. It looks less often with time, as most predicates start programs,
    which other tests wait for."""
    if not exactly:
        timeout = max(timeout, 60)
    began = time.monotonic()
    while True:
        value = predicate()
        if value:
            return value
        waited = time.monotonic() - began
        if waited >= timeout:
            raise LabError(f"waited {timeout:g} s in vain: {what} (last seen: {value!r})")
        time.sleep(max(poll, min(waited / 20, 0.1)))


# ---- processes, from /proc -------------------------------------------------------------------


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def start_time(pid: int) -> int | None:
    """Clock ticks since boot; with the pid it identifies a process. None: it has ended."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(roots: Iterable[int]) -> list[int]:
    """The living children of these processes, and theirs, parents first. Without the roots."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields is not None and fields[0] not in "ZX":
            children.setdefault(int(fields[1]), []).append(pid)
    found: list[int] = []
    queue = list(roots)
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found


def pids_in_netns(name: str) -> list[int]:
    """Processes whose network namespace is the named one."""
    try:
        wanted = os.stat(NETNS_DIR / name)
    except OSError:
        return []
    found = []
    for pid in _pids():
        try:
            seen = os.stat(f"/proc/{pid}/ns/net")
        except OSError:
            continue
        if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino) and start_time(pid):
            found.append(pid)
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _kill_and_wait(pids: Iterable[int]) -> None:
    known = {pid: start_time(pid) for pid in pids}
    for pid in known:
        kill(pid)
    for pid, started in known.items():
        def gone(pid=pid, started=started):
            try:  # we must reap it, if it is our child
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
            return started is None or start_time(pid) != started

        wait_for(gone, 30, f"process {pid} to die")


def _become_subreaper() -> None:
    # A grandchild whose parent died becomes ours instead of init's, so that teardown finds it.
    pr_set_child_subreaper = 36
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


# ---- nodes -----------------------------------------------------------------------------------


class Process:
    """A program that runs in a node. Its stdout and stderr go to files in the lab's folder."""

    def __init__(self, node: Node, popen: subprocess.Popen, name: str, out: Path, err: Path):
        self.node, self.popen, self.name, self.out, self.err = node, popen, name, out, err
        self.pid = popen.pid

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    @property
    def status(self) -> int | None:
        return self.popen.poll()

    def tree(self) -> list[int]:
        """The process itself and all its descendants."""
        return ([self.pid] if self.running else []) + descendants([self.pid])

    def signal(self, number: int) -> None:
        if self.running:
            kill(self.pid, number)

    def favour(self) -> None:
        """A larger share of the processor. The scheduler divides it by sessions (sched(7),
        autogroup), and each process here begins one, so that its own nice value says little."""
        os.setpriority(os.PRIO_PROCESS, self.pid, -20)
        autogroup = Path(f"/proc/{self.pid}/autogroup")
        if autogroup.exists():  # not every kernel has it
            autogroup.write_text("-20")

    def wait(self, timeout: float = 60) -> int:
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} on {self.node.name} does not end") from None

    def stop(self, timeout: float = 60) -> int:
        """SIGTERM; returns its exit status. A program that does not end is an error."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to this process only, not to its children."""
        self.signal(signal.SIGKILL)
        self.wait()

    def say(self, line: str) -> None:
        """A line to its stdin (start it with stdin=True)."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def errors(self) -> str:
        return self.err.read_text(errors="replace")

    def output(self) -> str:
        return self.out.read_text(errors="replace")

    def last_words(self, lines: int = 12) -> str:
        text = (self.output() + self.errors()).splitlines()[-lines:]
        return "\n".join(f"    {self.node.name} {self.name}: {line}" for line in text)


class Node:
    """One machine: a network namespace, its processes, a folder."""

    def __init__(self, lab: Lab, name: str):
        self.lab, self.name = lab, name
        self.netns = f"{lab.prefix}{name}"
        self.dir = lab.dir / name
        self.is_switch = False
        self.volatile = self.dir / "run"  # used as /run: empty after a power cut
        self.volatile.mkdir(mode=0o755, parents=True)
        self.processes: list[Process] = []

    def __repr__(self) -> str:
        return f"<{self.netns}>"

    def _env(self, more: dict[str, str] | None) -> dict[str, str]:
        # It identifies orphans of this lab: their environment has its folder.
        return {**os.environ, "ENCSYNC_LAB_DIR": str(self.lab.dir), **(more or {})}

    def run(
        self,
        *args: str | Path | int,
        check: bool = True,
        input: str | None = None,
        timeout: float = 30,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess:
        """Runs a command to its end. check: a failure is a LabError with its output."""
        try:
            with self.entered():
                done = subprocess.run(
                    [*map(str, args)],
                    input=input,
                    stdin=None if input is not None else subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=timeout,
                    env=self._env(env),
                )
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: no end after {timeout:g} s: {_join(args)}") from None
        except OSError as error:
            raise LabError(f"{self.name}: {_join(args)}: {error.strerror}") from None
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.name}: {_join(args)}: status {done.returncode}: {said}")
        return done

    def start(
        self,
        *args: str | Path | int,
        name: str | None = None,
        stdin: bool = False,
        env: dict[str, str] | None = None,
    ) -> Process:
        """Starts a program; the lab ends it when it is taken down, at the latest."""
        name = name or Path(str(args[0])).name
        count = sum(p.name == name for p in self.processes)
        stem = name if count == 0 else f"{name}.{count + 1}"
        out, err = self.dir / f"{stem}.out", self.dir / f"{stem}.err"
        with open(out, "wb") as out_file, open(err, "wb") as err_file, self.entered():
            popen = subprocess.Popen(
                [*map(str, args)],
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                text=True,
                env=self._env(env),
                start_new_session=True,  # Ctrl-C is handled by the lab only
            )
        process = Process(self, popen, name, out, err)
        self.processes.append(process)
        self.lab.note()
        return process

    def ip(self, *lines: str) -> None:
        """Lines for ip(8), in one batch: "addr add 10.0.0.1/24 dev eth0"."""
        done = subprocess.run(
            ["ip", "-n", self.netns, "-batch", "-"],
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise LabError(f"{self.name}: ip {'; '.join(lines)}: {done.stderr.strip()}")

    def nft(self, ruleset: str) -> None:
        self.run("nft", "-f", "-", input=ruleset)

    def sysctl(self, settings: dict[str, int | str]) -> None:
        """Names with slashes: {"net/ipv4/ip_forward": 1}."""
        with self.entered():
            for key, value in settings.items():
                try:
                    Path(f"/proc/sys/{key}").write_text(f"{value}\n")
                except OSError as error:
                    raise LabError(f"{self.name}: {key} = {value}: {error.strerror}") from None

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the node's network namespace meanwhile, and what it starts. So there is
        no `ip netns exec` before each program, which takes longer to start than most of them; but
        /sys is the caller's."""
        with open("/proc/thread-self/ns/net") as own, open(NETNS_DIR / self.netns) as there:
            _set_netns(there.fileno())
            try:
                yield
            finally:
                _set_netns(own.fileno())

    def forward(self) -> None:
        """Makes it a router."""
        self.sysctl({"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1})

    def addresses(self, interface: str) -> set[str]:
        """The addresses of an interface, without prefix lengths; none if it does not exist."""
        with self.entered():
            try:
                return netlink.addresses(socket.if_nametoindex(interface))
            except OSError:
                return set()

    def link(self, interface: str) -> dict:
        """What ip(8) shows of an interface, with its counters."""
        return json.loads(self.run("ip", "-j", "-s", "link", "show", "dev", interface).stdout)[0]

    def mac(self, interface: str) -> str:
        return self.link(interface)["address"]

    def tree(self) -> list[int]:
        """All processes of this node: those started in it, their children (also those that entered
        a network namespace of their own), and all others in its namespace."""
        own = [p.pid for p in self.processes if p.running]
        found = dict.fromkeys(own + descendants(own) + pids_in_netns(self.netns))
        return [pid for pid in found if pid != os.getpid()]

    def power_off(self, *links: str) -> int:
        """These links down and SIGKILL to all processes at once, as in a power failure; /run is
        emptied. Returns the number of processes."""
        # Stopped first: no process may send a last message while others are killed, as keepalived
        # does when a link goes down. That would be an orderly shutdown.
        pids = self.tree()
        for pid in pids:
            kill(pid, signal.SIGSTOP)
        self.ip(*(f"link set {name} down" for name in links))
        for pid in pids:
            kill(pid, signal.SIGKILL)
        self.kill_all()  # waits, and includes processes started meanwhile
        shutil.rmtree(self.volatile)
        self.volatile.mkdir(mode=0o755)
        return len(pids)

    def kill_all(self) -> int:
        """SIGKILL to every process of the node at once. Returns how many there were."""
        total: set[int] = set()
        while pids := self.tree():  # again: new ones may have been started meanwhile
            total.update(pids)
            _kill_and_wait(pids)
        for process in self.processes:
            process.popen.poll()
        return len(total)


def _join(args: Iterable) -> str:
    return " ".join(map(str, args))


# ---- the lab ---------------------------------------------------------------------------------


class Lab:
    """See the top of this file. keep: leave everything up at the end (lab.keep may be set later,
    too); take_down(state) of a later process removes it. strict: for tests; the demo ignores what
    others do on the machine meanwhile."""

    _count = 0
    standing: list[Lab] = []  # those that are up, for failure reports

    def __init__(self, keep: bool = False, strict: bool = False):
        if os.geteuid() != 0:
            raise LabError("the lab needs root, to make network namespaces")
        number, Lab._count = Lab._count, Lab._count + 1
        self.prefix = f"es{os.getpid()}-" if number == 0 else f"es{os.getpid()}-{number}-"
        self.keep, self.strict = keep, strict
        self.nodes: dict[str, Node] = {}
        self._handlers: dict[int, object] = {}
        self._up = False
        _become_subreaper()
        # Programs that dropped their privileges must be able to reach their files in it.
        self.dir = Path(tempfile.mkdtemp(prefix=self.prefix))
        self.dir.chmod(0o755)
        self._state_file = STATE_DIR / f"{self.prefix.rstrip('-')}.json"

    # -- start and end --

    def __enter__(self) -> Lab:
        def stop(number, _frame):
            raise SystemExit(128 + number)

        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._handlers[number] = signal.signal(number, stop)
        self._outside = Outside(self._others) if self.strict else None
        self._up = True
        Lab.standing.append(self)
        atexit.register(self.close)
        self.note()
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    def close(self) -> None:
        """Removes everything (or, with keep, leaves it). Only once, and without interruption."""
        if not self._up:
            return
        self._up = False
        Lab.standing.remove(self)
        atexit.unregister(self.close)
        main = threading.current_thread() is threading.main_thread()
        held = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        if main:
            signal.pthread_sigmask(signal.SIG_BLOCK, held)
        try:
            if self.keep:
                self.note(owner_stays=False)
            else:
                self._tear_down()
        finally:
            if main:
                for number, handler in self._handlers.items():
                    signal.signal(number, handler)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, held)

    def _tear_down(self) -> None:
        for node in reversed(self.nodes.values()):
            for process in node.processes:
                if process.popen.stdin is not None:
                    try:
                        process.popen.stdin.close()
                    except BrokenPipeError:
                        pass
            node.kill_all()
        _kill_and_wait(self._orphans())
        subprocess.run(["ip", "-force", "-batch", "-"], check=False, capture_output=True, text=True,
                       input="".join(f"netns del {node.netns}\n"
                                     for node in reversed(self.nodes.values())))
        left = self.leftovers()
        if self._outside:
            left += self._outside.left()
        shutil.rmtree(self.dir, ignore_errors=True)
        if self.dir.exists():
            left.append(f"folder {self.dir}")
        self._state_file.unlink(missing_ok=True)
        if left:
            raise LabError("left behind: " + ", ".join(left))

    @staticmethod
    def _others() -> list[int]:
        """Processes of this lab; none while another lab runs, because they may belong to it."""
        return [] if Lab.standing else descendants([os.getpid()])

    def _orphans(self) -> list[int]:
        # Children of ours that the lab did not start itself: their parents have ended.
        started = {p.pid for node in self.nodes.values() for p in node.processes}
        known = started | {p for p in descendants(started)}
        marker = os.fsencode(str(self.dir))
        found = []
        for pid in descendants([os.getpid()]):
            if pid in known:
                continue
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                words += Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            if marker in words:
                found.append(pid)
        return found

    def leftovers(self) -> list[str]:
        """What still exists of this lab: all of it while it is up, nothing after the end."""
        left = [f"process {p.pid} ({p.name})" for n in self.nodes.values() for p in n.processes
                if p.running]
        left += [f"process {pid} (orphan)" for pid in self._orphans()]
        if NETNS_DIR.is_dir():
            left += [f"namespace {name}" for name in sorted(os.listdir(NETNS_DIR))
                     if name in {node.netns for node in self.nodes.values()}]
        return left

    def note(self, owner_stays: bool = True) -> None:
        """Stores what exists, for take_down() in another process."""
        if not self._up and owner_stays:
            return
        pids = {p.pid: start_time(p.pid) for n in self.nodes.values() for p in n.processes}
        if not owner_stays:
            for node in self.nodes.values():
                pids.update({pid: start_time(pid) for pid in node.tree()})
        state = {
            "owner": [os.getpid(), start_time(os.getpid())] if owner_stays else None,
            "dir": str(self.dir),
            "namespaces": [node.netns for node in self.nodes.values()],
            "processes": [[pid, at] for pid, at in pids.items() if at is not None],
        }
        STATE_DIR.mkdir(mode=0o700, exist_ok=True)
        temporary = self._state_file.with_suffix(".new")
        temporary.write_text(json.dumps(state))
        temporary.rename(self._state_file)

    # -- building --

    def node(self, name: str) -> Node:
        if name in self.nodes:
            raise LabError(f"there is a node {name} already")
        node = Node(self, name)
        self.nodes[name] = node
        self.note()
        _ip("netns", "add", node.netns)
        # Duplicate address detection takes a second per address, and is not needed here.
        node.sysctl(
            {
                "net/ipv6/conf/all/accept_dad": 0,
                "net/ipv6/conf/default/accept_dad": 0,
                "net/ipv6/conf/default/router_solicitations": 0,
                # Otherwise an interface that goes down loses its IPv6 addresses for good.
                "net/ipv6/conf/all/keep_addr_on_down": 1,
            }
        )
        node.ip("link set lo up")
        return node

    def switch(self, name: str, hub: bool = False) -> Node:
        """A node with a bridge "br0". hub: it learns no addresses, so every frame reaches all."""
        node = self.node(name)
        more = " ageing_time 0" if hub else ""
        node.ip(f"link add br0 type bridge mcast_snooping 0{more}", "link set br0 up")
        node.is_switch = True
        return node

    def cable(self, a: Node, a_name: str, b: Node, b_name: str, *addresses: str) -> None:
        """A veth pair, both ends up; the first with these addresses. At a switch, the end becomes a
        port of its bridge."""
        def end(node: Node, name: str) -> list[str]:
            return [f"link set {name} up", *([f"link set {name} master br0"] * node.is_switch)]

        a.ip(f"link add {a_name} type veth peer name {b_name} netns {b.netns}", *end(a, a_name),
             *(f"addr add {each} dev {a_name}" + (" nodad" if ":" in each else "")
               for each in addresses))
        b.ip(*end(b, b_name))

    def plug(self, node: Node, interface: str, switch: Node, *addresses: str) -> None:
        """Node's interface to the switch (where the port gets the node's name), with addresses."""
        self.cable(node, interface, switch, node.name, *addresses)

    def last_words(self) -> str:
        """The ends of all logs, for a failure report."""
        return "\n".join(p.last_words() for n in self.nodes.values() for p in n.processes
                         if p.out.exists() and (p.output() or p.errors()))


def _set_netns(file: int) -> None:
    """Of this thread. Python's os.setns() came later."""
    clone_newnet = 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(file, clone_newnet) != 0:
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")


def _ip(*args: str) -> None:
    done = subprocess.run(["ip", *args], capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"ip {' '.join(args)}: {done.stderr.strip()}")


# ---- labs left by earlier processes ----------------------------------------------------------


def kept_labs() -> list[Path]:
    """State files of labs without an owner: kept on purpose, or their owner was killed."""
    found = []
    for file in sorted(STATE_DIR.glob("*.json")) if STATE_DIR.is_dir() else []:
        try:
            owner = json.loads(file.read_text())["owner"]
        except FileNotFoundError:  # that lab has just ended
            continue
        if owner is None or start_time(owner[0]) != owner[1]:
            found.append(file)
    return found


def take_down(file: Path) -> None:
    """Removes a lab by its state file. A process is killed only if it is the recorded one."""
    state = json.loads(file.read_text())
    roots = [pid for pid, at in state["processes"] if start_time(pid) == at]
    pids = dict.fromkeys(roots + descendants(roots))
    for name in state["namespaces"]:
        pids.update(dict.fromkeys(pids_in_netns(name)))
    if os.getpid() in pids:
        raise LabError("this shell runs inside the lab; leave it first")
    _kill_and_wait(pids)
    for name in state["namespaces"]:
        if (NETNS_DIR / name).exists():
            _ip("netns", "del", name)
    shutil.rmtree(state["dir"], ignore_errors=True)
    file.unlink()


def main() -> int:
    """lab.py list | lab.py down: for labs that were kept, or whose owner was killed."""
    if sys.argv[1:] not in (["list"], ["down"]):
        print("usage: lab.py list | down", file=sys.stderr)
        return 2
    for file in kept_labs():
        print(file.stem)
        if sys.argv[1] == "down":
            take_down(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
