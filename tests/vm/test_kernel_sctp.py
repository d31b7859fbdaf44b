# SPDX-License-Identifier: ISC
"""An SCTP association through a takeover. Its packets have verification tags, and the kernel drops
data whose tag differs from the entry's. The addresses are moved by hand, as in
test_kernel_takeover.py."""

from __future__ import annotations

import subprocess

import pytest
import sync
from lab import PYTHON, wait_for
from pair import SERVER, FirewallPair
from test_kernel_takeover import invalid, own_addresses

PATIENCE = 60
PORT = 7300

PROGRAM = """
import socket, sys
role, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)
if role == "server":
    s.bind(("", port))
    s.listen()
    print("ready", flush=True)
    s = s.accept()[0]
    while data := s.recv(99):
        s.send(data)
else:
    s.connect((address, port))
    for line in sys.stdin:
        s.send(line.encode())
        print("got", s.recv(99).decode().strip(), flush=True)
"""


@pytest.mark.parametrize("wire", ["encsync", "openbsd"])
def test_an_association_goes_on_if_its_tags_are_told(fresh, wire):
    subprocess.run(["modprobe", "sctp"], check=True)
    pair = FirewallPair(fresh, nat=False)
    mickey, minnie = pair.firewalls
    instances = sync.equip(pair, conn={"wire": wire})
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances, timeout=PATIENCE)
    instances[0].command("role", "active")
    instances[1].command("role", "standby")
    own_addresses(pair, mickey)
    server = pair.server.start(PYTHON, "-c", PROGRAM, "server", "", PORT, name="sctpd")
    wait_for(lambda: "ready" in server.output(), PATIENCE, "the SCTP server")
    client = pair.client.start(PYTHON, "-c", PROGRAM, "client", SERVER[0], PORT, name="sctp",
                               stdin=True)
    client.say("before")
    wait_for(lambda: "got before" in client.output(), PATIENCE, "an answer")
    wait_for(lambda: any(f.proto == "sctp" for f in pair.flows(minnie)), PATIENCE, "the copy", 0.2)

    pair.power_off(mickey)
    instances[1].command("role", "active")
    own_addresses(pair, minnie)
    client.say("after")
    if wire == "encsync":
        wait_for(lambda: "got after" in client.output(), PATIENCE, "an answer")
        assert invalid(minnie) == 0
    else:
        wait_for(lambda: invalid(minnie) > 0, PATIENCE, "data with a tag that is not known")
        assert "got after" not in client.output()
