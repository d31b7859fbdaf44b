# SPDX-License-Identifier: ISC
"""Noise at full rate, to the end, of one kind after the other: datagrams of a stranger, and in a peer's
name (whose port is guessed): ESP of unknown SAs, ESP of an SA that is there, what is too short, IKE that
is none; and protocol 240 in clear.

Program: noise.py VICTIM PEER SPI       prints how many packets it has sent, again and again
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mallory  # noqa: E402

OF_EACH = 200  # in a row


def udp(source: str, target: str, body: bytes, port: int = 4500) -> bytes:
    return mallory.ipv4(source, target, struct.pack("!HHHH", port, port, 8 + len(body), 0) + body,
                        protocol=17)


def kinds(victim: str, peer: str, spi: bytes) -> list[bytes]:
    text = os.urandom(120)
    return [
        udp("192.168.1.67", victim, b"\1" + text),  # a stranger's
        udp(peer, victim, b"\xde\xad\xbe\xef" + text),
        udp(peer, victim, spi + bytes([0, 0x7F, 0, 0]) + text),
        udp(peer, victim, b"\1\2\3"),
        udp(peer, victim, bytes(4) + text),
        udp(peer, victim, text, port=500),
        mallory.ipv4(peer, victim, mallory.forgery(0)),
    ]


def main(victim: str, peer: str, spi: str) -> None:
    made = kinds(victim, peer, bytes.fromhex(spi))
    sent, said = 0, 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        while True:
            for packet in made:
                for _ in range(OF_EACH):
                    raw.sendto(packet, (victim, 0))
                sent += OF_EACH
            if time.monotonic() > said + 0.1:
                said = time.monotonic()
                print(sent, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
