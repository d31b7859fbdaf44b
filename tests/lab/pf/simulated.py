# SPDX-License-Identifier: ISC
"""python3 -m pf.simulated: pf firewalls on the clock of a simulator, which is at its standard input.

A request is answered at once, and nothing happens between two of them. All numbers are big-endian.

    request   B what, B which firewall, q now in ns, I length, body
    answer    I length, q when it wants to be asked again, H packets, each H length and payload from
              the pfsync header on; the rest is the result

The bodies and results are beside what they ask for, in REQUESTS. It ends at the end of its input.
"""

from __future__ import annotations

import json
import math
import os
import socket
import struct
import sys
import zlib
from collections import defaultdict
from typing import NamedTuple

from .bulk import NEVER
from .pfsync import Pfsync
from .table import ICMP, TCP, UDP, State, Table, after
from .wire import DIALECTS, IN, OUT, SLOPPY, TTL, Full, Key, peer, peer_state, seqlo

REQUEST = struct.Struct(">BBqI")
ANSWER = struct.Struct(">IqH")
FLOW = struct.Struct(">BBBBHHHH16s16s16s16s")
STATE = struct.Struct(">QI16sBBBBH16s16sHH16s16sHH32s32sII")
ICMP6 = 58
SYN_SENT, ESTABLISHED, CLOSING, FIN_WAIT_2, SINGLE, MULTIPLE = 2, 4, 7, 9, 1, 2
TCP_FIRST, TCP_OPENING, TCP_ESTABLISHED, TCP_CLOSING, TCP_FIN_WAIT, TCP_CLOSED = range(6)
UDP_FIRST, UDP_SINGLE, UDP_MULTIPLE, ICMP_FIRST, ICMP_REPLY = range(6, 11)
IP_HEADER = bytes((0x45, 0x10)) + bytes(6) + bytes((TTL, 240)) + bytes(10)


class Flow(NamedTuple):
    """What passes: addresses and ports before and after translation, and how far each side is."""

    proto: int
    af: int
    src_state: int
    dst_state: int
    sport: int
    dport: int
    new_sport: int
    new_dport: int
    src: bytes
    dst: bytes
    new_src: bytes
    new_dst: bytes

    @classmethod
    def read(cls, body: bytes) -> Flow:
        f = cls(*FLOW.unpack(body))
        size = 4 if f.af == 4 else 16
        return f._replace(**{name: getattr(f, name)[:size]
                             for name in ("src", "dst", "new_src", "new_dst")})

    def name_in(self) -> tuple:
        return _name(IN, self.proto, self.src, self.dst, self.sport, self.dport)

    def names(self) -> tuple[tuple, ...]:
        """Of an incoming state, and of an outgoing one: that has the real destination."""
        return self.name_in(), _name(OUT, self.proto, self.src, self.new_dst, self.sport,
                                     self.new_dport)


def _name(direction: int, proto: int, src: bytes, dst: bytes, sport: int, dport: int) -> tuple:
    """Of a state, by the packet that began it, as it arrives at that interface. ICMP's second port
    is the type in some releases, the id in others."""
    return direction, proto, src, dst, sport, 0 if proto in (ICMP, ICMP6) else dport


def _name_of(s: Full) -> tuple:
    k = s.wire if s.direction == IN else s.stack
    if s.direction == IN:
        return _name(IN, s.proto, k.addr0, k.addr1, k.port0, k.port1)
    return _name(OUT, s.proto, k.addr1, k.addr0, k.port1, k.port0)


