# SPDX-License-Identifier: ISC
"""Connection tracking that is not at work, because no rule asks for it. Only a kernel with
nfnetlink_hook can tell, and Debian's is one."""

from __future__ import annotations

import pytest

import sync
from lab import wait_for
from pair import FIREWALL_RULES, FirewallPair

PATIENCE = 90
WHY = "connection tracking is not at work"


@pytest.fixture(scope="module")
def instances(lab):
    both = sync.equip(FirewallPair(lab, nat=False))
    for instance in both:
        instance.start()
    sync.wait_in_step(*both, timeout=PATIENCE)
    return both


def test_a_node_without_its_ruleset_is_not_ready(instances):
    mickey, minnie = instances
    assert mickey.status()["machine"] == []
    mickey.node.run("nft", "delete", "table", "inet", "firewall")
    wait_for(lambda: not mickey.ready(), PATIENCE, "mickey not to be ready", 0.5)
    assert [c["name"] for c in mickey.status()["machine"]] == ["conntrack"]
    assert WHY in mickey.command("status").stdout
    assert WHY in mickey.command("status", "--ready", check=False).stderr
    # The twins: a node with its ruleset, and one that has it again.
    assert minnie.ready() and minnie.status()["machine"] == []
    mickey.node.nft(FIREWALL_RULES)
    wait_for(mickey.ready, PATIENCE, "mickey to be ready again", 0.5)
    assert mickey.status()["machine"] == []
    assert sum(WHY in line and "no longer" not in line
               for line in mickey.log().splitlines()) == 1
