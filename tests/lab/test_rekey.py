# SPDX-License-Identifier: ISC
"""An hour of rekeys in half a minute: not one state change is lost."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import conntrack
import sync
from conntrack import keys
from lab import wait_for
from pair import SERVER
from traffic import Sessions

pytestmark = pytest.mark.daemon

SECONDS = 30
SHORT = {"lifetime": "6s", "margintime": "2s", "ikelifetime": "15s"}


@pytest.fixture(scope="module")
def instances(pair):
    both = sync.equip(pair, conn=SHORT)
    for instance in both:
        instance.start()
        # So that a flow that was lost is still missing at the end.
        instance.node.sysctl({"net/netfilter/nf_conntrack_udp_timeout": 600})
    sync.wait_in_step(*both)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    return both


def change_all_the_time(pair, instance, seconds: float) -> tuple[int, set[str]]:
    """Flows by real traffic and by conntrack, created and deleted. Returns how many must remain,
    and the SPIs that were used meanwhile."""
    sessions = Sessions(pair, size=1_000_000)
    made = int(40 * seconds)
    load = sessions.start_flows(made, 40)
    spis, number, log = set(), 0, len(instance.log())
    end = time.monotonic() + seconds
    while time.monotonic() < end or load.last("flows") is None:
        conntrack.insert(pair.mickey, "10.0.0.40", SERVER[0], 1000 + number, 443)
        if number % 2:
            conntrack.delete(pair.mickey, "10.0.0.40", SERVER[0], 1000 + number - 1, 443)
        number += 1
        spis.add(instance.peer("minnie")["spi_in"])
        time.sleep(0.05)
    assert load.last("flows")["answered"] == made
    assert "peer minnie: down" not in instance.log()[log:]
    sessions.server.process.kill()
    return made + number - number // 2, spis


def same_in_the_end(pair, expected: int) -> None:
    def equal() -> bool:
        mickey, minnie = (keys(pair.flows(node)) for node in pair.firewalls)
        return mickey == minnie and len(mickey) == expected

    wait_for(equal, 10, f"both kernels to hold the same {expected} flows", 0.1)


def test_natural_rekeys_lose_nothing(pair, instances):
    for node in pair.firewalls:
        conntrack.flush(node)
    expected, spis = change_all_the_time(pair, instances[0], SECONDS)
    # A CHILD_SA lives four to six seconds: fewer changes would mean that nothing was tested.
    assert len(spis) >= 4
    same_in_the_end(pair, expected)


def test_rotation_of_the_sas_under_load_loses_nothing(pair, instances):
    for node in pair.firewalls:
        conntrack.flush(node)
    mickey = instances[0]
    with ThreadPoolExecutor() as pool:
        load: Future = pool.submit(change_all_the_time, pair, mickey, 8)
        for _ in range(3):
            before = mickey.peer("minnie")["spi_out"]
            mickey.command("keys", "rotate", "--what", "sa")
            wait_for(lambda: mickey.peer("minnie")["spi_out"] not in (before, None, ""), 10,
                     "new SAs")
        expected, spis = load.result()
    assert len(spis) >= 3
    same_in_the_end(pair, expected)


def test_rotation_of_the_identity_under_load_loses_nothing(pair, instances):
    """mickey creates a second key, minnie is told of it, mickey retires the first one."""
    for instance in instances:
        # With lifetimes so short that one SA is always being closed, charon postpones
        # reauthentication.
        instance.stop()
        conntrack.flush(instance.node)
        instance.conn.clear()
        instance.write_config()
        instance.start()
    sync.wait_in_step(*instances)
    mickey, minnie = instances

    def fingerprints(instance, *verb) -> str:
        return instance.command("keys", *verb, "--json").stdout

    old = fingerprints(mickey, "show")
    with ThreadPoolExecutor() as pool:
        load: Future = pool.submit(change_all_the_time, pair, mickey, 10)
        shown = minnie.peer("mickey")["key"]
        mickey.command("keys", "rotate", "--what", "identity")
        # The new identity is used at once, so that no SA depends on the old one.
        wait_for(lambda: minnie.peer("mickey")["key"] != shown, 15, "minnie to see the new key")
        wait_for(lambda: len(minnie.json("keys", "list")) == 1, 10, "minnie to drop the old key")
        expected, _ = load.result()
    assert "cut off" not in minnie.log()
    same_in_the_end(pair, expected)
    assert fingerprints(mickey, "show") != old
    # And a complete new negotiation, without any of the old SAs.
    minnie.restart()
    sync.wait_in_step(*instances)
    same_in_the_end(pair, expected)
