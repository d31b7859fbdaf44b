# SPDX-License-Identifier: ISC
"""Every dialect of pfsync through a real tunnel: two daemons that both use it, one that detects the
dialect of the other, and IPv6 outside and inside of the tunnel."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

import conntrack
import sync
from lab import PYTHON, wait_for
from pair import SERVER, SYNC

pytestmark = pytest.mark.daemon

SYNC6 = {"mickey": "2001:db8:240::100", "minnie": "2001:db8:240::101"}
INSERT = {"openbsd": "INS", "freebsd-1301": "INS_1301", "freebsd-1400": "INS_1400",
          "freebsd-1500": "INS_1500"}
TCP, UDP = 7000, 7001

SERVE = """
import socket, sys, threading
tcp = socket.create_server(("", int(sys.argv[1])), backlog=9)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", int(sys.argv[2])))
kept = []
def accept():
    while True:
        kept.append(tcp.accept()[0])
        kept[-1].sendall(b"hello")
threading.Thread(target=accept, daemon=True).start()
print("ready", flush=True)
while True:
    udp.sendto(*udp.recvfrom(99))
"""
TALK = """
import socket, sys
t = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
assert t.recv(5) == b"hello"
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.connect((sys.argv[1], int(sys.argv[3])))
u.settimeout(10)
for n in range(3):
    u.send(b"?")
    assert u.recv(9) == b"?"
