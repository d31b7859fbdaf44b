# SPDX-License-Identifier: ISC
"""What a test lets a pf firewall do: traffic that passes it, and pfctl(8). One JSON object a line:

    {"n": 1, "do": "create", "count": 100, "kind": "tcp"}   answer: {"n": 1, "result": [first id,
                                                            how many], which follow one another}
    {"n": 2, "do": "update", "ids": [[id, creatorid], ...]} packets pass; without ids: of all states
    {"n": 3, "do": "close"} likewise, both sides have closed (TCP)
    {"n": 4, "do": "remove"} likewise, the states end
    {"n": 5, "do": "clear", "ifname": ""}                   pfctl -F states
    {"n": 6, "do": "dump", "file": PATH}                    all states, into the file
    {"n": 7, "do": "digest"}                                {"states": how many, "sum": the same for
                                                            the same states}
    {"n": 8, "do": "stats"}

What cannot be done is {"n": ..., "error": "..."}.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import random
import time
from typing import Callable, Generator

from .pfsync import Pfsync
from .table import ICMP, TCP, UDP, State
from .wire import IN, OUT, SLOPPY, Key, peer, peer_state, seqlo

KINDS = "tcp", "syn", "udp", "icmp", "tcp6", "out"
# Index of the timeout: pf.c, pf_tcp_track_full() and so on.
TCP_FIRST, TCP_ESTABLISHED, TCP_CLOSED, UDP_FIRST, UDP_MULTIPLE, ICMP_FIRST = 0, 2, 5, 6, 8, 9
ESTABLISHED, FIN_WAIT_2, SINGLE, MULTIPLE = 4, 9, 1, 2
BATCH, PAUSE = 50, 0.01  # no firewall gets all its connections in one instant
Steps = Generator[None, None, object]


def _window(state: int, low: int) -> bytes:
    return peer(state, low, low + 65535 & 0xFFFFFFFF, 65535, 0x87)


def described(s: State) -> dict:
    """All that two firewalls must agree on."""
    return {
        "id": f"{s.id:016x}", "creatorid": f"{s.creatorid:08x}", "ifname": s.ifname,
        "proto": s.proto, "direction": s.direction,
        **{name: f"{ipaddress.ip_address(key.addr0)}:{key.port0} "
                 f"{ipaddress.ip_address(key.addr1)}:{key.port1}"
           for name, key in (("wire", s.wire), ("stack", s.stack))},
        "src": f"{peer_state(s.src)} {s.src.hex()}", "dst": f"{peer_state(s.dst)} {s.dst.hex()}",
        "timeout": s.timeout, "sloppy": bool(s.flags & SLOPPY),
    }


class Commands:
    def __init__(self, pf: Pfsync):
        self.pf = pf
        # OpenBSD's pf_ioctl.c DIOCSTART, FreeBSD's pf.c: ids begin with the clock.
        self._next = int(time.time() * 1024) << 22
        self._made = 0
        self._port = random.randrange(1024, 65536)  # its connections are not those before a reboot

    def run(self, command: dict) -> Steps:
        """A generator: at each yield it wants to wait for PAUSE. It returns the result."""
        do = command.get("do")
        if do not in ("create", "update", "close", "remove", "clear", "dump", "digest", "stats"):
            raise ValueError(f"unknown command {do!r}")
        result = getattr(self, "_" + do)(command)
        return (yield from result) if isinstance(result, Generator) else result

    # -- traffic --

    def _create(self, command: dict) -> Steps:
        kinds = KINDS if command.get("kind") == "mixed" else [command.get("kind", "tcp")]
        first, count = self._next + self._made, command.get("count", 1)
        for number in range(count):
            s = self._new(kinds[number % len(kinds)])
            if not self.pf.insert(s, command.get("defer", False)):
                raise ValueError(f"there is a state like {described(s)}")
            if number % BATCH == BATCH - 1:
                yield
        return [first, count]

    def _new(self, kind: str) -> State:
        number, self._made = self._made, self._made + 1
        low = random.randrange(1 << 32)
        host = self.pf.hostid & 255
        client = bytes((10, host, number >> 8 & 255, number & 255))
        server, port = bytes((198, 51, 100, 10)), 443
        proto, src, dst, timeout = TCP, _window(ESTABLISHED, low), \
            _window(ESTABLISHED, low ^ 0x5A5A5A5A), TCP_ESTABLISHED
        if kind == "syn":
            src, dst, timeout = _window(2, low), peer(0, 0, 1, 1), TCP_FIRST
        elif kind == "udp":
            proto, src, dst, timeout = UDP, peer(SINGLE), peer(0), UDP_FIRST
        elif kind == "icmp":  # the type's port, in place of the destination's
            proto, port, src, dst, timeout = ICMP, 8, peer(0), peer(0), ICMP_FIRST
        elif kind == "tcp6":
            client = bytes((0x20, 1, 0xD, 0xB8)) + bytes(8) + client
            server = bytes((0x20, 1, 0xD, 0xB8)) + bytes(11) + b"\x10"
        elif kind not in ("tcp", "out"):
            raise ValueError(f"unknown kind {kind!r}")
        stack = wire = Key(client, server, self._port, port)
        if kind == "out":  # source NAT: the wire side has the firewall's address
            server = bytes((198, 18, self._port >> 8, self._port & 255))
            stack = Key(server, client, port, self._port)
            wire = Key(server, bytes((203, 0, 113, host)), port, number & 0xFFFF)
        s = State(self._next + number, self.pf.hostid, "em1" if kind == "out" else "em0",
                  6 if kind == "tcp6" else 4, proto, OUT if kind == "out" else IN, wire, stack,
                  src, dst, timeout)
        s.created = s.touched = self.pf.now
        return s

    def _chosen(self, command: dict) -> list[State]:
        states = self.pf.table.states
        if command.get("ids") is None:
            return list(states.values())
        return [states[key] for key in map(tuple, command["ids"]) if key in states]

    def _each(self, command: dict, action: Callable[[State], None]) -> Steps:
        chosen = self._chosen(command)
        for number, s in enumerate(chosen):
            if s.name in self.pf.table.states:  # it may have ended meanwhile
                action(s)
            if number % BATCH == BATCH - 1:
                yield
        return len(chosen)

    def _update(self, command: dict) -> Steps:
        return (yield from self._each(command, self._pass))

    def _pass(self, s: State) -> None:
        if s.proto == TCP:
            state = max(ESTABLISHED, peer_state(s.src)), max(ESTABLISHED, peer_state(s.dst))
            if state == (ESTABLISHED, ESTABLISHED):
                s.timeout = TCP_ESTABLISHED
            s.src = _window(state[0], seqlo(s.src) + 1448 & 0xFFFFFFFF)
            s.dst = _window(state[1], seqlo(s.dst) + 1448 & 0xFFFFFFFF)
        elif s.proto == UDP:
            s.src, s.dst, s.timeout = peer(MULTIPLE), peer(MULTIPLE), UDP_MULTIPLE
        self.pf.packet_passed(s)

    def _close(self, command: dict) -> Steps:
        def close(s: State) -> None:
            if s.proto == TCP:
                s.src, s.dst = (_window(FIN_WAIT_2, seqlo(side) + 1 & 0xFFFFFFFF)
                                for side in (s.src, s.dst))
                s.timeout = TCP_CLOSED
            self.pf.packet_passed(s)

        return (yield from self._each(command, close))

    def _remove(self, command: dict) -> Steps:
        return (yield from self._each(command, self.pf.delete))

    # -- pfctl --

    def _clear(self, command: dict) -> int:
        return self.pf.clear(command.get("ifname", ""))

    def _dump(self, command: dict) -> int:
        table, now = self.pf.table, self.pf.now
        states = [{**described(s), "age": int(now - s.created), "left": table.left(s, now)}
                  for s in table.states.values()]
        with open(command["file"], "w", encoding="utf-8") as file:
            json.dump(states, file)
        return len(states)

    def _digest(self, _command: dict) -> dict:
        lines = sorted(repr((s.name, s.ifname, s.proto, s.direction, s.wire, s.stack, s.src, s.dst,
                             s.timeout, s.flags & SLOPPY))
                       for s in self.pf.table.states.values())
        return {"states": len(lines), "sum": hashlib.sha256("\n".join(lines).encode()).hexdigest()}

    def _stats(self, _command: dict) -> dict:
        pf = self.pf
        return {"states": len(pf.table.states), "received": dict(pf.received),
                "sent": dict(pf.sent), "counts": dict(pf.counts), "acked": pf.acked,
                "bulk_done": pf.request.done, "bulk_tries": pf.request.tries,
                "bulk_gave_up": pf.request.gave_up}
