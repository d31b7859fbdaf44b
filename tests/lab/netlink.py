# SPDX-License-Identifier: ISC
"""The addresses of an interface, from the kernel (rtnetlink(7)): labs ask often, and ip(8) takes a
hundred times as long to start."""

from __future__ import annotations

import socket
import struct
from typing import Iterator

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
RTM_GETADDR = 22
IFA_ADDRESS, IFA_LOCAL = 1, 2


def addresses(ifindex: int) -> set[str]:
    """Of the calling thread's network namespace."""
    found = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(struct.pack("=IHHIIBxxxI", 24, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0,
                                socket.AF_UNSPEC, 0))
        while True:
            for kind, body in _parts("=IH10x", kernel.recv(65536)):
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", body)[0], "rtnetlink")
                family, index = struct.unpack_from("=BxxxI", body)
                if index == ifindex:
                    of = dict(_parts("=HH", body[8:]))
                    found.add(socket.inet_ntop(family, of.get(IFA_LOCAL) or of[IFA_ADDRESS]))


def _parts(header: str, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Messages, or attributes: a header that begins with the length and the kind, and the rest."""
    size = struct.calcsize(header)
    while len(data) >= size:
        length, kind = struct.unpack_from(header, data)
        yield kind, data[size:length]
        data = data[(length + 3) & ~3:]
