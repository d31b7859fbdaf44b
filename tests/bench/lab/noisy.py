# SPDX-License-Identifier: ISC
"""How much a host on the sync network slows syncing that sends noise as fast as it can (noise.cpp).

    clients ---- mickey ---- servers
                   |
                 switch ---- mallory, sink
                   |
                 minnie

Rounds take turns: in one the noise goes to minnie, who receives the states, in the other the same
frames go to `sink`, which throws them away. So what it costs to send them, on the same processors, is
not counted. In each, flows arrive at a given rate, and as fast as the load can make them. At last,
noise of each kind alone.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from statistics import median
from typing import Callable, Iterator

from topology import SERVER_RULES, SYNC, Limits, build  # first: adds the lab's library to the path

from lab import Lab, LabError
from measure import Bench, Tools
from pair import bin_dir
from systems import Encsync

ROUNDS, FLOWS = 3, 100_000
RATE, SECONDS = 5_000, 4
TARGETS = "sink", "minnie"
KINDS = "unknown_spi", "bare_esp", "forged_esp", "short", "ike_nat", "ike", "pfsync"


class Noise:
    def __init__(self, lab: Lab, tools: Tools, switch):
        self._tools = tools
        self._mallory, self._sink = lab.node("mallory"), lab.node("sink")
        for node in (self._mallory, self._sink):
            lab.plug(node, "net", switch)
        self._sink.nft(SERVER_RULES)
        self._macs = {"sink": self._sink.mac("net"), "minnie": lab.nodes["minnie"].mac("sync")}
        self.per_second = 0.0

    @contextmanager
    def to(self, target: str, spi: str, kind: str | None = None) -> Iterator[None]:
        process = self._mallory.start(
            self._tools.noise, "--interface", "net", "--to", self._macs[target],
            "--victim", SYNC["minnie"], "--peer", SYNC["mickey"], "--spi", spi,
            *(("--kind", kind) if kind else ()),
        )  # fmt: skip
        try:
            yield
        finally:
            if not process.running:
                raise LabError(f"the noise has ended: {process.last_words()}")
            process.stop()
        said = json.loads(process.output())
        self.per_second = said["sent"] / said["seconds"]


def run(say: Callable[[str], None], rounds: int = ROUNDS, flows: int = FLOWS,
        rate: int = RATE) -> dict:
    tools = Tools(bin_dir())
    if not tools.noise.exists():
        raise LabError(f"{tools.noise} is not built")
    made: dict[str, list[dict]] = {target: [] for target in TARGETS}
    with Limits(flows), Lab() as lab:
        switch = lab.switch("switch")
        build(lab, switch)
        noise = Noise(lab, tools, switch)
        system, bench = Encsync(lab), Bench(lab, tools, lambda line: say(f"  {line}"))
        if why := system.available():
            raise LabError(why)
        for number in range(rounds):
            for target in TARGETS:
                say(f"round {number + 1} of {rounds}, noise to {target}")
                made[target].append(one(bench, system, noise, target, flows, rate))
        usual = median(each["flows_per_second"] for each in made["sink"])
        kinds = {}
        for kind in KINDS:
            say(f"noise to minnie, of the kind {kind}")
            fast = burst(bench, system, noise, "minnie", flows, 0, kind)
            kinds[kind] = {"flows_per_second": fast["flows_per_second"],
                           "noise_per_second": noise.per_second,
                           "ratio": round(fast["flows_per_second"] / usual, 3)}
    return {
        "kinds": kinds,
        "rounds": made,
        "noise_per_second": round(median(each["noise_per_second"] for each in made["minnie"])),
        "ratio": round(median(b["flows_per_second"] / a["flows_per_second"]
                              for a, b in zip(made["sink"], made["minnie"])), 3),
        "lost": sum(each["lost"] for each in made["minnie"]),
        "median": {target: {key: round(median(each[key] for each in made[target]), 3)
                            for key in made[target][0]} for target in TARGETS},
    }  # fmt: skip


def burst(bench: Bench, system: Encsync, noise: Noise, target: str, flows: int, rate: float,
          kind: str | None = None) -> dict:
    try:
        bench.start_empty(system)
        with noise.to(target, system.spi("minnie"), kind):
            return bench.burst(system, flows, rate)
    finally:
        bench.stop(system)


def one(bench: Bench, system: Encsync, noise: Noise, target: str, flows: int, rate: int) -> dict:
    paced = burst(bench, system, noise, target, rate * SECONDS, rate)
    fast = burst(bench, system, noise, target, flows, 0)
    return {
        "flows_per_second": fast["flows_per_second"],
        "paced_per_second": paced["flows_per_second"],
        "latency_p50_us": paced["latency_us"]["p50"],
        "latency_p99_us": paced["latency_us"]["p99"],
        "lost": paced["lost"] + fast["lost"],
        "noise_per_second": noise.per_second,
    }


def rows(result: dict) -> list[list[str]]:
    sink, minnie = (result["median"][target] for target in TARGETS)

    def row(text: str, key: str) -> list[str]:
        return [text, f"{sink[key]:,.0f}", f"{minnie[key]:,.0f}",
                f"{minnie[key] / sink[key]:.2f}x" if sink[key] else ""]  # fmt: skip

    return [
        ["noise goes", "elsewhere", "to the receiver", "ratio"],
        row("packets of noise a second", "noise_per_second"),
        row("new flows a second", "flows_per_second"),
        row(f"at {RATE:,} new flows a second: p50 (us)", "latency_p50_us"),
        row("p99 (us)", "latency_p99_us"),
        row("flows lost", "lost"),
        *([f"new flows a second under {kind} alone", "", f"{figure['flows_per_second']:,.0f}",
           f"{figure['ratio']:.2f}x"] for kind, figure in result["kinds"].items()),
    ]
