# SPDX-License-Identifier: ISC
"""The microbenchmarks: Google Benchmark programs, `NAME_bench` or `bench_NAME`.

    run(programs(bin_dir)["esp"]) -> [{"name", "nanoseconds", "items_per_second", ...}, ...]
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lab import LabError

PREFIX, SUFFIX = "bench_", "_bench"
# Programs that may be expected under another name.
ALIASES = {"codec": "pfsync"}
# Fields that Google Benchmark reports for every benchmark; the rest are its own counters.
_ITS_OWN = {
    *("name", "family_index", "per_family_instance_index", "run_name", "run_type", "repetitions"),
    *("repetition_index", "threads", "iterations", "real_time", "cpu_time", "time_unit"),
    *("items_per_second", "bytes_per_second", "label", "aggregate_name", "aggregate_unit"),
}
_UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


def programs(bin_dir: Path) -> dict[str, Path]:
    """Those that are built, by name."""
    found = {}
    for file in sorted(bin_dir.glob("*")):
        name = file.name.removeprefix(PREFIX).removesuffix(SUFFIX)
        if name != file.name and file.is_file():
            found[name] = file
    return found


def find(bin_dir: Path, name: str) -> Path:
    there = programs(bin_dir)
    for candidate in (name, ALIASES.get(name)):
        if candidate in there:
            return there[candidate]
    known = ", ".join(there) or "none"
    raise LabError(f"no microbenchmark is called {name}; built are: {known}")


def run(program: Path) -> list[dict]:
    command = [str(program), "--benchmark_format=json", "--benchmark_min_time=0.3"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"{program.name}: status {done.returncode}: {done.stderr.strip()}")
    return parse(done.stdout)


def parse(text: str) -> list[dict]:
    results = []
    for one in json.loads(text)["benchmarks"]:
        if one.get("error_occurred"):
            raise LabError(f"{one['name']}: {one['error_message']}")
        if one.get("run_type") == "aggregate":
            continue
        result = {"name": one["name"], "nanoseconds": one["cpu_time"] * _UNITS[one["time_unit"]]}
        for key in ("items_per_second", "bytes_per_second"):
            if key in one:
                result[key] = one[key]
        if one.get("label"):
            result["label"] = one["label"]
        counters = {k: v for k, v in one.items() if k not in _ITS_OWN}
        results.append({**result, **counters})
    return results


def rows(results: list[dict]) -> list[list[str]]:
    table = [["benchmark", "ns each", "items/s", "MB/s", "more"]]
    for one in results:
        known = {"name", "nanoseconds", "items_per_second", "bytes_per_second", "label"}
        more = [f"{key}={value:,.4g}" for key, value in one.items() if key not in known]
        more += [one["label"]] if "label" in one else []
        items = f"{one['items_per_second']:,.0f}" if "items_per_second" in one else ""
        rate = f"{one['bytes_per_second'] / 1e6:,.0f}" if "bytes_per_second" in one else ""
        table.append([one["name"], f"{one['nanoseconds']:,.1f}", items, rate, " ".join(more)])
    return table
