# SPDX-License-Identifier: ISC
"""What both versions of pfsync have in common, and how a packet's meaning is written down.

The words of a meaning are those of tests/unit/pfsync/describe.hpp.
"""

import ipaddress
import struct

IN, OUT = 1, 2
TCP, UDP, ICMP, ICMP6, GRE, ESP, SCTP, DCCP = 6, 17, 1, 58, 47, 50, 132, 33
NONE = 0xffffffff


def address(text, junk=b"\0"):
    raw = ipaddress.ip_address(text).packed
    return raw + (junk * 12 if len(raw) == 4 else b"")


def peer(state, seqlo=0, seqhi=0, seqdiff=0, max_win=0, mss=0, wscale=0, scrub=bytes(8)):
    return scrub + struct.pack(">IIIHHBB6x", seqlo, seqhi, seqdiff, max_win, mss, state, wscale)


def upd_c(id=0x1122334455667788, creatorid=0x0a0b0c0d, src=None, dst=None, timeout=2):
    m = struct.pack(">Q", id) + (src or peer(4)) + (dst or peer(4))
    return m + struct.pack(">IIBB2x", creatorid, 0, timeout, 0)


def ident(id=0x1122334455667788, creatorid=0x0a0b0c0d):
    return struct.pack(">QI", id, creatorid)


def clr(ifname=b"", creatorid=0x0a0b0c0d):
    return ifname.ljust(16, b"\0") + struct.pack(">I", creatorid)


def bus(status, creatorid=0x0a0b0c0d, endtime=0):
    return struct.pack(">IIB3x", creatorid, endtime, status)


def sockaddr(dst, inet, inet6):
    """28 bytes, the family as the system numbers it."""
    a = ipaddress.ip_address(dst)
    if a.version == 4:
        return struct.pack(">BBH4s", 16, inet, 0, a.packed).ljust(28, b"\0")
    return struct.pack(">BBHI16sI", 28, inet6, 0, 0, a.packed, 0)


def flow(orig, reply, src=4, dst=4, id=0x1122334455667788, creatorid=0x0a0b0c0d, proto=TCP,
         flags="", timeout=86400, age=77, mark=0, zone=0, rest=""):
    def show(t):
        return f"{t[0]} {t[1]} {t[2]} {t[3]}"
    return (f"id {id:016x}/{creatorid:08x} proto {proto} orig {show(orig)} reply {show(reply)}"
            f" states {src}:{dst} flags [{flags}] timeout {timeout} age {age} mark {mark}"
            f" zone {zone} {rest}").rstrip()


def name(id=0x1122334455667788, creatorid=0x0a0b0c0d):
    return f"id {id:016x}/{creatorid:08x}"


class Vectors(dict):
    """label: (packet, lines of its meaning)"""

    def add(self, label, data, *lines):
        assert label not in self
        self[label] = (data, list(lines))
