#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""The benchmark of `./run bench`: encsync and conntrackd take turns under the same load.

The load is real: UDP packets of many clients are routed through mickey, whose kernel makes an
entry for each. (With --load entries, entries are put into mickey's kernel instead. That leaves more
of the machine to the systems under test, and is for finding out their limits.) The parts of a round
are described in measure.py, the network is drawn in topology.py. The lab, both firewalls and the
load share the machine's processors, so trust the ratios.

Programs are taken from build/bin of the repository, or from ENCSYNC_BIN_DIR. The exit status is
0 if encsync lost nothing that conntrackd kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import topology  # first: it adds the lab's library to the path
from lab import Lab, LabError
from measure import Bench, Load, Tools
from pair import bin_dir

import engine
import micro
import noisy
import relay
import report
import systems
import tunnel

# RELAY is also a microbenchmark; both run.
LAB, TUNNEL, NOISE, RELAY = "lab", "tunnel", "noise", "relay"


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--markdown", action="store_true", help="print the tables as markdown")
    parser.add_argument("--rounds", type=_positive, default=4, help="of each system [4]")
    parser.add_argument("--flows", type=_positive, default=200_000, help="a burst has [200000]")
    parser.add_argument(
        "--only",
        metavar="NAME",
        help="the lab alone (lab), the tunnel (tunnel), noise on the sync network (noise), the gateway"
        " (relay), or one microbenchmark (codec, esp, ...)",
    )
    parser.add_argument(
        "--systems",
        default="encsync,conntrackd",
        metavar="NAMES",
        help="who takes turns, in this order [encsync,conntrackd]",
    )
    parser.add_argument(
        "--load", choices=list(Load.KINDS), default="packets", help="what makes the flows [packets]"
    )
    parser.add_argument(
        "--conntrackd-realtime",
        action="store_true",
        help="leave conntrackd the real-time priority it gives itself (slower here)",
    )
    return parser.parse_args(words)


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def make_systems(lab: Lab, options: argparse.Namespace) -> list[systems.System]:
    makers = {
        "encsync": lambda: systems.Encsync(lab),
        "conntrackd": lambda: systems.Conntrackd(lab, options.conntrackd_realtime),
        "nothing": lambda: systems.Nothing(lab),
    }
    made = []
    for name in options.systems.split(","):
        if name not in makers:
            raise LabError(f"no system is called {name}; there are {', '.join(makers)}")
        system = makers[name]()
        if why := system.available():
            raise LabError(f"{name}: {why}")
        made.append(system)
    return made


def run_lab(options: argparse.Namespace) -> dict:
    tools = Tools(bin_dir())
    for tool in (tools.flood, tools.entries, tools.tables):
        if not tool.exists():
            raise LabError(f"{tool} is not built")
    with topology.Limits(options.flows), Lab() as lab:
        topology.build(lab)
        takers = make_systems(lab, options)
        bench = Bench(lab, tools, lambda line: say(f"  {line}"), options.load)

        # The load alone, first: it warms the kernel up, shows the maximum rate of the load, and
        # that a loss is detected, since without a system all must be lost.
        control = bench.offer_without_watching(systems.Nothing(lab), options.flows)
        say(f"the load alone: {control['offered_per_second']:,.0f} flows/s")
        if control["flows"] != options.flows or control["lost"] != options.flows:
            raise LabError(f"the lab is broken: without synchronization it reports {control}")

        rounds: dict[str, list[dict]] = {system.name: [] for system in takers}
        for number in range(options.rounds):
            for system in takers:
                say(f"round {number + 1} of {options.rounds}, {system.name}: {system.summary}")
                rounds[system.name].append(bench.round(system, options.flows))
    return {
        **report.summary(rounds),
        "load": {
            "kind": Load.KINDS[options.load],
            "flows": options.flows,
            "alone_per_second": round(control["offered_per_second"]),
        },
    }


def run_micro(names: list[str]) -> dict:
    found = {name: micro.find(bin_dir(), name) for name in names}
    results = {}
    for name, program in found.items():
        say(f"microbenchmarks: {name}")
        results[name] = micro.run(program)
    return results


def main() -> int:
    options = arguments()
    shape = report.as_markdown if options.markdown else report.as_text
    result: dict = {"systems": {}, "ratios": {}, "ok": True, "micro": {}}
    try:
        if options.only is None or options.only == LAB:
            result.update(run_lab(options))
        if options.only is None or options.only == TUNNEL:
            say("the tunnel, against openssl speed and kernel-libipsec")
            result["tunnel"] = tunnel.run(lambda line: say(f"  {line}"))
            lost = result["tunnel"]["lost"] + result["tunnel"]["lost_in_rekeys"]
            if lost:
                raise LabError(f"the tunnel lost {lost} packets")
        if options.only is None or options.only == NOISE:
            say("noise on the sync network")
            result["noise"] = noisy.run(lambda line: say(f"  {line}"))
        if options.only is None or options.only == RELAY:
            say("a gateway, against a bare UDP relay")
            result["relay"] = relay.run(lambda line: say(f"  {line}"))
        if options.only is None:
            result["micro"] = run_micro(list(micro.programs(bin_dir())))
        elif options.only not in (LAB, TUNNEL, NOISE):
            result["micro"] = run_micro([options.only])
        if "sync" in result["micro"]:
            result["sync"] = engine.figures(result["micro"]["sync"])
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130

    result["machine"] = report.machine()
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if result["systems"]:
        print(shape(report.rows(result)))
    if "tunnel" in result:
        print(shape(tunnel.rows(result["tunnel"])))
    if "noise" in result:
        print(shape(noisy.rows(result["noise"])))
    if "relay" in result:
        print(shape(relay.rows(result["relay"])))
    for name, results in result["micro"].items():
        print(f"\n{name}:" if not options.markdown else f"\n### {name}\n")
        print(shape(micro.rows(results)))
    if not result["ok"]:
        print("bench: encsync lost flows that conntrackd kept", file=sys.stderr)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
