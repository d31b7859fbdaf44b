# SPDX-License-Identifier: ISC
"""The systems compared: programs that keep minnie's conntrack table in step with mickey's.

    system = Conntrackd(lab)
    system.start("mickey"); system.start("minnie"); system.wait_ready()
    system.cpu_seconds("mickey"), system.rss_bytes("mickey")
    system.stop("minnie")
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from topology import FIREWALLS, SYNC, SYNC_DEVICE  # first: it adds the lab's library to the path

import sync
from lab import Lab, LabError, Node, Process, wait_for
from pair import bin_dir

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def other(name: str) -> str:
    return FIREWALLS[1 - FIREWALLS.index(name)]


class System:
    """One instance on each firewall. A subclass adds: name, _launch, ready."""

    name = ""
    summary = ""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.processes: dict[str, Process] = {}

    def available(self) -> str | None:
        """Why it cannot be measured here, or None."""
        return None

    def start(self, name: str) -> None:
        self.processes[name] = self._launch(self.lab.nodes[name])

    def stop(self, name: str) -> None:
        """Ends it and removes what it leaves behind on purpose."""
        self.processes.pop(name).stop()
        self._clean(self.lab.nodes[name])

    def wait_ready(self, timeout: float = 30) -> None:
        def all_ready() -> bool:
            for name, process in self.processes.items():
                if not process.running:
                    raise LabError(f"{self.name} ended on {name}:\n{process.last_words()}")
            return all(self.ready(name) for name in self.processes)

        wait_for(all_ready, timeout, f"{self.name} to be ready", poll=0.05)

    def cpu_seconds(self, name: str) -> float:
        """User and system time of all its processes on this node, including ended children.
        Includes the time of the kernel in their system calls (sending, creating entries)."""
        ticks = 0
        for pid in self.processes[name].tree():
            fields = _stat(pid)
            # utime stime cutime cstime: fields 14 to 17 of proc(5), counted from 1
            ticks += sum(int(field) for field in fields[11:15])
        return ticks / _TICK

    def rss_bytes(self, name: str) -> int:
        return sum(int(_stat(pid)[21]) for pid in self.processes[name].tree()) * _PAGE

    def ready(self, name: str) -> bool:
        raise NotImplementedError

    def _launch(self, node: Node) -> Process:
        raise NotImplementedError

    def _clean(self, node: Node) -> None:
        pass


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; 0 for a process that has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ["0"] * 50
    return text[text.rindex(")") + 2 :].split()


# Tuned as for a busy pair of firewalls: FT-FW (the mode that loses nothing), a cable of its own
# with unicast UDP, entries put directly into the kernel, buffers for every event of a burst, no
# addresses of the firewalls themselves.
CONNTRACKD_CONF = """
Sync {{
    Mode FTFW {{
        ResendQueueSize 1048576
        ACKWindowSize 300
        DisableExternalCache On
        StartupResync On
    }}
    UDP Default {{
        IPv4_address {own}
        IPv4_Destination_Address {peer}
        Port 3780
        Interface {device}
        SndSocketBuffer 67108864
        RcvSocketBuffer 67108864
        Checksum on
    }}
}}
General {{
    Systemd off
    HashSize 524288
    HashLimit 2097152
    LogFile {folder}/conntrackd.log
    Syslog off
    LockFile {folder}/conntrackd.lock
    UNIX {{
        Path {folder}/conntrackd.ctl
    }}
    NetlinkBufferSize 536870912
    NetlinkBufferSizeMaxGrowth 1073741824
    NetlinkOverrunResync 5
    Filter From Kernelspace {{
        Protocol Accept {{
            TCP
            SCTP
            DCCP
            UDP
            ICMP
        }}
        Address Ignore {{
            IPv4_address 127.0.0.1
            IPv4_address {own}
            IPv4_address {peer}
        }}
    }}
}}
"""


class Conntrackd(System):
    name = "conntrackd"
    summary = "FT-FW over UDP, in clear, entries put straight into the kernel"

    def available(self) -> str | None:
        return None if shutil.which("conntrackd") else "conntrackd is not installed"

    def __init__(self, lab: Lab, realtime: bool = False):
        super().__init__(lab)
        self.realtime = realtime

    def start(self, name: str) -> None:
        super().start(name)
        wait_for(lambda: self.ready(name), 10, "conntrackd to answer")
        # conntrackd gives itself the highest real-time priority, to avoid overruns of its event
        # socket. With the large buffer here that is not necessary, and because then every single
        # event wakes it at once, it halves its throughput and doubles its CPU time. So it gets the
        # better setting; realtime=True keeps its own.
        if not self.realtime:
            os.sched_setscheduler(self.processes[name].pid, os.SCHED_OTHER, os.sched_param(0))

    def ready(self, name: str) -> bool:
        # It answers on its control socket once all its sockets are open.
        node = self.lab.nodes[name]
        conf = node.dir / "conntrackd.conf"
        return node.run("conntrackd", "-C", conf, "-s", "runtime", check=False).returncode == 0

    def _launch(self, node: Node) -> Process:
        conf = node.dir / "conntrackd.conf"
        conf.write_text(
            CONNTRACKD_CONF.format(
                own=SYNC[node.name],
                peer=SYNC[other(node.name)],
                device=SYNC_DEVICE,
                folder=node.dir,
            )
        )
        return node.start("conntrackd", "-C", conf)


class Encsync(System):
    name = "encsync"
    summary = "pfsync in ESP, userspace IPsec, default configuration"

    def __init__(self, lab: Lab):
        super().__init__(lab)
        self._instances: dict[str, sync.Encsync] = {}

    def available(self) -> str | None:
        return None if sync.built() else f"encsyncd or encsync is not built ({bin_dir()})"

    def ready(self, name: str) -> bool:
        return self._instances[name].ready()

    def spi(self, name: str) -> str:
        """Of an inbound SA of it, in hex; there are two for a while if both have initiated."""
        return min(spi for _, way, spi in self._instances[name].spis() if way == "in"
                   ).removeprefix("0x")

    def _launch(self, node: Node) -> Process:
        if not self._instances:
            for name in FIREWALLS:
                peers = {other(name): SYNC[other(name)]}
                self._instances[name] = sync.Encsync(self.lab.nodes[name], peers, SYNC[name])
            sync.introduce(*self._instances.values())
        instance = self._instances[node.name]
        instance.start()
        return instance.daemon

    def _clean(self, node: Node) -> None:
        # Its ruleset stays when it ends, by design, and would affect the next system's packets.
        node.run("nft", "delete", "table", "inet", "encsync", check=False)


class Nothing(System):
    """No synchronization at all: with it, everything must be reported as lost."""

    name = "nothing"
    summary = "no synchronization"

    def ready(self, name: str) -> bool:
        return True

    def _launch(self, node: Node) -> Process:
        return node.start("sleep", "3600", name="nothing")
