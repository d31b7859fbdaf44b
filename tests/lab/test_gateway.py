# SPDX-License-Identifier: ISC
"""table=relay: two pf firewalls whose cable is any network.

    donald ---- mickey ==== switch ==== minnie ---- daisy
     (pf)  cable  |          (mallory)    |   cable  (pf)
"""

from __future__ import annotations

import socket
import struct
from types import SimpleNamespace

import pytest

import mallory
import sync
from lab import Lab, wait_for
from pf_end import GROUP, PfEnd

pytestmark = pytest.mark.daemon

MICKEY, MINNIE = "192.168.1.100", "192.168.2.100"
LEFT, RIGHT = "172.16.0.1", "172.16.0.2"  # of each cable: the gateway, the firewall
CREATOR = 0x0A0B0C0D
UPD_REQ = mallory.pfsync(mallory.ACTION_UPD_REQ, bytes(12))


def packet(payload: bytes, to: str) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0x10, 0, 0, 0x4000, 255, 240, 0,
                       socket.inet_aton(RIGHT), socket.inet_aton(to)) + payload


class Site:
    """A gateway, and its firewall on a cable."""

    def __init__(self, lab: Lab, name: str, firewall: str, address: str, peer: tuple[str, str],
                 multicast: bool):
        self.node, self.firewall = lab.node(name), lab.node(firewall)
        lab.cable(self.node, "cable", self.firewall, "cable")
        self.node.ip(f"addr add {LEFT}/24 dev cable")
        self.firewall.ip(f"addr add {RIGHT}/24 dev cable")
        self.firewall_name = firewall
        self.to = GROUP if multicast else LEFT
        self.encsync = sync.Encsync(
            self.node, {firewall: RIGHT, peer[0]: peer[1]}, left=address,
            setup={"table": "relay"}, conn={"wire": "openbsd"},
            each={firewall: {"left": LEFT, "type": "cable", "syncdev": "cable",
                             "multicast": "yes" if multicast else "no"}})
        self.pf = PfEnd(self.firewall, "cable", RIGHT)

    def send(self, payload: bytes) -> None:
        self.pf.send(packet(payload, self.to))

    def messages(self) -> list[tuple[int, str]]:
        """Action and bytes of each message that has arrived."""
        out = []
        for each in self.pf.received():
            assert (each["from"], each["ttl"]) == (LEFT, 255)
            payload, at = bytes.fromhex(each["payload"]), 20
            while at < len(payload):
                action, words, count = struct.unpack_from("!BBH", payload, at)
                at += 4
                for _ in range(count):
                    out.append((action, payload[at : at + 4 * words].hex()))
                    at += 4 * words
        return out


class Sites:
    def __init__(self, lab: Lab, multicast: bool = False):
        self.switch = lab.switch("syncsw", hub=True)
        self.mickey = Site(lab, "mickey", "donald", MICKEY, ("minnie", MINNIE), multicast)
        self.minnie = Site(lab, "minnie", "daisy", MINNIE, ("mickey", MICKEY), multicast)
        for site, address in ((self.mickey, MICKEY), (self.minnie, MINNIE)):
            lab.plug(site.node, "sync", self.switch, f"{address}/16")
        sync.introduce(self.mickey.encsync, self.minnie.encsync)

    def spy(self) -> mallory.Mallory:
        node = self.switch.lab.node("mallory")
        self.switch.lab.plug(node, "eth0", self.switch)
        return mallory.Mallory(SimpleNamespace(mallory=node))

    def start(self) -> None:
        for site in (self.mickey, self.minnie):
            site.encsync.start()
        for site in (self.mickey, self.minnie):
            wait_for(site.encsync.ready, 20, f"{site.encsync.name} to be ready")


