# SPDX-License-Identifier: ISC
"""pfsync packets, version 6 (OpenBSD) and 5 (FreeBSD).

Layouts: OpenBSD sys/net/if_pfsync.h r1.65 and sys/net/pfvar.h r1.543 (struct pfsync_state),
FreeBSD 14 sys/net/if_pfsync.h and sys/net/pfvar.h (pfsync_state_1301, pfsync_state_1400).
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from typing import Iterator, NamedTuple

PROTOCOL, GROUP, TTL = 240, "224.0.0.240", 255
IN, OUT = 1, 2
ALLOWOPTS, SLOPPY, NOSYNC, ACK = 0x0001, 0x0002, 0x0008, 0x0010
BUS_START, BUS_END = 1, 2
NONE = 0xFFFFFFFF
HEADER, SUBHEADER = 20, 4

ID = struct.Struct(">QI")  # UPD_REQ, DEL_C, INS_ACK
CLR = struct.Struct(">16sI")
BUS = struct.Struct(">IIB3x")
UPD_C = struct.Struct(">Q32s32sIIBB2x")
SIZES = {"clr": CLR.size, "ins_ack": ID.size, "upd_c": UPD_C.size, "upd_req": ID.size,
         "del_c": ID.size, "bus": BUS.size}


class Key(NamedTuple):
    """The addresses and ports of one side. Index 1 is the destination of a state of direction in,
    the source of one of direction out."""

    addr0: bytes  # 4 or 16
    addr1: bytes
    port0: int
    port1: int


@dataclass(slots=True)
class Full:
    """A full state, as INS and UPD have it."""

    id: int
    creatorid: int
    ifname: str
    af: int  # 4 or 6, as in IP; 0: neither
    proto: int
    direction: int
    wire: Key
    stack: Key
    src: bytes  # peer blocks, 32 bytes; src is the initiator's
    dst: bytes
    timeout: int  # an index
    flags: int = 0
    age: int = 0  # seconds
    left: int = 0  # seconds to live; 0: not said

    @property
    def name(self) -> tuple[int, int]:
        return self.id, self.creatorid


def peer_state(block: bytes) -> int:
    return block[24]


def seqlo(block: bytes) -> int:
    return int.from_bytes(block[8:12], "big")


def peer(state: int, low: int = 0, high: int = 0, max_win: int = 0, wscale: int = 0) -> bytes:
    return struct.pack(">8xIIIHHBB6x", low, high, 0, max_win, 0, state, wscale)


# ---- full states -----------------------------------------------------------------------------

_COUNTERS = struct.Struct(">QQQQ")
_V6 = struct.Struct(">Q16s 16s16sHHHBx 16s16sHHHBx 32s32s16s IIIII 32s I iiH BBBBBB BBBB H 2s")
_V5_FRONT = ">Q16s 16s16sHH 16s16sHH 32s32s16s IIIII 32s I"
_V5_1301 = struct.Struct(_V5_FRONT + "BBB2xBBBBB")
_V5_1400 = struct.Struct(_V5_FRONT + "BBBHBxBBB HHHH i BB H 2s B 16s")
assert (_V6.size, _V5_1301.size, _V5_1400.size) == (264, 242, 277)


def _key(addr0: bytes, addr1: bytes, port0: int, port1: int, af: int) -> Key:
    size = 4 if af == 4 else 16
    return Key(addr0[:size], addr1[:size], port0, port1)


def _ifname(raw: bytes) -> str | None:
    """None: it has no end."""
    return raw[: raw.index(0)].decode("latin-1") if 0 in raw else None


def _read_v6(raw: bytes, families: dict[int, int]) -> Full:
    f = _V6.unpack_from(raw)
    key_af, stack_af, af = f[7], f[13], f[27]
    # r1.334 pfsync_in_ins: the keys' families may both be missing; then the state's own counts.
    if key_af or stack_af:
        known = key_af in families and stack_af in families
        af = key_af if known else 0
    family = families.get(af, 0)
    return Full(f[0], f[23], _ifname(f[1]), family, f[28], f[29], _key(*f[2:6], family),
                _key(*f[8:12], family), f[14], f[15], f[32], f[37], f[20], f[21])


def _write_v6(s: Full, age: int, left: int, flags: int, families: dict[int, int]) -> bytes:
    af = families[s.af]
    return _V6.pack(s.id, s.ifname.encode(), *s.wire, 0, af, *s.stack, 0, af, s.src, s.dst, b"",
                    NONE, NONE, NONE, age, left, bytes(32), s.creatorid, -1, -1, 0, af, s.proto,
                    s.direction, 0, 0, s.timeout, 0, 0, 0, 0, flags, b"")


def _read_v5(layout: struct.Struct, raw: bytes, families: dict[int, int]) -> Full:
    f = layout.unpack_from(raw)
    family = families.get(f[20], 0)
    old = layout is _V5_1301
    return Full(f[0], f[19], _ifname(f[1]), family, f[21], f[22], _key(*f[2:6], family),
                _key(*f[6:10], family), f[10], f[11], f[25], f[24] if old else f[23], f[16], f[17])


def _write_v5(layout: struct.Struct, s: Full, age: int, left: int, flags: int,
              families: dict[int, int]) -> bytes:
    front = (s.id, s.ifname.encode(), *s.wire, *s.stack, s.src, s.dst, b"", NONE, NONE, NONE, age,
             left, bytes(32), s.creatorid, families[s.af], s.proto, s.direction)
    if layout is _V5_1301:
        return layout.pack(*front, 0, flags, s.timeout, 0, 0)
    return layout.pack(*front, flags, 0, s.timeout, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, b"", 0, b"")


# ---- dialects --------------------------------------------------------------------------------


class Dialect:
    """What differs between the systems."""

    name: str
    version: int
    families: dict[int, int]  # on the wire: 4 or 6
    kinds: dict[int, str]  # action to the name of what it does
    order: tuple[str, ...]  # of the sections in a packet
    last_timeout: int  # PFTM_MAX
    minimum: int  # an empty packet, with its IP header
    state_size: int

    def __init__(self) -> None:
        self.actions = {kind: action for action, kind in self.kinds.items()}
        self.numbers = {own: number for number, own in self.families.items()}

    def size(self, kind: str) -> int:
        return SIZES.get(kind, self.state_size)


class OpenBsd(Dialect):
    name, version, families = "openbsd", 6, {2: 4, 24: 6}
    # if_pfsync.h r1.65; actions 1, 3, 8, 9, 11 and 12 have no handler and are skipped.
    kinds = {0: "clr", 2: "ins_ack", 4: "upd_c", 5: "upd_req", 6: "del", 7: "del_c", 10: "bus",
             13: "ins", 14: "upd", 15: "tdb"}
    order = "ins_ack", "upd_c", "del_c", "ins", "upd"  # openbsd pfsync_qs
    last_timeout, minimum, state_size = 20, 20 + HEADER, _V6.size

    def size(self, kind: str) -> int:
        return 52 if kind == "tdb" else super().size(kind)

    def write_state(self, s: Full, age: int, left: int, flags: int) -> bytes:
        return _write_v6(s, age, left, flags, self.numbers)

    def read_state(self, _action: int, raw: bytes) -> Full:
        return _read_v6(raw, self.families)

    def section(self, kind: str, messages: list[bytes]) -> bytes:
        return struct.pack(">BBH", self.actions[kind], len(messages[0]) // 4,
                           len(messages)) + b"".join(messages)

    def packet(self, sections: list[tuple[str, list[bytes]]]) -> bytes:
        """openbsd pfsync_encap: what was a checksum of the ruleset is zero."""
        body = b"".join(self.section(*each) for each in sections)
        return struct.pack(">BxH16x", self.version, HEADER + len(body)) + body

    def sections(self, data: bytes, counts: Counter) -> Iterator[tuple[str, int, list[bytes]]]:
        """openbsd pfsync_input, after the header: kind, action, messages. What cannot be read on
        is counted by pf's names."""
        data = data[: int.from_bytes(data[2:4], "big")]
        at = HEADER
        while len(data) - at >= SUBHEADER:
            action, words, count = struct.unpack_from(">BBH", data, at)
            at += SUBHEADER
            size, kind = words * 4, self.kinds.get(action)
            if kind is None or size < self.size(kind):
                if count == 0 or size == 0:
                    counts["badact"] += 1
                    return
                kind = "skip"
            if at + size * count > len(data):
                counts["badlen"] += 1
                return
            yield kind, action, [data[at + n * size : at + (n + 1) * size] for n in range(count)]
            at += size * count


