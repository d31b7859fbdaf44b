# SPDX-License-Identifier: ISC
"""A node with valid keys that speaks encsync's own messages and lies in them. What it says is shown to
work where it is no lie: at the end, by a node that is not active and so gives way to whoever claims a
flow.

    mickey (encsync, active) ---- switch ---- minnie (strongSwan, and the messages of hostile_node.py)
                                    |
                                 donald (encsync, standby): honest
"""

from __future__ import annotations

import itertools
import struct
import time

import pytest

import conntrack
import hostile_node as wire
import mallory
import sync
from hostile_node import HostileNode, section
from lab import wait_for
from pair import SERVER
from stock import NEEDED
from test_stock_peer import CREATOR, DOORS, MICKEY, MINNIE, NO_ESN, PATIENT, STRANGER, Meeting

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.skipif(not all(file.exists() for file in NEEDED),
                       reason="needs libcharon-extra-plugins and strongswan-swanctl"),
]

DONALD, LIVE, INSIDE = "192.168.1.102", 50, "10.0.0.0/24"


class Trio:
    def __init__(self, lab):
        self.meeting = meeting = Meeting(lab, "mickey")
        self.mickey, self.node = meeting.mickey, meeting.nodes[0]
        donald = lab.node("donald")
        lab.plug(donald, "sync", lab.nodes["syncsw"], f"{DONALD}/24")
        self.donald = sync.Encsync(donald, {"mickey": MICKEY}, left=DONALD)
        self.donald.init_keys()
        self.donald.trust(self.mickey.export_key())
        self.mickey.conn.clear()
        self.mickey.peers["donald"] = DONALD
        meeting.set(**NO_ESN, **PATIENT)
        self.mickey.trust(self.donald.export_key())
        meeting.mickey.conn["wire"] = "encsync"
        meeting.begin(meeting.ed25519())
        self.donald.start()
        wait_for(lambda: len(self.mickey.spis("minnie")) == 2, 20, "minnie's tunnel")
        self.hostile = HostileNode(meeting.nodes[1], MINNIE, MICKEY, CREATOR)
        for name in ("minnie", "donald"):
            wait_for(lambda: (self.mickey.peer(name) or {}).get("in_step"), 20, f"{name} in step")
        self.donald.command("role", "standby")
        self.mickey.command("role", "active")
        time.sleep(4)  # for a moment, an active node learns from the one that was active before
        self.next = 40000
        conntrack.insert_many(self.node, LIVE)
        wait_for(lambda: len(self.states()) == LIVE, 20, "minnie to hear of mickey's flows")
        self.live = self.flows(INSIDE)
        assert len(self.live) == LIVE

    # -- what mickey does --

    def flows(self, network: str, node=None) -> set:
        """As a whole, with their progress and marks."""
        return {flow for flow in conntrack.table(node or self.node) if flow.from_any(network)}

    def refused(self, reason: str) -> int:
        return self.mickey.peer("minnie")["refusals"].get(reason, 0)

    def counted(self, reason: str, before: int, count: int = 1) -> None:
        wait_for(lambda: self.refused(reason) >= before + count, 20, f"{reason} to be counted")

    # -- what minnie does --

    def states(self) -> dict[bytes, bytes]:
        """The last full states of mickey's flows that she was sent, by id and creator."""
        heard = self.hostile.heard(wire.INS) + self.hostile.heard(wire.UPD)
        return {state[:8] + state[236:240]: state for state in heard
                if b"\x0a\0\0" in state[24:104]}

    def insert(self, number: int, creator: int = CREATOR, *flow) -> None:
        self.hostile.say(section(wire.INS, mallory.full_state(number, creator, *flow) + wire.tail()))

    def settle(self) -> None:
        """mickey has heard everything: at last a state that it takes."""
        self.next += 1
        self.insert(self.next)
        address = f"10.66.{self.next >> 8 & 255}.{self.next & 255}"
        wait_for(lambda: self.flows(f"{address}/32"), 20, "what was said last to be there")

    def unharmed(self, port: int) -> None:
        """mickey's flows are as they were, its session with minnie is, and donald is served."""
        assert self.flows(INSIDE) == self.live
        assert self.mickey.status()["own"] >= LIVE
        wait_for(lambda: self.mickey.peer("minnie")["state"] == "up", 20, "minnie to be up")
        conntrack.insert(self.node, "10.1.0.1", SERVER[0], port, 443)
        wait_for(lambda: any(flow.orig.sport == port for flow in
                             self.flows("10.1.0.1/32", self.donald.node)), 20,
                 "a new flow to be on donald")
        wait_for(lambda: {flow.key for flow in self.flows(INSIDE, self.donald.node)}
                 == {flow.key for flow in self.live}, 20, "donald to have the others")


