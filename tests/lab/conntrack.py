# SPDX-License-Identifier: ISC
"""The kernel's conntrack table of a node, as values that can be compared.

    table(mickey) == table(minnie)          sets of Flow, without timeouts
    {f for f in table(mickey) if f.involves("203.0.113.10")}
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from lab import Node


class Half(NamedTuple):
    """One direction. Of ICMP, sport is the id and dport is type * 256 + code."""

    src: str
    dst: str
    sport: int
    dport: int


class Flow(NamedTuple):
    proto: str
    orig: Half
    reply: Half
    state: str  # for TCP and SCTP, else ""
    assured: bool
    mark: int
    zone: int

    @property
    def key(self) -> tuple:
        """The identity of the flow, regardless of its progress."""
        return self.proto, self.orig, self.reply, self.zone

    def involves(self, *networks: str) -> bool:
        """One of its ends is in any of the networks (or is any of the addresses)."""
        return any(_within(end, networks) for half in (self.orig, self.reply)
                   for end in (half.src, half.dst))

    def from_any(self, *networks: str) -> bool:
        """Its initiator is in any of the networks."""
        return _within(self.orig.src, networks)


def _within(address: str, networks: tuple[str, ...]) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(net) for net in networks)


_PAIR = re.compile(r"\b([a-z-]+)=(\S+)")


def parse_line(line: str) -> Flow | None:
    """A line of `conntrack -L -o extended`; None if it is not an entry."""
    words = line.split()
    if len(words) < 5 or words[0] not in ("ipv4", "ipv6"):
        return None
    state = words[5] if len(words) > 5 and "=" not in words[5] and words[5][0] != "[" else ""
    halves: list[dict[str, str]] = []
    rest: dict[str, str] = {}
    for name, value in _PAIR.findall(line):
        if name == "src":
            halves.append({})
        if name in ("mark", "zone", "use", "packets", "bytes"):
            rest.setdefault(name, value)
        elif halves:
            halves[-1][name] = value

    def half(part: dict[str, str]) -> Half:
        if "type" in part:
            ports = int(part.get("id", 0)), int(part["type"]) * 256 + int(part.get("code", 0))
        else:
            ports = int(part.get("sport", 0)), int(part.get("dport", 0))
        return Half(part["src"], part["dst"], *ports)

    if len(halves) != 2:
        return None
    return Flow(words[2], half(halves[0]), half(halves[1]), state, "[ASSURED]" in line,
                int(rest.get("mark", "0")), int(rest.get("zone", "0")))


def parse(text: str) -> set[Flow]:
    return {flow for line in text.splitlines() if (flow := parse_line(line)) is not None}


def table(node: Node) -> set[Flow]:
    """All flows in the node's kernel, of both families."""
    text = ""
    for family in ("ipv4", "ipv6"):
        text += node.run("conntrack", "-L", "-f", family, "-o", "extended").stdout
    return parse(text)


def keys(flows: set[Flow]) -> set[tuple]:
    return {flow.key for flow in flows}


def insert(node: Node, src: str, dst: str, sport: int, dport: int, proto: str = "tcp",
           timeout: int = 600) -> None:
    """Makes one entry by hand, as if the node had seen the flow."""
    state = ["--state", "ESTABLISHED"] if proto == "tcp" else []
    node.run("conntrack", "-I", "-p", proto, "-s", src, "-d", dst, "--sport", sport, "--dport",
             dport, "-t", timeout, "-u", "SEEN_REPLY,ASSURED", *state)


def insert_many(node: Node, count: int, network: str = "10.0.0", proto: str = "tcp",
                timeout: int = 600) -> None:
    """As insert(), for many flows: from hosts .20 on in the network, all to one server."""
    state = "--state ESTABLISHED" if proto == "tcp" else ""
    lines = "".join(
        f"-I -t {timeout} -u SEEN_REPLY,ASSURED -s {network}.{20 + n // 20000} -d 203.0.113.10 "
        f"-p {proto} --sport {1024 + n % 20000} --dport 443 {state}\n" for n in range(count))
    node.run("conntrack", "-R", "-", input=lines, timeout=60)


def delete(node: Node, src: str, dst: str, sport: int, dport: int, proto: str = "tcp") -> None:
    node.run("conntrack", "-D", "-p", proto, "-s", src, "-d", dst, "--sport", sport, "--dport",
             dport)


def flush(node: Node) -> None:
    node.run("conntrack", "-F")
