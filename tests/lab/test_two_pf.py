# SPDX-License-Identifier: ISC
"""Two pf firewalls (the package pf) have the same states: on one cable, which shows that they do by
themselves, and with a gateway each and any network between. Outages: test_two_pf_outage.py."""

from __future__ import annotations

import pytest

from lab import Lab, wait_for
from pf_end import GROUP
from pf_firewall import PfFirewall
from sites import LEFT, RIGHT
from two_pf import DAISY, DONALD, TIMEOUTS, WIRES, build, settle, wait_same


def churn(donald: PfFirewall, daisy: PfFirewall) -> int:
    """New states, packets and ends on both at once. Returns how many there are then."""
    ours, theirs = donald.create(600, "mixed"), daisy.create(600, "mixed")
    wait_same(donald, daisy, 1200)
    donald.update(ours[:200])
    daisy.update(theirs[:200])
    donald.update(theirs[150:300])  # the other one's, as after a takeover; some at once with it
    daisy.update(ours[150:300])
    wait_same(donald, daisy, 1200)
    donald.close(ours[300:400])
    donald.remove(ours[400:500])
    daisy.remove(theirs[400:500])
    daisy.remove(ours[500:550])
    donald.create(50, "mixed")
    wait_same(donald, daisy, 1000)
    assert set(ours[400:550]).isdisjoint(daisy.ids())
    return 1000


# ---- one cable -------------------------------------------------------------------------------


class Cable:
    def __init__(self, lab: Lab, wire: str, multicast: bool):
        self.nodes = lab.node("donald"), lab.node("daisy")
        lab.cable(self.nodes[0], "cable", self.nodes[1], "cable")
        for node, own in zip(self.nodes, (LEFT, RIGHT)):
            node.ip(f"addr add {own}/24 dev cable")
        self.wire, self.multicast = wire, multicast

    def firewall(self, index: int) -> PfFirewall:
        own, peer = (LEFT, RIGHT) if index == 0 else (RIGHT, LEFT)
        return PfFirewall(self.nodes[index], "cable", own, GROUP if self.multicast else peer,
                          hostid=(DONALD, DAISY)[index], dialect=self.wire,
                          timeouts=TIMEOUTS)


@WIRES
@pytest.mark.parametrize("multicast", [False, True], ids=["unicast", "multicast"])
def test_on_one_cable(fresh, wire, multicast):
    cable = Cable(fresh, wire, multicast)
    donald, daisy = cable.firewall(0), cable.firewall(1)
    settle(donald, daisy)
    count = churn(donald, daisy)
    donald.power_off()
    donald = cable.firewall(0)
    wait_same(donald, daisy, count)
    # And the comparison can fail.
    cable.nodes[0].ip("link set cable down")
    donald.update(donald.create(1))
    assert donald.digest() != daisy.digest()


@WIRES
def test_two_that_do_not_hear_each_other_differ(fresh, wire):
    """The twin: one speaks to the group, the other to an address that is not there."""
    cable = Cable(fresh, wire, multicast=True)
    donald = cable.firewall(0)
    daisy = PfFirewall(cable.nodes[1], "cable", RIGHT, "172.16.0.9", hostid=DAISY, dialect=wire)
    donald.create(10)
    with pytest.raises(Exception, match="in vain"):
        wait_same(donald, daisy, 10, timeout=4)
    assert daisy.digest()["states"] == 0


@WIRES
def test_the_other_systems_packets_are_not_taken(fresh, wire):
    cable = Cable(fresh, wire, multicast=False)
    donald = cable.firewall(0)
    cable.wire = {"openbsd": "freebsd-1400", "freebsd-1400": "openbsd"}[wire]
    daisy = cable.firewall(1)
    donald.create(10)
    wait_for(lambda: daisy.stats()["counts"].get("badver", 0) > 0, 10, "the version to be refused")
    assert daisy.digest()["states"] == 0


# ---- two sites -------------------------------------------------------------------------------


@pytest.mark.daemon
@WIRES
@pytest.mark.parametrize("multicast", [False, True], ids=["unicast", "multicast"])
def test_across_two_sites(fresh, wire, multicast):
    both = build(fresh, wire, multicast)
    churn(both.mickey.pf, both.minnie.pf)


@pytest.mark.daemon
@WIRES
def test_5000_states(fresh, wire):
    both = build(fresh, wire)
    donald, daisy = both.mickey.pf, both.minnie.pf
    ids = donald.create(5000)
    wait_same(donald, daisy, 5000)
    daisy.update(ids)
    wait_same(donald, daisy, 5000)
    donald.remove(ids)
    wait_same(donald, daisy, 0)


@pytest.mark.daemon
@WIRES
def test_a_firewall_that_starts_anew_gets_everything(fresh, wire):
    """donald loses power, and with it its states; daisy has them all the time, and goes on."""
    both = build(fresh, wire)
    donald, daisy = both.mickey.pf, both.minnie.pf
    donald.create(300, "mixed")
    ours = daisy.create(300, "mixed")
    wait_same(donald, daisy, 600)
    before = daisy.digest()
    both.mickey.power_off()
    wait_for(lambda: not both.mickey.encsync.ready(), 10, "mickey to miss donald")
    assert daisy.digest() == before
    daisy.update(ours[:100])
    daisy.create(100, "mixed")
    daisy.remove(ours[200:250])
    donald = both.mickey.power_on()
    wait_same(donald, daisy, 650)
    # And it works as before.
    donald.remove(donald.create(10))
    donald.create(10)
    wait_same(donald, daisy, 660)


@pytest.mark.daemon
@WIRES
def test_a_flush_on_one_side_clears_what_it_made(fresh, wire):
    both = build(fresh, wire)
    donald, daisy = both.mickey.pf, both.minnie.pf
    donald.create(100, "mixed")
    theirs = daisy.create(100, "mixed")
    wait_same(donald, daisy, 200)
    donald.clear()
    wait_for(lambda: daisy.ids() == set(theirs), 10, "donald's states to be gone")
    assert donald.digest()["states"] == 0