@pytest.fixture(scope="module")
def trio(lab):
    return Trio(lab)


def creator_of(instance) -> int:
    shown = instance.command("keys", "show").stdout
    return int(shown.split("creatorid ")[1][:8], 16)


def altered(state: bytes, at: int, value: bytes) -> bytes:
    return state[:at] + value + state[at + len(value) :]


def claims(name: bytes, state: bytes, mark: int) -> list[bytes]:
    """Everything that could take one flow from its owner, or remove it, but for its progress; each in a
    later term than the owner can be in by then."""
    terms = itertools.count(wire.term_of(state) + 1, 2)
    whole = state[: wire.STATE]
    hers = altered(altered(whole, 0, b"\x77" + name[1:8]), 236, struct.pack("!I", CREATOR))
    short = (name[:8] + whole[104:168] + name[8:] + bytes(12))[:84]
    term = next(terms)
    return [*(section(wire.UPD, whole + wire.tail(n, live=False, mark=mark)) for n in range(term + 1)),
            section(wire.UPD, whole + wire.tail(next(terms), mark=mark)),
            section(wire.INS, hers + wire.tail(next(terms), mark=mark)),
            section(wire.DEL, whole + wire.tail(next(terms))),
            section(wire.DEL_C, name + bytes([next(terms) % 128, 0, 0, 0])),
            section(wire.UPD_C, short), section(wire.DEL_C, name),
            section(wire.UPD, whole + wire.tail(next(terms) + 50, mark=mark)),  # far in the future
            section(wire.ABSENT, name + wire.SINCE), section(wire.DEL_C, hers[:8] + hers[236:240])]


def test_it_claims_every_flow_and_gets_none(trio):
    before = trio.refused("not_owner")
    for name, state in trio.states().items():
        for said in claims(name, state, 0x666):
            trio.hostile.say(said)
        time.sleep(0.02)  # minnie's tunnel loses some of a burst
    trio.settle()
    assert trio.refused("not_owner") >= before + LIVE
    trio.unharmed(1001)


def test_it_clears_nothing_of_others(trio):
    donalds, mickeys = creator_of(trio.donald), creator_of(trio.mickey)
    before = {reason: trio.refused(reason) for reason in ("own_creatorid", "clear_rate")}
    for creator in (mickeys, donalds, CREATOR, 0) * 20:
        trio.hostile.say(section(wire.CLR, bytes(16) + struct.pack("!I", creator)))
        time.sleep(0.01)  # minnie's tunnel loses some of a burst
    trio.settle()
    assert trio.refused("own_creatorid") == before["own_creatorid"] + 20
    assert trio.refused("clear_rate") > before["clear_rate"]
    trio.unharmed(1002)


def test_it_opens_no_door(trio):
    before, number = trio.mickey.peer("minnie")["refused_states"].get("now", 0), 200
    for flows in DOORS.values():
        for src, dst, dport, proto, answers in flows:
            trio.insert(number, CREATOR, src, dst, dport, proto, answers)
            time.sleep(0.01)  # minnie's tunnel loses some of a burst
            number += 1
    trio.settle()
    assert not trio.flows(STRANGER) and not trio.flows(f"{MICKEY}/32")
    assert trio.mickey.peer("minnie")["refused_states"]["now"] == before + number - 200


def node(creator: int, role: int, name: str, owns: bool = True) -> bytes:
    return struct.pack("!IBB14s", creator, role, owns, name.encode())


# By the reason with which it is refused: sections, or a payload without a number.
MALFORMED = {
    "short_message": section(wire.SUMS, bytes(132)),
    "unknown_action": section(0xEF, bytes(4)),
    "bad_ask": section(wire.ASK, b"\xff" * 4),
    "unasked": section(wire.LIST, struct.pack("!IHBx", wire.FIRST_LEAF, 0, 1)),
    "unknown_state": section(wire.EXPECT, bytes(8) + b"\1\1\1\1" + b"\0\1\x06\0\0\x02" + bytes(102)),
    "bad_expectation": section(wire.EXPECT, bytes(8) + b"\1\1\1\1" + b"\xff\1\x06\0\0\x02" + bytes(102)),
    "bad_creatorid": section(wire.INS, mallory.full_state(1, 0) + wire.tail()),
    "bad_peer_state": section(wire.INS, altered(mallory.full_state(1, CREATOR), 128, b"\x63")
                              + wire.tail()),
    "bad_bus_status": section(wire.BUS, struct.pack("!IIBxxx", CREATOR, 0, 9)),
    "no_sync": section(wire.INS, altered(mallory.full_state(1, CREATOR), 260, b"\0\x08")
                       + wire.tail()),
    "bad_hello": wire.packet(section(wire.HELLO, wire.hello(7, 0, CREATOR, role=9))),
    "hello_version": wire.packet(section(wire.HELLO, wire.hello(7, 0, CREATOR, version=2))),
    "bad_ack": None,  # needs mickey's session
    "foreign_session": wire.packet(section(wire.SEQ, struct.pack("!QQ", 1 << 40, 7)),
                                   section(wire.CLR, bytes(20))),
    "pfsync_section_overrun": wire.packet(section(wire.ROOT, bytes(24))[:-4]),
    "pfsync_zero_count": wire.packet(bytes((wire.LIST, 2, 0, 0))),
}


