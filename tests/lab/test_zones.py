# SPDX-License-Identifier: ISC
"""Conntrack zones for one direction (`ct original zone set`), as VRF setups use them: two flows of
one tuple, with real traffic, through a takeover."""

from __future__ import annotations

import re

import pytest

import sync
from lab import PYTHON, Process, wait_for
from pair import SERVER, FirewallPair

# The TOS of a client's packets selects their zone, as the interface does in a VRF.
PORT, TOS = 5400, {10: 0x20, 20: 0x40}


def rules(way: str) -> str:
    """Zones for packets of the original direction; for replies; or, for the latter, one zone."""
    lines = {
        "original": [f"ip dscp {tos >> 2} ct original zone set {zone}"
                     for zone, tos in TOS.items()],
        "reply": ['iifname { "inside", "outside" } ct reply zone set 10'],
        "two": ["ct original zone set 10 ct reply zone set 20"],
    }[way]
    return ("table inet zones { chain prerouting {\n"
            "type filter hook prerouting priority raw\n"
            + "\n".join(f'udp dport {PORT} iifname "inside" {line}' if way != "reply"
                        else line for line in lines) + "\n}\n}\n")


# Returns the source of the question, so that a changed mapping is noticed.
ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    _, who = s.recvfrom(99)
    s.sendto(b"%d" % who[1], who)
"""
# From one port, whatever the TOS: the two flows have one tuple.
ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 6400))
s.connect((sys.argv[1], int(sys.argv[2])))
s.settimeout(4)
for tos in map(int, sys.stdin):
    s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    s.send(b"?")
    try:
        print("port", s.recv(99).decode(), flush=True)
    except OSError as e:
        print("port none", e, flush=True)
"""


class Asking:
    def __init__(self, pair: FirewallPair):
        self.echo: Process = pair.server.start(PYTHON, "-c", ECHO, PORT, name="echo")
        wait_for(lambda: "ready" in self.echo.output(), 10, "the echo server")
        self.client = pair.client.start(PYTHON, "-c", ASK, SERVER[0], PORT, name="ask", stdin=True)
        self.asked = 0

    def __call__(self, tos: int) -> str:
        """The source port that the server has received."""
        self.asked += 1
        self.client.say(str(tos))
        wait_for(lambda: self.client.output().count("port ") == self.asked, 15, "an answer")
        return re.findall(r"port (\S+)", self.client.output())[-1]


def start(fresh, way: str, encsync: bool = True):
    pair = FirewallPair(fresh)
    for firewall in pair.firewalls[:2]:
        firewall.nft(rules(way))
        firewall.sysctl({"net/netfilter/nf_conntrack_udp_timeout": 300})  # until the takeover is over
    instances = sync.equip(pair) if encsync else []
    for instance in instances:
        instance.start()
    if instances:
        sync.wait_in_step(*instances)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    return pair, instances


def take_over(pair: FirewallPair) -> None:
    pair.power_off(pair.mickey)
    pair.start_keepalived(pair.minnie)
    pair.wait_owner(pair.minnie)
    pair.wait_ends(gone=pair.mickey)


def in_kernel(node) -> list[str]:
    lines = node.run("conntrack", "-L", "-p", "udp").stdout.splitlines()
    return sorted(line for line in lines if f"dport={PORT} " in line)


def zones(instance: sync.Encsync) -> list[tuple]:
    return sorted((s["zone"], s.get("reply_zone")) for s in instance.json("states")
                  if s.get("dport") == PORT)


@pytest.mark.daemon
def test_two_flows_of_one_tuple_survive(fresh):
    pair, (mickey, minnie) = start(fresh, "original")
    ask = Asking(pair)
    before = [ask(tos) for tos in TOS.values()]
    assert len(set(before)) == 2 and "none" not in before
    wait_for(lambda: zones(minnie) == [(10, 0), (20, 0)], 10, "both flows")
    wait_for(lambda: len(in_kernel(pair.minnie)) == 2, 10, "both flows in the kernel")
    for zone in TOS:
        assert any(f"zone-orig={zone}" in line for line in in_kernel(pair.minnie))
    # The filter matches them, and the output shows their zones.
    assert len(minnie.json("states", "zone", "10")) == 1
    assert mickey.status()["table"]["faults"]["bad_zone"] == 0
    take_over(pair)
    assert [ask(tos) for tos in TOS.values()] == before


@pytest.mark.daemon
def test_a_zone_of_replies_survives(fresh):
    pair, (mickey, minnie) = start(fresh, "reply")
    ask = Asking(pair)
    before = ask(0)
    wait_for(lambda: zones(minnie) == [(0, 10)], 10, "the flow")
    wait_for(lambda: "zone-reply=10" in "".join(in_kernel(pair.minnie)), 10, "its copy")
    take_over(pair)
    assert ask(0) == before != "none"


def test_without_sync_their_ports_change(fresh):
    pair, _ = start(fresh, "original", encsync=False)
    ask = Asking(pair)
    before = [ask(tos) for tos in TOS.values()]
    assert len(set(before)) == 2
    take_over(pair)
    after = [ask(tos) for tos in TOS.values()]
    assert not set(after) & set(before)


@pytest.mark.daemon
def test_a_wire_without_zones_is_told_none_of_them(fresh):
    """Nor can a flow have two zones: of two rules the kernel applies the first."""
    pair = FirewallPair(fresh)
    pair.mickey.nft(rules("two"))
    instances = mickey, minnie = sync.equip(pair, conn={"wire": "openbsd"})
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    ask = Asking(pair)
    assert ask(0) != "none"
    wait_for(lambda: zones(mickey) == [(10, 0)], 10, "the flow")
    assert "zone-orig=10" in in_kernel(pair.mickey)[0]
    assert "zone-reply" not in in_kernel(pair.mickey)[0]
    wait_for(lambda: mickey.json("peers")[0]["zone_suppressed"] == 1, 10, "it to be counted")
    assert zones(minnie) == [] and in_kernel(pair.minnie) == []
