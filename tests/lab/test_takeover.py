# SPDX-License-Identifier: ISC
"""The takeover: IPv4 and IPv6 sessions at once, with NAT and without.

Three variants: with encsync (no session breaks), without a sync (all sessions break, so the first
result means something), and with conntrackd (a sync known to work: the lab can be passed). And an
orderly one, with masquerading, where the kernel deletes the flows with their address.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import conntrack
import conntrackd
import sync
from lab import wait_for
from pair import VIP_INSIDE, VIP_OUTSIDE, FirewallPair
from traffic import Outcome, Sessions

VARIANTS = pytest.mark.parametrize("nat", [True, False], ids=["nat", "routed"])


def start_sessions(pair: FirewallPair) -> list[Sessions]:
    # The download lasts until the cut on any machine, and is then hurried.
    both = [Sessions(pair, family, size=40_000_000, rate=1_000_000) for family in (4, 6)]
    for sessions in both:
        sessions.start()
    return both


def take_over(pair: FirewallPair, both: list[Sessions], timeout: float) -> list[Outcome]:
    for sessions in both:
        sessions.hush()
    pair.power_off(pair.mickey)
    for sessions in both:
        assert 0 < sessions.got() < sessions.size, "the cut must hit the middle"
        sessions.hurry()
    pair.wait_owner(pair.minnie)
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda sessions: sessions.finish(timeout), both))


def wait_equal(pair: FirewallPair, at_least: int) -> None:
    def equal() -> bool:
        mickey, minnie = (conntrack.keys(pair.flows(node)) for node in pair.firewalls[:2])
        return mickey == minnie and len(mickey) >= at_least

    wait_for(equal, 10, "both kernels to hold the same flows")


def wait_address_lost(instance, flows: set) -> None:
    """Of these flows none can have ended by itself; of the others some may."""
    wait_for(lambda: instance.status()["table"]["address_lost"] >= len(flows), 5,
             f"the kernel to forget {len(flows)} flows whose address has gone")


@pytest.mark.daemon
@VARIANTS
def test_no_client_notices(fresh, nat):
    pair = FirewallPair(fresh, nat=nat)
    instances = sync.equip(pair)
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    sync.promote(pair, instances)
    wait_for(lambda: [i.status()["role"] for i in instances] == ["active", "standby"], 10,
             "keepalived to tell both their roles")
    both = start_sessions(pair)
    wait_equal(pair, 24)
    lasting = set().union(*(s.lasting(pair.flows(pair.mickey)) for s in both))
    assert len(lasting) == 20
    outcomes = take_over(pair, both, 20)
    assert [outcome.notes for outcome in outcomes] == [[], []]
    assert all(outcome.ok for outcome in outcomes)
    assert lasting <= conntrack.keys(pair.flows(pair.minnie))
    wait_for(lambda: instances[1].status()["role"] == "active", 10, "minnie to be active")


@VARIANTS
def test_without_sync_every_session_breaks(fresh, nat):
    pair = FirewallPair(fresh, nat=nat)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    pair.start_keepalived(pair.minnie)
    for outcome in take_over(pair, start_sessions(pair), 6):
        assert not outcome.download_ok and not outcome.idle_session_ok
        # Without NAT the client's next packet creates the flow again, as any firewall allows; but
        # until then packets from the server are dropped.
        assert not outcome.udp_ok


def test_the_lab_can_be_passed(fresh):
    pair = FirewallPair(fresh)
    conntrackd.start(pair)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    pair.start_keepalived(pair.minnie)
    both = start_sessions(pair)
    wait_equal(pair, 24)
    outcomes = take_over(pair, both, 20)
    assert [outcome.notes for outcome in outcomes] == [[], []]


@pytest.mark.daemon
def test_a_node_that_is_not_in_step_is_not_promoted(fresh):
    """minnie's daemon never runs: minnie must not become master, though mickey is gone."""
    pair = FirewallPair(fresh)
    instances = sync.equip(pair, setup={"joinwait": "1s"})
    instances[0].start()
    wait_for(instances[0].ready, 15, "mickey alone to be ready after joinwait")
    sync.promote(pair, instances)
    pair.power_off(pair.mickey)
    minnie = pair.keepalived["minnie"]
    wait_for(lambda: "to FAULT" in minnie.output() + minnie.errors(), 15,
             "minnie's keepalived to see that she is not in step")
    assert pair.owner() is None
    # Control: as soon as minnie is in step (alone, after joinwait), it becomes master.
    instances[1].start()
    pair.wait_owner(pair.minnie, 20)


