# SPDX-License-Identifier: ISC
"""defer= with a kernel that can do it: a flow's first packet leaves when the peer has the flow.

A capture on all interfaces of mickey shows the order: the packet comes in on `inside`, the flow is
announced through the tunnel on `sync`, the peer's answer comes back there, the packet leaves on
`outside`.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

import conntrack
import sync
from lab import PYTHON, Node, wait_for
from pair import SERVER, VIP_INSIDE, VIP_OUTSIDE, FirewallPair

HOLD = 0.020
PORT = 5700
PATIENCE = 60  # seconds; the emulated processor is slow, even more on a busy host

COLLECT = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
s.bind(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    print("got", s.recv(99).decode(), flush=True)
"""
# For each line of two numbers: one datagram from each port of first..last, each of another flow.
SEND = """
import socket, sys
server = (sys.argv[1], int(sys.argv[2]))
print("ready", flush=True)
for line in sys.stdin:
    first, last = map(int, line.split())
    for port in range(first, last + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("", port))
            s.sendto(str(port).encode(), server)
    print("sent", last, flush=True)
"""


class Capture:
    """The packets that pass a node, in the kernel's order."""

    def __init__(self, node: Node):
        # -s: else its buffer has room for eight packets, and what is too late is lost.
        self.process = node.start("tcpdump", "-i", "any", "-n", "-tt", "-l", "-s", "256",
                                  "--immediate-mode",
                                  f"udp port 4500 or udp port {PORT}", name="tcpdump")
        wait_for(lambda: "listening on any" in self.process.errors(), PATIENCE, "tcpdump to listen")

    def packets(self) -> list[tuple[float, str, str, str]]:
        """Time, interface, In or Out, the rest."""
        return [(float(time), name, way, rest) for time, name, way, rest in
                re.findall(r"^(\d+\.\d+) (\w+) +(In|Out) +(.*)$", self.process.output(), re.M)]

    def of(self, port: int) -> tuple[int, int]:
        """The indices of the datagram when it came in, and when it left."""
        came = left = -1
        for n, (_, name, way, rest) in enumerate(self.packets()):
            # NAT changes the port, so it is identified by order: tests send one at a time.
            if name == "inside" and way == "In" and f".{port} > " in rest:
                came = n
            elif came >= 0 and left < 0 and name == "outside" and way == "Out":
                left = n
        return came, left


class Ends:
    """The client's datagrams, and those that the server has received."""

    def __init__(self, pair: FirewallPair):
        self.server = pair.server.start(PYTHON, "-c", COLLECT, PORT, name="server")
        # Started before: that would take longer than the time after which a stopped peer counts
        # as silent.
        self.client = pair.client.start(PYTHON, "-c", SEND, SERVER[0], PORT, name="client",
                                        stdin=True)
        for end in (self.server, self.client):
            wait_for(lambda: "ready" in end.output(), PATIENCE, f"the {end.name}")

    def send(self, first: int, last: int | None = None) -> None:
        last = last or first
        self.client.say(f"{first} {last}")
        wait_for(lambda: f"sent {last}\n" in self.client.output(), PATIENCE, "the client")

    def got(self, port: int) -> bool:
        return f"got {port}\n" in self.server.output()

    def pass_(self, port: int) -> None:
        self.send(port)
        wait_for(lambda: self.got(port), PATIENCE, f"datagram {port}")


@contextmanager
def stopped(instance: sync.Encsync):
    """Stopped meanwhile. Keep it short: after four seconds it counts as silent."""
    pid = instance.daemon.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: "\nState:\tT" in Path(f"/proc/{pid}/status").read_text(), PATIENCE,
                 f"{instance.name} to stop", 0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def deferring(lab):
    pair = FirewallPair(lab)
    both = sync.equip(pair, setup={"defer": "yes"})
    for instance in both:
        instance.start()
    sync.wait_in_step(*both, timeout=90)
    pair.mickey.ip(f"addr add {VIP_INSIDE[0]}/24 dev inside",
                   f"addr add {VIP_OUTSIDE[0]}/24 dev outside")
    ends = Ends(pair)
    ends.pass_(900)  # from now on the neighbours are known
    return pair, both, ends


def wait_reachable(ends: Ends, mickey: sync.Encsync, minnie: sync.Encsync) -> None:
    """Both must have noticed that the pause is over: packets do not wait for a silent peer."""
    wait_for(lambda: mickey.peer("minnie")["in_step"] and minnie.peer("mickey")["in_step"],
             PATIENCE, "both to be in step again")
    before, port = defer(mickey)["held"], itertools.count(9000)

    def held() -> bool:
        ends.send(next(port))
        return defer(mickey)["held"] > before

    wait_for(held, PATIENCE, "first packets to be held again")


