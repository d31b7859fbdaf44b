# SPDX-License-Identifier: ISC
"""Flows that a node's kernel lacks: entries that another program deleted, with and without an
event, and flows that got the same NAT port on two nodes."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

import conntrack
import sync
from conntrack import keys
from lab import PYTHON, wait_for
from pair import SERVER, VIP_OUTSIDE

pytestmark = pytest.mark.daemon

FLOWS, PORTS, FIRST = 3000, 20, 40000
HANGS = 60
EVENTS = "net/netfilter/nf_conntrack_events"

# The ports that NAT may choose for DNS are all used by this many flows.
NAT = f"""
table inet clash {{
    chain postrouting {{
        type nat hook postrouting priority srcnat - 1
        oifname "outside" udp dport 53 snat ip to {VIP_OUTSIDE[0]}:{FIRST}-{FIRST + PORTS - 1}
    }}
}}
"""
# A datagram from each of these ports, without waiting for an answer.
SEND = f"""
import socket, sys
for port in range(int(sys.argv[2]), int(sys.argv[3])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((sys.argv[1], port))
    s.sendto(b"?", ("{SERVER[0]}", int(sys.argv[4])))
"""


@pytest.fixture(scope="module")
def instances(pair):
    both = sync.equip(pair, setup={"sweep": "5s"})
    for node in pair.firewalls:
        node.sysctl({"net/netfilter/nf_conntrack_udp_timeout": 600})
        node.nft(NAT)
    for instance in both:
        instance.start()
    sync.wait_in_step(*both)
    return both


@pytest.fixture
def clean(pair, instances):
    for node in pair.firewalls:
        conntrack.flush(node)
    wait_for(lambda: not any(pair.flows(node) for node in pair.firewalls), HANGS, "empty tables")
    sync.wait_in_step(*instances, timeout=HANGS)
    return instances


def missing(instance) -> dict:
    return instance.status()["peers"][0]["missing"]


def wait_equal(pair, count: int, timeout: float = HANGS) -> None:
    def equal() -> bool:
        mickey, minnie = (keys(pair.flows(node)) for node in pair.firewalls)
        return mickey == minnie and len(mickey) == count

    wait_for(equal, timeout, f"both kernels to hold the same {count} flows", 0.1)


# ---- deleted ---------------------------------------------------------------------------------


def test_a_flushed_standby_is_full_again_or_says_that_it_is_not_ready(pair, clean):
    _, minnie = clean
    conntrack.insert_many(pair.mickey, FLOWS)
    wait_equal(pair, FLOWS)
    put_back = minnie.status()["table"]["put_back"]
    conntrack.flush(pair.minnie)
    flushed = time.monotonic()
    wait_for(lambda: not minnie.ready() or minnie.status()["table"]["put_back"] > put_back, HANGS,
             "minnie to notice")
    while True:
        before = len(pair.flows(pair.minnie))
        ready = minnie.ready()
        after = len(pair.flows(pair.minnie))
        # The kernel deletes faster than its events can be read: one second is allowed for that.
        assert (not ready or max(before, after) > FLOWS * 0.98
                or time.monotonic() < flushed + 1), (before, after)
        if after == FLOWS:
            break
    sync.wait_in_step(*clean)
    wait_equal(pair, FLOWS)
    assert missing(minnie) == {}
    # Control: on the owner this is the end of the flows.
    conntrack.flush(pair.mickey)
    wait_equal(pair, 0)


def copies_without_events(pair, count: int) -> None:
    """An entry made while the switch is 0 reports nothing, and encsyncd soon sets it to 1: before
    that, all must be there. So nothing here starts a program but the one that makes the flows."""
    def of_minnie(setting: str) -> int:
        with pair.minnie.entered():
            return int(Path(f"/proc/sys/net/netfilter/{setting}").read_text())

    for _ in range(50):
        others = of_minnie("nf_conntrack_count")
        pair.minnie.sysctl({EVENTS: 0})
        conntrack.insert_many(pair.mickey, count)
        wait_for(lambda: of_minnie("nf_conntrack_count") >= others + count
                 or of_minnie("nf_conntrack_events"), HANGS, "all copies, or the switch to be 1")
        if of_minnie("nf_conntrack_events") == 0:
            wait_equal(pair, count)
            return
        conntrack.flush(pair.mickey)
        wait_equal(pair, 0)
    pytest.fail("events were always switched on before all copies were there")


def test_copies_deleted_without_an_event_are_put_back(pair, clean):
    _, minnie = clean
    copies_without_events(pair, 100)
    events = minnie.status()["table"]["events"]
    pair.minnie.run("conntrack", "-D", "-p", "tcp")
    wait_equal(pair, 100)
    assert minnie.status()["table"]["events"] == events
    pair.minnie.sysctl({EVENTS: 1})


def test_an_end_of_which_no_event_tells(pair, clean):
    """The kernel reports only the beginning of the owner's flows."""
    pair.mickey.nft("""
        table inet narrow {
            chain forward {
                type filter hook forward priority filter - 1
                udp dport 54 ct event set new
            }
        }""")
    send(pair, "mickey", 3000, 10, dport=54)
    send(pair, "mickey", 3100, 10, dport=55)
    wait_equal(pair, 20)
    pair.mickey.run("conntrack", "-D", "-p", "udp", "--dport", "54")
    # The others exist. The next dump comes after 200 times the duration of the last one.
    wait_equal(pair, 10, 4 * HANGS)
    pair.mickey.run("nft", "delete", "table", "inet", "narrow")


# ---- clashes ---------------------------------------------------------------------------------


def send(pair, through: str, first: int, count: int, dport: int = 53) -> None:
    """This many flows from ports of the client, through that firewall."""
    router = {"mickey": "10.0.0.2", "minnie": "10.0.0.3"}[through]
    pair.client.ip(f"route replace {SERVER[0]} via {router}")
    pair.client.run(PYTHON, "-c", SEND, "10.0.0.10", first, first + count, dport)


def ports_of(flows) -> list[int]:
    return sorted(flow.orig.sport for flow in flows)


@pytest.mark.parametrize("roles", [("active", "standby"), ("standby", "active"),
                                   ("active", "active"), ("auto", "auto")], ids="-".join)
def test_one_nat_port_for_two_flows(pair, clean, roles):
    """Both nodes were active for a while and did not hear each other. Of each two flows one
    continues, the same on both nodes; the active node's if there is just one."""
    mickey, minnie = clean
    pair.minnie.ip("link set sync down")
    wait_for(lambda: all(i.status()["peers"][0]["state"] != "up" for i in clean), HANGS,
             "both to be alone")
    for instance in clean:
        instance.command("role", "active")
    send(pair, "mickey", 1000, PORTS)
    send(pair, "minnie", 2000, PORTS)
    for first, node in ((1000, pair.mickey), (2000, pair.minnie)):
        send(pair, node.name, first + 500, 5, dport=5353)  # control: these do not clash
        flows = pair.flows(node)
        assert sorted(f.reply.dport for f in flows if f.orig.dport == 53) == list(
            range(FIRST, FIRST + PORTS))
    before = [i.status()["table"]["clashes"] for i in clean]
    for instance, role in zip(clean, roles):
        instance.command("role", role)
    pair.minnie.ip("link set sync up")
    wait_equal(pair, PORTS + 10)
    flows = pair.flows(pair.mickey)
    assert len([f for f in flows if f.orig.dport == 5353]) == 10
    won = ports_of(f for f in flows if f.orig.dport == 53)
    assert won in (list(range(1000, 1000 + PORTS)), list(range(2000, 2000 + PORTS)))
    if roles.count("active") == 1:
        assert won[0] == (1000, 2000)[roles.index("active")]
    sync.wait_in_step(*clean, timeout=HANGS)
    wait_for(lambda: missing(mickey) == missing(minnie) == {}, HANGS, "nothing to be missing")
    ended = [i.status()["table"]["clashes"] - n for i, n in zip(clean, before)]
    assert sum(ended) >= PORTS
    lost, kept = (10, 20) if won[0] == 2000 else (20, 10)
    assert re.search(rf"10\.0\.0\.10:{lost}\d\d .* has ended: another node gave its NAT port to "
                     rf".*10\.0\.0\.10:{kept}\d\d ", mickey.log() + minnie.log())
    for instance in clean:
        instance.command("role", "auto")