@pytest.mark.daemon
@pytest.mark.parametrize("way", ["fault", "stop"])
def test_an_orderly_failover_with_masquerading(fresh, way):
    """fault: keepalived reports itself faulty. stop: it is stopped, and reports that."""
    pair = FirewallPair(fresh, masquerade=True)
    instances = mickey, minnie = sync.equip(pair)
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    told_to_go = pair.mickey.dir / "go"
    pair.start_keepalived(pair.mickey, ready=["/usr/bin/test", "!", "-e", told_to_go],
                          follow=mickey.argv("keepalived", "--group", "firewall"))
    pair.wait_owner(pair.mickey)
    pair.start_keepalived(pair.minnie, ready=minnie.check_argv(),
                          follow=minnie.argv("keepalived", "--group", "firewall"))
    wait_for(lambda: [i.status()["role"] for i in instances] == ["active", "standby"], 10,
             "keepalived to tell both their roles")
    both = start_sessions(pair)
    wait_equal(pair, 24)
    lasting = set().union(*(s.lasting(pair.flows(pair.mickey)) for s in both))
    assert len(lasting) == 20
    for sessions in both:
        sessions.hush()
    # A flow that ends while the address is here is removed on all nodes.
    ended = next(flow for flow in pair.flows(pair.mickey) if flow.key in lasting)
    conntrack.delete(pair.mickey, *ended.orig)
    wait_for(lambda: ended.key not in conntrack.keys(pair.flows(pair.minnie)), 5,
             "its copy to go")
    if way == "fault":
        told_to_go.touch()
    else:
        pair.keepalived["mickey"].stop()
    pair.wait_owner(pair.minnie)
    for sessions in both:
        sessions.hurry()
    wait_address_lost(mickey, lasting - {ended.key})
    other, its = both if ":" in ended.orig.src else reversed(both)
    with ThreadPoolExecutor() as pool:
        whole, less = pool.map(lambda each: each.finish(20, broken=int(each is its)), (other, its))
    assert whole.notes == [] and whole.ok
    assert less.notes == ["TCP: 9 of 10 idle sessions answer"]
    # mickey now has copies, for the takeover back.
    wait_for(lambda: mickey.status()["own"] == 0, 10, "mickey to own nothing")
    assert minnie.status()["role"] == "active"
    wait_for(lambda: lasting - {ended.key} <= conntrack.keys(pair.flows(pair.mickey)), 15,
             "mickey's copies")


@pytest.mark.daemon
def test_flows_whose_address_has_gone_for_good_go_too(fresh):
    pair = FirewallPair(fresh, masquerade=True)
    instances = mickey, minnie = sync.equip(pair)
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    for side, vips in (("inside", VIP_INSIDE), ("outside", VIP_OUTSIDE)):
        pair.mickey.ip(f"addr add {vips[0]}/24 dev {side}",
                       f"addr add {vips[1]}/64 dev {side} nodad")
    mickey.command("role", "active")
    minnie.command("role", "standby")
    both = start_sessions(pair)
    wait_equal(pair, 24)
    lasting = set().union(*(s.lasting(pair.flows(pair.mickey)) for s in both))
    pair.mickey.ip("link set outside down")
    wait_address_lost(mickey, lasting)
    wait_for(lambda: not pair.flows(pair.minnie), 15, "the copies to go, though not at once")
    for sessions in both:
        sessions.stop()
