# SPDX-License-Identifier: ISC
"""python3 -m pf --dialect openbsd --syncdev cable --own 172.16.0.2 --peer 172.16.0.1 --hostid 1

On its cable it is a pf firewall. Commands on stdin (commands.py), answers on stdout, both JSON.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import select
import socket
import struct
import sys
import time

from .bulk import NEVER
from .commands import PAUSE, Commands
from .pfsync import Pfsync
from .wire import DIALECTS, GROUP, PROTOCOL, TTL

SO_RCVBUFFORCE = 33
SIOCGIFFLAGS, IFF_RUNNING = 0x8913, 0x40


class Cable:
    """Raw sockets on one interface. peer: an address, or the group."""

    def __init__(self, device: str, own: str, peer: str):
        self._own, self._peer, self._device = own, peer, device
        self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL)
        self.raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        self.out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        for each in (self.raw, self.out):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if peer == GROUP:
            member = struct.pack("4s4si", socket.inet_aton(GROUP), bytes(4),
                                 socket.if_nametoindex(device))
            self.raw.setsockopt(socket.SOL_IP, socket.IP_ADD_MEMBERSHIP, member)
            self.out.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
            self.out.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_LOOP, 0)
        self.raw.setblocking(False)
        self.lost = 0

    def send(self, payload: bytes) -> None:
        """Both systems' template: low delay, DF. Linux fills in length, id and checksum."""
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0x10, 0, 0, 0x4000, TTL, PROTOCOL, 0,
                             socket.inet_aton(self._own), socket.inet_aton(self._peer))
        try:
            self.out.sendto(header + payload, (self._peer, 0))
        except OSError:  # no link: pf counts it, too
            self.lost += 1

    def receive(self) -> bytes | None:
        try:
            return self.raw.recv(65536)
        except BlockingIOError:
            return None

    def linked(self) -> bool:
        request = struct.pack("16sh22x", self._device.encode(), 0)  # an ifreq (netdevice(7))
        (flags,) = struct.unpack_from("16xH", fcntl.ioctl(self.out, SIOCGIFFLAGS, request))
        return bool(flags & IFF_RUNNING)


class Program:
    def __init__(self, args: argparse.Namespace):
        self.cable = Cable(args.syncdev, args.own, args.peer)
        timeouts = {int(index): seconds for index, seconds in json.loads(args.timeouts).items()}
        self.pf = Pfsync(DIALECTS[args.dialect], args.hostid, self.cable.send, time.monotonic(),
                         pace=args.bulk_pace, timeouts=timeouts)
        self.commands = Commands(self.pf)
        self._running = None  # a command that waits, and its number
        self._again = NEVER
        self._lines: list[str] = []
        self._text = b""
        self._commanded = True

    def run(self) -> None:
        os.set_blocking(0, False)
        while True:
            if self._commanded:
                self._read()
            now = time.monotonic()
            if not self.pf.request.done and self.cable.linked():
                self.pf.on_link()
            self.pf.advance(now)
            for _ in range(200):  # then the clock again
                packet = self.cable.receive()
                if packet is None:
                    break
                self.pf.on_packet(packet)
            self._work(now)
            wait = min(self.pf.deadline(), self._again) - time.monotonic()
            if not self.pf.request.done:
                wait = min(wait, 0.1)  # for the link
            if self._lines and self._running is None:
                wait = 0
            watched = [0, self.cable.raw] if self._commanded else [self.cable.raw]
            select.select(watched, [], [], max(0, min(wait, 1)))

    def _read(self) -> None:
        """At its end nobody commands it any more, as in a lab that is kept; it goes on."""
        try:
            piece = os.read(0, 1 << 20)
        except BlockingIOError:
            return
        self._commanded = bool(piece)
        self._text += piece
        *lines, self._text = self._text.split(b"\n")
        self._lines += [line.decode() for line in lines]

    def _work(self, now: float) -> None:
        """One step of the command that waits, or of the next one."""
        if self._running is None and self._lines:
            command = json.loads(self._lines.pop(0))
            self._running = command["n"], self.commands.run(command)
            self._again = now
        if self._running is None or now < self._again:
            return
        number, steps = self._running
        answer = {"n": number}
        try:
            next(steps)
            self._again = now + PAUSE
            return
        except StopIteration as end:
            answer["result"] = end.value
        except (ValueError, KeyError, TypeError) as error:
            answer["error"] = str(error)
        self._running, self._again = None, NEVER
        print(json.dumps(answer), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="pf")
    parser.add_argument("--dialect", choices=DIALECTS, required=True)
    parser.add_argument("--syncdev", required=True)
    parser.add_argument("--own", required=True)
    parser.add_argument("--peer", default=GROUP)
    parser.add_argument("--hostid", type=lambda text: int(text, 0), required=True)
    parser.add_argument("--bulk-pace", type=float, default=5000)
    parser.add_argument("--timeouts", default="{}", help="JSON: seconds by pf's index")
    Program(parser.parse_args()).run()


if __name__ == "__main__":
    sys.exit(main())
