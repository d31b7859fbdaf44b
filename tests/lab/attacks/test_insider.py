# SPDX-License-Identifier: ISC
"""An insider: an unmodified strongSwan with valid credentials, which says in pfsync what it likes to an
active node. A plain pf firewall (the package pf) hears the same words, and obeys: the control."""

from __future__ import annotations

import itertools
import signal
import socket
import struct
import time
from collections import Counter

import pytest

import conntrack
import forged
import mallory
import seal
from hostile_switch import HostileSwitch, with_esp
from lab import wait_for
from mallory import full_state, pfsync
from pf.pfsync import Pfsync
from pf.wire import BUS, BUS_START, DIALECTS, ID
from stock import NEEDED
from test_stock_peer import CREATOR, DOORS, MICKEY, MINNIE, PATIENT, STRANGER, Meeting

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.skipif(not all(file.exists() for file in NEEDED),
                       reason="needs libcharon-extra-plugins and strongswan-swanctl"),
]

INSIDE, SERVER, LIVE, SHARE, WINDOW = "10.0.0.30", "203.0.113.10", 50, 1000, 4096


class Insider:
    """minnie speaks; mickey hears it, and so does a plain pf firewall, which has mickey's states."""

    def __init__(self, lab):
        self.meeting = meeting = Meeting(lab, "mickey")
        psk = meeting.psk()
        meeting.mickey.conn.update(PATIENT)
        meeting.set(maxstates=str(SHARE), creators=f"{CREATOR:08x}")
        meeting.begin(psk)
        meeting.up()
        self.mickey, self.node, self.minnie = meeting.mickey, meeting.nodes[0], meeting.minnie
        self.minnie.talk(MICKEY)
        wait_for(self.minnie.received, 20, "minnie to hear mickey's request for states")
        self.mickey.command("role", "active")
        self.node.run("conntrack", "-R", "-", input="".join(
            f"-I -t 600 -u SEEN_REPLY,ASSURED -s {INSIDE} -d {SERVER} -p tcp --sport {10000 + n} "
            "--dport 443 --state ESTABLISHED\n" for n in range(LIVE)))
        self.answers: list[bytes] = []
        self.pf = Pfsync(DIALECTS["openbsd"], 0x0A0A0A0A, self.answers.append, 0.0)
        self.copied = 0
        wait_for(lambda: len(self.copy()) == LIVE, 20, "minnie to hear of mickey's flows")
        self.live = self.flows(INSIDE)
        assert len(self.live) == LIVE

    def copy(self) -> dict:
        """Plain pf's states, after it has heard all that minnie has."""
        heard = self.minnie.received()
        for packet in heard[self.copied :]:
            self._tell_pf(bytes.fromhex(packet["payload"]))
        self.copied = len(heard)
        return self.pf.table.states

    def _tell_pf(self, payload: bytes) -> None:
        self.pf.on_packet(mallory.ipv4(MINNIE, MICKEY, payload))

    def say(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.minnie.send(payload)
            self._tell_pf(payload)

    def insert(self, number: int, creator: int = CREATOR, *flow) -> None:
        self.say(pfsync(mallory.ACTION_INS, full_state(number, creator, *flow)))

    def settle(self) -> None:
        """mickey has heard everything: at last a state that it takes, and which goes again."""
        self.insert(40000)
        wait_for(lambda: self.flows("10.66.156.64"), 20, "what was said last to be there")
        self.say(pfsync(mallory.ACTION_DEL_C, ident(40000)))
        wait_for(lambda: not self.flows("10.66.156.64"), 20, "its end")

    def flows(self, network: str) -> set:
        return {flow.key for flow in conntrack.table(self.node) if flow.from_any(network)}

    def refused(self, reason: str) -> int:
        return self.mickey.refused().get(reason, 0)


def ident(number: int, creator: int = CREATOR) -> bytes:
    return full_state(number, creator)[:8] + creator.to_bytes(4, "big")


@pytest.fixture(scope="module")
def insider(lab):
    return Insider(lab)


def test_it_removes_no_live_flow(insider):
    """By the names that mickey gave them, by clearing, and by taking them over first."""
    states = dict(insider.copy())
    assert len(states) == LIVE
    (mickeys,) = {creator for _, creator in states}
    before = {reason: insider.refused(reason) for reason in ("not_owner", "own_creatorid")}
    for name in states:
        insider.say(pfsync(mallory.ACTION_DEL_C, ID.pack(*name)))
    assert len(insider.pf.table.states) == 0  # control: plain pf lost them all
    for number in range(LIVE):
        flow = INSIDE, SERVER
        insider.insert(number, CREATOR, *flow)
        insider.say(pfsync(mallory.ACTION_UPD, full_state(number, CREATOR, *flow)),
                    pfsync(mallory.ACTION_DEL, full_state(number, CREATOR, *flow)),
                    pfsync(mallory.ACTION_DEL_C, ident(number)))
    for creator in (mickeys, CREATOR, 0):
        insider.say(pfsync(mallory.ACTION_CLR, bytes(16) + creator.to_bytes(4, "big")))
    insider.settle()
    assert insider.flows(INSIDE) == insider.live
    assert insider.refused("own_creatorid") > before["own_creatorid"]
    assert insider.refused("not_owner") >= before["not_owner"] + LIVE // 2
    assert insider.mickey.status()["own"] == LIVE


def test_it_does_not_speak_in_mickeys_name(insider):
    (mickeys,) = {int(state["creatorid"], 16) for state in insider.mickey.json("states")
                  if state["creatorid"] != f"{CREATOR:08x}"}
    before, refused = len(insider.pf.table.states), insider.refused("foreign_creatorid")
    for number in range(100, 120):
        insider.insert(number, mickeys)
    insider.settle()
    assert len(insider.pf.table.states) == before + 20  # control
    assert not insider.flows("10.66.0.0/16")
    assert '"10.66.' not in insider.mickey.states_text()
    assert insider.refused("foreign_creatorid") > refused


def test_it_opens_no_door(insider):
    before, number = insider.mickey.peer("minnie")["refused_states"].get("now", 0), 200
    states = len(insider.pf.table.states)
    for flows in DOORS.values():
        for src, dst, dport, proto, answers in flows:
            insider.insert(number, CREATOR, src, dst, dport, proto, answers)
            time.sleep(0.01)  # minnie's tunnel loses some of a burst
            number += 1
    insider.settle()
    # Control: plain pf has them.
    assert len(insider.pf.table.states) == states + number - 200
    assert not insider.flows(STRANGER) and not insider.flows(f"{MICKEY}/32")
    assert insider.mickey.peer("minnie")["refused_states"]["now"] == before + number - 200


def bulks(payloads: list[bytes]) -> int:
    """How many bulk updates begin in these packets."""
    return sum(BUS.unpack(message)[2] == BUS_START
               for payload in payloads
               for kind, _, messages in DIALECTS["openbsd"].sections(payload, Counter())
               for message in messages if kind == "bus")


def test_it_asks_in_vain_for_everything_again_and_again(insider):
    before, heard = insider.refused("too_often"), len(insider.minnie.received())
    began = time.monotonic()
    for turn in range(500):
        insider.say(pfsync(mallory.ACTION_UPD_REQ, bytes(12)))
        insider.pf.advance(1000.0 + turn)
    insider.settle()

    # While an update is being sent they are ignored, and right after it refused.
    def once_more() -> bool:
        insider.minnie.send(pfsync(mallory.ACTION_UPD_REQ, bytes(12)))
        return insider.refused("too_often") > before

    wait_for(once_more, 20, "one to be refused")
    received = [bytes.fromhex(packet["payload"]) for packet in insider.minnie.received()[heard:]]
    assert bulks(received) <= 2 + time.monotonic() - began  # after each a second of rest
    assert bulks(insider.answers) >= 400  # control: plain pf begins each time


def test_it_fills_its_share_and_no_more(insider):
    """5,000 states, of which mickey keeps its share. New flows of mickey's own have room."""
    per_packet, count = 5, 5000
    states = len(insider.pf.table.states)
    for first in range(1000, 1000 + count, per_packet):
        insider.say(pfsync(mallory.ACTION_INS, *(full_state(number, CREATOR)
                                                 for number in range(first, first + per_packet))))
        time.sleep(0.002)  # minnie's tunnel loses some of a burst
    assert len(insider.pf.table.states) == states + count  # control
    wait_for(lambda: len(insider.flows("10.66.0.0/16")) >= SHARE - 100, 20, "its share to be full")
    wait_for(lambda: insider.refused("peer_limit") >= (count - SHARE) // 2, 20,
             "the rest to be refused")
    assert len(insider.flows("10.66.0.0/16")) <= SHARE
    conntrack.insert(insider.node, "10.0.0.31", SERVER, 2000, 443)
    wait_for(lambda: '"10.0.0.31"' in insider.mickey.states_text(), 10, "mickey's own new flow")
    assert insider.flows(INSIDE) == insider.live
    insider.mickey.command("flush", "minnie")
    wait_for(lambda: not insider.flows("10.66.0.0/16"), 10, "its states to be gone")


@pytest.fixture(scope="module")
def switch(lab, insider):
    return HostileSwitch(lab.nodes["syncsw"], *((node, "sync") for node in insider.meeting.nodes))


def hold(switch, insider, number: int) -> bytes:
    """The frame with this state."""
    kept = len(switch.kept(MICKEY))
    switch.hold("minnie", "mickey")
    insider.insert(number)
    (frame,) = wait_for(lambda: switch.kept(MICKEY)[kept:], 10, "the packet to be held back")
    switch.play("minnie", "mickey", "pass")
    return frame


def heard(insider) -> int:
    return insider.mickey.peer("minnie")["rx_packets"]


def test_a_packet_from_before_the_window_is_too_old(insider, switch):
    """The switch holds one packet back, and brings it when as many others have passed as the replay
    window is wide."""
    def others(count: int) -> None:
        """At least so many arrive; minnie's tunnel loses some of a burst."""
        before = heard(insider)
        while (now := heard(insider)) < before + count:
            for _ in range(250):
                insider.minnie.send(pfsync(mallory.ACTION_DEL_C, ident(9)))
            wait_for(lambda: heard(insider) > now, 10, "the others to arrive")

    late = hold(switch, insider, 301)
    others(50)
    switch.send("mickey", late)  # control: late, but within the window
    wait_for(lambda: insider.flows("10.66.1.45"), 10, "the late one to be taken")
    before = insider.refused("esp_too_old")
    too_late = hold(switch, insider, 302)
    others(WINDOW + 50)
    switch.send("mickey", too_late)
    wait_for(lambda: insider.refused("esp_too_old") == before + 1, 10, "it to be refused")
    assert not insider.flows("10.66.1.46")


def packet(number: int, source: str = MINNIE, target: str = MICKEY, flags: int = 0x4000,
           ttl: int = 255, protocol: int = 240, options: bytes = b"", version: int = 4,
           more: int = 0) -> bytes:
    """more: bytes that it says to have, and has not."""
    payload = pfsync(mallory.ACTION_INS, full_state(number, CREATOR))
    head = struct.pack("!BBHHHBBH4s4s", version << 4 | 5 + len(options) // 4, 0x10,
                       20 + len(options) + len(payload) + more, 0, flags, ttl, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(target)) + options
    return head[:10] + struct.pack("!H", forged.checksum(head)) + head[12:] + payload


# By the reason with which it is refused: what is inside, and how it is sealed.
SEALED = {
    "wrong_source": ({"source": "192.168.1.102"}, {}),  # another peer's
    "wrong_destination": ({"target": "192.168.1.102"}, {}),
    "bad_ttl": ({"ttl": 254}, {}),
    "not_pfsync": ({"protocol": 17}, {}),
    "fragment": ({"flags": 0x2000}, {}),
    "ip_options": ({"options": b"\1\1\1\0"}, {}),
    "bad_ip_version": ({"version": 5}, {}),
    "bad_ip_length": ({"more": 4}, {}),
    "esp_bad_padding": ({}, {"padding": b"\1\1"}),
    "esp_bad_next_header": ({}, {"next_header": 41}),
}


def test_what_it_seals_itself_is_checked(insider, switch):
    """It has its keys, and so may put any packet into its tunnel."""
    minnie, conf = insider.minnie, insider.minnie.dir / "strongswan.conf"
    conf.write_text(conf.read_text().replace("default = 1", "default = 1\nchd = 4"))
    minnie.charon.signal(signal.SIGHUP)
    wait_for(lambda: "SIGHUP" in minnie.charon.errors(), 10, "charon to read its settings again")
    wait_for(lambda: minnie.rekey("child", "mickey") or seal.logged(minnie.charon.errors()), 10,
             "charon to log its key", poll=0.5)

    def agreed() -> tuple[bytes, str] | None:
        secret, spi = seal.logged(minnie.charon.errors())
        return (secret, spi) if spi == insider.mickey.peer("minnie")["spi_in"] else None

    secret, spi = wait_for(agreed, 10, "mickey to have the new SA")
    frame, numbers = hold(switch, insider, 400), itertools.count(100)

    def send(inner: bytes, **more) -> None:
        sealed = seal.esp(secret, spi, next(numbers), inner, **more)
        switch.send("mickey", with_esp(frame, sealed))

    for number, (reason, (inside, outside)) in enumerate(SEALED.items(), 401):
        before = insider.refused(reason)
        send(packet(number, **inside), **outside)
        wait_for(lambda: insider.refused(reason) == before + 1, 10, reason)
    assert not insider.flows("10.66.1.0/24") - insider.flows("10.66.1.45")
    send(packet(499))  # control
    wait_for(lambda: insider.flows("10.66.1.243"), 10, "what it may say to be taken")
