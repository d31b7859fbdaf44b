# SPDX-License-Identifier: ISC
"""IKE_SA_INIT (RFC 7296) in frames, on port 500: as somebody on the path changes and invents it."""

from __future__ import annotations

import os
import socket
import struct

import forged

AT = 42  # of IKE in a frame with an IPv4 header without options
INIT, RESPONSE = 34, 0x20
NOTIFY, COOKIE = 41, 16390
# Transform attribute 14: the length of the cipher's key.
STRONG, WEAK = b"\x80\x0e" + struct.pack("!H", 256), b"\x80\x0e" + struct.pack("!H", 128)


def is_init(frame: bytes) -> bool:
    return (frame[12:15] == b"\x08\0\x45" and frame[23] == 17 and len(frame) >= AT + 28
            and frame[36:38] == struct.pack("!H", 500) and frame[AT + 18] == INIT)


def is_request(frame: bytes) -> bool:
    return is_init(frame) and not frame[AT + 19] & RESPONSE


def initiator(frame: bytes) -> bytes:
    """Its SPI."""
    return frame[AT : AT + 8]


def with_ike(frame: bytes, ike: bytes, target: str | None = None) -> bytes:
    addresses = frame[26:30] + (socket.inet_aton(target) if target else frame[30:34])
    head = struct.pack("!BBHHHBB", 0x45, 0, 28 + len(ike), 1, 0, 64, 17)
    total = forged.checksum(head + b"\0\0" + addresses)
    return (frame[:14] + head + struct.pack("!H", total) + addresses + frame[34:38]
            + struct.pack("!HH", 8 + len(ike), 0) + ike)


def another(request: bytes) -> bytes:
    """The same request of another negotiation."""
    return with_ike(request, os.urandom(8) + request[AT + 8 :])


def weakened(request: bytes) -> bytes:
    """It offers a shorter key."""
    return with_ike(request, request[AT:].replace(STRONG, WEAK))


def cookie_of(response: bytes) -> bytes | None:
    """The notify payload, if the response asks for nothing but to return it."""
    ike = response[AT:]
    if ike[16] != NOTIFY or ike[34:36] != struct.pack("!H", COOKIE):
        return None
    return ike[28:]


def with_cookie(request: bytes, response: bytes) -> bytes:
    """Section 2.6: the same request, with the notify payload before all others."""
    ike, notify = request[AT:], cookie_of(response)
    assert notify is not None
    length = len(ike) + len(notify)
    return with_ike(request, initiator(response) + ike[8:16] + bytes([NOTIFY]) + ike[17:24]
                    + struct.pack("!I", length) + ike[16:17] + notify[1:] + ike[28:])