print("talked", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def firewalls(pair):
    """Both firewalls, keys exchanged, the first forwards; a server that answers."""
    for node in pair.firewalls:
        node.ip(f"addr add {SYNC6[node.name]}/64 dev sync nodad")
    both = sync.equip(pair)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    server = pair.server.start(PYTHON, "-c", SERVE, TCP, UDP, name="server")
    wait_for(lambda: "ready" in server.output(), 10, "the server")
    return both


@contextmanager
def speaking(pair, both, wires: tuple[str, str], addresses: dict[str, str] = SYNC):
    """Both daemons, running, each using that dialect."""
    for node in pair.firewalls:
        conntrack.flush(node)
    for instance, wire in zip(both, wires):
        instance.left = addresses[instance.name]
        instance.peers = {name: addresses[name] for name in instance.peers}
        instance.conn["wire"] = wire
        instance.write_config()
        instance.start()
    try:
        sync.wait_in_step(*both, timeout=30)
        yield
    finally:
        for instance in both:
            if instance.daemon.running:
                instance.stop()


def progress(node) -> dict[int, str]:
    """Port to the progress of its flow."""
    return {flow.orig.dport: flow.state for flow in conntrack.table(node)
            if flow.orig.dport in (TCP, UDP)}


def check_traffic(pair, both) -> None:
    """Real connections, with their progress, and their end; a flow of the standby's own."""
    client = pair.client.start(PYTHON, "-c", TALK, SERVER[0], TCP, UDP, stdin=True)
    wait_for(lambda: "talked" in client.output(), 15, "the client to talk")
    expected = progress(pair.mickey)
    assert expected[TCP] == "ESTABLISHED" and UDP in expected
    wait_for(lambda: progress(pair.minnie) == expected, 15, f"{expected} on minnie")
    conntrack.insert(pair.minnie, "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: any(f.orig.sport == 2000 for f in conntrack.table(pair.mickey)), 10,
             "the flow of minnie on mickey")
    client.kill()
    conntrack.flush(pair.mickey)  # deletions, none of which may be lost
    wait_for(lambda: progress(pair.minnie) == {}, 10, "the flows to end on minnie")
    for instance in both:
        refused = instance.refused()
        assert not any(reason.startswith(("bad_", "short_")) for reason in refused), refused


@contextmanager
def recording(instance, file):
    monitor = instance.node.start(*instance.argv("monitor", "--write", file), name="monitor")
    wait_for(lambda: "listening on" in monitor.errors(), 10, "the monitor to listen")
    ports = iter(range(3000, 4000))

    def seen() -> bool:
        """The daemon writes copies once it has detected the capture."""
        conntrack.insert(instance.node, "10.0.0.30", SERVER[0], next(ports), 443)
        return file.stat().st_size > 24

    try:
        wait_for(seen, 10, "packets on enc0", poll=0.2)
        yield
    finally:
        monitor.stop()


def recorded(instance, file, check: bool = True) -> list[dict]:
    """The packets. check: each can be read."""
    decoded = instance.node.run(*instance.argv("decode", "--json", file), check=check)
    return [json.loads(line) for line in decoded.stdout.splitlines()]


def actions(packets: list[dict]) -> set[str]:
    return {s["action"] for packet in packets for s in packet.get("sections", ())}


def check_recording(instance, file, wire: str) -> None:
    """Every packet can be read, and is of that dialect."""
    packets = recorded(instance, file)
    assert len(packets) > 3
    assert {packet["version"] for packet in packets} == {6 if wire == "openbsd" else 5}
    assert {INSERT[wire], "DEL_C"} <= actions(packets) <= {
        INSERT[wire], INSERT[wire].replace("INS", "UPD"), "UPD_C", "DEL_C", "UPD_REQ", "BUS", "EOF"}


@pytest.mark.parametrize("wire", INSERT)
def test_each_dialect(pair, firewalls, wire, tmp_path):
    with speaking(pair, firewalls, (wire, wire)):
        file = tmp_path / "enc0.pcap"
        with recording(firewalls[0], file):
            check_traffic(pair, firewalls)
            wait_for(lambda: "DEL_C" in actions(recorded(firewalls[0], file, False)), 20,
                     "the ends of the flows to be recorded", 0.3)
        check_recording(firewalls[0], file, wire)
        assert firewalls[0].peer("minnie")["wire"] == wire


@pytest.mark.parametrize("wire", ["openbsd", "freebsd-1400"])
def test_auto_learns(pair, firewalls, wire):
    with speaking(pair, firewalls, ("auto", wire)):
        check_traffic(pair, firewalls)
        assert firewalls[0].peer("minnie")["wire"] == wire


def says(instance, *words: str) -> bool:
    """Of its only peer, in whichever output."""
    shown = (instance.command("status", check=False).stdout,
             instance.command("status", "--ready", check=False).stderr,
             instance.command("peers", check=False).stdout, instance.log())
    return all(word in text for word in words for text in shown)


@pytest.mark.parametrize("wires, used_dialect", [
    (("encsync", "freebsd-1400"), ("version 5", "version 6 (encsync or openbsd)")),
    (("openbsd", "freebsd-1400"), ("version 5", "version 6 (encsync or openbsd)")),
])
def test_two_versions_do_not_meet(pair, firewalls, wires, used_dialect):
    """Negative control: they do not understand each other, are not ready, regardless of joinwait=,
    and report the other one's dialect."""
    for node in pair.firewalls:
        conntrack.flush(node)
    for instance, wire in zip(firewalls, wires):
        instance.left = SYNC[instance.name]
        instance.peers = {name: SYNC[name] for name in instance.peers}
        instance.conn["wire"] = wire
        instance.setup["joinwait"] = "1"
        instance.write_config()
        instance.start()
    try:
        for instance, words, wire in zip(firewalls, used_dialect, wires):
            wait_for(lambda: instance.refused().get("pfsync_bad_version", 0) > 1, 20,
                     "packets of the other version to be refused")
            wait_for(lambda: says(instance, f"speaks pfsync {words}", f"{wire})" if wire != "encsync"
                                  else "wire=encsync"), 20, "it to say so")
            assert not instance.ready()
            assert not any(peer["in_step"] for peer in instance.status()["peers"])
        before = firewalls[0].refused()["pfsync_bad_version"]
        conntrack.insert(pair.minnie, "10.0.0.30", SERVER[0], 2001, 443)
        wait_for(lambda: firewalls[0].refused()["pfsync_bad_version"] > before, 10,
                 "the flow to be refused")
        assert not any(f.orig.sport == 2001 for f in conntrack.table(pair.mickey))
        # Full states show the dialect.
        wait_for(lambda: says(firewalls[0], "freebsd-1400"), 20, "the dialect to be named")
        assert not firewalls[0].ready()
        # An active node stays ready.
        firewalls[1].command("role", "active")
        assert firewalls[1].ready()
        # A dead peer does not prevent readiness.
        firewalls[1].kill()
        wait_for(firewalls[0].ready, 60, "the survivor to be ready")
    finally:
        for instance in firewalls:
            del instance.setup["joinwait"]
            instance.command("role", "auto")
            if instance.daemon.running:
                instance.stop()


@pytest.mark.parametrize("wire", ["encsync", "freebsd-1400"])
def test_over_ipv6(pair, firewalls, wire):
    with speaking(pair, firewalls, (wire, wire), SYNC6):
        check_traffic(pair, firewalls)


def test_ipv6_is_refused_where_the_dialect_has_none(pair, firewalls):
    instance = firewalls[0]
    instance.left, instance.peers = SYNC6["mickey"], {"minnie": SYNC6["minnie"]}
    instance.conn["wire"] = "openbsd"
    instance.write_config()
    done = instance.command("check", instance.config, check=False)
    assert done.returncode != 0
    assert "IPv4 only" in done.stdout + done.stderr