def defer(instance: sync.Encsync) -> dict[str, int]:
    return instance.status()["defer"]


def since(before: dict[str, int], instance: sync.Encsync) -> dict[str, int]:
    return {name: count - before[name] for name, count in defer(instance).items()
            if isinstance(count, int)}


def test_the_first_packet_leaves_when_the_peer_has_the_flow(deferring):
    pair, (mickey, _), ends = deferring
    capture = Capture(pair.mickey)
    before = defer(mickey)
    ports = []
    # The processor is slow: not every answer comes within 20 ms, and then the packet times out.
    for port in range(1000, 1200):
        ends.pass_(port)
        ports.append(port)
        if port >= 1019 and since(before, mickey)["acknowledged"] > 0:
            break
    wait_for(lambda: capture.of(ports[-1])[1] >= 0, PATIENCE, "the capture to be whole")
    counted = since(before, mickey)
    assert counted["held"] == len(ports)
    assert counted["acknowledged"] > 0
    assert counted["acknowledged"] + counted["timed_out"] == len(ports)
    packets = capture.packets()
    ordered = 0
    for port in ports:
        came, left = capture.of(port)
        between = packets[came:left]
        tunnel = "".join(way for _, name, way, _ in between if name == "sync")
        answered = "OutIn" in tunnel
        assert answered or held_for(packets[came], packets[left]), (port, between)
        ordered += answered
    assert ordered >= counted["acknowledged"]
    # With the address given by NAT.
    flows = [f for f in conntrack.table(pair.minnie) if f.orig.sport in ports]
    assert len(flows) == len(ports)
    assert {f.reply.dst for f in flows} == {VIP_OUTSIDE[0]}
    assert conntrack.keys(set(flows)) <= conntrack.keys(conntrack.table(pair.mickey))


def held_for(came: tuple, left: tuple) -> bool:
    """The 20 ms begin with the daemon's turn, which may have begun before the packet came."""
    return left[0] - came[0] >= HOLD / 2


def test_with_the_peer_stopped_it_leaves_after_20_ms(deferring):
    pair, (mickey, minnie), ends = deferring
    capture = Capture(pair.mickey)
    before = defer(mickey)
    with stopped(minnie):
        ends.pass_(2000)
    wait_for(lambda: capture.of(2000)[1] >= 0, PATIENCE, "the capture to be whole")
    packets = capture.packets()
    came, left = (packets[n] for n in capture.of(2000))
    assert held_for(came, left)
    counted = since(before, mickey)
    assert counted["timed_out"] == 1 and counted["acknowledged"] == 0
    wait_reachable(ends, mickey, minnie)


def test_over_128_are_passed(deferring):
    pair, (mickey, minnie), ends = deferring
    # Without NAT, which may choose a port that another waiting packet will have: not tested here.
    pair.mickey.run("nft", "insert", "rule", "inet", "nat", "postrouting", "udp", "sport",
                    "3000-3299", "accept")
    before = defer(mickey)
    with stopped(mickey):  # so that all are queued when it continues
        ends.send(3000, 3299)
    wait_for(lambda: all(ends.got(port) for port in range(3000, 3300)), PATIENCE, "all datagrams")
    counted = since(before, mickey)
    assert counted["over_limit"] >= 128 and counted["held"] >= 128
    assert counted["held"] + counted["over_limit"] == 300
    assert defer(mickey)["waiting"] == 0
    assert "passed over the limit" in mickey.command("status").stdout
    wait_reachable(ends, mickey, minnie)


def test_a_flow_that_is_dropped_later_is_withdrawn(deferring):
    pair, (mickey, minnie), ends = deferring
    pair.mickey.nft("""
table inet late {
    chain postrouting {
        type filter hook postrouting priority 200
        meta l4proto udp ct original proto-src 4000 drop
    }
}
""")
    before = defer(mickey)["unconfirmed"]
    ends.send(4000)

    def known(instance: sync.Encsync) -> bool:
        return instance.json("states", "sport", "4000") != []

    wait_for(lambda: defer(mickey)["unconfirmed"] > before, PATIENCE, "mickey to give it up")
    wait_for(lambda: not known(minnie), PATIENCE, "minnie to drop it")
    assert not known(mickey)
    assert not ends.got(4000)


def test_a_dead_daemon_holds_nothing_up(deferring):
    pair, (mickey, _), ends = deferring
    mickey.kill()
    assert "queue" in pair.mickey.run("nft", "list", "table", "inet", "encsync").stdout
    ends.pass_(6000)
