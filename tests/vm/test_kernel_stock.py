# SPDX-License-Identifier: ISC
"""A stock strongSwan with ESP in its kernel, with swanctl, plain policies and without encsync, and
a node with ipsec=userspace. Both have 64-bit sequence numbers. See tests/lab/stock.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import conntrack
import mallory
from lab import wait_for
from pair import SERVER
from test_stock_peer import CREATOR, Meeting, decoded

PATIENCE = 90


def exchange(meeting: Meeting, number: int) -> None:
    """A state in each direction; each call has another number."""
    mickey = meeting.nodes[0]
    meeting.minnie.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(number, CREATOR)))
    wait_for(lambda: any(f.orig.src == f"10.66.0.{number}" for f in conntrack.table(mickey)),
             PATIENCE, "minnie's state to be in mickey's kernel", 0.5)
    wait_for(lambda: meeting.mickey.peer("minnie")["state"] == "up", PATIENCE, "minnie to be up",
             0.5)
    conntrack.insert(mickey, f"10.0.0.{number}", SERVER[0], 2000, 443)
    wait_for(lambda: f'"10.0.0.{number}"' in decoded(meeting), PATIENCE,
             "mickey's flow to reach minnie", 0.5)


@pytest.mark.parametrize("way, initiator, mode, ipv6", [
    ("psk", "minnie", "tunnel", False), ("ed25519", "mickey", "transport", False),
    ("x509", "mickey", "tunnel", True), ("x509", "minnie", "transport", True)])
def test_states_go_both_ways(fresh, way, initiator, mode, ipv6):
    meeting = Meeting(fresh, initiator, kernel=True, ipv6=ipv6)
    theirs = getattr(meeting, way)()
    meeting.set(type=mode)
    meeting.begin({**theirs, "mode": mode})
    meeting.up(PATIENCE)
    minnie = meeting.nodes[1]
    assert {sa["mode"] for sa in meeting.mickey.json("sas")} == {mode}
    states = minnie.run("ip", "xfrm", "state").stdout
    for each in ("proto esp", f"mode {mode}", "encap type espinudp", "esn context"):
        assert states.count(each) == 2, states
    meeting.minnie.talk(meeting.addresses[0])
    exchange(meeting, 7)
    assert all(packet["ttl"] == 255 and packet["from"] == meeting.addresses[0]
               for packet in meeting.minnie.received())


def test_rekeying_from_either_side_keeps_it_going(fresh):
    """The SAs of ESP, and IKE's own: new ones are made and old ones removed, in the kernel, too."""
    meeting = Meeting(fresh, "minnie", kernel=True, ipv6=True)
    meeting.begin(meeting.x509())
    meeting.up(PATIENCE)
    mickey, minnie = meeting.mickey, meeting.minnie
    minnie.talk(meeting.addresses[0])
    exchange(meeting, 1)

    def kernel_spis() -> set[str]:
        states = meeting.nodes[1].run("ip", "xfrm", "state").stdout
        return set(re.findall(r"spi 0x([0-9a-f]{8})", states))

    def spis() -> set[str]:
        return {sa["spi"] for sa in mickey.json("sas") if not sa["retiring"]}

    steps = [lambda: minnie.rekey("child", "mickey"),
             lambda: mickey.command("keys", "rotate", "--what", "sa"),
             lambda: minnie.rekey("ike", "mickey"),
             lambda: minnie.rekey("child", "mickey")]
    for number, rekey in enumerate(steps, 2):
        before, ike = spis(), minnie.sas().splitlines()[0]
        assert kernel_spis() == before
        rekey()
        if number == 4:
            wait_for(lambda: minnie.sas().splitlines()[0] != ike, PATIENCE, "a new IKE SA", 0.5)
        else:
            wait_for(lambda: len(spis()) == 2 and not spis() & before, PATIENCE, "new SAs", 0.5)
            wait_for(lambda: kernel_spis() == spis(), PATIENCE, "the old ones to go", 0.5)
        exchange(meeting, number)
        assert mickey.peer("minnie")["state"] == "up"


def test_a_peer_leaves_room_for_own_connections(fresh):
    """minnie sends more states than the table has places; then mickey's own connections begin."""
    meeting = Meeting(fresh, "mickey", kernel=True)
    meeting.begin(meeting.psk())
    meeting.up(PATIENCE)
    mickey, node = meeting.mickey, meeting.nodes[0]
    limit = Path("/proc/sys/net/netfilter/nf_conntrack_max")
    before = limit.read_text()
    limit.write_text("400")
    try:
        meeting.minnie.talk(meeting.addresses[0])
        for number in range(600):
            meeting.minnie.send(mallory.pfsync(mallory.ACTION_INS,
                                               mallory.full_state(number, CREATOR)))
        wait_for(lambda: mickey.peer("minnie")["copies"] == 600, PATIENCE, "all to arrive", 0.5)
        assert len(conntrack.table(node)) < 400
        wait_for(lambda: 300 < len(conntrack.table(node)) <= 380, PATIENCE, "the reserve", 0.5)
        assert mickey.peer("minnie")["missing"]["no_room"] >= 220
        for batch in range(1, 6):  # each fits into the 20 places that are reserved
            conntrack.insert_many(node, 15, network=f"10.{batch}.0")
            wait_for(lambda: len(conntrack.table(node)) <= 380, PATIENCE, "room to be made", 0.5)
        own = [flow for flow in conntrack.table(node) if flow.orig.dst == SERVER[0]]
        assert len(own) == 75 and mickey.status()["table"]["made_room"] >= 50
    finally:
        limit.write_text(before)


@pytest.mark.parametrize("way, says, ipv6", [
    ("psk", "its preshared key is not ours", False),
    ("x509", "no valid certificate for 'minnie' that the authority in rightca", True)])
def test_who_cannot_prove_it_stays_out(fresh, way, says, ipv6):
    meeting = Meeting(fresh, "minnie", kernel=True, ipv6=ipv6)
    meeting.begin(getattr(meeting, way)(wrong=True))
    wait_for(lambda: says in meeting.last_error(), PATIENCE,
             "minnie to be refused", 0.5)
    assert meeting.mickey.spis() == set()
    assert "proto esp" not in meeting.nodes[1].run("ip", "xfrm", "state").stdout
