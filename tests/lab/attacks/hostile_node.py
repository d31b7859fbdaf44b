# SPDX-License-Identifier: ISC
"""A node that is broken into: it speaks encsync's own messages (src/pfsync/extension.hpp) over a stock
strongSwan's tunnel, keeps up its session as an honest node does, and says between what it is told.

    hostile = HostileNode(node, own="192.168.1.101", peer="192.168.1.100", creator=0x0A0B0C0D)
    hostile.say(section(UPD, state))        in a packet with the next number
    hostile.bare(payload)                   as it is
    hostile.claim(role=ACTIVE)              what its HELLO says from now on
    hostile.lie()                           false sums, for ever, and false answers to each question
    hostile.heard(UPD_REQ)                  messages of this kind that it was sent

Program: hostile_node.py OWN PEER DEVICE CREATOR
Commands on stdin: "say HEX" (sections), "bare HEX" (a payload), "hello FIELD VALUE", "lie". Prints the
payload of each packet received, in hexadecimal.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Iterator

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import PYTHON  # noqa: E402

CLR, UPD_C, UPD_REQ, DEL, DEL_C, BUS, INS, UPD = 0, 4, 5, 6, 7, 10, 13, 14
HELLO, SEQ, ACK, ROOT, ASK, SUMS, LIST, ABSENT, EXPECT = range(0xE0, 0xE9)
KEYS, KEY_TEXT = 0xEC, 0xED
AUTOMATIC, ACTIVE, STANDBY = range(3)
READY, IN_STEP = 1, 2
FIRST_LEAF = 1 + 16 + 256 + 4096
SINCE = b"\x7f" + bytes(7)  # all before it has arrived
STATE = 264  # bytes of a full state; behind them is the tail
HELLO_EVERY, LIE_EVERY = 0.5, 0.02  # seconds


def section(action: int, *messages: bytes) -> bytes:
    assert len(messages[0]) % 4 == 0
    return struct.pack("!BBH", action, len(messages[0]) // 4, len(messages)) + b"".join(messages)


def packet(*sections: bytes) -> bytes:
    body = b"".join(sections)
    return struct.pack("!BBH", 6, 0, 20 + len(body)) + bytes(16) + body


def messages(payload: bytes) -> Iterator[tuple[int, bytes]]:
    at, end = 20, int.from_bytes(payload[2:4], "big")
    while at < end:
        action, words, count = struct.unpack_from("!BBH", payload, at)
        at += 4
        for _ in range(count):
            yield action, payload[at : at + 4 * words]
            at += 4 * words


def tail(term: int = 0, live: bool = True, mark: int = 0, timeout: int = 600,
         status: int = 0x03) -> bytes:
    return struct.pack("!IIHBB", mark, timeout, 0, (term % 128) << 1 | live, status)


def term_of(message: bytes) -> int:
    """Of a full state."""
    return message[STATE + 10] >> 1


def hello(session: int, known: int, creator: int, role: int = STANDBY, version: int = 1,
          flags: int = READY | IN_STEP, states: int = 0, live: int = 0, nodes: bytes = b"",
          count: int | None = None) -> bytes:
    """nodes: 20 bytes each."""
    return (struct.pack("!QQIHBBQQI", session, known, creator, version, role, flags, states, live,
                        0xFFFFFFFF)
            + struct.pack("!BBH", len(nodes) // 20 if count is None else count, 0, 0) + nodes)


# ---- the program -----------------------------------------------------------------------------


class Program:
    def __init__(self, own: str, peer: str, device: str, creator: int):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 240)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        raw.setsockopt(socket.SOL_IP, socket.IP_TTL, 255)
        raw.setsockopt(socket.SOL_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO: don't fragment
        raw.bind((own, 0))
        self.raw, self.peer = raw, peer
        self.says = {"session": int.from_bytes(os.urandom(8), "big"), "creator": creator}
        self.theirs = self.number = self.highest = 0
        self.lies, self.lie_at, self.hello_at, self.text = False, float("inf"), 0.0, b""

    def run(self) -> None:
        while True:
            now = time.monotonic()
            if now >= self.hello_at:
                self.hello_at = now + HELLO_EVERY
                self.greet()
            if now >= self.lie_at:
                self.lie_at = now + LIE_EVERY
                self.say(section(ROOT, SINCE + os.urandom(8) + struct.pack("!Q", 60)))
            wait = max(0.0, min(self.hello_at, self.lie_at) - now)
            for ready in select.select([0, self.raw], [], [], wait)[0]:
                if ready is self.raw:
                    self.receive()
                else:
                    self.read()

    def send(self, payload: bytes) -> None:
        try:
            self.raw.sendto(payload, (self.peer, 0))
        except OSError:  # the tunnel is not up
            pass

    def say(self, *sections: bytes) -> None:
        self.number += 1
        self.send(packet(section(SEQ, struct.pack("!QQ", self.number, self.says["session"])),
                         *sections))

    def greet(self) -> None:
        self.send(packet(section(HELLO, hello(known=self.theirs, **self.says))))

    def read(self) -> None:
        piece = os.read(0, 1 << 16)
        if not piece:
            sys.exit()
        *lines, self.text = (self.text + piece).split(b"\n")
        for line in lines:
            command, *words = line.decode().split()
            if command == "say":
                self.say(bytes.fromhex(words[0]))
            elif command == "bare":
                self.send(bytes.fromhex(words[0]))
            elif command == "lie":
                self.lies, self.lie_at = True, 0
            else:
                field, value = words[0], "".join(words[1:])  # which may be empty
                self.says[field] = bytes.fromhex(value) if field == "nodes" else int(value)
                self.number = 0 if field == "session" else self.number
                self.greet()

    def receive(self) -> None:
        payload = self.raw.recv(65536)[20:]
        print(payload.hex(), flush=True)
        numbered = False
        for action, message in messages(payload):
            if action == HELLO:
                (session,) = struct.unpack_from("!Q", message)
                if session != self.theirs:
                    self.theirs, self.highest = session, 0
                    self.greet()
            elif action == SEQ:
                numbered, self.highest = True, int.from_bytes(message[:8], "big")
            else:
                self.answer(action, message)
        if numbered:  # all has arrived, it says
            self.send(packet(section(ACK, struct.pack("!QQ", self.highest, self.theirs)
                                     + b"\xff" * 128)))

    def answer(self, action: int, message: bytes) -> None:
        creator = self.says["creator"]
        if action == UPD_REQ and not any(message):
            bus = [struct.pack("!IIBxxx", creator, 0, kind) for kind in (1, 2)]
            self.say(section(BUS, bus[0]), section(BUS, bus[1]))
        elif self.lies and action == UPD_REQ:
            self.say(section(ABSENT, message + SINCE))
        elif self.lies and action == ASK:
            node = int.from_bytes(message[:4], "big")
            if node < FIRST_LEAF:
                self.say(section(SUMS, struct.pack("!II", node, 0) + os.urandom(128)))
            else:
                flows = b"".join(os.urandom(8) + struct.pack("!II", creator, 1) for _ in range(60))
                self.say(section(LIST, struct.pack("!IHBx", node, 0, 1) + flows))


# ---- the driver ------------------------------------------------------------------------------


class HostileNode:
    def __init__(self, node, own: str, peer: str, creator: int, device: str = "ipsec0"):
        self.creator = creator
        self.process = node.start(PYTHON, __file__, own, peer, device, creator, name="hostile",
                                  stdin=True)

    def say(self, *sections: bytes) -> None:
        self.process.say("say " + b"".join(sections).hex())

    def bare(self, payload: bytes) -> None:
        self.process.say("bare " + payload.hex())

    def claim(self, **fields: int | bytes) -> None:
        for field, value in fields.items():
            self.process.say(f"hello {field} {value.hex() if isinstance(value, bytes) else value}")

    def lie(self) -> None:
        self.process.say("lie")

    def heard(self, action: int) -> list[bytes]:
        lines, _, _unfinished = self.process.output().rpartition("\n")
        return [message for line in lines.splitlines()
                for kind, message in messages(bytes.fromhex(line)) if kind == action]


if __name__ == "__main__":
    Program(*sys.argv[1:4], creator=int(sys.argv[4])).run()
