# SPDX-License-Identifier: ISC
"""table=relay: two pf firewalls whose cable is any network (sites.py), message by message. Or with
several firewalls on mickey's cable, which is then a switch."""

from __future__ import annotations

import socket
import struct

import pytest

import mallory
import sites
import sync
from lab import Lab, wait_for
from pf_end import GROUP, PfEnd
from sites import LEFT, MICKEY, MINNIE, RIGHT

pytestmark = pytest.mark.daemon

CREATOR = 0x0A0B0C0D
INS_ACK = 2
UPD_REQ = mallory.pfsync(mallory.ACTION_UPD_REQ, bytes(12))


def packet(payload: bytes, to: str, source: str = RIGHT) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0x10, 0, 0, 0x4000, 255, 240, 0,
                       socket.inet_aton(source), socket.inet_aton(to)) + payload


def messages_from_gateway(pf: PfEnd, to: str) -> list[tuple[int, str]]:
    """Action and bytes of each message that the gateway has sent to this firewall, but for its
    name, which pf ignores: INS_ACK of creatorid 0."""
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
                message = payload[at : at + 4 * words]
                if not is_name(action, message):
                    out.append((action, message.hex()))
                at += 4 * words
    return out


def is_name(action: int, message: bytes) -> bool:
    return action == INS_ACK and message[8:] == bytes(4)


class Site(sites.Site):
    """With a firewall that says what it is told to, and notes what it gets."""

    def __init__(self, *args):
        super().__init__(*args)
        self.pf = PfEnd(self.firewall, "cable", RIGHT)

    def send(self, payload: bytes) -> None:
        self.pf.send(packet(payload, self.to))

    def messages(self) -> list[tuple[int, str]]:
        """Action and bytes of each message that has arrived."""
        assert all(each["from"] == LEFT for each in self.pf.received())
        return messages_from_gateway(self.pf, GROUP if self.to == GROUP else RIGHT)


class Sites(sites.Sites):
    def __init__(self, lab: Lab, multicast: bool = False):
        super().__init__(lab, multicast, site=Site)


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


def state(number: int) -> bytes:
    return mallory.full_state(number, CREATOR)


def ids(messages: list[tuple[int, str]], action: int) -> set[str]:
    return {content[:16] for number, content in messages if number == action}


def test_what_an_outage_kept_away_arrives_afterwards(fresh):
    sites = Sites(fresh)
    sites.start()
    # At the start each firewall was asked for its states.
    for site in (sites.mickey, sites.minnie):
        wait_for(lambda: (mallory.ACTION_UPD_REQ, "00" * 12) in site.messages(), 10,
                 f"{site.firewall_name} to be asked for its states")
    sites.mickey.send(mallory.pfsync(mallory.ACTION_INS, state(1), state(2)))
    wait_for(lambda: len(ids(sites.minnie.messages(), mallory.ACTION_INS)) == 2, 10,
             "both states to arrive")
    sites.minnie.node.ip("link set sync down")
    wait_for(lambda: not sites.mickey.encsync.ready(), 20, "mickey not to be ready")
    assert sites.mickey.encsync.status()["why"] == "no gateway of another site is up"
    sites.mickey.send(mallory.pfsync(mallory.ACTION_INS, state(3)))
    ident = state(1)[:8] + CREATOR.to_bytes(4, "big")
    sites.mickey.send(mallory.pfsync(mallory.ACTION_DEL_C, ident))
    wait_for(lambda: sites.mickey.encsync.peer("minnie")["relay"]["leg_down"] == 2, 10,
             "what cannot be passed on to be counted")
    before = len(sites.minnie.messages())
    sites.minnie.node.ip("link set sync up")
    for site in (sites.mickey, sites.minnie):
        wait_for(site.encsync.ready, 30, f"{site.encsync.name} to be ready again")
    wait_for(lambda: state(3)[:8].hex() in ids(sites.minnie.messages()[before:],
                                               mallory.ACTION_UPD), 10, "the new state to arrive")
    wait_for(lambda: (mallory.ACTION_DEL_C, ident.hex()) in sites.minnie.messages()[before:], 10,
             "the end of the other to arrive")
    # The state that did not change is not sent again.
    assert state(2)[:8].hex() not in ids(sites.minnie.messages()[before:], mallory.ACTION_UPD)
    assert sites.minnie.encsync.peer("mickey")["relay"]["repaired"] == 2


def test_a_firewall_that_is_back_gets_everything_while_the_other_site_is_away(fresh):
    sites = Sites(fresh)
    sites.start()
    sites.minnie.send(mallory.pfsync(mallory.ACTION_INS, *(state(n) for n in range(1, 5))))
    wait_for(lambda: sites.mickey.encsync.peer("minnie")["relay"]["states"] == 4, 10,
             "daisy's states to arrive")
    sites.minnie.node.ip("link set sync down")
    wait_for(lambda: not sites.mickey.encsync.ready(), 20, "mickey to miss minnie")
    before = len(sites.mickey.messages())
    sites.mickey.firewall.ip("link set cable down")
    wait_for(lambda: "donald is not reached" in sites.mickey.encsync.status()["why"], 10,
             "mickey to miss donald")
    sites.mickey.firewall.ip("link set cable up")
    wait_for(lambda: len(ids(sites.mickey.messages()[before:], mallory.ACTION_UPD)) == 4, 10,
             "donald to get daisy's states")
    # And what it asks for itself.
    before = len(sites.mickey.messages())
    sites.mickey.send(UPD_REQ)
    wait_for(lambda: len([m for m in sites.mickey.messages()[before:]
                          if m[0] == mallory.ACTION_BUS]) == 2, 10, "the bulk update to end")
    assert len(ids(sites.mickey.messages()[before:], mallory.ACTION_UPD)) == 4
    status = sites.mickey.encsync.status()
    assert status["relay"]["states"] == 4 and status["relay"]["bytes"] > 0


def test_what_a_relay_needs(fresh):
    sites = Sites(fresh)
    mickey = sites.mickey.encsync
    for keywords, error in (({"wire": "encsync"}, "needs the dialect of the firewalls"),
                            ({"wire": "auto"}, "needs the dialect of the firewalls"),
                            ({"wire": "openbsd", "ifmap": "em0:wan"}, "is of type=cable only"),
                            ({"wire": "openbsd", "maxupd": "5"}, "maxupd has no effect")):
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
    minnie = Site(fresh, "minnie", "daisy", MINNIE, ("mickey", MICKEY), False)
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
