# SPDX-License-Identifier: ISC
"""The clock is set, forward and back: nothing here depends on it. In a machine of its own, since no
namespace has a wall clock of its own."""

from __future__ import annotations

import time

import pytest

import conntrack
import sync
from lab import wait_for
from pair import FirewallPair
from pulse import Pulse

PATIENCE = 90
KEPT = {("10.0.0.20", port) for port in range(1024, 1024 + 100)}
DAY = 86400


@pytest.fixture(scope="module")
def instances(lab):
    pair = FirewallPair(lab)
    # A preshared key is replaced at an age, and then the SAs are.
    both = sync.equip(pair, conn={"ppkrotate": "0"})
    for instance in both:
        instance.start()
    sync.wait_settled(*both, timeout=PATIENCE)
    conntrack.insert_many(pair.mickey, len(KEPT))
    wait_for(lambda: len(pair.flows(pair.minnie)) == len(KEPT), PATIENCE, "the sessions", 0.5)
    return both


@pytest.mark.parametrize("jump", [30 * DAY, -60 * DAY, 90, -90],
                         ids=["month", "two_months_back", "minute", "minute_back"])
def test_the_clock_jumps(instances, jump, capsys):
    mickey, minnie = instances
    spis = mickey.spis() | minnie.spis()
    logs = [i.log() for i in instances]
    before = time.time()
    with Pulse(mickey.node, minnie.node) as pulse:
        time.clock_settime(time.CLOCK_REALTIME, before + jump)
        time.sleep(8)  # longer than any timeout for a peer
    assert abs(time.time() - before - jump) < PATIENCE
    sync.wait_in_step(*instances, timeout=PATIENCE)
    assert mickey.spis() | minnie.spis() == spis
    assert not any(": down" in i.log()[len(log):] for i, log in zip(instances, logs))
    assert not pulse.gone(KEPT)
    with capsys.disabled():
        print(f"\nthe clock jumps by {jump} s: no state change got through for "
              f"{pulse.silence() * 1000:.0f} ms ({pulse.made()} changes, none lost)", flush=True)
