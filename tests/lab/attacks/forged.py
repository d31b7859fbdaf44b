# SPDX-License-Identifier: ISC
"""Forged protocol 240, frame by frame: every way in which a host on the switch can wrap it so that a
receiver's kernel delivers it. Each packet inserts one state, whose number names the trick.

Programs: forged.py receive            prints the IP version and the number of each packet that a
                                       raw socket gets
          forged.py leave PAUSE SOURCE TARGET SOURCE6 TARGET6
                                       sends again and again with raw sockets, also into enc0; prints the
                                       IP version of what left
          forged.py flood PAUSE SOURCE TARGET SOURCE6 TARGET6   forged messages of all kinds, to the end
          forged.py watch              every interface: prints each clear packet that leaves
          forged.py send               frames from stdin, in hexadecimal, on eth0
"""

from __future__ import annotations

import ipaddress
import itertools
import select
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Iterable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mallory  # noqa: E402

CREATOR = 0xDEADBEEF
# Of hosts on the sync switch.
SIX = {"mickey": "2001:db8:240::100", "minnie": "2001:db8:240::101", "mallory": "2001:db8:240::66",
       "bare": "2001:db8:240::67"}
FRAGMENT, HOP_BY_HOP, DESTINATION = 44, 0, 60
# What takes packets out of a VLAN or a tunnel: lines for ip(8). {sync} is the receiver's interface,
# {mac} a card's address there, the others are those of both ends.
TUNNELS = """
link add link {sync} name vlan5 type vlan id 5
link add link {sync} name outer6 type vlan proto 802.1ad id 6
link add link outer6 name inner5 type vlan id 5
link add vxlan7 address {mac} type vxlan id 7 dev {sync} local {own} remote {other} dstport 4789
link add gre7 type gre local {own} remote {other}
link add gretap7 address {mac} type gretap local {own} remote {other}
link add ipip7 type ipip local {own} remote {other}
link add sit7 type sit local {own} remote {other}
link add six7 type ip6tnl mode any local {own6} remote {other6}
"""
TUNNEL_MAC = "02:00:00:00:00:07"


def insert(number: int) -> bytes:
    return mallory.pfsync(mallory.ACTION_INS, mallory.full_state(number, CREATOR))


def number_of(payload: bytes) -> int:
    return int.from_bytes(payload[24:32], "big") - 0x6666000000000000


def checksum(header: bytes) -> int:
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Forger:
    """From one host's addresses to another's; to_mac is the receiver's."""

    def __init__(self, mac: str, to_mac: str, source: str, target: str, source6: str, target6: str):
        self.ether = bytes.fromhex((to_mac + mac).replace(":", ""))
        self.pair4 = socket.inet_aton(source) + socket.inet_aton(target)
        self.pair6 = ipaddress.ip_address(source6).packed + ipaddress.ip_address(target6).packed

    def frame(self, kind: int, packet: bytes, tag: bytes = b"") -> bytes:
        return self.ether + tag + struct.pack("!H", kind) + packet

    def v4(self, payload: bytes, protocol: int = 240, ttl: int = 255, flags: int = 0,
           options: bytes = b"", ident: int = 1) -> bytes:
        words = 5 + len(options) // 4
        head = struct.pack("!BBHHHBB", 0x40 | words, 0x10, words * 4 + len(payload), ident, flags,
                           ttl, protocol)
        rest = self.pair4 + options
        return head + struct.pack("!H", checksum(head + b"\0\0" + rest)) + rest + payload

    def v6(self, payload: bytes, following: int = 240, hops: int = 255) -> bytes:
        return (struct.pack("!IHBB", 6 << 28, len(payload), following, hops) + self.pair6
                + payload)

    def tricks(self, first: int = 1) -> dict[str, list[bytes]]:
        """The frames by the name of the trick, in the order of their numbers."""
        made: dict[str, list[bytes]] = {}

        def add(name: str, build) -> None:
            made[name] = build(insert(first + len(made)))

        def plain4(**more):
            return lambda data: [self.frame(0x0800, self.v4(data, **more))]

        def fragments4(data: bytes) -> list[bytes]:
            ident = 1000 + len(made)
            return [self.frame(0x0800, self.v4(data[:80], flags=0x2000, ident=ident)),
                    self.frame(0x0800, self.v4(data[80:], flags=10, ident=ident))]

        def plain6(following: int = 240, before: bytes = b"", **more):
            return lambda data: [self.frame(0x86DD, self.v6(before + data, following, **more))]

        def part6(following: int, at: int, more: int, data: bytes) -> bytes:
            head = struct.pack("!BBHI", following, 0, at | more, 7000 + len(made))
            return self.frame(0x86DD, self.v6(head + data, FRAGMENT))

        padding = bytes((1, 4, 0, 0, 0, 0))  # PadN
        add("IPv4", plain4())
        add("TTL 1", plain4(ttl=1))
        add("TTL 254", plain4(ttl=254))
        add("IP options", plain4(options=b"\1\1\1\0"))
        add("fragments", fragments4)
        add("fragments, last first", lambda data: fragments4(data)[::-1])
        add("priority tag", lambda data: [self.frame(0x0800, self.v4(data), b"\x81\0\xe0\0")])
        add("IPv6", plain6())
        add("hop limit 1", plain6(hops=1))
        add("hop-by-hop header", plain6(HOP_BY_HOP, bytes((240, 0)) + padding))
        add("destination options", plain6(DESTINATION, bytes((240, 0)) + padding))
        add("two extension headers",
            plain6(HOP_BY_HOP, bytes((DESTINATION, 0)) + padding + bytes((240, 0)) + padding))
        add("atomic fragment", lambda data: [part6(240, 0, 0, data)])
        add("IPv6 fragments", lambda data: [part6(240, 0, 1, data[:80]), part6(240, 80, 0, data[80:])])
        # The first fragment does not show the protocol.
        chain = bytes((240, 0)) + padding
        add("protocol in the second fragment",
            lambda data: [part6(DESTINATION, 0, 1, bytes((DESTINATION, 0)) + padding),
                          part6(DESTINATION, 8, 0, chain + data)])
        return made

    def tunnelled(self, first: int = 1) -> dict[str, list[bytes]]:
        """Likewise, inside of what the receiver takes apart if it has TUNNELS."""
        made: dict[str, list[bytes]] = {}
        card = bytes.fromhex(TUNNEL_MAC.replace(":", "")) + self.ether[6:] + b"\x08\0"
        vxlan = struct.pack("!II", 0x08 << 24, 7 << 8)

        def udp(data: bytes) -> bytes:
            return struct.pack("!HHHH", 4789, 4789, 8 + len(data), 0) + data

        def add(name: str, kind: int, build, tag: bytes = b"") -> None:
            data = insert(first + len(made))
            made[name] = [self.frame(kind, build(data), tag)]

        add("VLAN", 0x0800, self.v4, b"\x81\0\0\5")
        add("VLAN, IPv6", 0x86DD, self.v6, b"\x81\0\0\5")
        add("VLAN in a VLAN", 0x0800, self.v4, b"\x88\xa8\0\6\x81\0\0\5")
        add("VXLAN", 0x0800, lambda data: self.v4(udp(vxlan + card + self.v4(data)), 17))
        add("GRE", 0x0800, lambda data: self.v4(b"\0\0\x08\0" + self.v4(data), 47))
        add("GRE, IPv6", 0x0800, lambda data: self.v4(b"\0\0\x86\xdd" + self.v6(data), 47))
        add("frames in GRE", 0x0800,
            lambda data: self.v4(b"\0\0\x65\x58" + card + self.v4(data), 47))
        add("IPv4 in IPv4", 0x0800, lambda data: self.v4(self.v4(data), 4))
        add("IPv6 in IPv4", 0x0800, lambda data: self.v4(self.v6(data), 41))
        add("IPv4 in IPv6", 0x86DD, lambda data: self.v6(self.v4(data), 4))
        add("IPv6 in IPv6", 0x86DD, lambda data: self.v6(self.v6(data), 41))
        return made

    @staticmethod
    def in_vlan(frames: Iterable[bytes]) -> list[bytes]:
        return [frame[:12] + b"\x81\0\0\5" + frame[12:] for frame in frames]


