# SPDX-License-Identifier: ISC
"""ipsec=kernel on both firewalls: the SAs are the kernel's, behind the xfrm interface enc0."""

from __future__ import annotations

import json
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import conntrack
import sync
from lab import PYTHON, kill, wait_for
from mallory import Mallory, secrets
from pair import SERVER, SYNC, FirewallPair

PATIENCE = 60
LEASE = 15  # seconds a state outlives its encsyncd

# Sends `count` packets of protocol 240 to the peer, on a socket bound to an interface, or to none.
SEND = """
import socket, sys
interface, ttl, count, peer, payload = sys.argv[1:]
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 240)
if interface:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(ttl))
sent = 0
for _ in range(int(count)):
    try:
        sent += s.sendto(bytes.fromhex(payload), (peer, 0)) > 0
    except PermissionError:
        pass
print(sent)
"""
EMPTY = "06000014" + "00" * 16  # a pfsync header


def send(node, peer: str, interface: str, ttl: int = 255, count: int = 20) -> int:
    done = node.run(PYTHON, "-c", SEND, interface, ttl, count, peer, EMPTY)
    return int(done.stdout)


def states(node) -> list[str]:
    """SPIs in the kernel."""
    return re.findall(r"proto esp spi (0x[0-9a-f]+)", node.run("ip", "xfrm", "state").stdout)


def same(pair, count: int) -> None:
    def equal() -> bool:
        mickey, minnie = (conntrack.keys(pair.flows(node)) for node in pair.firewalls)
        return mickey == minnie and len(mickey) == count

    wait_for(equal, PATIENCE, f"both to hold the same {count} flows", 0.5)


@pytest.fixture(scope="module")
def instances(pair):
    both = sync.equip(pair, setup={"ipsec": "kernel"})
    for instance in both:
        instance.start()
    sync.wait_settled(*both, timeout=PATIENCE)
    return both


@pytest.fixture(autouse=True)
def empty(pair):
    for node in pair.firewalls:
        conntrack.flush(node)


def test_it_says_who_encrypts_and_the_kernel_does(pair, instances):
    ipsec = instances[0].status()["ipsec"]
    assert ipsec == {"mode": "kernel", "configured": "kernel", "why": "as configured"}
    assert len(states(pair.mickey)) == 2
    shown = json.loads(pair.mickey.run("ip", "-j", "-d", "link", "show", "enc0").stdout)[0]
    assert shown["linkinfo"]["info_kind"] == "xfrm"
    if_id = shown["linkinfo"]["info_data"]["if_id"]
    ours = pair.mickey.run("ip", "xfrm", "policy").stdout
    assert ours.count(f"if_id {if_id}") == 2 and "proto 240" in ours
    spis = {sa["spi"] for sa in instances[0].json("sas")}
    assert {f"0x{spi}" for spi in spis} == set(states(pair.mickey))


def test_what_is_on_the_wire_is_esp_in_udp_and_nothing_else(pair, instances, mallory):
    conntrack.insert_many(pair.mickey, 200)
    same(pair, 200)
    seen = mallory.look(secrets(pair.flows(pair.mickey)))
    assert seen.leaks == [] and seen.clear_pfsync == 0 and not seen.other
    assert seen.esp > 0 and seen.ike > 0


def test_forgeries_on_the_wire_are_refused_and_counted(pair, instances, mallory):
    conntrack.insert_many(pair.mickey, 200)
    same(pair, 200)
    before = [i.refused().get("not_through_tunnel_in", 0) for i in instances]
    assert mallory.forge(200) == 200
    for instance, was in zip(instances, before):
        wait_for(lambda: instance.refused().get("not_through_tunnel_in", 0) - was == 100, PATIENCE,
                 f"{instance.name} to count 100 refused packets", 0.5)
        assert '"10.66.' not in instance.states_text() and instance.ready()
    same(pair, 200)


def test_a_sender_that_is_not_bound_to_enc0_does_not_go_out_in_clear(pair, instances, mallory):
    mickey, minnie = instances
    out = mickey.refused().get("not_through_tunnel_out", 0)
    heard = minnie.peer("mickey")["rx_packets"]
    assert send(pair.mickey, SYNC["minnie"], "") == 0
    assert mickey.refused()["not_through_tunnel_out"] == out + 20
    assert mallory.look(secrets([])).clear_pfsync == 0
    # Control: bound to it, they pass the tunnel and are received as such.
    assert send(pair.mickey, SYNC["minnie"], "enc0") == 20
    wait_for(lambda: minnie.peer("mickey")["rx_packets"] >= heard + 20, PATIENCE, "the packets", 0.5)
    assert mallory.look(secrets([])).clear_pfsync == 0


