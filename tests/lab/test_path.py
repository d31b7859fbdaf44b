# SPDX-License-Identifier: ISC
"""A path that silently drops large packets: the MTU is found, and syncing continues."""

from __future__ import annotations

import pytest

import conntrack
import sync
from lab import wait_for

pytestmark = pytest.mark.daemon

PATIENCE = 60
PASSES = 1300  # bytes


@pytest.fixture(scope="module")
def instances(pair, instances):
    # So that the rules below match each datagram, and not a GSO packet of many.
    for node in pair.firewalls:
        node.ip("link set sync gso_max_segs 1")
    return instances


def path(instance: sync.Encsync) -> dict:
    return instance.json("peers")[0]["path"]


def equal(pair) -> bool:
    mickey, minnie = (conntrack.keys(pair.flows(node)) for node in pair.firewalls)
    return mickey == minnie and len(mickey) > 0


def flush(pair, instances):
    conntrack.flush(pair.mickey)
    wait_for(lambda: not pair.flows(pair.minnie), PATIENCE, "the flows to end")


def test_a_path_that_drops_nothing_keeps_its_mtu(pair, instances):
    before = path(instances[0])["probes"]
    conntrack.insert_many(pair.mickey, 2000)
    wait_for(lambda: equal(pair), PATIENCE, "both to hold the same flows")
    wait_for(lambda: path(instances[0])["probes"] > before, PATIENCE, "a probe")
    for instance in instances:
        found = path(instance)
        assert found["mtu"] == found["configured"] == 1500 and found["found"] == "configured"
        assert found["confirmed"] and found["lowered"] == 0
    flush(pair, instances)


def test_what_passes_is_found(pair, instances):
    mickey, minnie = instances
    for node in pair.firewalls:
        node.nft('table inet hole { chain drops { type filter hook prerouting priority -500;'
                 f' iifname "sync" meta length > {PASSES} counter drop; }}; }}')
    conntrack.insert_many(pair.mickey, 2000)
    wait_for(lambda: equal(pair), PATIENCE, "both to hold the same flows")
    wait_for(lambda: PASSES - 8 < path(mickey)["mtu"] <= PASSES, PATIENCE, "the size that passes")
    assert path(mickey)["found"] == "searched"
    assert "packets of 1500 bytes vanish on the path" in mickey.log()
    assert "counter packets 0" not in pair.minnie.run("nft", "list", "table", "inet", "hole").stdout
    # With it a restarted peer is synced, too.
    minnie.restart()
    sync.wait_in_step(mickey, minnie, timeout=PATIENCE)
    wait_for(lambda: equal(pair), PATIENCE, "both to hold the same flows")
    wait_for(lambda: not any(peer["missing"] for instance in instances
                             for peer in instance.json("peers")), PATIENCE, "nothing to be missing")


def test_a_path_that_carries_more_again_is_found(pair, instances):
    mickey, minnie = instances
    assert path(mickey)["mtu"] <= PASSES
    for node in pair.firewalls:
        node.run("nft", "delete", "table", "inet", "hole")
    minnie.restart()  # otherwise after ten minutes
    sync.wait_in_step(mickey, minnie, timeout=PATIENCE)
    wait_for(lambda: path(mickey)["mtu"] == 1500, PATIENCE, "the configured mtu")
    assert path(mickey)["found"] == "configured"
    flush(pair, instances)