@pytest.mark.parametrize("multicast", [False, True], ids=["unicast", "multicast"])
def test_messages_arrive_byte_for_byte(fresh, multicast):
    sites = Sites(fresh, multicast)
    spy = sites.spy()
    sites.start()
    states = [mallory.full_state(n, CREATOR) for n in range(1, 300)]
    for at in range(0, len(states), 5):
        sites.mickey.send(mallory.pfsync(mallory.ACTION_INS, *states[at : at + 5]))
    sites.mickey.send(mallory.pfsync(200, b"\xab" * 48))  # of a later version
    ident = states[0][:8] + CREATOR.to_bytes(4, "big")
    sites.mickey.send(mallory.pfsync(mallory.ACTION_DEL_C, ident))
    expected = [(mallory.ACTION_INS, state.hex()) for state in states]
    expected += [(200, "ab" * 48), (mallory.ACTION_DEL_C, ident.hex())]

    def arrived() -> list:
        return [m for m in sites.minnie.messages() if m[0] != mallory.ACTION_UPD_REQ]

    wait_for(lambda: len(arrived()) == len(expected), 20, "everything to arrive at daisy")
    assert arrived() == expected
    # The other way, and nothing came back.
    sites.minnie.send(mallory.pfsync(mallory.ACTION_INS, states[7]))
    wait_for(lambda: (mallory.ACTION_INS, states[7].hex()) in sites.mickey.messages(), 10,
             "daisy's state to arrive at donald")
    assert len([m for m in sites.mickey.messages() if m[0] == mallory.ACTION_INS]) == 1
    # A relay takes no state in, and counts what it passes on.
    assert "10.66." not in sites.mickey.encsync.states_text()
    relayed = sites.mickey.encsync.peer("minnie")["relay"]
    assert relayed["relayed"] >= len(expected) and relayed["queue_full"] == 0
    seen = spy.look({"exact": [state[24:60] for state in states], "bare": []})
    assert seen.esp > 0 and seen.clear_pfsync == 0 and seen.leaks == []


def test_each_side_gets_everything_after_an_outage(fresh):
    sites = Sites(fresh)
    sites.start()
    # At the start each firewall was asked for its states.
    for site in (sites.mickey, sites.minnie):
        wait_for(lambda: (mallory.ACTION_UPD_REQ, "00" * 12) in site.messages(), 10,
                 f"{site.firewall_name} to be asked for its states")
    before = [len(site.messages()) for site in (sites.mickey, sites.minnie)]
    sites.minnie.node.ip("link set sync down")
    wait_for(lambda: not sites.mickey.encsync.ready(), 20, "mickey not to be ready")
    assert sites.mickey.encsync.status()["why"] == "no gateway of another site is up"
    sites.mickey.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(1, CREATOR)))
    wait_for(lambda: sites.mickey.encsync.peer("minnie")["relay"]["leg_down"] == 1, 10,
             "what cannot be passed on to be counted")
    sites.minnie.node.ip("link set sync up")
    for site, length in zip((sites.mickey, sites.minnie), before):
        wait_for(site.encsync.ready, 30, f"{site.encsync.name} to be ready again")
        wait_for(lambda: (mallory.ACTION_UPD_REQ, "00" * 12) in site.messages()[length:], 10,
                 f"{site.firewall_name} to be asked again")


def test_a_firewall_that_is_back_gets_everything(fresh):
    sites = Sites(fresh)
    sites.start()
    before = len(sites.minnie.messages())
    sites.mickey.firewall.ip("link set cable down")
    wait_for(lambda: not sites.mickey.encsync.ready(), 10, "mickey not to be ready")
    assert sites.mickey.encsync.status()["why"] == "donald is not reached over its cable"
    sites.mickey.firewall.ip("link set cable up")
    wait_for(lambda: (mallory.ACTION_UPD_REQ, "00" * 12) in sites.minnie.messages()[before:], 10,
             "daisy to be asked for its states, for donald")
    # donald's own request takes the same way.
    before = len(sites.minnie.messages())
    sites.mickey.send(UPD_REQ)
    wait_for(lambda: (mallory.ACTION_UPD_REQ, "00" * 12) in sites.minnie.messages()[before:], 10,
             "donald's request to arrive")


def test_what_a_relay_needs(fresh):
    sites = Sites(fresh)
    mickey = sites.mickey.encsync
    for keywords, error in (({"wire": "encsync"}, "needs the dialect of the firewalls"),
                            ({"wire": "auto"}, "needs the dialect of the firewalls"),
                            ({"wire": "openbsd", "ifmap": "em0:wan"}, "is of type=cable only"),
                            ({"wire": "openbsd", "maxstates": "5"}, "maxstates has no effect")):
        mickey.each["minnie"] = keywords
        mickey.write_config()
        done = mickey.command("check", check=False)
        assert done.returncode == 1 and error in done.stderr, done.stderr
    mickey.each["minnie"] = {"wire": "freebsd-1400"}
    mickey.write_config()
    assert "states are translated, without" in mickey.command("check").stderr
    del mickey.each["minnie"], mickey.peers["minnie"]
    mickey.write_config()
    assert "needs a conn to the gateway of another site" in mickey.command(
        "check", check=False).stderr
