# SPDX-License-Identifier: ISC
"""The clock is set with ESP in the kernel. The kernel's SAs expire by wall-clock time, so new ones
have to be negotiated; no change and no session is lost."""

from __future__ import annotations

import time

import conntrack
import sync
from lab import wait_for
from pair import FirewallPair
from pulse import Pulse

PATIENCE = 90
KEPT = {("10.0.0.20", port) for port in range(1024, 1024 + 100)}
DAY = 86400


def test_the_clock_jumps(fresh, capsys):
    pair = FirewallPair(fresh)
    mickey, minnie = instances = sync.equip(pair, setup={"ipsec": "kernel"})
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances, timeout=PATIENCE)
    conntrack.insert_many(pair.mickey, len(KEPT))
    wait_for(lambda: len(pair.flows(pair.minnie)) == len(KEPT), PATIENCE, "the sessions", 0.5)
    for jump in (30 * DAY, -60 * DAY):
        with Pulse(mickey.node, minnie.node) as pulse:
            time.clock_settime(time.CLOCK_REALTIME, time.time() + jump)
            time.sleep(8)  # longer than any timeout for a peer
        sync.wait_in_step(*instances, timeout=PATIENCE)
        assert not pulse.gone(KEPT)
        with capsys.disabled():
            print(f"\nthe clock jumps by {jump} s: no state change got through for "
                  f"{pulse.silence() * 1000:.0f} ms ({pulse.made()} changes, none lost)", flush=True)
