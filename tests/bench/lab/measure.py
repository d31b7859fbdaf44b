# SPDX-License-Identifier: ISC
"""One round with one system: its parts, and what is measured.

    latency   flows arrive at a modest rate, at random; time from the creation of each entry in
              mickey's kernel to its creation in minnie's
    burst     flows arrive as fast as the load can make them; flows a second from the first creation
              on mickey to the last one on minnie, CPU time, bytes on the cable, memory, losses
    bulk      minnie's system is stopped, its table emptied, the system started again; time from
              that start to the last creation on minnie

If the burst loses flows, it is repeated from the start at half the rate, until nothing is lost. The
figures are those of the burst that lost nothing; earlier losses are reported.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from lab import NETNS_DIR, Lab, LabError
from systems import System
from topology import FIREWALLS, SYNC_DEVICE, FlowCount, device_bytes

SENDERS = 2  # one per processor, so that the load itself is not the limit
LATENCY_RATE = 1000
LATENCY_FLOWS = 3000
ATTEMPTS = 5
# A table that has not changed for this long is final. Longer than conntrackd takes to notice and
# repair an overrun of its event socket (NetlinkOverrunResync in systems.py).
QUIET_SECONDS = 8.0
DEADLINE_SECONDS = 120.0
# Time after the last flow has arrived: acknowledgements are part of the work.
AFTERMATH_SECONDS = 0.3


@dataclass
class Tools:
    """The programs next to this file, as built (flood.cpp, entries.cpp, tables.cpp,
    noise.cpp)."""

    bin_dir: Path

    @property
    def flood(self) -> Path:
        return self.bin_dir / "lab_flood"

    @property
    def entries(self) -> Path:
        return self.bin_dir / "lab_entries"

    @property
    def tables(self) -> Path:
        return self.bin_dir / "lab_tables"

    @property
    def noise(self) -> Path:
        return self.bin_dir / "lab_noise"


class Load:
    """New flows on mickey, never the same one twice: packets that it forwards, or entries that
    are put into its kernel."""

    KINDS = {
        "packets": "UDP packets routed through mickey, one a flow",
        "entries": "entries put into mickey's kernel through ctnetlink",
    }

    def __init__(self, lab: Lab, tools: Tools, kind: str = "packets"):
        mickey = lab.nodes["mickey"]
        if kind == "packets":
            self._node = lab.nodes["clients"]
            self._command = [tools.flood, "--interface", "net", "--gateway", mickey.mac("inside")]
        else:
            self._node = mickey
            self._command = [tools.entries]
        self._next = 0

    def offer(self, flows: int, rate: float = 0, senders: int = 1) -> dict:
        """rate: flows a second; 0: as fast as possible. Returns first_ns and per_second."""
        started = []
        for i in range(senders):
            share = flows // senders + (i < flows % senders)
            if share == 0:
                continue
            words = ["--first", self._next, "--flows", share, "--rate", rate / senders]
            started.append(self._node.start(*self._command, *words))
            self._next += share
        for sender in started:
            if sender.wait(timeout=DEADLINE_SECONDS) != 0:
                raise LabError(f"the load failed: {sender.errors().strip()}")
        said = [json.loads(sender.output()) for sender in started]
        first = min(one["first_ns"] for one in said)
        last = max(one["last_ns"] for one in said)
        return {"first_ns": first, "per_second": flows / (last - first) * 1e9}


class Bench:
    """A lab to run rounds in, one system at a time."""

    def __init__(
        self, lab: Lab, tools: Tools, say: Callable[[str], None], kind: str = "packets"
    ):
        self._lab = lab
        self._tools = tools
        self._say = say
        self._load = Load(lab, tools, kind)
        self._mickey, self._minnie = (lab.nodes[name] for name in FIREWALLS)
        self._count = {name: FlowCount(lab.nodes[name]) for name in FIREWALLS}

    def round(self, system: System, flows: int) -> dict:
        """Returns the figures of a round, under the names that scripts rely on, and some more."""
        try:
            latency = self._latency(system)
            burst, lost_at_higher_pace = self._burst_without_loss(system, flows)
            bulk = self._bulk(system)
        finally:
            self.stop(system)
        return {
            "flows_per_second": round(burst["flows_per_second"]),
            "cpu_seconds_per_million_flows": burst["cpu_seconds_per_million_flows"],
            "wire_bytes_per_flow": burst["wire_bytes_per_flow"],
            "latency_p50_us": latency["p50"],
            "latency_p99_us": latency["p99"],
            "bulk_seconds": bulk["seconds"],
            "rss_bytes_per_flow": burst["rss_bytes_per_flow"],
            "lost": latency["lost"] + burst["lost"] + lost_at_higher_pace + bulk["lost"],
            "lost_by_phase": {
                "latency": latency["lost"],
                "burst": burst["lost"],
                "burst_at_higher_pace": lost_at_higher_pace,
                "bulk": bulk["lost"],
            },
            "offered_per_second": round(burst["offered_per_second"]),
            "flows": flows,
        }

    def offer_without_watching(self, system: System, flows: int) -> dict:
        """The load alone, with a system that need not sync anything."""
        self.start_empty(system)
        try:
            load = self._load.offer(flows, senders=SENDERS)
            return {"offered_per_second": load["per_second"], **self._compare(load["first_ns"])}
        finally:
            self.stop(system)

    def _latency(self, system: System) -> dict:
        self.start_empty(system)
        load = self._load.offer(LATENCY_FLOWS, rate=LATENCY_RATE)
        self._settle()
        seen = self._compare(load["first_ns"])
        if "latency_us" not in seen:
            raise LabError(f"{system.name} brought no flow over: {self._lab.last_words()}")
        figures = {**seen["latency_us"], "lost": seen["lost"]}
        self._say(
            f"{LATENCY_FLOWS} flows at {LATENCY_RATE}/s: p50 {figures['p50']:.0f} us, "
            f"p99 {figures['p99']:.0f} us, lost {figures['lost']}"
        )
        return figures

    def _burst_without_loss(self, system: System, flows: int) -> tuple[dict, int]:
        lost_before = 0
        rate = 0.0
        for _ in range(ATTEMPTS):
            # A new start each time, so that the memory of an empty system is known.
            self.start_empty(system)
            burst = self.burst(system, flows, rate)
            if burst["lost"] == 0:
                return burst, lost_before
            lost_before += burst["lost"]
            rate = burst["offered_per_second"] / 2
        # Even at that rate: the losses of the last attempt are in `burst`.
        return burst, lost_before - burst["lost"]

    def burst(self, system: System, flows: int, rate: float) -> dict:
        rss = system.rss_bytes("mickey")
        cpu = {name: system.cpu_seconds(name) for name in FIREWALLS}
        wire = device_bytes(self._mickey, SYNC_DEVICE)

        load = self._load.offer(flows, rate=rate, senders=SENDERS)
        self._settle()
        time.sleep(AFTERMATH_SECONDS)

        wire = device_bytes(self._mickey, SYNC_DEVICE) - wire
        cpu = {name: system.cpu_seconds(name) - cpu[name] for name in FIREWALLS}
        rss = system.rss_bytes("mickey") - rss
        seen = self._compare(load["first_ns"])
        arrived = seen["flows"] - seen["lost"]
        if arrived == 0:
            raise LabError(f"{system.name} brought no flow over: {self._lab.last_words()}")
        figures = {
            "flows_per_second": arrived / (seen["last_ns"] - seen["first_ns"]) * 1e9,
            "cpu_seconds_per_million_flows": {
                name: round(seconds / flows * 1e6, 3) for name, seconds in cpu.items()
            },
            "wire_bytes_per_flow": round(wire / flows, 1),
            "rss_bytes_per_flow": round(rss / flows, 1),
            "latency_us": seen["latency_us"],
            "lost": seen["lost"],
            "offered_per_second": load["per_second"],
        }
        self._say(
            f"{flows} flows at {load['per_second']:,.0f}/s: "
            f"{figures['flows_per_second']:,.0f}/s arrive, lost {figures['lost']}"
        )
        return figures

    def _bulk(self, system: System) -> dict:
        system.stop("minnie")
        self._minnie.run("conntrack", "-F")
        start = time.time_ns()
        system.start("minnie")
        self._settle()
        seen = self._compare(0)
        arrived = seen["flows"] - seen["lost"]
        if arrived == 0:
            raise LabError(f"{system.name} filled no empty node: {self._lab.last_words()}")
        figures = {
            "seconds": round((seen["last_ns"] - start) / 1e9, 3),
            "lost": seen["lost"],
        }
        self._say(
            f"empty node up to {arrived} flows in {figures['seconds']:.2f} s, "
            f"lost {figures['lost']}"
        )
        return figures

    def start_empty(self, system: System) -> None:
        self.stop(system)
        for name in FIREWALLS:
            self._lab.nodes[name].run("conntrack", "-F")
        for name in FIREWALLS:
            system.start(name)
        system.wait_ready()

    def stop(self, system: System) -> None:
        for name in list(system.processes):
            system.stop(name)

    def _settle(self) -> None:
        """Until minnie has as many entries as mickey, or changes no more."""
        now = time.monotonic()
        deadline = now + DEADLINE_SECONDS
        changed, before = now, -1
        while now < deadline and now - changed < QUIET_SECONDS:
            ours, theirs = self._count["mickey"](), self._count["minnie"]()
            if theirs >= ours:
                return
            if theirs != before:
                changed, before = now, theirs
            time.sleep(0.02)
            now = time.monotonic()

    def _compare(self, since_ns: int) -> dict:
        paths = [NETNS_DIR / self._lab.nodes[name].netns for name in FIREWALLS]
        return json.loads(self._mickey.run(self._tools.tables, *paths, "--since", since_ns).stdout)