class FreeBsd1301(Dialect):
    name, version, families = "freebsd-1301", 5, {2: 4, 28: 6}
    # FreeBSD 13 if_pfsync.c pfsync_acts
    kinds = {0: "clr", 1: "ins", 2: "ins_ack", 3: "upd", 4: "upd_c", 5: "upd_req", 6: "del",
             7: "del_c", 10: "bus", 11: "tdb", 12: "eof"}
    # pfsync_qs, then the requests, as pfsync_sendout() has them
    order = "ins", "ins_ack", "upd", "upd_c", "del_c", "upd_req"
    last_timeout, minimum, state_size = 20, 20 + HEADER + SUBHEADER, _V5_1301.size
    layout = _V5_1301

    def write_state(self, s: Full, age: int, left: int, flags: int) -> bytes:
        return _write_v5(self.layout, s, age, left, flags, self.numbers)

    def read_state(self, action: int, raw: bytes) -> Full:
        return _read_v5(_V5_1301 if action in (1, 3) else self.layout, raw, self.families)

    def _size_of(self, action: int, kind: str) -> int:
        return {1: 242, 3: 242, 11: 48, 12: 0}.get(action) if action in (1, 3, 11, 12) \
            else self.size(kind)

    def packet(self, sections: list[tuple[str, list[bytes]]]) -> bytes:
        """freebsd pfsync_sendout: the checksum of the ruleset is that of this firewall alone, so
        that no peer takes rule numbers from it; an end mark is last."""
        body = b"".join(struct.pack(">BxH", self.actions[kind], len(messages)) + b"".join(messages)
                        for kind, messages in sections)
        body += struct.pack(">BxH", self.actions["eof"], 1)
        return struct.pack(">BxH16s", self.version, HEADER + len(body), b"no two are alike") + body

    def sections(self, data: bytes, counts: Counter) -> Iterator[tuple[str, int, list[bytes]]]:
        """freebsd pfsync_input: the length field ends it, but a body may reach the packet's end.
        An action without a handler, or beyond the last, ends it, too."""
        end, at = int.from_bytes(data[2:4], "big"), HEADER
        while at <= end - SUBHEADER:
            action, count = struct.unpack_from(">BxH", data, at)
            at += SUBHEADER
            kind = self.kinds.get(action)
            if kind is None:
                counts["badact"] += 1
                return
            if kind == "eof":  # pfsync_in_eof
                counts["badlen"] += at != len(data)
                return
            size = self._size_of(action, kind)
            if at + size * count > len(data):  # m_pulldown fails
                counts["badlen"] += 1
                return
            yield kind, action, [data[at + n * size : at + (n + 1) * size] for n in range(count)]
            at += size * count


class FreeBsd1400(FreeBsd1301):
    name, state_size, layout = "freebsd-1400", _V5_1400.size, _V5_1400
    # FreeBSD 14: 1 and 3 have states of 13.1, 13 and 14 those of 14.0, and DEL has no handler.
    kinds = {action: kind for action, kind in FreeBsd1301.kinds.items() if kind != "del"} | {
        13: "ins", 14: "upd"}
    last_timeout = 25


DIALECTS = {dialect.name: dialect for dialect in (OpenBsd(), FreeBsd1301(), FreeBsd1400())}
