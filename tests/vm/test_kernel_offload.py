# SPDX-License-Identifier: ISC
"""Flows whose packets pass a flowtable: for such an entry the kernel reports neither timeout nor
TCP state. The addresses are moved by hand, as in test_kernel_takeover.py."""

from __future__ import annotations

import conntrack
import pytest
import sync
from lab import wait_for
from pair import SERVER, FirewallPair
from test_kernel_takeover import own_addresses, sessions_of
from traffic import BASE, ECHO, Program

PATIENCE = 60
SESSIONS = 3
FLOWTABLE = """
table inet flowtables {
    flowtable fast {
        hook ingress priority filter
        devices = { inside, outside }
    }
    chain forward {
        type filter hook forward priority filter - 1
        meta l4proto tcp ct state established flow add @fast
    }
}
"""


def offloaded(node) -> int:
    return sum("[OFFLOAD" in line and f"dport={BASE[4] + ECHO} " in line
               for line in node.run("conntrack", "-L", "-p", "tcp").stdout.splitlines())


def told(instance: sync.Encsync) -> list[dict]:
    return [s for s in instance.json("states") if s.get("dport") == BASE[4] + ECHO]


def speak(client: Program) -> int:
    before = len(client.events("used_dialect"))
    client.say("speak")
    return wait_for(lambda: client.events("used_dialect")[before:], PATIENCE, "answers")[0]["good"]


@pytest.mark.parametrize("flowtable", [True, False])
def test_offloaded_sessions_outlive_a_restart_and_a_takeover(fresh, flowtable):
    pair = FirewallPair(fresh)
    mickey, minnie = pair.firewalls
    for node in pair.firewalls if flowtable else []:
        node.nft(FLOWTABLE)
        node.sysctl({"net/netfilter/nf_flowtable_tcp_timeout": 3600})
    instances = sync.equip(pair)
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances, timeout=PATIENCE)
    instances[0].command("role", "active")
    instances[1].command("role", "standby")
    own_addresses(pair, mickey)
    server = Program(pair.server, "server", BASE[4], 1, 1)
    server.wait("ready", PATIENCE)
    client = Program(pair.client, "idle", SERVER[0], BASE[4], SESSIONS)
    assert client.wait("open", PATIENCE)["good"] == SESSIONS
    assert speak(client) == SESSIONS
    assert offloaded(mickey) == (SESSIONS if flowtable else 0)
    wait_for(lambda: len(told(instances[1])) == SESSIONS, PATIENCE, "minnie to know them", 0.2)

    # A restarted daemon knows of them only what a dump contains.
    instances[0].restart()
    sync.wait_in_step(*instances, timeout=PATIENCE)
    for instance in instances:
        assert {s["state"] for s in told(instance)} == {"established:established"}
    # Neither the timeout of the flowtable nor its bits are copied.
    assert not any("lifetime" in s for s in told(instances[1]))
    assert offloaded(minnie) == 0
    assert {f.state for f in sessions_of(pair, minnie)} == {"ESTABLISHED"}
    assert conntrack.keys(sessions_of(pair, minnie)) == conntrack.keys(sessions_of(pair, mickey))

    pair.power_off(mickey)
    instances[1].command("role", "active")
    own_addresses(pair, minnie)
    assert speak(client) == SESSIONS
    assert offloaded(minnie) == (SESSIONS if flowtable else 0)
