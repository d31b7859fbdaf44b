# SPDX-License-Identifier: ISC
"""A gateway between the cables of two sites: `bench.py --only relay`.

    donald ---- mickey ==== switch ==== minnie ---- daisy
    (sends)  cable     any network          cable  (counts)

encsync's gateways take turns with a bare relay at the same places of a second, equal lab: it puts
each packet of a cable into a UDP datagram and back, without encryption, memory or pace. Both carry
the same messages, of OpenBSD's pfsync: INS of new states, UPD_C of random ones. Each state has a
version that counts up (lab_relay.cpp), so that a message which is lost, or one that never comes
because a newer one came instead, can be told from each other.

    steady   INS, UPD_C in full packets, UPD_C alone in their packets: at rates below the pace of a
             cable, at which each message is passed on; CPU time of both gateways
    latency  single messages at a low rate, from the sender to the counter
    flood    UPD_C as fast as nothing is lost. A gateway then makes one message of all updates of a
             state, since a cable gets no more than its pace
    million  so many states at the pace (encsync only: the rival remembers nothing); memory

CPU time is that of a gateway's processes with the kernel's part of their system calls. What the
kernel does for a packet that arrives is paid by its sender, with both systems.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Callable

import topology  # first: it adds the lab's library to the path
import sync
from lab import Lab, LabError, Node
from pair import bin_dir
from sites import LEFT, MICKEY, MINNIE, RIGHT, Sites

PROGRAM = "lab_relay"
ROUNDS = 3
FLOWS, MILLION = 50_000, 1_000_000
TOP_RATE, SLOWER, ATTEMPTS = 1_000_000, 0.7, 10  # of the flood: messages a second
FLOOD_SECONDS = 2
VERSIONS = 1 << 20  # more than the messages of a phase that one state gets
SETTLE_SECONDS = 5  # longer than gateways take to find and repair a difference


@dataclass(frozen=True)
class Phase:
    kind: str
    messages: int
    rate: float
    per_packet: int = 0  # as many as a packet holds
    flows: int = FLOWS
    first: int = 0


STEADY = {
    "insert": Phase("insert", FLOWS, 20_000),
    "update": Phase("update", 90_000, 36_000),
    "single": Phase("update", 20_000, 10_000, per_packet=1),
}
LATENCY = Phase("update", 1500, 500, per_packet=1)
ALL_STATES = Phase("insert", MILLION, 38_000, flows=MILLION, first=FLOWS * (ROUNDS + 1))
OF_ALL_STATES = replace(STEADY["update"], flows=MILLION, first=ALL_STATES.first)


def program() -> Path:
    found = bin_dir() / PROGRAM
    if not found.exists():
        raise LabError(f"{found} is not built")
    return found


# ---- who takes turns -------------------------------------------------------------------------


class Taker:
    """A relay between donald's cable and daisy's."""

    name = ""

    def __init__(self, donald: Node, daisy: Node):
        self.ends = donald, daisy
        self._version = 0

    def processes(self) -> list[list[int]]:
        """The ids of each gateway's, the sender's first."""
        raise NotImplementedError

    def counters(self) -> dict[str, int]:
        """What the gateways say of the messages from donald to daisy."""
        return {}

    def offer(self, phase: Phase, settle: float = SETTLE_SECONDS) -> dict:
        """What came of it. lost: messages that neither arrived nor were replaced by newer ones."""
        donald, daisy = self.ends
        words = ["--kind", phase.kind, "--flows", phase.flows, "--messages", phase.messages]
        words += ["--first", phase.first, "--rate", phase.rate, "--per-packet", phase.per_packet]
        words += ["--version", self._version, "--settle", settle]
        self._version += VERSIONS
        counted, cpu = self.counters(), self._cpu()
        said = donald.run(program(), "offer", donald.netns, daisy.netns, *words, timeout=300)
        cpu = [after - before for after, before in zip(self._cpu(), cpu)]
        result = json.loads(said.stdout)
        if result["dropped_by_counter"]:
            raise LabError(f"{self.name}: the counter itself has lost packets: {result}")
        counted = {key: value - counted[key] for key, value in self.counters().items()}
        messages = result["messages"]
        result["coalesced"] = counted.get("coalesced", 0)
        # What the first gateway never saw counts, too, if a repair has made up for it.
        result["lost"] = max(messages - result["arrived"] - result["coalesced"],
                             messages - counted.get("received", messages), 0)
        result["counters"] = counted
        result["cpu_ns"] = [round(ns / messages, 1) for ns in cpu]
        return result

    def _cpu(self) -> list[int]:
        return [sum(map(_cpu_ns, pids)) for pids in self.processes()]


def _cpu_ns(pid: int) -> int:
    return sum(int(f.read_text().split()[0]) for f in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def _rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LabError(f"process {pid} has no memory")


def _raw_drops(node: Node) -> int:
    """Packets for which raw sockets there had no room: those of a cable, as no others are open."""
    with topology.open_inside(node, "/proc/thread-self/net/raw") as table:
        return sum(int(line.split()[-1]) for line in table.read().decode().splitlines()[1:])


class Gateways(Taker):
    name = "encsync"

    def __init__(self, lab: Lab):
        self.sites = Sites(lab)
        super().__init__(*(site.firewall for site in self.sites.all))
        self.sites.start()

    def processes(self) -> list[list[int]]:
        return [site.encsync.daemon.tree() for site in self.sites.all]

    def counters(self) -> dict[str, int]:
        mickey, minnie = (site.encsync for site in self.sites.all)
        legs = {leg: instance.peer(leg)["relay"] for instance, leg in
                ((mickey, "donald"), (mickey, "minnie"), (minnie, "mickey"), (minnie, "daisy"))}
        out = [legs["minnie"], legs["daisy"]]
        return {
            "received": legs["donald"]["received"],
            "lost_between": legs["minnie"]["relayed"] - legs["mickey"]["received"],
            **{key: sum(leg[key] for leg in out)
               for key in ("coalesced", "queue_full", "leg_down", "answered", "repaired")},
            "dropped_on_cable": _raw_drops(self.sites.mickey.node),
        }

    def memory(self) -> list[dict[str, int]]:
        return [{"rss": _rss_bytes(site.encsync.daemon.pid),
                 **site.encsync.status()["relay"]} for site in self.sites.all]


class Bare(Taker):
    name = "bare UDP"

    def __init__(self, lab: Lab):
        switch = lab.switch("switch", hub=True)
        self._relays = []
        firewalls = []
        for gateway, firewall, own, other in (("mickey", "donald", MICKEY, MINNIE),
                                              ("minnie", "daisy", MINNIE, MICKEY)):
            node, at = lab.node(gateway), lab.node(firewall)
            lab.cable(node, "cable", at, "cable")
            lab.plug(node, "sync", switch, f"{own}/16")
            node.ip(f"addr add {LEFT}/24 dev cable")
            at.ip(f"addr add {RIGHT}/24 dev cable")
            self._relays.append(node.start(program(), "bare", "cable", RIGHT, own, other))
            firewalls.append(at)
        super().__init__(*firewalls)

    def processes(self) -> list[list[int]]:
        for relay in self._relays:
            if not relay.running:
                raise LabError(f"the bare relay has ended:\n{relay.last_words()}")
        return [relay.tree() for relay in self._relays]


# ---- what is measured ------------------------------------------------------------------------


def nothing_lost(taker: Taker, what: str, result: dict) -> dict:
    if result["lost"] or result["stale"] or result["disordered"]:
        raise LabError(
            f"{taker.name}, {what}: {result['lost']} messages are lost, {result['disordered']} out"
            f" of order, the last of {result['stale']} states has not arrived: {result}"
        )
    return result


def steady(taker: Taker, what: str, phase: Phase, say: Callable[[str], None]) -> dict:
    result = nothing_lost(taker, what, taker.offer(phase))
    first, second = result["cpu_ns"]
    say(
        f"{taker.name}, {what}, {phase.rate:,.0f}/s: CPU {first:,.0f} + {second:,.0f} ns a message,"
        f" latency p50 {result['latency_p50_us']:,.0f} us, p99 {result['latency_p99_us']:,.0f} us"
        # Below the pace, too, if a gateway did not get the processor for a while.
        + (f", {result['coalesced']:,} coalesced" if result["coalesced"] else "")
    )
    return result


def flood(taker: Taker, say: Callable[[str], None], top: float = TOP_RATE, first: int = 0) -> dict:
    """The highest rate of those tried at which nothing is lost."""
    rate, lossy = top, []
    for _ in range(ATTEMPTS):
        result = taker.offer(Phase("update", int(rate * FLOOD_SECONDS), rate, first=first))
        say(
            f"{taker.name}: {result['messages']:,} UPD_C at {result['offered_per_second']:,.0f}/s:"
            f" {result['arrived']:,} arrive, the last one {_lag(result) * 1000:,.0f} ms later,"
            f" {result['coalesced']:,} coalesced, {result['lost']:,} lost"
            f"{_where(result)}, {result['stale']:,} states stale"
        )
        if not (result["lost"] or result["stale"] or result["disordered"]):
            return {**result, "lossy_attempts": lossy}
        lossy.append(result)
        rate = min(rate, result["offered_per_second"]) * SLOWER
    return nothing_lost(taker, "at the lowest rate tried", result)


def _where(result: dict) -> str:
    """Where a gateway's losses were. Those behind the first socket are repaired, so that no state
    stays stale; those on the cable only by the next message of the state, as with pfsync alone."""
    counted = result["counters"]
    if not result["lost"] or not counted:
        return ""
    return (f" ({counted['dropped_on_cable']:,} packets at the first gateway's socket,"
            f" {counted['lost_between']:,} messages between the gateways,"
            f" {counted['queue_full']:,} for which a gateway had no room)")


def _lag(result: dict) -> float:
    """From the last message sent to the last one that arrived."""
    return max(result["seconds"] - result["sent_seconds"], 0)


def a_round(taker: Taker, number: int, say: Callable[[str], None]) -> dict:
    """Of states that no earlier round has had."""
    first = FLOWS * (number + 1)
    phases = {**STEADY, "latency": LATENCY}
    return {
        **{name: steady(taker, name, replace(phase, first=first), say)
           for name, phase in phases.items()},
        "flood": flood(taker, say, first=first),
    }


def states(gateways: Gateways, say: Callable[[str], None], phase: Phase = ALL_STATES,
           updates: Phase = OF_ALL_STATES) -> dict:
    before = gateways.memory()
    inserted = nothing_lost(gateways, f"{phase.messages:,} states", gateways.offer(phase))
    time.sleep(1)
    after = gateways.memory()
    grown = [b["states"] - a["states"] for a, b in zip(before, after)]
    if grown != [phase.messages] * 2:
        raise LabError(f"of {phase.messages} states the gateways have kept {grown}")
    result = {
        "states": phase.messages,
        "seconds": inserted["seconds"],
        "insert": inserted,
        "rss_bytes_a_state": [round((b["rss"] - a["rss"]) / phase.messages, 1)
                              for a, b in zip(before, after)],
        "store_bytes_a_state": [round((b["bytes"] - a["bytes"]) / phase.messages, 1)
                                for a, b in zip(before, after)],
    }
    say(
        f"{phase.messages:,} states in {result['seconds']:.1f} s, memory a state"
        f" {result['rss_bytes_a_state']}"
    )
    result["update"] = steady(gateways, "update of these", updates, say)
    return result


def run(say: Callable[[str], None]) -> dict:
    program()
    if not sync.built():
        raise LabError(f"encsyncd or encsync is not built ({bin_dir()})")
    with Lab() as lab, Lab() as rival_lab:
        takers = Gateways(lab), Bare(rival_lab)
        for taker in takers:  # addresses get resolved, all code has run
            nothing_lost(taker, "the first messages", taker.offer(Phase("insert", 1000, 1000)))
        rounds = []
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            rounds.append({taker.name: a_round(taker, number, say) for taker in takers})
        return {**summary(rounds), "million": states(takers[0], say), "rounds": rounds}


# ---- figures ---------------------------------------------------------------------------------

OURS, THEIRS = Gateways.name, Bare.name


def summary(rounds: list[dict]) -> dict:
    """Medians; a ratio is the median of the rounds' own ones, since the takers took turns."""
    def of(figure: Callable[[dict], float]) -> dict:
        pairs = [(figure(one[OURS]), figure(one[THEIRS])) for one in rounds]
        ours, theirs = (round(median(column), 1) for column in zip(*pairs))
        ratios = [a / b for a, b in pairs if b]
        return {"encsync": ours, "bare": theirs,
                "ratio": round(median(ratios), 2) if ratios else None}

    some = rounds[0][OURS]["update"]
    return {
        "cpu_ns": {name: {"sender": of(lambda one: one[name]["cpu_ns"][0]),
                          "receiver": of(lambda one: one[name]["cpu_ns"][1])} for name in STEADY},
        "latency_p50_us": of(lambda one: one["latency"]["latency_p50_us"]),
        "latency_p99_us": of(lambda one: one["latency"]["latency_p99_us"]),
        "taken_per_second": of(lambda one: one["flood"]["offered_per_second"]),
        "flood_cpu_ns": {"sender": of(lambda one: one["flood"]["cpu_ns"][0]),
                         "receiver": of(lambda one: one["flood"]["cpu_ns"][1])},
        "passed_on_per_second": of(lambda one: one["flood"]["arrived"] / one["flood"]["seconds"]),
        "behind_seconds": round(median(_lag(one[OURS]["flood"]) for one in rounds), 2),
        "pace": some["pace"],
        "pace_burst": some["pace_burst"],
    }