def test_each_malformed_message_is_refused_by_its_name(trio):
    (session,) = {message[:8] for message in trio.hostile.heard(wire.HELLO)}
    ack = struct.pack("!Q", 1 << 40) + session + bytes(128)
    for reason, said in {**MALFORMED, "bad_ack": wire.packet(section(wire.ACK, ack))}.items():
        before = trio.refused(reason)
        if said[:2] == b"\6\0":
            trio.hostile.bare(said)
        else:
            trio.hostile.say(said)
        trio.counted(reason, before)
    # HELLO of nodes that do not exist, and of more than there are.
    before = trio.refused("bad_hello")
    for more in ({"nodes": node(0, 1, "nobody")}, {"nodes": node(7, 9, "odd")}, {"count": 12}):
        trio.hostile.bare(wire.packet(section(wire.HELLO, wire.hello(7, 0, CREATOR, **more))))
    trio.counted("bad_hello", before, 3)
    trio.settle()  # control: what is well made is read, and the session has not noticed
    trio.unharmed(1003)


def test_it_asks_for_everything_without_end(trio):
    before = {reason: trio.refused(reason) for reason in ("bad_ask", "too_often", "unknown_state")}
    for _ in range(300):
        trio.hostile.say(section(wire.UPD_REQ, bytes(12)))
    for first in range(0, 6000, 200):
        trio.hostile.say(section(wire.ASK, *(struct.pack("!I", wire.FIRST_LEAF + first + each)
                                             for each in range(200))))
        trio.hostile.say(section(wire.UPD_REQ, *(struct.pack("!QI", first + each + 1, CREATOR)
                                                 for each in range(50))))
    trio.hostile.say(section(wire.ASK, b"\xff" * 4))  # and for what does not exist
    trio.settle()
    trio.counted("unknown_state", before["unknown_state"], 100)
    trio.counted("bad_ask", before["bad_ask"])
    # A bulk update is answered, and the next one only after a rest.

    def once_more() -> bool:
        trio.hostile.say(section(wire.UPD_REQ, bytes(12)))
        return trio.refused("too_often") > before["too_often"]

    wait_for(once_more, 20, "one to be refused")
    assert trio.hostile.heard(wire.BUS)  # control
    trio.unharmed(1004)


def test_false_sums_cost_nobody_a_state(trio):
    check = trio.mickey.peer("minnie")["check"]
    questions = len(trio.hostile.heard(wire.ASK))
    trio.hostile.lie()

    def searched() -> bool:
        now = trio.mickey.peer("minnie")["check"]
        return (now["checks"] >= check["checks"] + 100 and now["repairs"] > check["repairs"]
                and len(trio.hostile.heard(wire.ASK)) >= questions + 17)

    wait_for(searched, 60, "mickey to look for what differs")  # control: she is believed
    assert not trio.mickey.peer("minnie")["check"]["equal"]
    assert trio.mickey.peer("donald")["check"]["equal"]
    trio.unharmed(1005)


def test_it_names_nodes_that_are_not_there(trio):
    trio.hostile.claim(nodes=node(0x0BADBAD, wire.ACTIVE, "ghost"))
    wait_for(lambda: any(each["name"] == "ghost" for each in trio.mickey.peer("minnie")["hears"]), 10,
             "mickey to hear of it")
    assert trio.mickey.ready()  # an active node goes on
    trio.unharmed(1006)
    # One that is not active says who named it, and that is all.
    trio.mickey.command("role", "auto")
    wait_for(lambda: "minnie hears ghost, which is active" in trio.mickey.status()["why"], 20,
             "mickey to say why it is not ready")
    trio.hostile.claim(nodes=b"")
    wait_for(lambda: "ghost" not in trio.mickey.status()["why"], 20, "it to be forgotten")
    trio.mickey.command("role", "active")


