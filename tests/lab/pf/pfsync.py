# SPDX-License-Identifier: ISC
"""The pfsync interface: what waits to be sent and until when, what is accepted from the cable.

    pf = Pfsync(DIALECTS["openbsd"], hostid, send, now)   send(payload): from the pfsync header on
    pf.insert(state), pf.packet_passed(state), pf.delete(state)
    pf.on_packet(ip_packet), pf.advance(now)              by now >= pf.deadline() at the latest
"""

from __future__ import annotations

from collections import Counter
from typing import Callable

from .bulk import NEVER, Answer, FreeBsdRequest, OpenBsdRequest
from .table import TCP, State, Table
from .wire import ACK, BUS, CLR, HEADER, ID, NOSYNC, SUBHEADER, TTL, UPD_C, Dialect

MTU = 1500  # of pfsync0, both systems' default
MAXUPD = 128  # both systems' default
LIMIT = 100_000  # states: "set limit states", both systems' default
DEFER = 0.020


class Pfsync:
    """hostid: pf's own creatorid. All times are those of `advance`, in seconds. timeouts: other
    ones than pf's, by index. pace: of bulk updates, in states a second."""

    def __init__(self, dialect: Dialect, hostid: int, send: Callable[[bytes], None], now: float,
                 interfaces: tuple[str, ...] = ("em0", "em1"), pace: float = 5000,
                 timeouts: dict[int, int] | None = None, table: type[Table] = Table):
        self.dialect, self.hostid, self._send, self.now = dialect, hostid, send, now
        self.table = table(dialect, interfaces, self._removed, timeouts)
        self.received, self.sent = Counter(), Counter()  # messages, by kind
        self._queues: dict[str, dict[tuple[int, int], State | None]] = {
            kind: {} for kind in dialect.order}
        self._length = dialect.minimum
        self._flush_at = self.purge_at = NEVER
        self._deferred: dict[tuple[int, int], State] = {}
        self.acked = 0
        per_packet = (MTU - dialect.minimum - SUBHEADER) // dialect.state_size
        request = OpenBsdRequest if dialect.version == 6 else FreeBsdRequest
        self.request = request(self._ask_for_all, now, LIMIT // per_packet)
        self.answer = Answer(dialect, self.table, hostid, per_packet, pace, self._full,
                             self._send_sections)

    @property
    def counts(self) -> Counter:
        return self.table.counts

    # -- what pf tells it --

    def insert(self, s: State, defer: bool = False) -> bool:
        """A state of our own. defer: its first packet waits until a peer has it."""
        if not self.table.add(s):
            return False
        self._queue(s, "ins")
        if defer:  # openbsd and freebsd pfsync_defer
            s.deferred = self.now + DEFER
            self._deferred[s.name] = s
            self._flush()
        return True

    def packet_passed(self, s: State) -> None:
        s.touched = self.now
        self._update(s)

    def _update(self, s: State) -> None:
        """openbsd and freebsd pfsync_update_state."""
        if s.flags & NOSYNC:
            return
        at_once = False
        if self.dialect.version == 5 and s.deferred is not None:
            self._undefer(s)
        if s.queue in ("upd_c", "upd") or (s.queue == "ins" and self.dialect.version == 5):
            if s.proto == TCP:
                s.updates += 1
                at_once = s.updates >= MAXUPD
        elif s.queue in (None, "ins_ack"):
            self._unqueue(s)
            self._queue(s, "upd_c")
            s.updates = 0
        # A peer sees packets of it, too.
        if at_once or int(self.now) - int(s.told) < 2:
            self._flush()

    def delete(self, s: State) -> None:
        self.table.remove(s, tell=True)

    def _removed(self, s: State, tell: bool) -> None:
        """openbsd and freebsd pfsync_delete_state."""
        self._undefer(s)
        unsaid = s.queue == "ins"  # never left: as if it had not been
        self._unqueue(s)
        if tell and not unsaid and not s.flags & NOSYNC:
            self._enter("del_c", s.name, None)

    def clear(self, ifname: str = "") -> int:
        """pfctl -F states: all states, whoever made them, and a CLR for those made here
        (pfsync_clear_states, both systems)."""
        gone = [s for s in self.table.states.values() if ifname in ("", s.ifname)]
        for s in gone:
            self.table.remove(s, tell=False)
        self._send_sections([("clr", [CLR.pack(ifname.encode(), self.hostid)])])
        return len(gone)

    # -- the queue: openbsd and freebsd pfsync_q_ins, pfsync_q_del --

    def _queue(self, s: State, kind: str) -> None:
        if s.flags & NOSYNC:
            return
        self._enter(kind, s.name, s)
        s.queue = kind

    def _enter(self, kind: str, name: tuple[int, int], s: State | None) -> None:
        size = self.dialect.size(kind)
        more = size + (0 if self._queues[kind] else SUBHEADER)
        if self._length + more > MTU:
            self._flush()
            more = size + SUBHEADER
        self._queues[kind][name] = s
        self._length += more
        self._flush_at = min(self._flush_at, self.now + 1)

    def _unqueue(self, s: State) -> None:
        if s.queue is None:
            return
        queue = self._queues[s.queue]
        del queue[s.name]
        self._length -= self.dialect.size(s.queue) + (0 if queue else SUBHEADER)
        s.queue = None

    def _flush(self) -> None:
        """openbsd pfsync_slice_write, freebsd pfsync_sendout: one packet of all that waits."""
        self._flush_at = NEVER
        sections = []
        for kind, queue in self._queues.items():
            if queue:
                messages = [self._message(kind, name, s) for name, s in queue.items()]
                sections.append((kind, messages))
                queue.clear()
        self._length = self.dialect.minimum
        if sections:
            self._send_sections(sections)

    def _message(self, kind: str, name: tuple[int, int], s: State | None) -> bytes:
        if s is None:
            return ID.pack(*name)
        s.queue = None
        if kind == "ins_ack":
            return ID.pack(*name)
        if kind == "upd_c":  # pfsync_out_upd_c: expiry is not said
            return UPD_C.pack(s.id, s.src, s.dst, s.creatorid, 0, s.timeout, 0)
        return self._full(s)

    def _full(self, s: State) -> bytes:
        flags = s.flags | (ACK if s.deferred is not None else 0)
        return self.dialect.write_state(s, int(self.now - s.created),
                                        self.table.left(s, self.now), flags)

    def _send_sections(self, sections: list[tuple[str, list[bytes]]]) -> None:
        for kind, messages in sections:
            self.sent[kind] += len(messages)
        self.sent["packets"] += 1
        self._send(self.dialect.packet(sections))

    def _ask_for_all(self) -> None:
        self._send_sections([("upd_req", [ID.pack(0, 0)])])

    # -- from the cable --

    def on_packet(self, packet: bytes) -> None:
        """With its IPv4 header. The checks in pf's order (openbsd and freebsd pfsync_input); where
        it is from is not among them."""
        self.received["packets"] += 1
        header = (packet[0] & 15) * 4
        data = packet[header:]
        if packet[8] != TTL:
            self.counts["badttl"] += 1
        elif len(data) < HEADER:
            self.counts["hdrops"] += 1
        elif data[0] != self.dialect.version:
            self.counts["badver"] += 1
        elif not HEADER <= int.from_bytes(data[2:4], "big") <= len(data):
            self.counts["badlen"] += 1
        else:
            asked: list[tuple[int, int]] = []
            for kind, action, messages in self.dialect.sections(data, self.counts):
                self.received[kind] += len(messages)
                if messages:
                    self._take(kind, action, messages, asked)
            self._request(asked)

    def _take(self, kind: str, action: int, messages: list[bytes],
              asked: list[tuple[int, int]]) -> None:
        if kind == "bus":  # the first alone is looked at
            _, endtime, status = BUS.unpack_from(messages[0])
            self.request.on_status(status, endtime, self.now)
            return
        for message in messages:
            if kind in ("ins", "upd"):
                self._take_state(kind, action, message)
            elif kind == "upd_c":
                self._take_update(message, asked)
            elif kind == "upd_req":
                self._take_request(*ID.unpack_from(message))
            elif kind == "del_c":
                self.table.remove_said(ID.unpack_from(message))
            elif kind == "del":
                self.table.remove_said(self.dialect.read_state(action, message).name)
            elif kind == "clr":
                ifname, creatorid = CLR.unpack_from(message)
                self.table.clear(creatorid, ifname.split(b"\0")[0].decode("latin-1"))
            elif kind == "ins_ack":
                s = self.table.states.get(ID.unpack_from(message))
                if s is not None and s.deferred is not None:
                    self.acked += 1
                    self._undefer(s)

    def _take_state(self, kind: str, action: int, message: bytes) -> None:
        said = self.dialect.read_state(action, message)
        if not self.table.valid(said, kind == "ins"):
            return
        known = self.table.states.get(said.name) if kind == "upd" else None
        if known is not None:
            self._updated(known, said.src, said.dst, said.timeout)
            return
        made, failed = self.table.import_(said, self.now)
        if kind == "upd":
            self.counts["badstate"] += failed
        if made is not None and said.flags & ACK:
            self._queue(made, "ins_ack")
            self._flush()  # the peer is waiting

    def _take_update(self, message: bytes, asked: list[tuple[int, int]]) -> None:
        number, src, dst, creatorid, _, timeout, _ = UPD_C.unpack_from(message)
        if not self.table.valid_peers(src, dst, timeout):
            return
        s = self.table.states.get((number, creatorid))
        if s is None:
            if self.dialect.version == 6 or (number, creatorid) not in asked:
                asked.append((number, creatorid))
        else:
            self._updated(s, src, dst, timeout)

    def _updated(self, s: State, src: bytes, dst: bytes, timeout: int) -> None:
        if s.deferred is not None:
            self._undefer(s)
        if self.table.update(s, src, dst, timeout, self.now):
            # The newer one goes back, compressed; and at once, as the peer told it just now.
            self._update(s)
            self._flush()

    def _request(self, asked: list[tuple[int, int]]) -> None:
        """openbsd pfsync_in_upd_c: the last first, in a packet of its own. freebsd
        pfsync_request_update: with what else waits."""
        if not asked:
            return
        if self.dialect.version == 6:
            self._send_sections([("upd_req", [ID.pack(*name) for name in reversed(asked)])])
            return
        for name in asked:
            if name not in self._queues["upd_req"]:
                self._enter("upd_req", name, None)
        self._flush()

    def _take_request(self, number: int, creatorid: int) -> None:
        """openbsd and freebsd pfsync_in_ureq, pfsync_update_state_req."""
        if number == creatorid == 0:
            self.answer.begin(self.now)
            return
        s = self.table.states.get((number, creatorid))
        if s is None or s.flags & NOSYNC:
            self.counts["badstate"] += 1
            return
        if s.queue in (None, "upd_c", "ins_ack"):
            self._unqueue(s)
            self._queue(s, "upd")
        self._flush()

    def _undefer(self, s: State) -> None:
        s.deferred = None
        self._deferred.pop(s.name, None)

    # -- time --

    def on_link(self) -> None:
        self.request.on_link(self.now)

    def deadline(self) -> float:
        waiting = min((s.deferred for s in self._deferred.values()), default=NEVER)
        return min(self._flush_at, self.purge_at, waiting, self.request.deadline,
                   self.answer.deadline)

    def advance(self, now: float) -> None:
        self.now = now
        if self.purge_at == NEVER or now >= self.purge_at:
            self.purge_at = now + 1
            self.table.purge(now)
        for s in [s for s in self._deferred.values() if s.deferred <= now]:
            self._undefer(s)
        if now >= self._flush_at:
            self._flush()
        self.request.advance(now)
        self.answer.advance(now)
