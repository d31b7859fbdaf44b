# SPDX-License-Identifier: ISC
"""delay= with real traffic: short connections are not announced, long ones are."""

from __future__ import annotations

import pytest

import conntrack
import sync
from connections import COUNT, has, say, short
from lab import wait_for
from pair import SERVER, FirewallPair

pytestmark = pytest.mark.daemon


def test_short_connections_are_not_sent_and_long_ones_are(fresh):
    pair, (mickey, _), messages = say(fresh, setup={"delay": "3s"})
    assert short(pair.mickey) == COUNT  # the kernel keeps them in TIME_WAIT
    assert short(pair.minnie) == 0
    assert messages <= 2
    assert mickey.peer("minnie")["suppressed"] == COUNT


def test_without_delay_all_are_sent(fresh):
    pair, (mickey, _), messages = say(fresh, setup={"delay": "0"})
    assert short(pair.minnie) == COUNT
    assert messages > COUNT  # several changes may be in one message
    assert mickey.peer("minnie")["suppressed"] == 0


def test_bulk_leaves_out_the_young_and_they_follow(fresh):
    pair = FirewallPair(fresh)
    both = mickey, minnie = sync.equip(pair, setup={"delay": "20s"})
    for instance in both:
        instance.start()
    sync.wait_in_step(*both)
    conntrack.insert(pair.mickey, "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: mickey.peer("minnie")["suppressed"] == 1, 10, "mickey to know of it")
    received = minnie.peer("mickey")["bulk"]["received"]
    minnie.command("bulk", "mickey")
    wait_for(lambda: minnie.peer("mickey")["bulk"]["received"] > received, 10, "the bulk update")
    assert not has(pair.minnie, 2000)
    # A node that becomes standby announces it at once, before the delay is over.
    mickey.command("role", "standby")
    wait_for(lambda: has(pair.minnie, 2000), 10, "the flow to reach minnie")
