# SPDX-License-Identifier: ISC
"""mickey, minnie and donald: each a peer of every other."""

from __future__ import annotations

import pytest

import conntrack
import sync
from conntrack import keys
from lab import wait_for
from pair import SERVER, FirewallPair
from traffic import Sessions

pytestmark = pytest.mark.daemon


def wait_all_equal(pair, nodes, count: int) -> None:
    def equal() -> bool:
        first, *rest = (keys(pair.flows(node)) for node in nodes)
        return len(first) == count and all(other == first for other in rest)

    wait_for(equal, 15, f"all kernels to hold the same {count} flows", 0.1)


def test_three_nodes_are_one(fresh):
    pair = FirewallPair(fresh, donald=True)
    instances = sync.equip(pair)
    # Two first; donald joins late.
    conntrack.insert_many(pair.mickey, 300)
    for instance in instances[:2]:
        instance.start()
    sync.wait_in_step(*instances[:2])
    wait_all_equal(pair, pair.firewalls[:2], 300)
    instances[2].start()
    sync.wait_in_step(*instances)
    wait_all_equal(pair, pair.firewalls, 300)
    # A flow of each; each reaches the two others.
    for number, node in enumerate(pair.firewalls):
        conntrack.insert(node, "10.0.0.30", SERVER[0], 2000 + number, 443)
    wait_all_equal(pair, pair.firewalls, 303)
    # One deletes its own: gone everywhere, and no third node brings it back.
    conntrack.delete(pair.firewalls[2], "10.0.0.30", SERVER[0], 2002, 443)
    wait_all_equal(pair, pair.firewalls, 302)

    sync.promote(pair, instances)
    sessions = Sessions(pair, size=10_000_000, rate=2_500_000)
    sessions.start()
    lasting = sessions.lasting(pair.flows(pair.mickey))
    wait_for(lambda: all(lasting <= keys(pair.flows(node)) for node in pair.firewalls), 10,
             "the sessions to be on all three")
    sessions.hush()
    pair.power_off(pair.mickey)
    pair.wait_owner(pair.minnie)
    outcome = sessions.finish(20)
    assert outcome.notes == [] and outcome.ok
    # The two that are left go on.
    rest = pair.firewalls[1:]
    conntrack.insert(pair.minnie, "10.0.0.30", SERVER[0], 2500, 443)
    wait_for(lambda: any(f.orig.sport == 2500 for f in pair.flows(rest[1])), 10,
             "a new flow to reach donald")
    assert lasting <= keys(pair.flows(rest[1]))
