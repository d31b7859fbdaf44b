# SPDX-License-Identifier: ISC
"""table=relay: two pf firewalls whose cable is any network.

    donald ---- mickey ==== switch ==== minnie ---- daisy
     (pf)  cable  |          (mallory)    |   cable  (pf)

Or with several firewalls on mickey's cable, which is then a switch, too.
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


def packet(payload: bytes, to: str, source: str = RIGHT) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0x10, 0, 0, 0x4000, 255, 240, 0,
                       socket.inet_aton(source), socket.inet_aton(to)) + payload


def messages_from_gateway(pf: PfEnd, to: str) -> list[tuple[int, str]]:
    """Action and bytes of each message that the gateway has sent to this firewall."""
    out = []
    for each in pf.received():
        if each["from"] != LEFT:
            continue
        assert (each["to"], each["ttl"]) == (to, 255)
        payload, at = bytes.fromhex(each["payload"]), 20
        while at < len(payload):
            action, words, count = struct.unpack_from("!BBH", payload, at)
            at += 4
            for _ in range(count):
                out.append((action, payload[at : at + 4 * words].hex()))
                at += 4 * words
    return out


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
        assert all(each["from"] == LEFT for each in self.pf.received())
        return messages_from_gateway(self.pf, GROUP if self.to == GROUP else RIGHT)


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


class Segment:
    """mickey, and on its cable, a switch, two firewalls that are heard and a host that is not."""

    ADDRESSES = {"donald": "172.16.0.2", "gladstone": "172.16.0.3", "stranger": "172.16.0.4"}
    SPEAKERS = ("donald", "gladstone")

    def __init__(self, lab: Lab, macs: bool):
        self.node, self.segment = lab.node("mickey"), lab.switch("segment")
        lab.plug(self.node, "cable", self.segment, f"{LEFT}/24")
        self.nodes, self.pf = {}, {}
        for name, address in self.ADDRESSES.items():
            self.nodes[name] = lab.node(name)
            lab.plug(self.nodes[name], "cable", self.segment, f"{address}/24")
            self.pf[name] = PfEnd(self.nodes[name], "cable", address)
        self.macs = {name: self.nodes[name].mac("cable") for name in self.SPEAKERS}
        conn = {"left": LEFT, "type": "cable", "syncdev": "cable",
                "speakers": ", ".join(self.ADDRESSES[name] for name in self.SPEAKERS)}
        if macs:
            conn["mac"] = ", ".join(self.macs.values())
        self.encsync = sync.Encsync(
            self.node, {"pair": "%multicast", "minnie": MINNIE}, left=MICKEY,
            setup={"table": "relay"}, conn={"wire": "openbsd"}, each={"pair": conn})

    def send(self, name: str, number: int, **changes: str) -> None:
        payload = mallory.pfsync(mallory.ACTION_INS, mallory.full_state(number, CREATOR))
        self.pf[name].send(packet(payload, **{"to": GROUP, "source": self.ADDRESSES[name],
                                              **changes}))

    def received(self, name: str) -> list[tuple[int, str]]:
        """The states from the gateway."""
        return [m for m in messages_from_gateway(self.pf[name], GROUP)
                if m[0] == mallory.ACTION_INS]

    def refused(self, why: str) -> int:
        return self.encsync.refused().get(why, 0)


@pytest.mark.parametrize("macs", [False, True], ids=["any-mac", "mac"])
def test_several_firewalls_on_one_cable(fresh, macs):
    switch = fresh.switch("syncsw")
    mickey = Segment(fresh, macs)
    minnie = Site(fresh, "minnie", "daisy", MINNIE, ("mickey", MICKEY), multicast=False)
    fresh.plug(mickey.node, "sync", switch, f"{MICKEY}/16")
    fresh.plug(minnie.node, "sync", switch, f"{MINNIE}/16")
    sync.introduce(mickey.encsync, minnie.encsync)
    for each in (mickey, minnie):
        each.encsync.start()
    for each in (mickey, minnie):
        wait_for(each.encsync.ready, 20, f"{each.encsync.name} to be ready")

    def state(number: int) -> tuple[int, str]:
        return mallory.ACTION_INS, mallory.full_state(number, CREATOR).hex()

    def at_daisy() -> list:
        return [m for m in minnie.messages() if m[0] == mallory.ACTION_INS]

    # Each of the two is heard, and not sent what it has sent.
    mickey.send("donald", 1)
    mickey.send("gladstone", 2)
    wait_for(lambda: sorted(at_daisy()) == sorted([state(1), state(2)]), 10,
             "the states of both to arrive at daisy")
    # What comes from the other site goes to the group, once.
    minnie.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(7, CREATOR)))
    for name in mickey.SPEAKERS:
        wait_for(lambda: mickey.received(name) == [state(7)], 10,
                 f"daisy's state to arrive once at {name}")
    # Nobody else is heard, nor a speaker that does not send to the group.
    refused = mickey.refused("not_through_tunnel_in")
    forged = (("stranger", {}), ("donald", {"to": LEFT}))
    for count, (name, changes) in enumerate(forged, 1):
        mickey.send(name, 10 + count, **changes)
        wait_for(lambda: mickey.refused("not_through_tunnel_in") >= refused + count, 5,
                 f"a packet of {name} {changes} to be refused")
    # The stranger in a speaker's name, which only the MAC address shows.
    mickey.send("stranger", 20, source=mickey.ADDRESSES["gladstone"])
    if macs:
        wait_for(lambda: mickey.refused("wrong_mac") == 1, 5,
                 "a packet of the stranger in gladstone's name to be refused")
    mickey.send("gladstone", 3)
    accepted = [1, 2, 3] if macs else [1, 2, 3, 20]
    wait_for(lambda: sorted(at_daisy()) == sorted(map(state, accepted)), 10,
             "what is accepted, and nothing else, to arrive at daisy")
    for name in mickey.SPEAKERS:
        assert mickey.received(name) == [state(7)]

    who = [mickey.ADDRESSES[name] + (f" ({mickey.macs[name]})" if macs else "")
           for name in mickey.SPEAKERS]
    said = f"pair on cable, pfsync in clear from {' and '.join(who)} to {GROUP}"
    assert f"cable {said}" in mickey.encsync.command("status").stdout
    assert f"cable {said}" in mickey.encsync.command("policy", "show").stdout
    assert f"peer pair: a cable on {said.removeprefix('pair on ')}" in mickey.encsync.log()
    peer = mickey.encsync.peer("pair")
    assert (peer["address"], peer["speakers"]) == (GROUP, who)
    for each in (mickey, minnie):
        each.encsync.stop()


@pytest.mark.parametrize("ours, theirs", [("fd00:16::1", "fd00:16::2"),
                                          ("fe80::16:1%cable", "fe80::16:2%cable")],
                         ids=["global", "link-local"])
def test_speakers_over_ipv6(fresh, ours, theirs):
    """Two gateways on one cable, of which only one hears the other: as FreeBSD sends, to ff12::f0,
    from the address that is configured."""
    nodes = [fresh.node(name) for name in ("mickey", "minnie")]
    fresh.cable(nodes[0], "cable", nodes[1], "cable")
    gateways = []
    for node, left, speaker in ((nodes[0], ours, theirs), (nodes[1], theirs, "fd00:16::99")):
        number = left.removesuffix("%cable")[-1]
        node.ip(f"addr add fd00:16::{number}/64 dev cable nodad",
                f"addr add fe80::16:{number}/64 dev cable nodad", "link set lo up",
                f"addr add {MICKEY}/32 dev lo")
        if left.startswith("fe80") and speaker.startswith("fd00"):
            speaker = "fe80::99%cable"
        gateways.append(sync.Encsync(
            node, {"pair": "%multicast", "far": MINNIE}, left=MICKEY,
            setup={"table": "relay"}, conn={"wire": "freebsd-1400"},
            each={"pair": {"left": left, "type": "cable", "syncdev": "cable",
                           "speakers": speaker}}))
        gateways[-1].init_keys()
    hears, deaf = gateways
    # Each asks the group for all states when its cable is up.
    deaf.start()
    hears.start()
    wait_for(lambda: deaf.refused().get("not_through_tunnel_in", 0) > 0, 10,
             "mickey to be refused")
    assert deaf.peer("pair")["relay"]["received"] == 0
    deaf.stop()
    deaf.start()
    wait_for(lambda: hears.peer("pair")["relay"]["received"] > 0, 10, "minnie to be heard")
    assert hears.refused().get("not_through_tunnel_in", 0) == 0
    for each in gateways:
        each.stop()


def test_what_several_firewalls_need(fresh):
    mickey = Segment(fresh, macs=False).encsync
    for changes, error in (({"speakers": "172.16.0.2, 172.16.0.1"}, "is left, this node itself"),
                           ({"mac": "52:54:00:12:34:56"}, "one address for each speaker")):
        before = dict(mickey.each["pair"])
        mickey.each["pair"] |= changes
        mickey.write_config()
        done = mickey.command("check", check=False)
        assert done.returncode == 1 and error in done.stderr, done.stderr
        mickey.each["pair"] = before
    mickey.setup["table"] = "conntrack"
    mickey.write_config()
    assert "right=%multicast needs table=relay" in mickey.command("check", check=False).stderr
