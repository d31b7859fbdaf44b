# SPDX-License-Identifier: ISC
"""A stock strongSwan whose ESP is its kernel's, with swanctl, plain policies and nothing of encsync,
and a node with ipsec=userspace. Both have 64-bit sequence numbers. See tests/lab/stock.py."""

from __future__ import annotations

import pytest

import conntrack
import mallory
from lab import wait_for
from pair import SERVER
from test_stock_peer import CREATOR, MICKEY, Meeting, decoded

PATIENCE = 60


@pytest.mark.parametrize("way, initiator, mode", [("psk", "minnie", "tunnel"),
                                                  ("ed25519", "mickey", "transport")])
def test_states_go_both_ways(fresh, way, initiator, mode):
    meeting = Meeting(fresh, initiator, kernel=True)
    theirs = getattr(meeting, way)()
    meeting.set(type=mode)
    meeting.begin({**theirs, "mode": mode})
    meeting.up(PATIENCE)
    mickey, minnie = meeting.nodes
    assert {sa["mode"] for sa in meeting.mickey.json("sas")} == {mode}
    states = minnie.run("ip", "xfrm", "state").stdout
    for each in ("proto esp", f"mode {mode}", "encap type espinudp", "esn context"):
        assert states.count(each) == 2, states
    meeting.minnie.talk(MICKEY)
    meeting.minnie.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(7, CREATOR)))
    wait_for(lambda: any(f.orig.src == "10.66.0.7" for f in conntrack.table(mickey)), PATIENCE,
             "minnie's state to be in mickey's kernel", 0.5)
    conntrack.insert(mickey, "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: '"10.0.0.30"' in decoded(meeting), PATIENCE, "mickey's flow to reach minnie",
             0.5)
    assert all(packet["ttl"] == 255 for packet in meeting.minnie.received())


def test_who_cannot_prove_it_stays_out(fresh):
    meeting = Meeting(fresh, "minnie", kernel=True)
    meeting.begin(meeting.psk(wrong=True))
    wait_for(lambda: "its preshared key is not ours" in meeting.last_error(), PATIENCE,
             "minnie to be refused", 0.5)
    assert meeting.mickey.spis() == set()
    assert "proto esp" not in meeting.nodes[1].run("ip", "xfrm", "state").stdout
