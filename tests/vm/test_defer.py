# SPDX-License-Identifier: ISC
"""defer= on a kernel that can: the first packet of a flow leaves when the peer has the flow.

mickey's capture of all of his interfaces shows the order: the packet comes in on `inside`, the flow
is announced through the tunnel on `sync`, the peer's answer comes back there, the packet leaves on
`outside`.
"""

from __future__ import annotations

import os
import re
import signal

import pytest

import conntrack
import sync
from lab import PYTHON, Node, wait_for
from pair import SERVER, VIP_INSIDE, VIP_OUTSIDE, FirewallPair

HOLD = 0.020
PORT = 5700

COLLECT = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
s.bind(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    print("got", s.recv(99).decode(), flush=True)
"""
# One datagram of a flow of its own for each source port of first..last.
SEND = """
import socket, sys
for port in range(int(sys.argv[3]), int(sys.argv[4]) + 1):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    s.sendto(str(port).encode(), (sys.argv[1], int(sys.argv[2])))
"""


class Capture:
    """What passes through a node, in the order of the kernel."""

    def __init__(self, node: Node):
        self.process = node.start("tcpdump", "-i", "any", "-n", "-tt", "-l", "--immediate-mode",
                                  f"udp port 4500 or udp port {PORT}", name="tcpdump")
        wait_for(lambda: "listening on any" in self.process.errors(), 20, "tcpdump to listen")

    def packets(self) -> list[tuple[float, str, str, str]]:
        """Time, interface, In or Out, the rest."""
        return [(float(time), name, way, rest) for time, name, way, rest in
                re.findall(r"^(\d+\.\d+) (\w+) +(In|Out) +(.*)$", self.process.output(), re.M)]

    def of(self, port: int) -> tuple[int, int]:
        """Where the datagram came in, and where it left."""
        came = left = -1
        for n, (_, name, way, rest) in enumerate(self.packets()):
            # It leaves with a port that NAT has chosen, so by its place: tests send one at a time.
            if name == "inside" and way == "In" and f".{port} > " in rest:
                came = n
            elif came >= 0 and left < 0 and name == "outside" and way == "Out":
                left = n
        return came, left


@pytest.fixture(scope="module")
def deferring(lab):
    pair = FirewallPair(lab)
    both = sync.equip(pair, setup={"defer": "yes"})
    for instance in both:
        instance.start()
    sync.wait_in_step(*both, timeout=90)
    pair.mickey.ip(f"addr add {VIP_INSIDE[0]}/24 dev inside",
                   f"addr add {VIP_OUTSIDE[0]}/24 dev outside")
    server = pair.server.start(PYTHON, "-c", COLLECT, PORT, name="server")
    wait_for(lambda: "ready" in server.output(), 20, "the server")
    send(pair, 900)  # neighbours are known from then on
    wait_for(lambda: "got 900" in server.output(), 20, "the first datagram")
    return pair, both, server


def send(pair: FirewallPair, first: int, last: int | None = None) -> None:
    pair.client.run(PYTHON, "-c", SEND, SERVER[0], PORT, first, last or first)


def wait_reachable(pair: FirewallPair, mickey: sync.Encsync, minnie: sync.Encsync) -> None:
    """Both must have noticed that a pause is over; nobody waits for a peer that is silent."""
    wait_for(lambda: mickey.peer("minnie")["in_step"] and minnie.peer("mickey")["in_step"], 60,
             "both to be in step again")
    before, port = defer(mickey)["held"], iter(range(9000, 9999))

    def held() -> bool:
        send(pair, next(port))
        return defer(mickey)["held"] > before

    wait_for(held, 60, "first packets to be held again")


def defer(instance: sync.Encsync) -> dict[str, int]:
    return instance.status()["defer"]


def test_the_first_packet_leaves_when_the_peer_has_the_flow(deferring):
    pair, (mickey, _), server = deferring
    capture = Capture(pair.mickey)
    before = defer(mickey)
    ports = range(1000, 1020)
    for port in ports:
        send(pair, port)
        wait_for(lambda: f"got {port}" in server.output(), 20, f"datagram {port}")
    wait_for(lambda: capture.of(ports[-1])[1] >= 0, 20, "the capture to be whole")
    after = defer(mickey)
    assert after["held"] - before["held"] == len(ports)
    acknowledged = after["acknowledged"] - before["acknowledged"]
    # The emulated processor is slow: not each answer comes within 20 ms, but then time was up.
    assert acknowledged > 0
    assert acknowledged + after["timed_out"] - before["timed_out"] == len(ports)
    packets = capture.packets()
    ordered = 0
    for port in ports:
        came, left = capture.of(port)
        between = packets[came:left]
        tunnel = "".join(way for _, name, way, _ in between if name == "sync")
        answered = "OutIn" in tunnel
        assert answered or packets[left][0] - packets[came][0] >= HOLD - 0.002, (port, between)
        ordered += answered
    assert ordered >= acknowledged
    # With the address that NAT has given it.
    flows = [f for f in conntrack.table(pair.minnie) if f.orig.sport in ports]
    assert len(flows) == len(ports)
    assert {f.reply.dst for f in flows} == {VIP_OUTSIDE[0]}
    assert conntrack.keys(set(flows)) <= conntrack.keys(conntrack.table(pair.mickey))


def test_with_the_peer_stopped_it_leaves_after_20_ms(deferring):
    pair, (mickey, minnie), server = deferring
    capture = Capture(pair.mickey)
    before = defer(mickey)
    os.kill(minnie.daemon.pid, signal.SIGSTOP)
    try:
        send(pair, 2000)
        wait_for(lambda: "got 2000" in server.output(), 20, "the datagram")
    finally:
        os.kill(minnie.daemon.pid, signal.SIGCONT)
    wait_for(lambda: capture.of(2000)[1] >= 0, 20, "the capture to be whole")
    came, left = (capture.packets()[n][0] for n in capture.of(2000))
    assert left - came >= HOLD - 0.002
    after = defer(mickey)
    assert after["timed_out"] == before["timed_out"] + 1
    assert after["acknowledged"] == before["acknowledged"]
    wait_reachable(pair, mickey, minnie)


def test_over_128_are_passed(deferring):
    pair, (mickey, minnie), server = deferring
    # NAT takes a port for free that another packet which waits will have: not what is tested here.
    pair.mickey.run("nft", "insert", "rule", "inet", "nat", "postrouting", "udp", "sport",
                    "3000-3299", "accept")
    before = defer(mickey)
    os.kill(minnie.daemon.pid, signal.SIGSTOP)
    os.kill(mickey.daemon.pid, signal.SIGSTOP)  # so that all come at once
    try:
        send(pair, 3000, 3299)
    finally:
        os.kill(mickey.daemon.pid, signal.SIGCONT)
    try:
        wait_for(lambda: server.output().count("got 3") == 300, 30, "all datagrams")
        after = defer(mickey)
    finally:
        os.kill(minnie.daemon.pid, signal.SIGCONT)
    assert after["over_limit"] > before["over_limit"]
    assert after["held"] - before["held"] >= 128
    assert after["waiting"] == 0
    assert "passed over the limit" in mickey.command("status").stdout
    wait_reachable(pair, mickey, minnie)


def test_a_flow_that_is_dropped_later_is_withdrawn(deferring):
    pair, (mickey, minnie), server = deferring
    pair.mickey.nft("""
table inet late {
    chain postrouting {
        type filter hook postrouting priority 200
        meta l4proto udp ct original proto-src 4000 drop
    }
}
""")
    before = defer(mickey)["unconfirmed"]
    send(pair, 4000)

    def known(instance: sync.Encsync) -> bool:
        return "4000" in instance.command("states", "sport", "4000", "--json").stdout

    wait_for(lambda: defer(mickey)["unconfirmed"] > before, 30, "mickey to give it up")
    wait_for(lambda: not known(minnie), 10, "minnie to drop it")
    assert not known(mickey)
    assert "got 4000" not in server.output()


def test_a_dead_daemon_holds_nothing_up(deferring):
    pair, (mickey, _), server = deferring
    mickey.kill()
    assert "queue" in pair.mickey.run("nft", "list", "table", "inet", "encsync").stdout
    send(pair, 6000)
    wait_for(lambda: "got 6000" in server.output(), 10, "the datagram")
