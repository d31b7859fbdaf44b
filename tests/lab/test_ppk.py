# SPDX-License-Identifier: ISC
"""Post-quantum preshared keys (RFC 8784): made and replaced inside the tunnel, carried by hand,
required, and refused by name."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import conntrack
import sync
from lab import wait_for
from pair import SERVER, FirewallPair

pytestmark = pytest.mark.daemon

STEP = {"ppkrotate": "0"}


def ppks(instance, peer: str) -> list[dict]:
    return [p for p in instance.json("keys", "status")["ppks"] if p["name"] == peer]


def used(instance, peer: str) -> str:
    return ((instance.peer(peer) or {}).get("ppk") or {}).get("used", "")


def settled(a, b) -> bool:
    """Both have one and the same, and the IKE SA uses it."""
    here, there = ppks(a, b.name), ppks(b, a.name)
    return (len(here) == len(there) == 1 and here[0]["id"] == there[0]["id"]
            == used(a, b.name) == used(b, a.name))


def wait_settled(a, b, timeout: float = 40) -> dict:
    wait_for(lambda: settled(a, b), timeout, "both to use the same preshared key", 0.3)
    return ppks(a, b.name)[0]


def equipped(fresh, **options) -> tuple[FirewallPair, list]:
    pair = FirewallPair(fresh)
    return pair, list(sync.equip(pair, **options))


def started(fresh, **options) -> tuple[FirewallPair, list]:
    pair, instances = equipped(fresh, **options)
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    return pair, instances


def carry(maker, taker) -> None:
    file = maker.node.dir / f"{time.monotonic_ns()}.ppk"
    maker.command("keys", "ppk", "make", taker.name, file)
    taker.command("keys", "ppk", "import", file)


def up(instance, other) -> bool:
    return (instance.peer(other.name) or {}).get("state") == "up"


def required(instance, other) -> bool:
    return instance.peer(other.name)["ppk"]["required"]


def test_two_nodes_make_one_and_the_next_by_command(fresh):
    _, (mickey, minnie) = started(fresh)
    first = wait_settled(mickey, minnie)
    assert first["epoch"] == 1 and first["origin"] == "tunnel"
    for number, instance in enumerate((mickey, minnie), 2):
        instance.command("keys", "rotate", "--what", "ppk")
        wait_for(lambda: [p["epoch"] for p in ppks(mickey, "minnie")] == [number], 30,
                 "the next one", 0.3)
        assert wait_settled(mickey, minnie)["id"] != first["id"]
    text = mickey.command("keys", "status").stdout
    assert "epoch 3, made in the tunnel" in text and "conn minnie is up with it" in text
    events = [e["event"] for e in mickey.json("keys", "log")["entries"] if "PPK:" in
              e["fingerprint"]]
    assert events == ["ppk", "ppk", "ppk-gone", "ppk", "ppk-gone"]
    mickey.command("keys", "log", "--verify")
    assert "authentication failed" not in mickey.log() + minnie.log()


def test_the_next_ones_by_age_under_load_lose_nothing(fresh):
    pair, (mickey, minnie) = started(fresh, conn={"ppkrotate": "4s"})
    for node in pair.firewalls:
        node.sysctl({"net/netfilter/nf_conntrack_udp_timeout": 600})
    logs = [len(i.log()) for i in (mickey, minnie)]
    over = threading.Event()

    def load() -> int:
        count = 0
        while not over.is_set():
            conntrack.insert(pair.mickey, "10.0.0.40", SERVER[0], 1000 + count, 443)
            count += 1
        return count

    with ThreadPoolExecutor() as pool:
        running: Future = pool.submit(load)
        try:
            wait_for(lambda: any(p["epoch"] >= 4 for p in ppks(mickey, "minnie")), 150,
                     "the fourth one", 0.5)
        finally:
            over.set()
        count = running.result()
    assert not any(": down" in i.log()[log:] for i, log in zip((mickey, minnie), logs))
    wait_for(lambda: all(len(pair.flows(node)) == count for node in pair.firewalls), 10,
             "every change to be on both")


def test_a_crash_of_either_at_any_moment_leaves_one_in_common(fresh):
    _, (mickey, minnie) = started(fresh, conn=STEP)
    wait_settled(mickey, minnie)
    # From now on they must always have one in common, or do not come up.
    wait_for(lambda: required(mickey, minnie) and required(minnie, mickey), 10, "both to require it")
    chance = random.Random(1)
    for number in range(6):
        crashed = (mickey, minnie)[number % 2]
        (mickey, minnie)[chance.randrange(2)].command("keys", "rotate", "--what", "ppk")
        time.sleep(chance.uniform(0.3, 6))
        crashed.restart()
        sync.wait_in_step(mickey, minnie, timeout=40)
        wait_for(lambda: used(mickey, "minnie")
                 and used(mickey, "minnie") == used(minnie, "mickey"), 20, "one in common", 0.3)
    wait_settled(mickey, minnie)
    for instance in (mickey, minnie):
        instance.command("keys", "log", "--verify")


def test_one_that_is_required_is_carried_by_hand(fresh):
    _, (mickey, minnie) = equipped(fresh, conn={"ppk": "required"})
    for instance in (mickey, minnie):
        instance.start()
    for instance, peer in ((mickey, "minnie"), (minnie, "mickey")):
        wait_for(lambda: "one is required" in (instance.peer(peer) or {}).get("last_error", ""), 20,
                 "the reason", 0.2)
    assert "there is no post-quantum preshared key with it here" in mickey.log()
    assert "it uses no post-quantum preshared key, and one is required here" in minnie.log()
    carry(mickey, minnie)
    sync.wait_in_step(mickey, minnie)
    assert wait_settled(mickey, minnie)["origin"] == "hand"
    # And the next are made of it.
    minnie.command("keys", "rotate", "--what", "ppk")
    wait_for(lambda: [p["origin"] for p in ppks(minnie, "mickey")] == ["mixed"], 30, "the next", 0.3)
    wait_settled(mickey, minnie)


def test_different_ones_are_refused_by_name(fresh):
    _, (mickey, minnie) = equipped(fresh, conn={"ppk": "required"})
    for instance, peer in ((mickey, "minnie"), (minnie, "mickey")):
        instance.command("keys", "ppk", "make", peer, instance.node.dir / "lost.ppk")
        instance.start()
    wait_for(lambda: "its post-quantum preshared key (ppk." in mickey.log() + minnie.log()
             and "is not here, and one is required here" in mickey.log() + minnie.log(), 20,
             "who is called to refuse it")
    wait_for(lambda: "refused us: has it our post-quantum preshared key" in
             mickey.log() + minnie.log(), 20, "the caller to be told")
    assert not up(mickey, minnie) and not up(minnie, mickey)
    for instance, peer in ((mickey, "minnie"), (minnie, "mickey")):
        instance.command("keys", "ppk", "forget", peer)
    carry(minnie, mickey)
    sync.wait_in_step(mickey, minnie)


def test_required_against_a_peer_without_is_refused_on_both(fresh):
    _, (mickey, minnie) = equipped(fresh)
    minnie.conn["ppk"] = "no"
    minnie.write_config()
    mickey.conn["ppk"] = "required"
    mickey.write_config()
    mickey.command("keys", "ppk", "make", "minnie", mickey.node.dir / "lost.ppk")
    for instance in (mickey, minnie):
        instance.start()
    wait_for(lambda: "it uses no post-quantum preshared key, and one is required here"
             in mickey.log() or "it has not got our post-quantum preshared key" in mickey.log(), 20,
             "mickey to say why")
    wait_for(lambda: "does it require a post-quantum preshared key?" in minnie.log(), 20,
             "minnie to say why")
    assert not up(mickey, minnie) and not up(minnie, mickey)
    mickey.conn["ppk"] = "optional"
    mickey.reload()
    sync.wait_in_step(mickey, minnie)
    time.sleep(5)
    assert not used(mickey, "minnie") and not used(minnie, "mickey")
    refused = minnie.command("keys", "rotate", "--what", "ppk", check=False)
    assert refused.returncode == 1 and "makes preshared keys with this node" in refused.stderr


def test_who_has_used_one_is_not_accepted_without(fresh):
    """Also by default. Whoever left it out on the way would look like a node that has lost it."""
    _, (mickey, minnie) = started(fresh)
    wait_settled(mickey, minnie)
    wait_for(lambda: required(mickey, minnie), 10, "mickey to require it")
    assert "settled, required" in mickey.command("keys", "status").stdout
    minnie.stop()
    minnie.command("keys", "ppk", "forget", "mickey")
    minnie.start()
    wait_for(lambda: "one is required here" in (mickey.peer("minnie") or {}).get("last_error", ""),
             20, "mickey to say why", 0.2)
    wait_for(lambda: "does it require a post-quantum preshared key?" in minnie.log(), 20,
             "minnie to say why")
    assert not up(mickey, minnie) and not up(minnie, mickey)
    # Nor is it forgotten with a restart.
    mickey.restart()
    wait_for(lambda: "one is required here" in (mickey.peer("minnie") or {}).get("last_error", ""),
             20, "mickey to say so again", 0.2)
    mickey.command("keys", "ppk", "forget", "minnie")
    sync.wait_in_step(mickey, minnie)
    wait_settled(mickey, minnie)


def test_optional_it_may_be_lost(fresh):
    """Control: the next one is made without a word."""
    _, (mickey, minnie) = started(fresh, conn={"ppk": "optional"})
    first = wait_settled(mickey, minnie)
    minnie.stop()
    minnie.command("keys", "ppk", "forget", "mickey")
    minnie.start()
    sync.wait_in_step(mickey, minnie)
    assert not required(mickey, minnie)
    assert wait_settled(mickey, minnie)["epoch"] > first["epoch"]


def test_it_goes_with_the_peer(fresh):
    _, (mickey, minnie) = started(fresh)
    wait_settled(mickey, minnie)
    mickey.command("keys", "forget", "minnie")
    assert not ppks(mickey, "minnie")
    minnie.command("keys", "ppk", "forget", "mickey")
    mickey.trust(minnie.export_key())
    sync.wait_in_step(mickey, minnie)
    assert wait_settled(mickey, minnie)["epoch"] == 1


def test_without_keysync_none_is_made(fresh):
    _, (mickey, minnie) = equipped(fresh)
    minnie.setup["keysync"] = "no"
    minnie.write_config()
    for instance in (mickey, minnie):
        instance.start()
    sync.wait_in_step(mickey, minnie)
    time.sleep(6)
    assert not ppks(mickey, "minnie") and not ppks(minnie, "mickey")
    # By hand it works all the same: it is used from the next negotiation on.
    carry(mickey, minnie)
    minnie.restart()
    sync.wait_in_step(mickey, minnie)
    wait_for(lambda: used(mickey, "minnie") and used(mickey, "minnie") == used(minnie, "mickey"),
             10, "both to use it")
