# SPDX-License-Identifier: ISC
"""mickey, minnie and donald: each a peer of every other."""

from __future__ import annotations

import pytest

import conntrack
import sync
from conntrack import keys
from lab import wait_for
from pair import SERVER, SYNC, FirewallPair
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
    # One flow of each node; each arrives at the two others.
    for number, node in enumerate(pair.firewalls):
        conntrack.insert(node, "10.0.0.30", SERVER[0], 2000 + number, 443)
    wait_all_equal(pair, pair.firewalls, 303)
    # One deletes its own: it is removed on all, and no third node restores it.
    conntrack.delete(pair.firewalls[2], "10.0.0.30", SERVER[0], 2002, 443)
    wait_all_equal(pair, pair.firewalls, 302)

    sync.promote(pair, instances)
    sessions = Sessions(pair, size=20_000_000, rate=1_000_000)
    sessions.start()
    lasting = sessions.lasting(pair.flows(pair.mickey))
    wait_for(lambda: all(lasting <= keys(pair.flows(node)) for node in pair.firewalls), 10,
             "the sessions to be on all three")
    sessions.hush()
    pair.power_off(pair.mickey)
    pair.wait_owner(pair.minnie)
    sessions.hurry()
    outcome = sessions.finish(20)
    assert outcome.notes == [] and outcome.ok
    # The other two continue.
    rest = pair.firewalls[1:]
    conntrack.insert(pair.minnie, "10.0.0.30", SERVER[0], 2500, 443)
    wait_for(lambda: any(f.orig.sport == 2500 for f in pair.flows(rest[1])), 10,
             "a new flow to reach donald")
    assert lasting <= keys(pair.flows(rest[1]))


def why(instance) -> str:
    return (instance.status() or {}).get("why", "")


def test_a_chain_is_not_ready(fresh):
    """mickey, which has the flows, and donald have only minnie as peer. donald is not sent these
    flows, and reports that; mickey and minnie report nothing."""
    pair = FirewallPair(fresh, donald=True)
    mickey, minnie, donald = instances = sync.equip(pair)
    address = {one.name: one.peers.pop(other.name)
               for one, other in ((mickey, donald), (donald, mickey))}
    conntrack.insert_many(pair.mickey, 300)
    for instance in instances:
        instance.write_config()
        instance.start()
    sync.wait_in_step(mickey, minnie)
    wait_for(lambda: "minnie hears mickey, which has flows" in why(donald), 20,
             "donald to miss mickey")
    wait_for(lambda: not donald.ready() and mickey.ready() and minnie.ready(), 20,
             "donald alone not to be ready")
    wait_for(lambda: "minnie hears mickey" in donald.log(), 10, "the log to say so")
    assert [each["name"] for each in donald.peer("minnie")["hears"]] == ["mickey"]
    assert len(donald.status()["missing_edges"]) == 1
    # An active node stays ready, and reports it all the same.
    donald.command("role", "active")
    assert donald.ready() and donald.status()["missing_edges"]
    donald.command("role", "standby")
    # Control: with that edge all is well.
    mickey.peers["donald"], donald.peers["mickey"] = address["mickey"], address["donald"]
    for instance in (mickey, donald):
        instance.reload()
    sync.wait_in_step(*instances, timeout=40)
    wait_all_equal(pair, pair.firewalls, 300)
    assert donald.status()["missing_edges"] == []


def cut(instance, other: str) -> None:
    instance.node.nft(f"""table inet cut {{
        chain from_it {{ type filter hook input priority -400; ip saddr {SYNC[other]} drop; }}
        chain to_it {{ type filter hook output priority -400; ip daddr {SYNC[other]} drop; }}
    }}""")


def test_a_cut_link_is_not_ready(fresh):
    """minnie is active; donald does not hear it, and mickey hears both."""
    pair = FirewallPair(fresh, donald=True)
    mickey, minnie, donald = instances = sync.equip(pair)
    for instance in instances:
        instance.start()
        instance.command("role", "active" if instance is minnie else "standby")
    sync.wait_in_step(*instances)
    conntrack.insert_many(pair.minnie, 50)
    wait_all_equal(pair, pair.firewalls, 50)
    cut(donald, "minnie")
    wait_for(lambda: "mickey hears minnie, which is active" in why(donald), 30,
             "donald to miss minnie")
    wait_for(lambda: not donald.ready() and mickey.ready() and minnie.ready(), 20,
             "donald alone not to be ready")
    donald.node.run("nft", "delete", "table", "inet", "cut")
    sync.wait_in_step(*instances, timeout=40)
    # Once no node hears it any more, none waits for it.
    cut(donald, "minnie")
    wait_for(lambda: not donald.ready(), 30, "donald to miss minnie again")
    pair.power_off(pair.minnie)
    wait_for(lambda: donald.ready() and mickey.ready(), 30, "the other two to go on")
    assert donald.status()["missing_edges"] == []
