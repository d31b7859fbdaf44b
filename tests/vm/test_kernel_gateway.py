# SPDX-License-Identifier: ISC
"""Gateways whose ESP is the kernel's: a cable in clear beside a tunnel, both ways."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import mallory
import sites
from lab import wait_for
from pf_end import PfEnd
from sites import LEFT, MINNIE, RIGHT

PATIENCE = 60
CREATOR = 0x0A0B0C0D
STATES = [mallory.full_state(n, CREATOR) for n in range(1, 101)]
ATTACKER = "192.168.3.1"

pytestmark = pytest.mark.daemon


class Site(sites.Site):
    def __init__(self, *args):
        super().__init__(*args)
        self.encsync.setup["ipsec"] = "kernel"
        self.encsync.write_config()
        self.pf = PfEnd(self.firewall, "cable", RIGHT)

    def insert(self, states: list[bytes]) -> None:
        for at in range(0, len(states), 5):
            message = mallory.pfsync(mallory.ACTION_INS, *states[at : at + 5])
            self.pf.send(mallory.ipv4(RIGHT, LEFT, message))

    def holds(self, state: bytes) -> bool:
        """It has come to the firewall, byte for byte."""
        return any(state.hex() in packet["payload"] for packet in self.pf.received())


def test_states_pass_from_cable_to_cable_and_nothing_else_does(fresh):
    both = sites.Sites(fresh, site=Site)
    attacker = both.attacker(f"{ATTACKER}/16")
    spy = mallory.Mallory(SimpleNamespace(mallory=attacker))
    for site in both.all:
        site.encsync.start()
    both.wait_ready(PATIENCE)
    assert [site.encsync.status()["ipsec"]["mode"] for site in both.all] == ["kernel", "kernel"]

    both.mickey.insert(STATES[:50])
    both.minnie.insert(STATES[50:])
    wait_for(lambda: all(both.minnie.holds(s) for s in STATES[:50]), PATIENCE, "them at daisy", 0.5)
    wait_for(lambda: all(both.mickey.holds(s) for s in STATES[50:]), PATIENCE, "and at donald", 0.5)
    parts = {"exact": [s[:8] for s in STATES], "bare": []}
    seen = spy.look(parts)
    assert seen.leaks == [] and seen.clear_pfsync == 0 and seen.esp > 0
    # Control: the same search finds them on the cable.
    assert all(any(part.hex() in packet["payload"] for packet in both.minnie.pf.received())
               for part in parts["exact"][:50])

    # What opens the cable opens nothing else: in clear on the switch, also as that firewall.
    other = mallory.full_state(999, CREATOR)
    message = mallory.pfsync(mallory.ACTION_INS, other)
    clear = PfEnd(attacker, "eth0", ATTACKER)
    minnie = both.minnie.encsync
    before = sum(minnie.refused().values())
    for source in (sites.MICKEY, RIGHT):
        clear.send(mallory.ipv4(source, MINNIE, message))
    wait_for(lambda: sum(minnie.refused().values()) == before + 2, PATIENCE, "two refusals", 0.5)
    assert not both.minnie.holds(other) and not both.mickey.holds(other)
    # Control: from the cable it is a state as any other.
    both.mickey.insert([other])
    wait_for(lambda: both.minnie.holds(other), PATIENCE, "it at daisy", 0.5)
