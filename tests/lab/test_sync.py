# SPDX-License-Identifier: ISC
"""Two daemons in step, with faults: joined late, killed, restarted, flushed."""

from __future__ import annotations

import os
import signal
import time

import pytest

import conntrack
from conntrack import keys
from lab import PYTHON, start_time, wait_for
from pair import SERVER, FirewallPair
import sync
from traffic import ECHO, Sessions

pytestmark = pytest.mark.daemon


def wait_equal(pair: FirewallPair, count: int | None = None, timeout: float = 15) -> None:
    """Both kernels hold the same flows (and that number of them)."""
    def difference():
        mickey, minnie = (keys(pair.flows(node)) for node in pair.firewalls[:2])
        return mickey == minnie and count in (None, len(mickey))

    wait_for(difference, timeout, f"both kernels to hold the same {count or ''} flows", 0.1)


@pytest.fixture
def clean(pair, instances):
    """Both tables empty, both daemons running and in step."""
    for instance in instances:
        if not instance.daemon.running:
            instance.start()
    sync.wait_in_step(*instances)
    for node in pair.firewalls:
        conntrack.flush(node)
    wait_equal(pair, 0)
    return instances


def flow(number: int) -> tuple:
    return "10.0.0.30", SERVER[0], 2000 + number, 443


def test_new_and_deleted_flows_follow(pair, clean):
    for number in range(10):
        conntrack.insert(pair.mickey, *flow(number))
    wait_equal(pair, 10)
    conntrack.delete(pair.mickey, *flow(3))
    wait_equal(pair, 9)


def test_a_connection_that_closes_closes_everywhere(pair, clean):
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    sessions = Sessions(pair, size=1000)
    connect = ("import socket, sys\n"
               "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
               "s.sendall(b'hello')\nassert s.recv(9) == b'hello'\n"
               "sys.stdin.read() if sys.argv[3] == 'stay' else None")
    stays = pair.client.start(PYTHON, "-c", connect, sessions.address, sessions.base + ECHO, "stay",
                              stdin=True)
    pair.client.run(PYTHON, "-c", connect, sessions.address, sessions.base + ECHO, "go")

    def progress(node) -> list[str]:
        return sorted(flow.state for flow in pair.flows(node))

    for node in pair.firewalls:  # control: one without those rules stays so
        wait_for(lambda: progress(node) == ["ESTABLISHED", "TIME_WAIT"], 10,
                 f"one open and one closed connection on {node.name}")
    stays.kill()
    sessions.server.process.kill()
    pair.keepalived["mickey"].stop()


def test_both_directions(pair, clean):
    conntrack.insert(pair.mickey, *flow(1))
    conntrack.insert(pair.minnie, *flow(2))
    wait_equal(pair, 2)


def test_ipv6_udp_and_icmp_follow(pair, clean):
    conntrack.insert(pair.mickey, "2001:db8:10::10", SERVER[1], 1, 2)
    conntrack.insert(pair.mickey, "10.0.0.10", SERVER[0], 3, 4, proto="udp")
    pair.mickey.run("conntrack", "-I", "-p", "icmp", "-s", "10.0.0.10", "-d", SERVER[0],
                    "--icmp-type", 8, "--icmp-code", 0, "--icmp-id", 77, "-t", 60)
    wait_equal(pair, 3)
    assert {f.proto for f in pair.flows(pair.minnie)} == {"tcp", "udp", "icmp"}


def test_a_firewalls_own_flows_stay_at_home(pair, clean):
    conntrack.insert(pair.mickey, "10.0.0.2", SERVER[0], 5, 6)  # mickey's own address
    conntrack.insert(pair.mickey, *flow(1))  # a later flow arrives
    wait_for(lambda: pair.flows(pair.minnie), 10, "the flow behind it")
    assert not [f for f in conntrack.table(pair.minnie) if f.involves("10.0.0.2")]


def test_a_standby_that_joins_late_gets_everything(pair, clean):
    mickey, minnie = clean
    minnie.stop()
    conntrack.flush(pair.minnie)
    conntrack.insert_many(pair.mickey, 3000)
    minnie.start()
    for number in range(20):  # and live changes continue during the bulk update
        conntrack.insert(pair.mickey, *flow(number))
    conntrack.delete(pair.mickey, "10.0.0.20", SERVER[0], 1024, 443)
    sync.wait_in_step(*clean)
    wait_equal(pair, 3000 + 20 - 1)


