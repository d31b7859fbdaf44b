# SPDX-License-Identifier: ISC
"""Two sites, each with a gateway and a pf firewall on its cable, and any network between.

    donald ---- mickey ==== switch ==== minnie ---- daisy
     (pf)  cable  |          (mallory)    |   cable  (pf)
"""

from __future__ import annotations

from types import SimpleNamespace

import mallory
import sync
from lab import Lab, Node, wait_for
from pf_end import GROUP

MICKEY, MINNIE = "192.168.1.100", "192.168.2.100"
LEFT, RIGHT = "172.16.0.1", "172.16.0.2"  # of each cable: the gateway, the firewall


class Site:
    """A gateway, and the node of its firewall on a cable; nothing runs in it."""

    def __init__(self, lab: Lab, name: str, firewall: str, address: str, peer: tuple[str, str],
                 multicast: bool = False, wire: str = "openbsd"):
        self.node, self.firewall = lab.node(name), lab.node(firewall)
        lab.cable(self.node, "cable", self.firewall, "cable")
        self.node.ip(f"addr add {LEFT}/24 dev cable")
        self.firewall.ip(f"addr add {RIGHT}/24 dev cable")
        self.firewall_name = firewall
        self.to = GROUP if multicast else LEFT
        self.encsync = sync.Encsync(
            self.node, {firewall: RIGHT, peer[0]: peer[1]}, left=address,
            setup={"table": "relay"}, conn={"wire": wire},
            each={firewall: {"left": LEFT, "type": "cable", "syncdev": "cable",
                             "multicast": "yes" if multicast else "no"}})


class Sites:
    """site: what makes one; it may do more than Site. Called like that."""

    def __init__(self, lab: Lab, multicast: bool = False, wire: str = "openbsd", site=Site):
        self.switch = lab.switch("syncsw", hub=True)
        self.mickey = site(lab, "mickey", "donald", MICKEY, ("minnie", MINNIE), multicast, wire)
        self.minnie = site(lab, "minnie", "daisy", MINNIE, ("mickey", MICKEY), multicast, wire)
        self.all = self.mickey, self.minnie
        for each, address in ((self.mickey, MICKEY), (self.minnie, MINNIE)):
            lab.plug(each.node, "sync", self.switch, f"{address}/16")
        sync.introduce(self.mickey.encsync, self.minnie.encsync)

    def attacker(self, *addresses: str) -> Node:
        """mallory's node, on the switch."""
        node = self.switch.lab.node("mallory")
        self.switch.lab.plug(node, "eth0", self.switch, *addresses)
        return node

    def spy(self) -> mallory.Mallory:
        return mallory.Mallory(SimpleNamespace(mallory=self.attacker()))

    def start(self) -> None:
        for site in self.all:
            site.encsync.start()
        self.wait_ready()

    def wait_ready(self, timeout: float = 20) -> None:
        for site in self.all:
            wait_for(site.encsync.ready, timeout, f"{site.encsync.name} to be ready")