def key_text(text: str) -> bytes:
    data = struct.pack("!H", len(text)) + text.encode()
    return section(wire.KEY_TEXT, data + bytes(-len(data) % 4))


def made_up_key(lab, name: str) -> str:
    """A key of this name, as its owner would export it: of nobody."""
    maker = sync.Encsync(lab.node(f"maker-{name}"), {}, left="192.0.2.1", setup={"node": name})
    maker.init_keys()
    return maker.export_key().read_text()


def trusted(instance) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key in instance.json("keys", "list"):
        found.setdefault(key["name"], []).append(key["fingerprint"])
    return found


def test_it_announces_no_key_but_its_own_and_that_not_unsigned(lab, trio):
    before = trusted(trio.mickey)

    def says(*sections: bytes) -> None:
        trio.hostile.bare(wire.packet(*sections))

    def refused(why: str, *sections: bytes) -> None:
        def once_more() -> bool:  # her tunnel may lose one
            says(*sections)
            return why in trio.mickey.log()

        wait_for(once_more, 20, f"the log to say: {why}", 0.5)

    refused("what minnie says of keys is refused: a key of 'donald'",
            key_text(made_up_key(lab, "donald")))
    says(key_text(trio.donald.export_key().read_text()))  # his own, and still not her business
    refused("is not signed by that key", key_text(made_up_key(lab, "minnie")))
    refused("a key of 'mallory'", key_text(made_up_key(lab, "mallory")))
    refused("KEY_TEXT of 8 bytes has a text of 900",
            section(wire.KEY_TEXT, struct.pack("!H", 900) + b"encsync"[:6]))
    refused("KEYS names no key of its sender", section(wire.KEYS, bytes(52)))
    refused("action 0 beside messages about keys",
            key_text("encsync public key 1\n"), section(wire.CLR, bytes(20)))
    for _ in range(600):
        says(key_text("encsync"))
    refused("more of it than is read in a minute", key_text("encsync"))
    assert trusted(trio.mickey) == before
    # Control: donald announces a key of his own, signed by the older one.
    trio.donald.command("keys", "rotate", "--what", "identity")
    wait_for(lambda: trusted(trio.mickey)["donald"] not in (before["donald"], []), 30,
             "mickey to trust donald's next key", 0.2)
    assert trusted(trio.mickey)["minnie"] == before["minnie"]
    trio.unharmed(1007)


def test_who_gives_way_is_taken_at_its_word(trio):
    """The control of the claims: without roles, each node believes the one that claims a flow later."""
    trio.mickey.command("role", "auto")
    trio.donald.command("role", "auto")
    name, state = next(iter(trio.states().items()))
    (flow,) = [flow for flow in trio.live if struct.pack("!H", flow.orig.sport) in state[24:104]]
    term, whole = wire.term_of(state), state[: wire.STATE]

    def now() -> set:
        return {each for each in trio.flows(INSIDE) if each.key == flow.key}

    def said(message: bytes) -> None:
        """Again and again, as minnie's tunnel loses some."""
        trio.hostile.say(message)
        time.sleep(0.1)

    claim = section(wire.UPD, whole + wire.tail(term + 60, mark=0x666))
    wait_for(lambda: said(claim) or {each.mark for each in now()} == {0x666}, 20,
             "the mark to be taken")
    end = section(wire.DEL_C, name + bytes([(term + 60) % 128, 0, 0, 0]))
    wait_for(lambda: said(end) or not now(), 20, "the flow to be removed")
    trio.live.remove(flow)
    trio.hostile.claim(role=wire.STANDBY)
    trio.mickey.command("role", "active")
    trio.unharmed(1008)


def test_it_speaks_for_its_creators_only(trio):
    """With the option creators."""
    donalds, mickeys = creator_of(trio.donald), creator_of(trio.mickey)
    trio.meeting.set(creators=f"{CREATOR:08x}")
    trio.mickey.reload()
    wait_for(lambda: (trio.mickey.peer("minnie") or {}).get("in_step"), 30, "minnie in step again")
    before = trio.refused("foreign_creatorid")
    for number, creator in enumerate((donalds, mickeys, 0x77777777), 300):
        trio.insert(number, creator)
        trio.hostile.bare(wire.packet(section(wire.HELLO, wire.hello(7, 0, creator))))
    trio.settle()  # control: for its own it may
    assert trio.refused("foreign_creatorid") == before + 5  # mickey's own is no HELLO of a peer
    assert not trio.flows("10.66.1.0/24")
    trio.unharmed(1009)
