# SPDX-License-Identifier: ISC
"""From the rounds to the report: medians, ratios, the table, the JSON.

The result, also of `bench.py --json FILE`:
    {"systems": {"encsync": {"rounds": [{...}, ...], "median": {...}}, "conntrackd": ...},
     "ratios": {...}, "ok": true, "machine": {...}, "micro": {...}}
A ratio is encsync's figure divided by conntrackd's of the same round (they took turns, so the state
of the machine was the same for both), and of these the median.
"""

from __future__ import annotations

import os
import platform
from statistics import median

OURS, THEIRS = "encsync", "conntrackd"

# Key, text, unit, format, whether more is better.
FIGURES = (
    ("flows_per_second", "new flows a second, none lost", "/s", "{:,.0f}", True),
    ("cpu_seconds_per_million_flows.mickey", "CPU per million flows, mickey", "s", "{:.2f}", False),
    ("cpu_seconds_per_million_flows.minnie", "CPU per million flows, minnie", "s", "{:.2f}", False),
    ("wire_bytes_per_flow", "bytes on the wire per flow", "", "{:.1f}", False),
    ("latency_p50_us", "event to the peer's kernel, p50", "us", "{:,.0f}", False),
    ("latency_p99_us", "event to the peer's kernel, p99", "us", "{:,.0f}", False),
    ("bulk_seconds", "empty node up to all flows", "s", "{:.2f}", False),
    ("rss_bytes_per_flow", "memory per flow", "bytes", "{:.0f}", False),
    ("lost", "flows lost", "", "{:.0f}", False),
)


def figure(of: dict, key: str) -> float:
    """The figure by its dotted name."""
    value: object = of
    for word in key.split("."):
        value = value[word]
    return value


def _put(into: dict, key: str, value: float | None) -> None:
    *path, last = key.split(".")
    for word in path:
        into = into.setdefault(word, {})
    into[last] = value


def medians(rounds: list[dict]) -> dict:
    result: dict = {}
    for key, *_ in FIGURES:
        _put(result, key, median(figure(one, key) for one in rounds))
    return result


def ratios(ours: list[dict], theirs: list[dict]) -> dict:
    """None where the other one's figure is 0. `lost` has no ratio: it is compared by number."""
    result: dict = {}
    for key, *_ in FIGURES:
        if key == "lost":
            continue
        quotients = [
            figure(a, key) / figure(b, key) for a, b in zip(ours, theirs) if figure(b, key) != 0
        ]
        _put(result, key, round(median(quotients), 4) if quotients else None)
    return result


def loses_nothing_more(systems: dict) -> bool:
    """The only target: encsync loses nothing that conntrackd keeps."""
    lost = {name: sum(one["lost"] for one in s["rounds"]) for name, s in systems.items()}
    return OURS not in lost or lost[OURS] <= lost.get(THEIRS, 0)


def summary(rounds_by_system: dict[str, list[dict]]) -> dict:
    systems = {
        name: {"rounds": rounds, "median": medians(rounds)}
        for name, rounds in rounds_by_system.items()
        if rounds
    }
    result = {"systems": systems, "ratios": {}, "ok": loses_nothing_more(systems)}
    if OURS in systems and THEIRS in systems:
        result["ratios"] = ratios(systems[OURS]["rounds"], systems[THEIRS]["rounds"])
    return result


def machine() -> dict:
    model = "unknown"
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"processors": os.cpu_count(), "model": model, "kernel": platform.release()}


def rows(result: dict) -> list[list[str]]:
    """The table's cells, with the header first."""
    names = list(result["systems"])
    table = [["median of the rounds", *names]]
    if result["ratios"]:
        table[0].append("ratio")
    for key, label, unit, form, _ in FIGURES:
        cells = [f"{label} ({unit})" if unit else label]
        cells += [form.format(figure(result["systems"][n]["median"], key)) for n in names]
        if result["ratios"]:
            ratio = None if key == "lost" else figure(result["ratios"], key)
            cells.append("" if ratio is None else f"{ratio:.2f}x")
        table.append(cells)
    return table


def as_text(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def as_markdown(table: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in table]
    lines.insert(1, "|---|" + "---:|" * (len(table[0]) - 1))
    return "\n".join(lines)
