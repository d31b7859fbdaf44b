# SPDX-License-Identifier: ISC
"""What keepalived makes of what encsync says: who serves goes on whatever becomes of encsyncd, and
there is always one that serves."""

from __future__ import annotations

import signal
import time

import pytest

import sync
from lab import wait_for
from pair import SERVER, VIP_OUTSIDE, FirewallPair

pytestmark = pytest.mark.daemon

HANGS = 8  # seconds: the check fails twice, after three seconds each


@pytest.fixture
def served(fresh):
    """A pair in step. mickey is to serve, and minnie to stand by."""
    pair = FirewallPair(fresh)
    return pair, *sync.begin(pair)


def hang(pair, mickey) -> set:
    """encsyncd hangs on mickey for a while. Returns who has served meanwhile."""
    wait_for(lambda: mickey.status()["role"] == "active", 20, "mickey to know that it serves")
    mickey.signal_all(signal.SIGSTOP)
    seen, end = set(), time.monotonic() + HANGS
    while time.monotonic() < end:
        seen.add(pair.owner())
        time.sleep(0.2)
    mickey.signal_all(signal.SIGCONT)
    return seen


def test_a_daemon_that_hangs_takes_nothing_from_who_serves(served):
    pair, mickey, minnie = served
    sync.promote(pair, (mickey, minnie))
    assert hang(pair, mickey) == {pair.mickey}
    sync.wait_in_step(mickey, minnie)


def test_if_only_encsyncd_is_asked_it_does(served):
    pair, mickey, minnie = served
    for instance in (mickey, minnie):
        pair.start_keepalived(instance.node, ready=instance.ready_argv(),
                              follow=instance.argv("keepalived", "--group", "firewall"))
        if instance is mickey:
            pair.wait_owner(pair.mickey)
    assert hang(pair, mickey) != {pair.mickey}


def flow(node, src: str, sport: int) -> None:
    """A flow to the server that has the shared address and port 40000 there."""
    node.run("conntrack", "-I", "-p", "udp", "-s", src, "-d", SERVER[0], "-r", SERVER[0], "-q",
             VIP_OUTSIDE[0], "--sport", sport, "--dport", 53, "--reply-port-src", 53,
             "--reply-port-dst", 40000, "-t", 600, "-u", "SEEN_REPLY,ASSURED")


def test_one_missing_state_does_not_leave_everybody_without_a_firewall(served):
    """minnie cannot have it, as a flow of its own has that port. While mickey serves, minnie may not be
    promoted; once mickey cannot, it must be."""
    pair, mickey, minnie = served
    sync.promote(pair, (mickey, minnie))
    flow(pair.minnie, "203.0.113.3", 5000)
    flow(pair.mickey, "10.0.0.10", 1000)
    wait_for(lambda: not minnie.ready(), 20, "minnie to lack a state")
    time.sleep(HANGS)  # that lasts
    assert not minnie.ready() and pair.owner() is pair.mickey
    assert minnie.status()["peers"][0]["missing"] == {"clash": 1}
    pair.mickey.ip("link set outside down")
    pair.wait_owner(pair.minnie)