@pytest.mark.parametrize("victim", [0, 1], ids=["owner", "standby"])
def test_a_killed_daemon_comes_back_and_nothing_is_lost(pair, clean, victim):
    conntrack.insert_many(pair.mickey, 500)
    wait_equal(pair, 500)
    killed = clean[victim]
    killed.kill()
    # While it is down, flows change on both nodes.
    for number in range(10):
        conntrack.insert(pair.mickey, *flow(number))
    conntrack.delete(pair.mickey, "10.0.0.20", SERVER[0], 1024, 443)
    assert len(pair.flows(pair.minnie)) >= 500 - 1  # the copies stay while a daemon is down
    killed.start()
    sync.wait_in_step(*clean)
    # 509: the new ones arrived, and the deleted one is not restored by its copy.
    wait_equal(pair, 509)


def test_both_daemons_killed_at_once(pair, clean):
    conntrack.insert_many(pair.mickey, 200)
    wait_equal(pair, 200)
    for instance in clean:
        instance.kill()
    conntrack.insert(pair.mickey, *flow(1))
    for instance in clean:
        instance.start()
    sync.wait_in_step(*clean)
    wait_equal(pair, 201)


def test_charon_killed(pair, clean):
    """encsyncd continues, whether its SAs are lost or not: in the end both agree."""
    mickey, _ = clean
    conntrack.insert_many(pair.mickey, 100)
    wait_equal(pair, 100)
    (charon,) = mickey.charons()
    os.kill(charon, signal.SIGKILL)
    wait_for(lambda: start_time(charon) is None, 5, "charon to die")
    conntrack.insert(pair.mickey, *flow(1))
    wait_for(lambda: mickey.charons() not in ([], [charon]), 15, "another charon")
    conntrack.insert(pair.mickey, *flow(2))
    sync.wait_in_step(*clean, timeout=30)
    wait_equal(pair, 102)
    assert mickey.daemon.running
    assert "charon" in mickey.log()


def test_a_flushed_ruleset_is_noticed(pair, clean):
    """It is put back, and its counters do not decrease."""
    mickey, _ = clean
    program = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_RAW, 240)\n"
    pair.mallory.run(PYTHON, "-c", program + "s.sendto(bytes(24), "
                     "('192.168.1.100', 0))")
    wait_for(lambda: sum(mickey.refused().values()) > 0, 10, "the refusal to be counted")
    before = sum(mickey.refused().values())
    log = len(mickey.log())
    pair.mickey.run("nft", "delete", "table", "inet", "encsync")
    wait_for(lambda: "inet encsync" in pair.mickey.run("nft", "list", "tables").stdout, 10,
             "the ruleset to be put back")
    wait_for(lambda: mickey.status()["policy"]["installed"], 5, "status to say so")
    assert sum(mickey.refused().values()) >= before
    wait_for(lambda: "ruleset" in mickey.log()[log:].lower(), 5, "the log to say so")


def test_a_ruleset_that_is_flushed_again_and_again_is_put_back_at_once(pair, clean):
    """Looking each second alone could do that once a second."""
    back = []
    for _ in range(10):
        pair.mickey.run("nft", "delete", "table", "inet", "encsync")
        wait_for(lambda: "inet encsync" in pair.mickey.run("nft", "list", "tables").stdout, 10,
                 "the ruleset to be put back")
        back.append(time.monotonic())
    # The fastest one: a busy machine delays the others. To look each second would take a second.
    assert min(later - earlier for earlier, later in zip(back, back[1:])) < 0.5


def test_the_same_run_dir_twice(pair, clean):
    mickey, _ = clean
    second = pair.mickey.run(sync.bin_dir() / "encsyncd", "--config", mickey.config, "--run-dir",
                             mickey.run_dir, "--foreground", check=False)
    assert second.returncode != 0 and "another encsyncd" in second.stderr
    assert mickey.daemon.running and mickey.ready()


def test_a_clean_stop_leaves_no_process(pair, clean):
    mickey, minnie = clean
    charons = mickey.charons()
    assert charons
    mickey.stop()
    assert not [pid for pid in charons if start_time(pid)]
    wait_for(lambda: minnie.peer("mickey")["state"] != "up", 15, "minnie to notice")
    assert mickey.command("status", "--ready", check=False).returncode != 0
    # Fail closed: without the daemon no protocol 240 is received either.
    assert "inet encsync" in pair.mickey.run("nft", "list", "tables").stdout