def rows(result: dict) -> list[list[str]]:
    def row(label: str, pair: dict) -> list[str]:
        ratio = "" if pair["ratio"] is None else f"{pair['ratio']:.2f}x"
        return [label, f"{pair['encsync']:,.0f}", f"{pair['bare']:,.0f}", ratio]

    def cpu(what: str, pair: dict) -> list[list[str]]:
        return [row(f"CPU, {what}: {end}'s gateway (ns)", pair[end])
                for end in ("sender", "receiver")]

    return [
        ["relay, from cable to cable", OURS, THEIRS, "ratio"],
        *cpu("UPD_C, 16 in a packet", result["cpu_ns"]["update"]),
        *cpu("INS, 5 in a packet", result["cpu_ns"]["insert"]),
        *cpu("UPD_C alone in its packet", result["cpu_ns"]["single"]),
        row("latency at 500 messages a second, p50 (us)", result["latency_p50_us"]),
        row("latency, p99 (us)", result["latency_p99_us"]),
        row("flood: UPD_C taken, nothing lost (/s)", result["taken_per_second"]),
        row(f"flood: passed on, limited by the pace of a cable, {result['pace']:,} (/s)",
            result["passed_on_per_second"]),
        ["flood: the last state arrives later by (s)", f"{result['behind_seconds']:.2f}", "", ""],
        *cpu("flood", result["flood_cpu_ns"]),
        *_rows_of(result["million"]),
    ]


def _rows_of(million: dict) -> list[list[str]]:
    states = f"{million['states']:,} states"
    return [
        [f"{states}: on the far cable after, limited by the pace (s)",
         f"{million['seconds']:.1f}", "", ""],
        [f"{states}: memory a state, both gateways (bytes)",
         " + ".join(f"{x:.0f}" for x in million["rss_bytes_a_state"]), "", ""],
        [f"{states}: CPU, UPD_C of these, both gateways (ns)",
         " + ".join(f"{x:,.0f}" for x in million["update"]["cpu_ns"]), "", ""],
    ]