class WatchedTable(Table):
    """Also finds the states of a flow, and notices if a peer moves sequence numbers back behind
    packets that have passed here. faults: rules that it does not follow."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._flows: dict[tuple, list[State]] = defaultdict(list)
        self.passed: dict[tuple[int, int], tuple[int, int]] = {}
        self.rolled_back = 0
        self.faults: set[str] = set()

    def of(self, name: tuple) -> list[State]:
        return self._flows.get(name, [])

    def _attach(self, s: State) -> bool:
        if not super()._attach(s):
            return False
        self._flows[_name_of(s)].append(s)
        return True

    def remove(self, s: State, tell: bool) -> None:
        name = _name_of(s)
        self._flows[name].remove(s)
        if not self._flows[name]:
            del self._flows[name]
        self.passed.pop(s.name, None)
        super().remove(s, tell)

    def import_(self, said: Full, now: float) -> tuple[State | None, bool]:
        if "nat" in self.faults:
            said.stack = said.wire
        return super().import_(said, now)

    def update(self, s: State, src: bytes, dst: bytes, timeout: int, now: float) -> bool:
        stale = super().update(s, src, dst, timeout, now)
        sent_src, sent_dst = self.passed.get(s.name, (seqlo(s.src), seqlo(s.dst)))
        self.rolled_back += after(sent_src, seqlo(s.src)) or after(sent_dst, seqlo(s.dst))
        return stale

    def _stale(self, s: State, src: bytes, dst: bytes) -> tuple[bool, bool]:
        return (False, False) if "stale" in self.faults else super()._stale(s, src, dst)

    def remove_said(self, name: tuple[int, int]) -> None:
        if "del" not in self.faults:
            super().remove_said(name)


class Firewall:
    """bound: its states are bound to interfaces (set state-policy if-bound), otherwise to none,
    which is both systems' default. both: it has a state for each of the two interfaces that a
    packet passes, otherwise one for both: the outgoing one if the source is translated. seed: of
    the first sequence numbers of connections. faults: see WatchedTable."""

    def __init__(self, options: dict, now: float):
        self.packets: list[bytes] = []
        self._seed = options["seed"]
        self._interfaces = {IN: "em0", OUT: "em1"} if options["bound"] else {IN: "all", OUT: "all"}
        self._both = options["both"]
        self._next = int(now * 1024) << 22  # OpenBSD's pf_ioctl.c DIOCSTART, FreeBSD's pf.c
        self.pf = Pfsync(DIALECTS[options["dialect"]], options["hostid"], self.packets.append, now,
                         table=WatchedTable)
        self.table: WatchedTable = self.pf.table
        self.table.faults = set(options["faults"])
        self.pf.advance(now)
        self.pf.on_link()

    def to(self, now: float) -> None:
        """Before what happens then."""
        if now >= self.pf.deadline():
            self.pf.advance(now)
        self.pf.now = now

    def deadline(self, idle: bool) -> float:
        """While nothing else happens, only those seconds count in which a state ends."""
        next_ = self.pf.deadline()
        if not idle or next_ != self.pf.purge_at:
            return next_
        ends = min((s.touched + self.table.timeouts[s.timeout]
                    for s in self.table.states.values()), default=NEVER)
        return ends if ends == NEVER else next_ + max(math.ceil(ends - next_), 0)

    def receive(self, payload: bytes) -> bytes:
        self.pf.on_packet(IP_HEADER + payload)
        return b""

    # -- traffic --

    def passes(self, body: bytes) -> bytes:
        """B 1: passed, 0: there is another state in the way."""
        f = Flow.read(body)
        wanted = {name[0]: name for name in f.names()}
        known = {direction: self.table.of(name) for direction, name in wanted.items()}
        fresh = not any(known.values())
        if self._both:
            # A rule makes the one that is missing, except in the middle of a TCP connection
            # ("flags S/SA").
            missing = [d for d in (IN, OUT) if not known[d] and (fresh or f.proto != TCP)]
        else:
            translated = (f.src, f.sport) != (f.new_src, f.new_sport)
            redirected = (f.dst, f.dport) != (f.new_dst, f.new_dport)
            missing = [OUT if translated and not redirected else IN] if fresh else []
        good = True
        for direction in missing:
            s = self._new(f, direction)
            good = good and self.pf.insert(s)
        for states in filter(None, known.values()):
            s = min(states, key=lambda s: s.ifname == "all")  # pf_state_key_attach(): bound ones first
            self._advance(s, f)
            self.pf.packet_passed(s)
        return bytes((good,))

    def _new(self, f: Flow, direction: int) -> State:
        icmp = f.proto in (ICMP, ICMP6)
        dport = 8 if f.proto == ICMP else 128 if icmp else f.dport
        new_dport = dport if icmp else f.new_dport
        before = Key(f.src, f.dst, f.sport, dport)
        redirected = Key(f.src, f.new_dst, f.sport, new_dport)
        translated = Key(f.new_src, f.new_dst, f.new_sport, new_dport)
        if direction == IN:
            wire, stack = before, redirected if self._both else translated
        else:
            wire, stack = (Key(k.addr1, k.addr0, k.port1, k.port0)
                           for k in (translated, redirected if self._both else before))
        self._next += 1
        s = State(self._next, self.pf.hostid, self._interfaces[direction], f.af, f.proto, direction,
                  wire, stack, peer(0), peer(0), 0)
        s.created = s.touched = self.pf.now
        if f.proto == TCP:
            s.src, s.dst = peer(0, 0, 0, 65535, 0x87), peer(0, 0, 1, 1)
        self._advance(s, f)
        s.timeout = {TCP: TCP_FIRST if f.dst_state < SYN_SENT else s.timeout,
                     UDP: UDP_FIRST if f.dst_state == 0 else s.timeout}.get(f.proto, ICMP_FIRST)
        return s

    def _advance(self, s: State, f: Flow) -> None:
        """pf_tcp_track_full(), pf_tcp_track_sloppy(), pf_test_state_udp() and so on of pf.c: what
        has passed, and which timeout follows. The packets of a flow are never more than a few: the
        simulator says how far they have brought it."""
        if s.proto in (ICMP, ICMP6):
            s.timeout = ICMP_REPLY
            return
        src, dst = max(peer_state(s.src), f.src_state), max(peer_state(s.dst), f.dst_state)
        s.src, s.dst = self._side(s, s.src, src, f, 1000), self._side(s, s.dst, dst, f, 3000)
        if s.proto == TCP:
            s.timeout = _tcp_timeout(src, dst)
            if not s.flags & SLOPPY:
                self.table.passed[s.name] = seqlo(s.src), seqlo(s.dst)
        else:
            s.timeout = UDP_MULTIPLE if (src, dst) == (MULTIPLE, MULTIPLE) else UDP_SINGLE

    def _side(self, s: State, block: bytes, state: int, f: Flow, rate: int) -> bytes:
        block = bytearray(block)
        if s.proto == TCP and not s.flags & SLOPPY and state >= SYN_SENT:
            # The connection's own number, wherever its packets pass: it begins anywhere, and so
            # many bytes are sent in a second. A side that has sent nothing yet has none.
            first = zlib.crc32(b"%d %d %b" % (rate, self._seed, f.src + f.dst), f.sport << 16 | f.dport)
            low = first + int(self.pf.now * rate) & 0xFFFFFFFF
            struct.pack_into(">IIIH", block, 8, low, low + 65535 & 0xFFFFFFFF, 0, 65535)
        block[24] = state
        return bytes(block)

    def close(self, body: bytes) -> bytes:
        """The states of the flow are removed: by pfctl -k, or by a timer of this firewall."""
        for name in Flow.read(body).names():
            for s in list(self.table.of(name)):
                self.pf.delete(s)
        return b""

    def has(self, body: bytes) -> bytes:
        return bytes((any(self.table.of(name) for name in Flow.read(body).names()),))

    # -- pfctl --

    def flush(self, _body: bytes) -> bytes:
        self.pf.clear()
        return b""

    def states(self, _body: bytes) -> bytes:
        now = self.pf.now
        return b"".join(
            STATE.pack(s.id, s.creatorid, s.ifname.encode(), s.af, s.proto, s.direction, s.timeout,
                       s.flags, *s.wire, *s.stack, s.src, s.dst, int(now - s.created),
                       self.table.left(s, now))
            for s in self.table.states.values())

    def stats(self, _body: bytes) -> bytes:
        pf = self.pf
        sent, received = dict(pf.sent), dict(pf.received)
        packets = sent.pop("packets", 0) + received.pop("packets", 0)
        return struct.pack(
            ">QQQIIIBB", packets, sum(sent.values()), sum(received.values()),
            self.table.rolled_back, pf.counts["stale"], pf.request.tries + 1,
            pf.request.done and not pf.request.gave_up, pf.request.gave_up) \
            + json.dumps({"sent": sent, "received": received, "counts": pf.counts}).encode()


def _tcp_timeout(src: int, dst: int) -> int:
    if src >= FIN_WAIT_2 and dst >= FIN_WAIT_2:
        return TCP_CLOSED
    if src >= CLOSING and dst >= CLOSING:
        return TCP_FIN_WAIT
    if src < ESTABLISHED or dst < ESTABLISHED:
        return TCP_OPENING
    return TCP_CLOSING if src >= CLOSING or dst >= CLOSING else TCP_ESTABLISHED


def _nothing(_firewall: Firewall, _body: bytes) -> bytes:
    return b""


BEGIN, ADVANCE = 0, 1  # BEGIN: JSON, the options of Firewall, in place of one with that number
REQUESTS = {
    ADVANCE: _nothing,  # the time has come
    2: Firewall.receive,  # payload of a packet
    3: Firewall.passes,  # FLOW
    4: Firewall.close,  # FLOW
    5: Firewall.flush,
    6: Firewall.states,  # result: each as STATE
    7: Firewall.stats,
    8: Firewall.has,  # FLOW; B whether there is a state of it
}


def _exactly(stream, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        sys.exit()
    return data


def main() -> None:
    with socket.socket(fileno=os.dup(0)) as simulator:
        requests = simulator.makefile("rb", buffering=1 << 16)
        firewalls: dict[int, Firewall] = {}
        while True:
            what, which, now, length = REQUEST.unpack(_exactly(requests, REQUEST.size))
            body = _exactly(requests, length)
            if what == BEGIN:
                firewalls[which], result = Firewall(json.loads(body), now / 1e9), b""
            else:
                firewalls[which].to(now / 1e9)
                result = REQUESTS[what](firewalls[which], body)
            firewall = firewalls[which]
            packets, firewall.packets[:] = list(firewall.packets), []
            deadline = firewall.deadline(what == ADVANCE)
            # Rounded up: then it has come by this clock, too.
            deadline = 2**63 - 1 if deadline == NEVER else int(deadline * 1e9) + 1000
            answer = b"".join(struct.pack(">H", len(p)) + p for p in packets) + result
            simulator.sendall(ANSWER.pack(len(answer), deadline, len(packets)) + answer)


if __name__ == "__main__":
    main()
