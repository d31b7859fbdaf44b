# SPDX-License-Identifier: ISC
"""Two pf firewalls (the package pf), and two sites with a gateway each between them."""

from __future__ import annotations

import pytest

import sites
from lab import Lab, wait_for
from pf_firewall import PfFirewall
from sites import RIGHT

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


def wait_same(donald: PfFirewall, daisy: PfFirewall, states: int, timeout: float = 60,
              back: int = 0) -> int:
    """Returns how many. back: so many more there may be, which a firewall has taken back. A shorter
    timeout is for those that wait in vain."""
    def same() -> dict | None:
        ours = donald.digest()
        agreed = states <= ours["states"] <= states + back and ours == daisy.digest()
        return ours if agreed else None

    try:
        return wait_for(same, timeout, "both firewalls to have the same states",
                        exactly=True)["states"]
    except Exception:  # for the report
        print("donald", donald.stats(), "daisy", daisy.stats(), *differences(donald, daisy)[:20],
              f"expected: {states} states", sep="\n")
        raise


def differences(donald: PfFirewall, daisy: PfFirewall) -> list[str]:
    """What the two do not agree on; the clocks' part left out."""
    mine, other = ({(s["id"], s["creatorid"]): s for s in pf.dump()} for pf in (donald, daisy))
    return [f"{name}: only one has it: {mine.get(name) or other.get(name)}"
            for name in mine.keys() ^ other.keys()] + [
        f"{name} ({mine[name]['wire']}, proto {mine[name]['proto']}): {field}: "
        f"{mine[name][field]} / {other[name][field]}"
        for name in mine.keys() & other.keys() for field in mine[name]
        if field not in ("age", "left") and mine[name][field] != other[name][field]]


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
