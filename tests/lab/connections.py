# SPDX-License-Identifier: ISC
"""Many short connections and a long one: which messages does mickey send about them?

    pair, (mickey, minnie), messages = say(lab, setup={"delay": "3s"})
"""

from __future__ import annotations

import conntrack
import sync
from lab import PYTHON, Lab, Node, wait_for
from pair import SERVER, FirewallPair

PORT, COUNT = 5600, 40

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
# One connection that lasts until its stdin is closed; `count` short ones.
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


def say(lab: Lab, **options) -> tuple[FirewallPair, list[sync.Encsync], int]:
    """The pair after COUNT short connections and one that lasts, and how many messages mickey has
    sent meanwhile. The options are those of sync.equip()."""
    pair = FirewallPair(lab)
    both = sync.equip(pair, **options)
    for instance in both:
        instance.start()
    sync.wait_in_step(*both)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    server = pair.server.start(PYTHON, "-c", SERVE, PORT, name="server")
    wait_for(lambda: "ready" in server.output(), 10, "the server")
    said = both[0].peer("minnie")["tx_messages"]
    pair.client.run(PYTHON, "-c", MANY, SERVER[0], PORT, COUNT)
    long = pair.client.start(PYTHON, "-c", LONG, SERVER[0], PORT, name="long", stdin=True)
    wait_for(lambda: "open" in long.output(), 10, "the connection")
    # It is announced last, so all messages about the others have been sent.
    wait_for(lambda: has(pair.minnie, 4000), 15, "the long connection to reach minnie")
    return pair, both, both[0].peer("minnie")["tx_messages"] - said


def has(node: Node, port: int) -> bool:
    return any(flow.orig.sport == port for flow in conntrack.table(node))


def short(node: Node) -> int:
    """How many of the short ones the node's kernel knows."""
    return sum(5000 <= flow.orig.sport < 5000 + COUNT for flow in conntrack.table(node))
