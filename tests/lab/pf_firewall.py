# SPDX-License-Identifier: ISC
"""A pf firewall (the package pf) in a node of a lab.

    donald = PfFirewall(node, "cable", "172.16.0.2", "172.16.0.1", hostid=1)
    ids = donald.create(100)
    donald.update(ids[:10]), donald.remove(ids[10:20])
    wait_for(lambda: donald.digest() == daisy.digest(), 10, "both tables to be the same")
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from lab import PYTHON, LabError, Node, wait_for
from pf_end import GROUP


class PfFirewall:
    """Starts at once, with an empty table. peer: its syncpeer. hostid: its creatorid. pace: of bulk
    updates, states a second; OpenBSD's own is about 250. timeouts: seconds, by pf's index."""

    def __init__(self, node: Node, device: str, own: str, peer: str = GROUP, *, hostid: int,
                 dialect: str = "openbsd", pace: float = 5000,
                 timeouts: dict[int, int] | None = None):
        self.node, self.hostid = node, hostid
        self.process = node.start(
            PYTHON, "-m", "pf", "--dialect", dialect, "--syncdev", device, "--own", own, "--peer",
            peer, "--hostid", hostid, "--bulk-pace", pace, "--timeouts", json.dumps(timeouts or {}),
            name="pf", stdin=True, env={"PYTHONPATH": str(Path(__file__).parent)})
        self._numbers = itertools.count(1)
        self._read, self._rest = 0, ""
        self.ask("stats")  # it runs

    def ask(self, do: str, **fields):
        number = next(self._numbers)
        self.process.say(json.dumps({"n": number, "do": do, **fields}))
        answer = wait_for(lambda: self._answer(), 60, f"pf on {self.node.name} to {do}")
        assert answer["n"] == number, (do, answer)
        if "error" in answer:
            raise LabError(f"pf on {self.node.name}: {do}: {answer['error']}")
        return answer["result"]

    def _answer(self) -> dict | None:
        if not self.process.running:
            raise LabError(f"pf on {self.node.name} has ended:\n{self.process.last_words()}")
        with open(self.process.out, encoding="utf-8") as out:
            out.seek(self._read)
            self._rest += out.read()
            self._read = out.tell()
        line, end, rest = self._rest.partition("\n")
        if not end:
            return None
        self._rest = rest
        return json.loads(line)

    def create(self, count: int, kind: str = "tcp", **fields) -> list:
        """The ids of the new states."""
        first, made = self.ask("create", count=count, kind=kind, **fields)
        return [(first + number, self.hostid) for number in range(made)]

    def update(self, ids: list | None = None) -> int:
        return self.ask("update", ids=ids)

    def close(self, ids: list | None = None) -> int:
        return self.ask("close", ids=ids)

    def remove(self, ids: list | None = None) -> int:
        return self.ask("remove", ids=ids)

    def clear(self, ifname: str = "") -> int:
        return self.ask("clear", ifname=ifname)

    def dump(self) -> list[dict]:
        file = self.node.dir / "pf.states"
        self.ask("dump", file=str(file))
        return json.loads(file.read_text())

    def ids(self) -> set[tuple[int, int]]:
        return {(int(s["id"], 16), int(s["creatorid"], 16)) for s in self.dump()}

    def digest(self) -> dict:
        """The same for the same states: {"states": their number, "sum": ...}."""
        return self.ask("digest")

    def stats(self) -> dict:
        return self.ask("stats")

    def power_off(self) -> None:
        """At once, with nothing said."""
        self.process.kill()
