# SPDX-License-Identifier: ISC
"""The state of everything outside of a lab: the caller's own network namespace (nft tables,
interfaces) and processes.

    before = Outside()
    ...
    before.left()          ["nft table inet stray", "interface veth7", "process 4711 (sleep)"]
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Callable


def _tables() -> set[str]:
    done = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines())


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone by now"


class Outside:
    def __init__(self, processes: Callable[[], list[int]]):
        """processes: the caller's, by pid."""
        self._processes = processes
        self._before = self._look()

    def _look(self) -> tuple[set[str], set[str], set[int]]:
        return _tables(), {name for _, name in socket.if_nameindex()}, set(self._processes())

    def left(self) -> list[str]:
        tables, interfaces, processes = (now - before for now, before in
                                         zip(self._look(), self._before))
        return [*(f"nft {table}" for table in sorted(tables)),
                *(f"interface {name}" for name in sorted(interfaces)),
                *(f"process {pid} ({_name(pid)})" for pid in sorted(processes))]
