# SPDX-License-Identifier: ISC
"""System settings that make syncing incomplete without an error: restored, or reported, and not
reported where nothing is wrong."""

from __future__ import annotations

import os
import signal

import pytest

import conntrack
import sync
from lab import PYTHON, descendants, wait_for
from pair import SERVER

pytestmark = pytest.mark.daemon

EVENTS = "net/netfilter/nf_conntrack_events"
# As with systemd's ProtectKernelTunables=.
READ_ONLY = ("unshare", "--mount", "sh", "-ec",
             'at=/proc/sys/net/netfilter; mount --bind $at $at; mount -o remount,bind,ro $at; exec "$@"',
             "sh")

CALL = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 0))
s.sendto(b"?", (sys.argv[2], 9))
"""


def complaints(instance) -> set[str]:
    return {complaint["name"] for complaint in instance.status()["machine"]}


def wait_for_complaints(instance, *names: str) -> None:
    wait_for(lambda: complaints(instance) == set(names), 15, f"{instance.name} to say {names}")


def said(instance, text: str) -> bool:
    """In the status, and once in the log."""
    return (text in instance.command("status").stdout
            and sum(text in line and "no longer" not in line
                    for line in instance.log().splitlines()) == 1)


def holds(node, port: int) -> bool:
    return any(flow.orig.sport == port for flow in conntrack.table(node))


def test_nothing_is_said_where_nothing_is_wrong(pair, instances):
    for instance in instances:
        assert complaints(instance) == set()
        assert "warning" not in instance.command("status").stdout
        assert instance.ready()


def test_a_ruleset_that_is_gone_is_missed_at_once(pair, instances):
    mickey, _ = instances
    gone = False
    while not gone:  # it is restored within a second
        pair.mickey.run("nft", "delete", "table", "inet", "encsync", check=False)
        status = mickey.status()
        gone = not status["policy"]["installed"]
        assert status["ready"] is not gone
    assert "ruleset" in status["why"]
    wait_for(mickey.ready, 10, "it to be put back")


def test_events_are_switched_on_again(pair, instances):
    """A flow that begins while events are off is found all the same."""
    mickey, _ = instances
    daemon = [mickey.daemon.pid, *descendants([mickey.daemon.pid])]
    for pid in daemon:
        os.kill(pid, signal.SIGSTOP)
    pair.mickey.sysctl({EVENTS: 0})
    conntrack.insert(pair.mickey, "10.0.0.30", SERVER[0], 2001, 443)
    for pid in daemon:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: holds(pair.minnie, 2001), 20, "the flow that raised no event to arrive")
    assert pair.mickey.run("cat", f"/proc/sys/{EVENTS}").stdout == "1\n"
    assert "nf_conntrack_events was 0; it is set to 1 again" in mickey.log()
    conntrack.insert(pair.mickey, "10.0.0.30", SERVER[0], 2002, 443)
    wait_for(lambda: holds(pair.minnie, 2002), 10, "the next to arrive")
    sync.wait_in_step(*instances, timeout=30)
    assert complaints(mickey) == set()


def test_events_that_cannot_be_switched_on(pair, instances):
    mickey, minnie = instances
    mickey.stop()
    mickey.prefix = READ_ONLY
    mickey.start()
    sync.wait_in_step(*instances, timeout=30)
    assert complaints(mickey) == set()
    pair.mickey.sysctl({EVENTS: 0})
    wait_for(lambda: not mickey.ready(), 10, "mickey not to be ready")
    assert complaints(mickey) == {"nf_conntrack_events"}
    assert said(mickey, "nf_conntrack_events is 0 and cannot be set from here")
    done = mickey.command("status", "--ready", check=False)
    assert done.returncode == 1 and "nf_conntrack_events is 0" in done.stderr
    conntrack.insert(pair.mickey, "10.0.0.30", SERVER[0], 2003, 443)
    pair.mickey.sysctl({EVENTS: 1})
    wait_for(mickey.ready, 10, "mickey to be ready again")
    wait_for(lambda: holds(pair.minnie, 2003), 10, "the flow that raised no event to arrive")
    mickey.stop()
    mickey.prefix = ()
    mickey.start()
    sync.wait_in_step(*instances, timeout=30)


@pytest.mark.parametrize("name", ["nf_conntrack_tcp_loose", "nf_conntrack_tcp_be_liberal"])
def test_nodes_that_judge_tcp_otherwise(pair, instances, name):
    pair.minnie.sysctl({f"net/netfilter/{name}": 1})
    mickey, minnie = instances
    wait_for_complaints(mickey, f"{name} minnie")
    wait_for_complaints(minnie, f"{name} mickey")
    assert said(mickey, f"{name} is 0 here and 1 on minnie")
    assert said(minnie, f"{name} is 1 here and 0 on mickey")
    assert mickey.ready() and minnie.ready()
    pair.minnie.sysctl({f"net/netfilter/{name}": 0})
    wait_for_complaints(mickey)
    wait_for_complaints(minnie)


def test_another_program_that_deletes_entries(pair, instances):
    mickey, minnie = instances

    def copies() -> int:
        return sum(flow.orig.src == "10.0.0.20" for flow in pair.flows(pair.minnie))

    conntrack.insert_many(pair.mickey, 150)
    wait_for(lambda: copies() == 150, 20, "the flows to arrive")
    for port in range(1024, 1030):  # an operator's: too few for a report
        conntrack.delete(pair.mickey, "10.0.0.20", SERVER[0], port, 443)
    wait_for(lambda: mickey.status()["table"]["removed_by_others"] == 6, 10, "it to be counted")
    wait_for(lambda: copies() == 144, 10, "their end to arrive")
    assert complaints(mickey) == set()
    conntrack.flush(pair.mickey)
    wait_for_complaints(mickey, "removed_by_others")
    assert said(mickey, "another program")
    # Entries that we delete because their owner has do not count as deleted by others.
    wait_for(lambda: copies() == 0, 10, "their end to arrive")
    assert minnie.status()["table"]["removed_by_others"] == 0
    assert complaints(minnie) == set()


def test_packets_that_the_reverse_path_filter_drops(pair, instances):
    """The last test: the report remains until the daemon is restarted."""
    mickey, _ = instances
    stranger = "203.0.113.99"
    pair.client.ip(f"addr add {stranger}/32 dev eth0")

    def call() -> None:
        pair.client.run(PYTHON, "-c", CALL, stranger, "10.0.0.2")

    setting = {f"net/ipv4/conf/{name}/rp_filter": 0 for name in ("all", "inside")}
    pair.mickey.sysctl(setting)
    call()
    strict = setting | {"net/ipv4/conf/inside/rp_filter": 1}
    pair.mickey.sysctl(strict)  # correct on many machines
    assert "rp_filter" not in complaints(mickey)
    call()
    wait_for(lambda: "rp_filter" in complaints(mickey), 10, "mickey to say so")
    assert said(mickey, "rp_filter=1 on inside")
    assert mickey.ready()
    pair.mickey.sysctl(setting)
    pair.client.ip(f"addr del {stranger}/32 dev eth0")
