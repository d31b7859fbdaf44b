# SPDX-License-Identifier: ISC
"""The demo's takeover, with ESP by the kernels of both firewalls. The addresses are moved by hand:
on an emulated processor keepalived may miss its own timers."""

from __future__ import annotations

import re

import conntrack
import pytest
import sync
from lab import wait_for
from pair import SERVER, VIP_INSIDE, VIP_OUTSIDE, FirewallPair
from traffic import BASE, ECHO, Program

PATIENCE = 60
SESSIONS = 10


def own_addresses(pair: FirewallPair, node) -> None:
    node.ip(f"addr add {VIP_INSIDE[0]}/24 dev inside", f"addr add {VIP_OUTSIDE[0]}/24 dev outside")
    for end in (pair.client, pair.server):
        end.ip("neigh flush all")


def sessions_of(pair: FirewallPair, node) -> set[conntrack.Flow]:
    return {f for f in pair.flows(node) if f.proto == "tcp" and f.orig.dport == BASE[4] + ECHO}


def invalid(node) -> int:
    """Packets of sessions that this firewall does not know."""
    rules = node.run("nft", "list", "chain", "inet", "firewall", "forward").stdout
    return int(re.search(r"invalid counter packets (\d+)", rules)[1])


@pytest.mark.parametrize("with_sync", [True, False])
def test_no_session_breaks_unless_sync_is_off(fresh, with_sync):
    pair = FirewallPair(fresh)
    mickey, minnie = pair.firewalls
    instances = sync.equip(pair, setup={"ipsec": "kernel"}) if with_sync else []
    for instance in instances:
        instance.start()
    if instances:
        sync.wait_in_step(*instances, timeout=PATIENCE)
        instances[0].command("role", "active")
        instances[1].command("role", "standby")
    own_addresses(pair, mickey)
    server = Program(pair.server, "server", BASE[4], 1, 1)
    server.wait("ready", PATIENCE)
    client = Program(pair.client, "idle", SERVER[0], BASE[4], SESSIONS)
    assert client.wait("open", PATIENCE)["good"] == SESSIONS
    assert len(sessions_of(pair, mickey)) == SESSIONS
    if with_sync:
        wait_for(lambda: conntrack.keys(sessions_of(pair, minnie)) ==
                 conntrack.keys(sessions_of(pair, mickey)), PATIENCE, "minnie to know them", 0.2)

    pair.power_off(mickey)
    if with_sync:
        instances[1].command("role", "active")
    own_addresses(pair, minnie)
    client.say("speak")
    if with_sync:
        assert client.wait("used_dialect", PATIENCE)["good"] == SESSIONS
        assert invalid(minnie) == 0
    else:
        wait_for(lambda: invalid(minnie) >= SESSIONS, PATIENCE, "minnie to see their packets", 0.2)
        assert not [e for e in client.events("answers") if e["word"] == "again" and e["good"]]