def test_what_comes_through_the_tunnel_with_a_wrong_ttl_is_refused(pair, instances):
    minnie = instances[1]
    before = sum(minnie.refused().values())
    assert send(pair.mickey, SYNC["minnie"], "enc0", ttl=64) == 20
    wait_for(lambda: sum(minnie.refused().values()) - before == 20, PATIENCE,
             f"20 refusals, of {minnie.refused()}", 0.5)


def test_without_the_ruleset_such_a_packet_is_seen(fresh):
    """Control for the test above: without the ruleset, its packets do reach the wire."""
    pair = FirewallPair(fresh)
    mallory = Mallory(pair)
    assert send(pair.mickey, SYNC["minnie"], "", count=1) == 1
    wait_for(lambda: mallory.look(secrets([])).clear_pfsync == 1, PATIENCE, "the packet", 0.5)


def test_rekeying_under_traffic_loses_nothing(pair, instances):
    mickey = instances[0]
    old = set(states(pair.mickey))
    rekeyed = threading.Event()

    def change_all_the_time() -> int:
        number = 0
        while not rekeyed.is_set():
            conntrack.insert(pair.mickey, "10.0.0.40", "203.0.113.10", 1000 + number, 443)
            number += 1
        return number

    with ThreadPoolExecutor() as pool:
        load = pool.submit(change_all_the_time)
        try:
            for _ in range(3):
                before = mickey.peer("minnie")["spi_out"]
                mickey.command("keys", "rotate", "--what", "sa")
                wait_for(lambda: mickey.peer("minnie")["spi_out"] not in (before, None, ""),
                         PATIENCE, "new SAs", 0.2)
                assert mickey.peer("minnie")["state"] == "up"
        finally:
            rekeyed.set()
        made = load.result()
    assert made >= 10
    same(pair, made)
    # Old states are removed, and only new ones remain.
    wait_for(lambda: len(states(pair.mickey)) == len(states(pair.minnie)) == 2, PATIENCE,
             "the old states to go", 0.5)
    assert not old & set(states(pair.mickey))


def test_after_three_quarters_of_lifepackets_a_successor_comes(pair, instances):
    mickey, _ = instances
    mickey.each["minnie"] = {"lifepackets": "2000"}
    mickey.reload()
    sync.wait_in_step(*instances, timeout=PATIENCE)
    old = mickey.peer("minnie")["spi_out"]
    # Control: not after half of them.
    assert send(pair.mickey, SYNC["minnie"], "enc0", count=1000) == 1000
    wait_for(lambda: max(sa["packets"] for sa in mickey.json("sas")
                         if sa["direction"] == "out") >= 1000, PATIENCE, "them to be counted", 0.5)
    assert mickey.peer("minnie")["spi_out"] == old
    log = mickey.log()
    assert send(pair.mickey, SYNC["minnie"], "enc0", count=500) == 500
    wait_for(lambda: mickey.peer("minnie")["spi_out"] not in (old, None, ""), PATIENCE,
             "a successor", 0.5)
    assert ": down" not in mickey.log()[len(log):]
    conntrack.insert_many(pair.mickey, 20)
    same(pair, 20)
    mickey.each.clear()
    mickey.reload()
    sync.wait_in_step(*instances, timeout=PATIENCE)


def test_the_kernel_stops_at_lifepackets(pair, instances):
    """Without a successor: charon is stopped, for less time than is detected as a hang."""
    mickey, minnie = instances
    mickey.each["minnie"] = {"lifepackets": "2000"}
    mickey.reload()
    sync.wait_in_step(*instances, timeout=PATIENCE)
    old = mickey.peer("minnie")["spi_out"]
    heard = minnie.peer("mickey")["rx_packets"]
    for pid in mickey.charons():
        kill(pid, signal.SIGSTOP)
    try:
        assert send(pair.mickey, SYNC["minnie"], "enc0", count=3000) == 3000
        wait_for(lambda: f"0x{old}" not in states(pair.mickey), PATIENCE, "the state to end", 0.1)
    finally:
        for pid in mickey.charons():
            kill(pid, signal.SIGCONT)
    taken = minnie.peer("mickey")["rx_packets"] - heard
    assert 0 < taken <= 2000  # how many pass before the receiver's buffer is full varies
    # A new pair replaces them.
    wait_for(lambda: mickey.peer("minnie")["spi_out"] not in (old, None, ""), PATIENCE,
             "a successor", 0.5)
    conntrack.insert_many(pair.mickey, 20)
    same(pair, 20)
    mickey.each.clear()
    mickey.reload()
    sync.wait_in_step(*instances, timeout=PATIENCE)


