# SPDX-License-Identifier: ISC
"""The switch itself is the attacker's: every frame between the nodes passes his program, which holds
back, doubles, delays, reorders and sends what it is told.

    switch = HostileSwitch(pair)            takes the pair's sync switch over, for good
    switch.hold("minnie", "mickey")         ESP of this way is kept back
    switch.kept("192.168.1.100")            those of them to this address
    switch.send("mickey", frame)
    switch.play("minnie", "mickey", "double")   or "delay", "swap"; "pass" ends it
    switch.play("mickey", "minnie", "show")     requests for an IKE_SA_INIT pass, and are among kept();
                                            "weaken": they offer a shorter key;
                                            "answers": likewise the answers to them
    switch.flood("minnie", request)         begins negotiations like this one, to the end
    switch.flooded("minnie")                how many, and how many of them were answered

UDP over IPv4 goes on without its checksum, which the sender has left to the network card.

Program, in the switch's namespace: hostile_switch.py PORT...
Commands on stdin: "play FROM TO HOW", "send PORT FRAME..." (hexadecimal), "flood PORT FRAME"; an answer
"done" each. Prints: "kept FROM TO FRAME", "flooded BEGUN COOKIES ANSWERED".
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import forged  # noqa: E402
import ike  # noqa: E402
from lab import PYTHON, wait_for  # noqa: E402

UDP_AT, ESP_AT = 34, 42  # in a frame with an IPv4 header without options
DELAY, FLOOD_EVERY, FLOOD_OF = 0.3, 0.025, 5  # seconds, and negotiations at a time


def is_udp(frame: bytes, port: int) -> bool:
    return (frame[12:15] == b"\x08\0\x45" and frame[23] == 17 and len(frame) > ESP_AT
            and frame[36:38] == struct.pack("!H", port))


def is_esp(frame: bytes) -> bool:
    """In UDP, as it always is here. No NAT keepalive, and not IKE."""
    return is_udp(frame, 4500) and len(frame) > ESP_AT + 8 and frame[ESP_AT : ESP_AT + 4] != bytes(4)


def with_esp(frame: bytes, esp: bytes, source: str | None = None) -> bytes:
    """That frame with other ESP, or from another address."""
    addresses = (socket.inet_aton(source) if source else frame[26:30]) + frame[30:34]
    head = struct.pack("!BBHHHBB", 0x45, 0, 28 + len(esp), 1, 0, 64, 17)
    total = forged.checksum(head + b"\0\0" + addresses)
    return (frame[:14] + head + struct.pack("!H", total) + addresses + frame[34:38]
            + struct.pack("!HH", 8 + len(esp), 0) + esp)


def spi_of(frame: bytes) -> str:
    return frame[ESP_AT : ESP_AT + 4].hex()


# ---- the program -----------------------------------------------------------------------------


class Flood:
    """Negotiations that are begun, with cookies returned, and never finished."""

    def __init__(self, victim: str, request: bytes):
        self.victim, self.request = victim, request
        self.begun: dict[bytes, bytes] = {}
        self.cookies = self.answered = 0

    def begin(self) -> list[bytes]:
        made = [ike.another(self.request) for _ in range(FLOOD_OF)]
        self.begun.update((ike.initiator(request), request) for request in made)
        return made

    def answer(self, response: bytes) -> list[bytes]:
        if ike.cookie_of(response) is None:
            self.answered += 1
            return []
        self.cookies += 1
        return [ike.with_cookie(self.begun[ike.initiator(response)], response)]

    def __str__(self) -> str:
        return f"flooded {self.victim} {len(self.begun)} {self.cookies} {self.answered}"


class Switch:
    def __init__(self, names: list[str]):
        self.ports = {}
        for name in names:
            port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            port.bind((name, 0))
            port.setblocking(False)
            self.ports[name] = port
        self.plays: dict[tuple[str, str], str] = {}
        self.waiting: dict[tuple[str, str], bytes] = {}  # for the next one, to be sent before it
        self.later: list = []
        self.floods: dict[str, Flood] = {}
        self.flood_at = float("inf")
        self.numbers = itertools.count()
        self.text = b""

    def run(self) -> None:
        names = {port.fileno(): name for name, port in self.ports.items()}
        while True:
            due = min([self.flood_at, *(at for at, *_ in self.later[:1])])
            wait = None if due == float("inf") else max(0, due - time.monotonic())
            for ready in select.select([0, *names], [], [], wait)[0]:
                if ready == 0:
                    self.read()
                else:
                    self.receive(names[ready])
            while self.later and self.later[0][0] <= time.monotonic():
                _, _, to, frame = heapq.heappop(self.later)
                self.out(to, frame)
            if time.monotonic() >= self.flood_at:
                self.flood_at = time.monotonic() + FLOOD_EVERY
                for flood in self.floods.values():
                    self.all_out(flood.victim, flood.begin())
                    print(flood, flush=True)

    def read(self) -> None:
        piece = os.read(0, 1 << 20)
        if not piece:
            sys.exit()
        *lines, self.text = (self.text + piece).split(b"\n")
        for line in lines:
            command, *words = line.decode().split()
            if command == "play":
                start, to, how = words
                self.plays[start, to] = how
            elif command == "flood":
                self.floods[words[0]] = Flood(words[0], bytes.fromhex(words[1]))
                self.flood_at = 0
            else:
                self.all_out(words[0], [bytes.fromhex(frame) for frame in words[1:]])
            print("done", flush=True)

    def receive(self, start: str) -> None:
        for _ in range(100):
            try:
                frame, address = self.ports[start].recvfrom(65536)
            except BlockingIOError:
                return
            if address[2] == socket.PACKET_OUTGOING:
                continue
            if frame[12:15] == b"\x08\0\x45" and frame[23] == 17:
                frame = frame[: UDP_AT + 6] + b"\0\0" + frame[UDP_AT + 8 :]
            flood = self.floods.get(start)
            if flood and ike.is_init(frame) and ike.initiator(frame) in flood.begun:
                self.all_out(start, flood.answer(frame))
                continue
            for to in self.ports:
                if to != start:
                    self.forward(start, to, frame)

    def forward(self, start: str, to: str, frame: bytes) -> None:
        way = start, to
        how = self.plays.get(way, "pass")
        if how in ("show", "weaken", "answers"):
            if ike.is_init(frame) and ike.is_request(frame) == (how != "answers"):
                print("kept", *way, frame.hex(), flush=True)
                frame = ike.weakened(frame) if how == "weaken" else frame
            self.out(to, frame)
            return
        if not is_esp(frame):
            how = "pass"
        if how == "hold":
            print("kept", *way, frame.hex(), flush=True)
        elif how == "delay":
            heapq.heappush(self.later, (time.monotonic() + DELAY, next(self.numbers), to, frame))
        elif how == "swap" and way not in self.waiting:
            self.waiting[way] = frame
        else:
            self.out(to, frame)
            if how == "double":
                self.out(to, frame)
            if way in self.waiting:
                self.out(to, self.waiting.pop(way))

    def all_out(self, to: str, frames: list[bytes]) -> None:
        for frame in frames:
            self.out(to, frame)

    def out(self, to: str, frame: bytes) -> None:
        while True:
            try:
                self.ports[to].send(frame)
                return
            except BlockingIOError:
                select.select([], [self.ports[to]], [], 0.1)
            except OSError:  # the link is down
                return


# ---- the driver ------------------------------------------------------------------------------


class HostileSwitch:
    def __init__(self, switch, *nodes):
        """nodes: whose ports he takes, each with its interface on this switch."""
        names = [node.name for node, _ in nodes]
        for node, interface in nodes:
            node.ip(f"link set {interface} gso_max_segs 1")  # frames as they are on a wire
        switch.ip(*(f"link set {name} nomaster" for name in names),
                  *(f"link set {name} promisc on" for name in names))
        self.process = switch.start(PYTHON, __file__, *names, name="hostile", stdin=True)
        self.commands = 0
        for name in names:
            self.send(name)

    def _say(self, line: str) -> None:
        self.commands += 1
        self.process.say(line)
        wait_for(lambda: self.process.output().count("done\n") == self.commands, 10,
                 "the hostile switch to obey")

    def play(self, start: str, to: str, how: str) -> None:
        self._say(f"play {start} {to} {how}")

    def hold(self, start: str, to: str) -> None:
        self.play(start, to, "hold")

    def send(self, to: str, *frames: bytes) -> None:
        for at in range(0, max(1, len(frames)), 50):
            self._say(" ".join(["send", to, *(frame.hex() for frame in frames[at : at + 50])]))

    def flood(self, victim: str, request: bytes) -> None:
        self._say(f"flood {victim} {request.hex()}")

    def flooded(self, victim: str) -> tuple[int, int, int]:
        """Begun; cookies returned; answered as if they were real."""
        lines, _, _unfinished = self.process.output().rpartition("\n")
        found = [line.split()[2:] for line in lines.splitlines()
                 if line.startswith(f"flooded {victim} ")]
        begun, cookies, answered = map(int, found[-1]) if found else (0, 0, 0)
        return begun, cookies, answered

    def kept(self, address: str) -> list[bytes]:
        """Those to this address."""
        lines, _, _unfinished = self.process.output().rpartition("\n")
        frames = [bytes.fromhex(line.split()[3]) for line in lines.splitlines()
                  if line.startswith("kept")]
        return [frame for frame in frames if frame[30:34] == socket.inet_aton(address)]


if __name__ == "__main__":
    Switch(sys.argv[1:]).run()
