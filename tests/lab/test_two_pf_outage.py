# SPDX-License-Identifier: ISC
"""Two pf firewalls with a gateway each: the network between the sites fails, and comes back."""

from __future__ import annotations

import pytest

import sites
from lab import wait_for
from two_pf import WIRES, build, wait_same


def cut(both: sites.Sites) -> None:
    both.minnie.node.ip("link set sync down")
    for site in both.all:
        wait_for(lambda: not site.encsync.ready(), 30, f"{site.encsync.name} to miss the other")


def mend(both: sites.Sites) -> None:
    both.minnie.node.ip("link set sync up")
    both.wait_ready(60)


@pytest.mark.daemon
@WIRES
def test_what_changed_during_an_outage_arrives(fresh, wire):
    """New states, and packets of known ones, on both sides."""
    both = build(fresh, wire)
    donald, daisy = both.mickey.pf, both.minnie.pf
    ours, theirs = donald.create(300, "tcp"), daisy.create(300, "tcp")
    wait_same(donald, daisy, 600)
    cut(both)
    donald.create(200, "mixed")
    daisy.create(200, "mixed")
    donald.update(ours)
    daisy.update(theirs)
    daisy.update(ours[:50])  # packets on both sides meanwhile: the later sequence wins
    daisy.update(ours[:50])
    assert donald.digest() != daisy.digest()
    mend(both)
    wait_same(donald, daisy, 1000)


@pytest.mark.daemon
@WIRES
def test_what_ended_during_an_outage_is_gone(fresh, wire):
    """On both sides, although each firewall is asked for all states that it still has."""
    both = build(fresh, wire)
    donald, daisy = both.mickey.pf, both.minnie.pf
    ours, theirs = donald.create(300, "mixed"), daisy.create(300, "mixed")
    wait_same(donald, daisy, 600)
    cut(both)
    donald.remove(ours[:100])
    daisy.remove(theirs[:100])
    daisy.remove(ours[100:150])  # the other one's, as after a takeover
    wait_for(lambda: donald.stats()["sent"].get("del_c", 0) >= 100, 10, "donald to say so")
    mend(both)
    wait_same(donald, daisy, 350)
    assert donald.ids() == set(ours[150:]) | set(theirs[100:])


@pytest.mark.daemon
@WIRES
def test_a_flush_during_an_outage_holds(fresh, wire):
    both = build(fresh, wire)
    donald, daisy = both.mickey.pf, both.minnie.pf
    donald.create(200, "mixed")
    theirs = daisy.create(200, "mixed")
    wait_same(donald, daisy, 400)
    cut(both)
    donald.clear()
    mend(both)
    wait_for(lambda: daisy.ids() == set(theirs), 20, "donald's states to be gone")
    assert donald.digest()["states"] == 0, "as on a cable: what he flushed he gets with its next packet"
    daisy.update(theirs)
    wait_same(donald, daisy, 200)


@pytest.mark.daemon
@WIRES
def test_a_firewall_that_starts_during_an_outage_gets_everything(fresh, wire):
    """From its own gateway: the other site is away."""
    both = build(fresh, wire)
    donald, daisy = both.mickey.pf, both.minnie.pf
    donald.create(300, "mixed")
    daisy.create(300, "mixed")
    wait_same(donald, daisy, 600)
    before = donald.digest()
    cut(both)
    both.mickey.power_off()
    donald = both.mickey.power_on()
    wait_for(lambda: donald.digest() == before, 20, "donald to have all states again")
