# SPDX-License-Identifier: ISC
"""Regular state changes between two nodes, both ways: for how long did none arrive?

    with Pulse(mickey, minnie) as pulse:
        ... the failure ...
    pulse.silence()         seconds, the longest time with pending changes and no arrival
    pulse.gone(keys)        which of these flows a kernel deleted meanwhile

Every 10 ms a new TCP flow is put into each node's kernel, and the events of the other one's kernel
are read. The end of the block waits until all of them are on both.

The program, inside a node (times are CLOCK_MONOTONIC, which all namespaces share):
    pulse.py SOURCE         prints kernel events: "new TIME ADDRESS PORT", "gone ..."; from a line
                            on stdin until its end makes flows from SOURCE: "made TIME PORT"
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

from lab import PYTHON, Node, wait_for

INTERVAL = 0.01
TARGET = "203.0.113.10", 443
FIRST_PORT = 1024

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
CT_NEW, CT_DELETE = 0, 2
GROUP_NEW, GROUP_DESTROY = 1 << 0, 1 << 2
REQUEST, ACK, EXCL, CREATE = 1, 4, 0x200, 0x400
NESTED = 0x8000
SEEN_REPLY_ASSURED_CONFIRMED = 2 | 4 | 8
TCP_ESTABLISHED = 3  # number of the state in conntrack


# ---- the program -----------------------------------------------------------------------------


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        found[kind & 0x3FFF] = data[at + 4 : at + size]
        at += (size + 3) & ~3
    return found


def endpoints(src: str, sport: int, dst: str, dport: int) -> bytes:
    address = attribute(1, socket.inet_aton(src)) + attribute(2, socket.inet_aton(dst))
    proto = (attribute(1, bytes([socket.IPPROTO_TCP])) + attribute(2, struct.pack("!H", sport))
             + attribute(3, struct.pack("!H", dport)))
    return attribute(1 | NESTED, address) + attribute(2 | NESTED, proto)


def new_flow(sequence: int, source: str, port: int) -> bytes:
    body = struct.pack("=BBH", socket.AF_INET, 0, 0)
    body += attribute(1 | NESTED, endpoints(source, port, *TARGET))
    body += attribute(2 | NESTED, endpoints(*TARGET, source, port))
    # Less than the timeout of an idle TCP connection: a longer one looks like a copy.
    body += attribute(7, struct.pack("!I", 600))
    body += attribute(4 | NESTED, attribute(1 | NESTED, attribute(1, bytes([TCP_ESTABLISHED]))))
    body += attribute(3, struct.pack("!I", SEEN_REPLY_ASSURED_CONFIRMED))
    kind = NFNL_SUBSYS_CTNETLINK << 8 | CT_NEW
    return struct.pack("=IHHII", 16 + len(body), kind, REQUEST | ACK | CREATE | EXCL, sequence,
                       0) + body


def reported(data: bytes):
    """(is new, address, port) of each TCP or UDP flow over IPv4 in the messages of a datagram."""
    at = 0
    while at + 20 <= len(data):
        size, kind = struct.unpack_from("=IH", data, at)
        if data[at + 16] == socket.AF_INET:
            tuple_ = attributes(attributes(data[at + 20 : at + size])[1])
            address, proto = attributes(tuple_[1]), attributes(tuple_[2])
            if proto[1][0] in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
                yield (kind & 0xFF != CT_DELETE, socket.inet_ntoa(address[1]),
                       struct.unpack("!H", proto[2])[0])
        at += (size + 3) & ~3


def run(source: str) -> None:
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    so_rcvbufforce = 33
    events.setsockopt(socket.SOL_SOCKET, so_rcvbufforce, 16 << 20)
    events.bind((0, GROUP_NEW | GROUP_DESTROY))
    maker = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    maker.bind((0, 0))
    print("listening", flush=True)
    sys.stdin.readline()
    port, due, making = FIRST_PORT, time.monotonic(), True
    while True:
        now = time.monotonic()
        if making and now >= due:
            maker.send(new_flow(port, source, port))
            error = struct.unpack_from("=i", maker.recv(4096), 16)[0]
            if error != 0:
                sys.exit(f"flow {port}: {os.strerror(-error)}")
            print("made", now, port, flush=True)
            port, due = port + 1, max(due + INTERVAL, now)
        waiting = max(0.0, due - now) if making else None
        for ready in select.select([events, sys.stdin] if making else [events], [], [], waiting)[0]:
            if ready is sys.stdin:
                making = False
                print("stopped", flush=True)
                continue
            data, now = events.recv(1 << 16), time.monotonic()
            for new, address, number in reported(data):
                print("new" if new else "gone", now, address, number, flush=True)


# ---- the driver ------------------------------------------------------------------------------


class Half:
    """The flows that one node made and the events that its kernel reported."""

    def __init__(self, node: Node, source: str):
        self.node, self.source = node, source
        self.process = node.start(PYTHON, Path(__file__).resolve(), source, name="pulse",
                                  stdin=True)

    def read(self) -> Half:
        self.made: dict[int, float] = {}
        self.new: dict[tuple[str, int], float] = {}
        self.gone: set[tuple[str, int]] = set()
        self.listening = self.stopped = False
        for line in self.process.output().splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            word, *rest = line.split()
            if word == "made":
                self.made[int(rest[1])] = float(rest[0])
            elif word == "new":
                self.new.setdefault((rest[1], int(rest[2])), float(rest[0]))
            elif word == "gone":
                self.gone.add((rest[1], int(rest[2])))
            else:
                self.listening = True
                self.stopped |= word == "stopped"
        return self


class Pulse:
    """number: unique for every pulse of a lab, so that no two make the same flows."""

    _number = 0

    def __init__(self, a: Node, b: Node):
        Pulse._number += 1
        self.nodes = a, b
        self.sources = f"10.0.0.{100 + Pulse._number}", f"10.0.0.{180 + Pulse._number}"

    def __enter__(self) -> Pulse:
        self.halves = [Half(node, source) for node, source in zip(self.nodes, self.sources)]
        # A kernel without a listener would not report the first ones.
        wait_for(lambda: all(half.read().listening for half in self.halves), 60, "the listeners")
        for half in self.halves:
            half.process.say("go")
        wait_for(lambda: self._through() >= 20, 60, "the pulse to go both ways", 0.1)
        return self

    def _through(self) -> int:
        """How many of each node's flows are on the other one; the smaller number."""
        a, b = (half.read() for half in self.halves)
        return min(len(one.made) - len(self._missing(one, other))
                   for one, other in ((a, b), (b, a)))

    def _all_through(self) -> bool:
        a, b = (half.read() for half in self.halves)
        return a.stopped and b.stopped and not self._missing(a, b) and not self._missing(b, a)

    @staticmethod
    def _missing(one: Half, other: Half) -> list[int]:
        return [port for port in one.made if (one.source, port) not in other.new]

    def __exit__(self, kind, *_exception) -> None:
        with contextlib.suppress(BrokenPipeError):
            for half in self.halves:
                half.process.popen.stdin.close()
        try:
            if kind is None:
                wait_for(self._all_through, 60, "all flows to get through", 0.2)
        finally:
            for half in self.halves:
                half.process.kill()

    def silence(self) -> float:
        a, b = self.halves
        return max(self._silence(a, b), self._silence(b, a))

    @staticmethod
    def _silence(one: Half, other: Half) -> float:
        ways = sorted((other.new[one.source, port], made) for port, made in one.made.items())
        # From the last arrival, or from the creation of the oldest flow that arrives next.
        oldest, longest = float("inf"), 0.0
        for at in range(len(ways) - 1, -1, -1):
            heard, made = ways[at]
            oldest = min(oldest, made)
            before = ways[at - 1][0] if at else oldest
            longest = max(longest, heard - max(before, oldest))
        return longest

    def made(self) -> int:
        return sum(len(half.made) for half in self.halves)

    def gone(self, flows: set[tuple[str, int]]) -> set[tuple[str, int]]:
        """Address and source port of the flows that a kernel deleted."""
        return flows & (self.halves[0].gone | self.halves[1].gone)


if __name__ == "__main__":
    run(*sys.argv[1:])
