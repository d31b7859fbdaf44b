# SPDX-License-Identifier: ISC
"""The throughput of the sync engine on one core, from the results of sync_bench.

    figures(micro.run(sync_bench)) -> {"changes_per_second": ..., "repair": {...}, ...}
"""

from __future__ import annotations

from lab import LabError


def figures(results: list[dict]) -> dict:
    def one(name: str) -> dict:
        for result in results:
            if result["name"] == name or result["name"].startswith(f"{name}/iterations"):
                return result
        raise LabError(f"sync_bench says nothing of {name}")

    # Events at one end that become operations at the other; the work of both ends counts.
    repair = one("Repair/1000000")
    return {
        "changes_per_second": one("Churn/200000")["items_per_second"],
        "bytes_per_change": one("Churn/200000")["bytes_per_change"],
        "bulk_states_per_second": one("Bulk/200000")["items_per_second"],
        "sum_nanoseconds": one("Sums/1000000")["nanoseconds"],
        "repair": {
            "states": 1_000_000,
            "differences": 100,
            **{key: repair[key] for key in ("bytes", "messages", "seconds", "asked_for", "bulks")},
            "bulk_bytes": repair["bulk_bytes"],
            "bulk_messages": repair["bulk_messages"],
        },
    }