def test_states_that_somebody_flushed_come_back(pair, instances):
    old = set(states(pair.mickey))
    pair.mickey.run("ip", "xfrm", "state", "flush")
    wait_for(lambda: len(states(pair.mickey)) >= 2 and not old & set(states(pair.mickey)), PATIENCE,
             "new states", 0.5)
    sync.wait_in_step(*instances, timeout=PATIENCE)
    conntrack.insert_many(pair.mickey, 20)
    same(pair, 20)


def test_policies_that_somebody_flushed_come_back(pair, instances):
    mickey, spis = instances[0], states(pair.mickey)
    gone = "its policies are gone from the kernel; they are made again"
    assert gone not in mickey.log()
    pair.mickey.run("ip", "xfrm", "policy", "flush")
    conntrack.insert_many(pair.minnie, 20)  # which come in, and are acknowledged
    wait_for(lambda: gone in mickey.log(), PATIENCE, "encsyncd to miss them", 0.5)
    wait_for(lambda: pair.mickey.run("ip", "xfrm", "policy").stdout.count("dir ") == 2, PATIENCE,
             "new policies", 0.5)
    same(pair, 20)
    assert states(pair.mickey) == spis


def test_states_outlive_a_killed_encsyncd_for_seconds_only(pair, instances):
    mickey = instances[0]
    kept = set(states(pair.minnie))
    # While it lives they are kept beyond their time limit.
    mickey.kill()
    assert len(states(pair.mickey)) >= 2
    wait_for(lambda: states(pair.mickey) == [], LEASE + PATIENCE, "the kernel to drop the keys", 0.5)
    mickey.start()
    sync.wait_in_step(*instances, timeout=PATIENCE)
    assert not kept & set(states(pair.mickey))
    conntrack.insert_many(pair.mickey, 20)
    same(pair, 20)


def test_what_a_killed_encsyncd_left_is_flushed_and_the_rest_is_not(pair, instances):
    mickey = instances[0]
    pair.mickey.run("ip", "xfrm", "state", "add", "src", "198.51.100.1", "dst", "198.51.100.2",
                    "proto", "esp", "spi", "0x1234", "mode", "tunnel", "aead", "rfc4106(gcm(aes))",
                    "0x" + "42" * 20, "128")
    old = set(states(pair.mickey))
    mickey.restart()
    sync.wait_in_step(*instances, timeout=PATIENCE)
    assert set(states(pair.mickey)) & old == {"0x00001234"}
    pair.mickey.run("ip", "xfrm", "state", "flush")


def test_an_interface_that_is_deleted_is_made_again(pair, instances):
    mickey = instances[0]
    wait_for(lambda: {f"0x{spi}" for _, _, spi in mickey.spis()} == set(states(pair.mickey)),
             PATIENCE, "the kernel to have the SAs, which the test before has flushed", 0.5)
    spis = mickey.spis()
    pair.mickey.ip("link del enc0")
    wait_for(lambda: "enc0 is gone; it is made again" in mickey.log(), PATIENCE, "the log", 0.5)
    conntrack.insert_many(pair.mickey, 20)
    same(pair, 20)
    conntrack.insert_many(pair.minnie, 30, proto="udp")
    same(pair, 50)
    assert mickey.spis() == spis and mickey.command("policy", "verify").returncode == 0
    # Renamed, it stays in the way of another one.
    pair.mickey.ip("link set enc0 down", "link set enc0 name away0")
    wait_for(lambda: "enc0 is gone and cannot be made again" in mickey.log(), PATIENCE, "the log",
             0.5)
    pair.mickey.ip("link set away0 name enc0", "link set enc0 up")
    conntrack.insert(pair.minnie, "10.0.0.200", SERVER[0], 2000, 443)
    same(pair, 51)


def test_nothing_is_left_after_an_orderly_end(pair, instances):
    mickey = instances[0]
    mickey.stop()
    assert states(pair.mickey) == [] and pair.mickey.run("ip", "xfrm", "policy").stdout == ""
    assert "enc0" not in pair.mickey.run("ip", "link").stdout
    mickey.start()
    sync.wait_in_step(*instances, timeout=PATIENCE)


def test_an_interface_of_somebody_else_is_left_alone(fresh):
    pair = FirewallPair(fresh)
    mickey, _ = sync.equip(pair, setup={"ipsec": "kernel"})
    pair.mickey.ip("link add enc0 type veth peer name other")
    done = mickey.node.run(*mickey.daemon_argv(), check=False)
    assert done.returncode == 1 and "enc0: there is an interface of this name" in done.stderr
    pair.mickey.run("ip", "link", "show", "enc0")
