# SPDX-License-Identifier: ISC
"""Bulk updates: a firewall that comes up asks for all states, its peer sends them at its own pace."""

from __future__ import annotations

from typing import Callable

from .table import State, Table
from .wire import BUS, BUS_END, BUS_START, Dialect

TRIES = 12  # PFSYNC_MAX_BULKTRIES, both systems
NEVER = float("inf")


class OpenBsdRequest:
    """openbsd pfsync_bulk_req_evt. It begins once there is a link; later links change nothing."""

    def __init__(self, ask: Callable[[], None], now: float, packets: int):
        self._ask, self.deadline = ask, now + 30
        self._wait = 4 * max(1, packets // 50)  # pfsync_bulk_req_nstate_bulk
        self.state, self.tries, self.gave_up = "start", 0, False

    @property
    def done(self) -> bool:
        return self.state == "done"

    def _next(self, state: str, deadline: float = NEVER) -> None:
        self.state, self.deadline = state, deadline

    def on_link(self, now: float) -> None:
        if self.state == "start":
            self._ask()
            self._next("sent", now + 2)

    def on_status(self, status: int, _endtime: int, now: float) -> None:
        if status == BUS_START and self.state in ("start", "sent"):
            self._next("bulk", now + self._wait)
        elif status == BUS_END and self.state == "bulk":  # before a start it is ignored
            self._next("done")

    def advance(self, now: float) -> None:
        if now < self.deadline:
            return
        self.tries += self.state != "start"
        if self.state == "sent" and self.tries < TRIES:
            self._ask()
            self._next("sent", now + 2)
            return
        if self.state == "bulk" and self.tries < TRIES:
            self._ask()  # and yet it ends there: a break is missing
        self.gave_up = True
        self._next("done")


class FreeBsdRequest:
    """freebsd SIOCSETPFSYNC, pfsync_in_bus, pfsync_bulk_fail."""

    def __init__(self, ask: Callable[[], None], now: float, packets: int):
        self._ask, self.deadline = ask, now
        self._wait = 4 + packets / 1000  # the number of packets, as ticks
        self._asked, self.tries, self.done, self.gave_up = int(now), -1, False, False

    def on_link(self, now: float) -> None:
        pass

    def on_status(self, status: int, endtime: int, now: float) -> None:
        if self.done:
            return
        if status == BUS_START:
            self.deadline = now + self._wait
        elif status == BUS_END and int(now) - endtime >= self._asked:  # else a bad timestamp
            self.done, self.deadline = True, NEVER

    def advance(self, now: float) -> None:
        if now < self.deadline:
            return
        if self.tries < TRIES:
            self.tries += 1
            self._ask()
            self.deadline = now + 5
        else:
            self.done = self.gave_up = True
            self.deadline = NEVER


class Answer:
    """openbsd pfsync_bulk_snd_start and pfsync_bulk_snd_tmo, freebsd pfsync_bulk_start and
    pfsync_bulk_update. pace: states a second. OpenBSD sends a packet each 20 ms (about 250 states
    a second), FreeBSD one each tick."""

    def __init__(self, dialect: Dialect, table: Table, hostid: int, per_packet: int, pace: float,
                 write: Callable[[State], bytes], send: Callable[[list], None]):
        self._dialect, self._table, self._hostid = dialect, table, hostid
        self._per_packet, self._interval = per_packet, per_packet / pace
        self._write, self._send = write, send
        self._rest: list[tuple[int, int]] = []
        self._received = 0.0
        self.deadline = NEVER

    def _status(self, status: int, endtime: int = 0) -> tuple[str, list[bytes]]:
        return "bus", [BUS.pack(self._hostid, endtime, status)]

    def begin(self, now: float) -> None:
        openbsd = self._dialect.version == 6
        if openbsd and self._rest:
            return  # noted, but it does not start over
        self._received = now
        self._rest = list(reversed(self._table.states))
        if openbsd:
            if not self._rest:
                self._send([self._status(BUS_END)])
                return
            self._more(now, [self._status(BUS_START)])
        else:
            self._send([self._status(BUS_START)])
            self.deadline = now + self._interval

    def advance(self, now: float) -> None:
        while now >= self.deadline:  # a process that was late catches up
            self._more(now, [])

    def _fits(self, s: State) -> bool:
        """FreeBSD leaves out what waits to be sent anyway, and what the peer has just told it;
        OpenBSD nothing."""
        return self._dialect.version == 6 or (s.queue is None and s.told <= self._received)

    def _more(self, now: float, sections: list) -> None:
        states: list[bytes] = []
        while self._rest and len(states) < self._per_packet:
            s = self._table.states.get(self._rest.pop())
            if s is not None and self._fits(s):
                states.append(self._write(s))
        if states:
            sections.append(("upd", states))
        self.deadline = max(self.deadline, now - 0.1) if self.deadline != NEVER else now
        self.deadline += self._interval
        if not self._rest:
            endtime = 0 if self._dialect.version == 6 else int(now) - int(self._received)
            self.deadline = NEVER
            if self._dialect.version == 6:
                sections.append(self._status(BUS_END))
            else:
                if sections:
                    self._send(sections)
                sections = [self._status(BUS_END, endtime)]
        if sections:
            self._send(sections)
