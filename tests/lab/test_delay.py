# SPDX-License-Identifier: ISC
"""delay= with real traffic: short connections are not worth a word, long ones arrive."""

from __future__ import annotations

import pytest

import conntrack
import sync
from lab import PYTHON, wait_for
from pair import SERVER, FirewallPair

pytestmark = pytest.mark.daemon

PORT, SHORT, DELAY = 5600, 40, 3

SERVE = """
import socket, sys, threading
s = socket.create_server(("", int(sys.argv[1])), backlog=100)
print("ready", flush=True)
def serve(c):
    while data := c.recv(999):
        c.send(data)
    c.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
# One connection that lasts until it is told to end; `count` short ones.
LONG = """
import socket, sys
c = socket.create_connection((sys.argv[1], int(sys.argv[2])), source_address=("", 4000))
c.send(b"x"); assert c.recv(9) == b"x"
print("open", flush=True)
sys.stdin.read()
"""
MANY = """
import socket, sys
for n in range(int(sys.argv[3])):
    c = socket.create_connection((sys.argv[1], int(sys.argv[2])), source_address=("", 5000 + n))
    c.send(b"x"); assert c.recv(9) == b"x"
    c.shutdown(socket.SHUT_WR); assert c.recv(9) == b""
    c.close()
"""


def traffic(fresh, delay: str) -> tuple[FirewallPair, list[sync.Encsync], int]:
    """The pair after SHORT short connections and one that lasts; what mickey said meanwhile."""
    pair = FirewallPair(fresh)
    both = sync.equip(pair, setup={"delay": delay})
    for instance in both:
        instance.start()
    sync.wait_in_step(*both)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    server = pair.server.start(PYTHON, "-c", SERVE, PORT, name="server")
    wait_for(lambda: "ready" in server.output(), 10, "the server")
    said = both[0].peer("minnie")["tx_messages"]
    pair.client.run(PYTHON, "-c", MANY, SERVER[0], PORT, SHORT)
    long = pair.client.start(PYTHON, "-c", LONG, SERVER[0], PORT, name="long", stdin=True)
    wait_for(lambda: "open" in long.output(), 10, "the connection")
    # It is the last to be told of: what is to be said of the others has been said then.
    wait_for(lambda: has(pair.minnie, 4000), 10 + DELAY, "the long connection to reach minnie")
    return pair, both, both[0].peer("minnie")["tx_messages"] - said


def has(node, port: int) -> bool:
    return any(flow.orig.sport == port for flow in conntrack.table(node))


def short(node) -> int:
    return sum(5000 <= flow.orig.sport < 5000 + SHORT for flow in conntrack.table(node))


def test_short_connections_are_not_sent_and_long_ones_are(fresh):
    pair, (mickey, _), messages = traffic(fresh, f"{DELAY}s")
    assert short(pair.mickey) == SHORT  # the kernel remembers them, in TIME_WAIT
    assert short(pair.minnie) == 0
    assert messages <= 2
    assert mickey.peer("minnie")["withheld"] == SHORT


def test_without_delay_all_are_sent(fresh):
    pair, (mickey, _), messages = traffic(fresh, "0")
    assert short(pair.minnie) == SHORT
    assert messages > SHORT  # a change may be merged with the next
    assert mickey.peer("minnie")["withheld"] == 0


def test_bulk_leaves_out_the_young_and_they_follow(fresh):
    pair = FirewallPair(fresh)
    both = mickey, minnie = sync.equip(pair, setup={"delay": "20s"})
    for instance in both:
        instance.start()
    sync.wait_in_step(*both)
    conntrack.insert(pair.mickey, "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: mickey.peer("minnie")["withheld"] == 1, 10, "mickey to know of it")
    received = minnie.peer("mickey")["bulk"]["received"]
    minnie.command("bulk", "mickey")
    wait_for(lambda: minnie.peer("mickey")["bulk"]["received"] > received, 10, "the bulk update")
    assert not has(pair.minnie, 2000)
    # Who steps down tells of it at once, long before its time.
    mickey.command("role", "standby")
    wait_for(lambda: has(pair.minnie, 2000), 10, "the flow to reach minnie")
