# SPDX-License-Identifier: ISC
"""Mallory on the switch: forged protocol 240 in every wrapping. The same packets reach a raw socket on
an unprotected host: the control."""

from __future__ import annotations

import pytest

import conntrack
import forged
from lab import PYTHON, wait_for
from mallory import FORGED_INSIDE
from pair import SYNC

pytestmark = pytest.mark.daemon

BARE = "192.168.1.67"


def listen(node):
    process = node.start(PYTHON, forged.__file__, "receive", name="receiver")
    wait_for(lambda: "listening" in process.output(), 10, "the receiver to listen")
    return process


def taken(receiver) -> set[int]:
    return {int(line.split()[1]) for line in receiver.output().splitlines()[1:]}


@pytest.fixture(scope="module")
def bare(lab, pair):
    """A host without encsync's ruleset."""
    node = lab.node("bare")
    lab.plug(node, "sync", pair.sync_switch, f"{BARE}/24")
    for each in (node, pair.mickey):
        each.ip(f"addr add {forged.SIX[each.name]}/64 dev sync nodad")
    return node


def send(pair, packets: list[bytes]) -> None:
    pair.mallory.run(PYTHON, forged.__file__, "send",
                     input="\n".join(packet.hex() for packet in packets))


def test_no_wrapping_gets_protocol_240_in(pair, instances, mallory, bare):
    mickey, _ = instances
    counted = mickey.refused()
    receivers = {node.name: listen(node) for node in (bare, pair.mickey)}
    addresses = {"mickey": SYNC["mickey"], "bare": BARE}
    for node in (pair.mickey, bare):
        made = forged.Forger(mallory.mac, node.mac("sync"), SYNC["minnie"], addresses[node.name],
                             forged.SIX["minnie"], forged.SIX[node.name]).tricks()
        send(pair, [frame for packets in made.values() for frame in packets])
    # Control: each of them is delivered where nothing drops it.
    everything = set(range(1, len(made) + 1))
    wait_for(lambda: taken(receivers["bare"]) == everything, 10,
             f"the unprotected host to get {everything}")

    def dropped() -> int:
        now = mickey.refused()
        return sum(now[name] - counted.get(name, 0) for name in now if "not_through_tunnel" in name)

    wait_for(lambda: dropped() >= len(made), 10, "each of them to be counted")
    assert taken(receivers["mickey"]) == set()
    assert not [f for f in conntrack.table(pair.mickey) if f.involves(FORGED_INSIDE)]
    assert mickey.ready()
