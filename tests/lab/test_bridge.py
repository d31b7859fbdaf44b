# SPDX-License-Identifier: ISC
"""table=relay between firewalls of different systems. The gateways speak OpenBSD's dialect between
them, so minnie translates.

    donald ---- mickey ==== switch ==== minnie ---- daisy
    OpenBSD                                         FreeBSD 14
    em0           em0                   em0->vtnet0 vtnet0
"""

from __future__ import annotations

from pathlib import Path

import pytest

import sync
from lab import Lab, wait_for
from pf_end import PfEnd
from sites import LEFT, MICKEY, MINNIE, RIGHT
from test_gateway import is_name, packet

pytestmark = pytest.mark.daemon

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
UPD_REQ, EOF = 5, 12
# Sizes of messages by action; in version 6, the packet has them.
SIZES = {0: 20, 2: 12, 4: 84, 5: 12, 7: 12, 10: 12, EOF: 0, 13: 277, 14: 277}


def vector(dialect: str, name: str) -> bytes:
    return bytes.fromhex((VECTORS / dialect / f"{name}.hex").read_text())


def messages(payload: bytes) -> list[tuple[int, bytes]]:
    out, at = [], 20
    while at < len(payload):
        action, words, count = payload[at], payload[at + 1], int.from_bytes(payload[at + 2 : at + 4])
        at += 4
        size = 4 * words if payload[0] == 6 else SIZES[action]
        for _ in range(count):
            out.append((action, payload[at : at + size]))
            at += size
    return out


def on(name: str, state: bytes) -> bytes:
    """The full state, bound to this interface."""
    return state[:8] + name.encode().ljust(16, b"\0") + state[24:]


def v6(action: int, message: bytes) -> bytes:
    body = bytes([action, len(message) // 4, 0, 1]) + message
    return bytes([6, 0]) + (20 + len(body)).to_bytes(2) + bytes(16) + body


def v5(action: int, message: bytes) -> bytes:
    body = bytes([action, 0, 0, 1]) + message + bytes([EOF, 0, 0, 1])
    return bytes([5, 0]) + (20 + len(body)).to_bytes(2) + bytes(16) + body


class Site:
    def __init__(self, lab: Lab, name: str, firewall: str, address: str, peer: tuple[str, str],
                 cable: dict[str, str]):
        self.node, self.firewall = lab.node(name), lab.node(firewall)
        lab.cable(self.node, "cable", self.firewall, "cable")
        self.node.ip(f"addr add {LEFT}/24 dev cable")
        self.firewall.ip(f"addr add {RIGHT}/24 dev cable")
        self.encsync = sync.Encsync(
            self.node, {firewall: RIGHT, peer[0]: peer[1]}, left=address,
            setup={"table": "relay"}, conn={"wire": "openbsd"},
            each={firewall: {"left": LEFT, "type": "cable", "syncdev": "cable", **cable}})
        self.pf = PfEnd(self.firewall, "cable", RIGHT)

    def send(self, payload: bytes) -> None:
        self.pf.send(packet(payload, LEFT))

    def arrived(self, version: int) -> list[tuple[int, bytes]]:
        """All messages except requests and the gateway's name; every packet has this version."""
        payloads = [bytes.fromhex(each["payload"]) for each in self.pf.received()]
        assert {payload[0] for payload in payloads} <= {version}
        assert all(payload[-4] == EOF for payload in payloads if version == 5)
        return [m for payload in payloads for m in messages(payload)
                if m[0] not in (UPD_REQ, EOF) and not is_name(*m)]

    def relayed(self, peer: str) -> dict:
        return self.encsync.peer(peer)["relay"]


@pytest.fixture
def sites(fresh) -> tuple[Site, Site]:
    switch = fresh.switch("syncsw")
    mickey = Site(fresh, "mickey", "donald", MICKEY, ("minnie", MINNIE), {})
    minnie = Site(fresh, "minnie", "daisy", MINNIE, ("mickey", MICKEY),
                  {"wire": "freebsd-1400", "ifmap": "vtnet0:em0,vtnet1:em1"})
    for site, address in ((mickey, MICKEY), (minnie, MINNIE)):
        fresh.plug(site.node, "sync", switch, f"{address}/16")
    sync.introduce(mickey.encsync, minnie.encsync)
    for site in (mickey, minnie):
        site.encsync.start()
    for site in (mickey, minnie):
        wait_for(site.encsync.ready, 20, f"{site.encsync.name} to be ready")
    return mickey, minnie


# The same flows in both dialects, as the published layouts have them.
FLOWS = ["ours-ins-tcp", "ours-ins-tcp-syn", "ours-ins-tcp-snat", "ours-ins-tcp-dnat",
         "ours-ins-tcp-both-nat", "ours-ins-udp6", "ours-ins-icmp6", "ours-ins-icmp-snat",
         "ours-ins-gre", "ours-ins-esp"]


def test_each_gets_the_states_of_the_other_in_its_dialect(sites):
    mickey, minnie = sites
    theirs, ours = ([messages(vector(dialect, name))[0] for name in FLOWS]
                    for dialect in ("openbsd", "freebsd-1400"))
    for action, state in theirs:
        mickey.send(v6(action, on("em0", state)))
    wait_for(lambda: len(minnie.arrived(5)) == len(FLOWS), 20, "the states to arrive at daisy")
    assert minnie.arrived(5) == [(action, on("vtnet0", state)) for action, state in ours]
    # The other way, with the other interface. And a state that is bound to none.
    for action, state in ours:
        minnie.send(v5(action, on("vtnet1", state)))
    minnie.send(v5(*ours[0]))
    wait_for(lambda: len(mickey.arrived(6)) == len(FLOWS) + 1, 20, "the states to arrive at donald")
    assert mickey.arrived(6) == [*((action, on("em1", state)) for action, state in theirs),
                                 theirs[0]]
    for site, peer in ((mickey, "minnie"), (minnie, "mickey"), (minnie, "daisy")):
        relayed = site.relayed(peer)
        assert "not_translated" not in relayed and "translated_without" not in relayed, relayed


def test_what_has_no_equivalent_is_counted_and_the_rest_arrives(sites):
    mickey, minnie = sites
    action, state = messages(vector("openbsd", "ours-ins-tcp"))[0]
    af_to = bytearray(state)
    af_to[64 + 38] = 24  # the stack side is IPv6
    ruled = bytearray(state)
    ruled[184:188] = (7).to_bytes(4)
    mickey.send(v6(action, bytes(af_to)))
    mickey.send(v6(15, bytes(52)))  # TDB
    mickey.send(v6(200, bytes(48)))  # of a later version
    mickey.send(v6(action, on("em7", bytes(ruled))))
    wait_for(lambda: minnie.arrived(5), 20, "the last state to arrive at daisy")
    _, expected = messages(vector("freebsd-1400", "ours-ins-tcp"))[0]
    assert minnie.arrived(5) == [(13, on("em7", expected))]
    relayed = minnie.relayed("daisy")
    assert relayed["not_translated"] == {"af_to": 1, "tdb": 1, "unknown_message": 1}
    assert relayed["translated_without"] == {"rule": 1}
    assert relayed["unmapped_interface"] == 1
    # Between the gateways nothing is translated: minnie got all four.
    assert "not_translated" not in mickey.relayed("minnie")
