# SPDX-License-Identifier: ISC
"""Two gateways at one site, as keepalived gives them their roles: mickey dies, gladstone takes over.

    donald ---- segment ---- mickey    ====
     (pf)          \\                       switch ==== minnie ---- daisy (pf)
                    ------- gladstone  ====
"""

from __future__ import annotations

import pytest

import sites
import sync
from lab import Lab, wait_for
from pf_end import GROUP
from pf_firewall import PfFirewall
from sites import LEFT, MICKEY, MINNIE, RIGHT
from two_pf import DAISY, DONALD, TIMEOUTS, WIRES, settle, wait_same

pytestmark = pytest.mark.daemon

GLADSTONE, SECOND_LEFT = "192.168.1.101", "172.16.0.11"


class Pair:
    def __init__(self, lab: Lab, wire: str):
        segment, switch = lab.switch("segment"), lab.switch("syncsw")
        addresses = {"mickey": MICKEY, "gladstone": GLADSTONE, "minnie": MINNIE}
        self.firewall = lab.node("donald")
        lab.plug(self.firewall, "cable", segment, f"{RIGHT}/24")

        def gateway(name: str, left: str, role: str) -> sync.Encsync:
            node = lab.node(name)
            lab.plug(node, "cable", segment, f"{left}/24")
            peers = {"donald": RIGHT} | {n: a for n, a in addresses.items() if n != name}
            return sync.Encsync(
                node, peers, left=addresses[name], setup={"table": "relay", "role": role},
                conn={"wire": wire},
                each={"donald": {"left": left, "type": "cable", "syncdev": "cable",
                                 "multicast": "yes"}})

        self.mickey = gateway("mickey", LEFT, "active")
        self.gladstone = gateway("gladstone", SECOND_LEFT, "standby")
        self.far = sites.Site(lab, "minnie", "daisy", MINNIE, ("mickey", MICKEY), wire=wire)
        self.minnie = self.far.encsync
        self.minnie.peers["gladstone"] = GLADSTONE
        self.minnie.write_config()
        self.gateways = self.mickey, self.gladstone, self.minnie
        for each in self.gateways:
            lab.plug(each.node, "sync", switch, f"{addresses[each.name]}/16")
        sync.introduce(*self.gateways)
        for each in self.gateways:
            each.start()
        for each in self.gateways:
            wait_for(lambda: all(peer["state"] == "up" for peer in each.status()["peers"]), 30,
                     f"all peers of {each.name} to be up")
        self.donald = PfFirewall(self.firewall, "cable", RIGHT, GROUP, dialect=wire, hostid=DONALD,
                                 timeouts=TIMEOUTS)
        self.daisy = PfFirewall(self.far.firewall, "cable", RIGHT, LEFT, dialect=wire,
                                hostid=DAISY, timeouts=TIMEOUTS)
        settle(self.donald, self.daisy)


@WIRES
def test_nothing_is_lost_when_a_gateway_dies_under_load(fresh, wire):
    pair = Pair(fresh, wire)
    donald, daisy = pair.donald, pair.daisy
    ours, theirs = donald.create(500, "mixed"), daisy.create(500, "mixed")
    wait_same(donald, daisy, 1000)
    assert pair.gladstone.peer("donald")["relay"]["relayed"] == 0, "a standby gateway is silent"
    wait_for(lambda: pair.gladstone.status()["relay"]["states"] == 1000, 10, "it to know all states")
    pair.mickey.kill()
    # Until keepalived notices, nobody passes anything on.
    donald.create(100, "mixed")
    donald.update(ours[:50])
    donald.remove(ours[50:100])
    theirs += daisy.create(100, "mixed")
    daisy.remove(theirs[:50])
    assert donald.digest() != daisy.digest()
    pair.gladstone.command("role", "active")
    donald.create(100, "mixed")
    daisy.remove(theirs[50:60])
    wait_same(donald, daisy, 1190)
    # And the other way round: mickey is back, as standby, and takes over again.
    pair.mickey.setup["role"] = "standby"
    pair.mickey.write_config()
    pair.mickey.start()
    wait_for(lambda: pair.mickey.status()["relay"]["states"] == 1190, 30, "mickey to know all states")
    pair.gladstone.command("role", "standby")
    donald.create(10, "mixed")
    pair.mickey.command("role", "active")
    wait_same(donald, daisy, 1200)


def test_with_both_on_standby_nothing_passes(fresh):
    """The twin: what makes the difference is the role."""
    pair = Pair(fresh, "openbsd")
    pair.mickey.command("role", "standby")
    pair.donald.create(10)
    pair.daisy.create(10)
    with pytest.raises(Exception, match="in vain"):
        wait_same(pair.donald, pair.daisy, 20, timeout=4)
    assert (pair.donald.digest()["states"], pair.daisy.digest()["states"]) == (10, 10)
    pair.gladstone.command("role", "active")
    wait_same(pair.donald, pair.daisy, 20)