def receive() -> None:
    sockets = [socket.socket(family, socket.SOCK_RAW, 240)
               for family in (socket.AF_INET, socket.AF_INET6)]
    print("listening", flush=True)
    while True:
        for ready in select.select(sockets, [], [])[0]:
            data = ready.recv(65536)
            if ready is sockets[0]:
                data = data[(data[0] & 15) * 4 :]
            print(4 if ready is sockets[0] else 6, number_of(data), flush=True)


def send(frames: Iterable[str]) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        for frame in frames:
            wire.send(bytes.fromhex(frame))
            time.sleep(0.002)  # so that none is lost to a full buffer


def ipv6(source: str, target: str, payload: bytes) -> bytes:
    return (struct.pack("!IHBB", 6 << 28, len(payload), 240, 255)
            + ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed + payload)


class Sender:
    """Packets of both families from these addresses, whoever has them."""

    def __init__(self, source: str, target: str, source6: str, target6: str):
        self.ways = [(4, socket.AF_INET, target, lambda data: mallory.ipv4(source, target, data)),
                     (6, socket.AF_INET6, target6, lambda data: ipv6(source6, target6, data))]
        self.raw = {version: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
                    for version, family, *_ in self.ways}

    def bind(self, device: str) -> None:
        for raw in self.raw.values():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())

    def send(self, payload: bytes) -> list[int]:
        """The IP versions of those packets that the kernel took."""
        taken = []
        for version, _, target, packet in self.ways:
            try:
                self.raw[version].sendto(packet(payload), (target, 0))
                taken.append(version)
            except OSError:  # by the ruleset; or there is no route at the moment
                pass
        return taken


def leave(pause: str, *addresses: str) -> None:
    """As a program of the node itself would, with a tunnel or without."""
    plain, inside = Sender(*addresses), Sender(*addresses)
    print("trying", flush=True)
    while True:
        for version in plain.send(insert(999)):
            print(version, flush=True)
        try:
            inside.bind("enc0")  # each time, as it may be another one
            for version in inside.send(insert(998)):
                print("enc0", version, flush=True)
        except OSError:
            pass
        time.sleep(float(pause))


def flood(pause: str, *addresses: str) -> None:
    """Every kind of forged message, to the end."""
    sender = Sender(*addresses)
    print("flooding", flush=True)
    for number in itertools.cycle(range(1000)):
        sender.send(mallory.forgery(number))
        time.sleep(float(pause))


def watch() -> None:
    """Each frame of any interface, enc0 excepted: what is there is a copy for tcpdump."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as every:
        print("watching", flush=True)
        while True:
            data, (interface, kind, packet_type, *_) = every.recvfrom(65536)
            if packet_type != socket.PACKET_OUTGOING or interface == "enc0":
                continue
            if (kind == 0x0800 and data[9] == 240) or (kind == 0x86DD and data[6] == 240):
                print(interface, 4 if kind == 0x0800 else 6, flush=True)


PROGRAMS = {"flood": flood, "receive": receive, "leave": leave, "watch": watch,
            "send": lambda: send(sys.stdin)}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
