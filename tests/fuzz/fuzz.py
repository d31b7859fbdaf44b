#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs the libFuzzer targets, one after the other, and reports the results of each.

    ./run fuzz                      every target for a minute
    ./run fuzz --minutes 60         an hour, divided evenly
    ./run fuzz --only engine,guard  those only

Seeds come from tests/fuzz/corpus; further inputs that are found stay under build/fuzz/corpus, so
that the next run continues from there. An input that crashes, leaks, hangs or triggers a sanitizer
is kept in build/fuzz/found and named, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ROOT / "tests/fuzz/corpus"
BUILD = ROOT / "build/fuzz"
LONGEST_INPUT = 8192  # bytes; a pfsync packet of a jumbo frame
TIMEOUT = 20  # seconds for one input; under the sanitizers all take milliseconds


def targets(only: str | None) -> list[str]:
    every = sorted(p.name.removesuffix("_fuzzer") for p in (BUILD / "bin").glob("*_fuzzer"))
    if not only:
        return every
    wanted = only.split(",")
    for name in wanted:
        if name not in every:
            sys.exit(f"fuzz: no target '{name}'; there are: {', '.join(every)}")
    return wanted


def last(pattern: str, text: str) -> str:
    found = re.findall(pattern, text)
    return found[-1] if found else "?"


def fuzz(name: str, seconds: int) -> dict[str, str | int]:
    program = f"{name}_fuzzer"
    corpus, found = BUILD / "corpus" / program, BUILD / "found" / program
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(
        [
            str(BUILD / "bin" / program),
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST_INPUT}",
            f"-timeout={TIMEOUT}",
            f"-artifact_prefix={found}/",
            "-print_final_stats=1",
            str(corpus),
            str(SEEDS / program),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if run.returncode != 0:
        print(run.stdout[-20000:])
    return {
        "target": name,
        "seconds": seconds,
        "runs": int(last(r"number_of_executed_units: (\d+)", run.stdout).replace("?", "0")),
        "edges": last(r"cov: (\d+)", run.stdout),
        "inputs": len(list(corpus.iterdir())),
        "verdict": "clean" if run.returncode == 0 else f"FOUND, see {found}",
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run fuzz", description="the libFuzzer targets")
    parser.add_argument("--minutes", type=float, help="for all together; default: one for each")
    parser.add_argument("--only", metavar="A,B", help="these targets")
    args = parser.parse_args()
    names = targets(args.only)
    seconds = max(1, int(60 * (args.minutes or len(names)) / len(names)))
    print("| target | seconds | inputs run | edges covered | inputs kept | found |")
    print("|---|---|---|---|---|---|", flush=True)
    clean = True
    for name in names:
        r = fuzz(name, seconds)
        clean = clean and r["verdict"] == "clean"
        print(
            f"| {name} | {r['seconds']} | {r['runs']:,} | {r['edges']} | {r['inputs']} "
            f"| {r['verdict']} |",
            flush=True,
        )
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
