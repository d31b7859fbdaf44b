# SPDX-License-Identifier: ISC
"""Two pf firewalls (the package pf) have the same states: on one cable, which shows that they do by
themselves, and with a gateway each and any network between."""

from __future__ import annotations

import pytest

import sites
from lab import Lab, wait_for
from pf_end import GROUP
from pf_firewall import PfFirewall
from sites import LEFT, RIGHT

WIRES = pytest.mark.parametrize("wire", ["openbsd", "freebsd-1400"])
DONALD, DAISY = 0x0A0B0C01, 0x0A0B0C02
# Nothing expires during a test: pf's times of those that take seconds.
TIMEOUTS = {index: 3600 for index in (0, 5, 6, 8, 9)}


def settle(donald: PfFirewall, daisy: PfFirewall) -> None:
    """Until both have had all states of the other. While a bulk update runs, pf may take back what
    it has just removed; and an OpenBSD with an empty table says an end only, which the other does
    not count, so it asks again until there are states."""
    for each in (donald, daisy):
        each.create(1)
    for each in (donald, daisy):
        wait_for(lambda: each.stats()["bulk_done"], 60, f"the bulk update of {each.node.name}")
    wait_same(donald, daisy, 2)
    for each in (donald, daisy):
        each.remove([name for name in each.ids() if name[1] == each.hostid])
    wait_same(donald, daisy, 0)


def wait_same(donald: PfFirewall, daisy: PfFirewall, states: int, timeout: float = 30) -> None:
    def same() -> bool:
        ours = donald.digest()
        return ours["states"] == states and ours == daisy.digest()

    try:
        wait_for(same, timeout, "both firewalls to have the same states")
    except Exception:
        print("donald", donald.stats(), "daisy", daisy.stats(), sep="\n")  # for the report
        raise


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


class Site(sites.Site):
    HOSTIDS = {"donald": DONALD, "daisy": DAISY}

    def __init__(self, lab, name, firewall, address, peer, multicast, wire):
        super().__init__(lab, name, firewall, address, peer, multicast, wire)
        self.wire = wire

    def power_on(self) -> PfFirewall:
        self.firewall.ip("link set cable up")
        self.pf = PfFirewall(self.firewall, "cable", RIGHT, self.to, dialect=self.wire,
                             hostid=self.HOSTIDS[self.firewall_name], timeouts=TIMEOUTS)
        return self.pf

    def power_off(self) -> None:
        self.pf.power_off()
        self.firewall.ip("link set cable down")


def build(lab: Lab, wire: str, multicast: bool = False) -> sites.Sites:
    """Gateways and firewalls, all running."""
    both = sites.Sites(lab, multicast, wire, site=Site)
    for site in both.all:
        site.power_on()
    both.start()
    settle(both.mickey.pf, both.minnie.pf)
    return both


def cut(both: sites.Sites) -> None:
    both.minnie.node.ip("link set sync down")
    for site in both.all:
        wait_for(lambda: not site.encsync.ready(), 30, f"{site.encsync.name} to miss the other")


def mend(both: sites.Sites) -> None:
    both.minnie.node.ip("link set sync up")
    both.wait_ready(60)


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
    wait_same(donald, daisy, 200)
    assert donald.ids() == set(theirs)


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
