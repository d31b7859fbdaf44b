# SPDX-License-Identifier: ISC
"""A sync link that has nothing but link-local addresses."""

from __future__ import annotations

import pytest

import conntrack
import sync
from lab import wait_for
from mallory import secrets

pytestmark = pytest.mark.daemon

PATIENCE = 60
ADDRESS = {"mickey": "fe80::1", "minnie": "fe80::2"}


def equal(pair, count: int) -> None:
    def same() -> bool:
        mickey, minnie = (conntrack.keys(pair.flows(node)) for node in pair.firewalls)
        return mickey == minnie and len(mickey) == count

    wait_for(same, PATIENCE, f"both to hold the same {count} flows", 0.5)


@pytest.fixture(scope="module")
def instances(pair):
    scoped = {name: f"{address}%sync" for name, address in ADDRESS.items()}
    for node in pair.firewalls:
        node.ip("addr flush dev sync", f"addr add {ADDRESS[node.name]}/64 dev sync nodad")
    both = [sync.Encsync(node, {o.name: scoped[o.name] for o in pair.firewalls if o is not node},
                         left=scoped[node.name]) for node in pair.firewalls]
    sync.introduce(*both)
    for instance in both:
        instance.start()
    sync.wait_in_step(*both, timeout=PATIENCE)
    return both


def test_flows_pass_and_nothing_else(pair, instances, mallory):
    conntrack.insert_many(pair.mickey, 300)
    equal(pair, 300)
    seen = mallory.look(secrets(pair.flows(pair.mickey)))
    assert seen.leaks == [] and seen.clear_pfsync == 0 and seen.esp > 0
    for instance, other in zip(instances, ("minnie", "mickey")):
        wait_for(lambda: instance.peer(other)["path"]["confirmed"], 10, "the path to be confirmed")
        peer = instance.peer(other)
        assert peer["address"] == f"{ADDRESS[other]}%sync" and peer["refused"] == 0
    rules = pair.mickey.run("nft", "list", "table", "inet", "encsync").stdout
    assert f'iifname "sync" ip6 saddr {ADDRESS["minnie"]} ip6 daddr {ADDRESS["mickey"]}' in rules


def test_keys_are_renewed(pair, instances):
    mickey = instances[0]
    old = mickey.peer("minnie")["spi_out"]
    mickey.command("keys", "rotate", "--what", "sa")
    wait_for(lambda: mickey.peer("minnie")["spi_out"] not in (old, ""), PATIENCE, "new SAs")
    sync.wait_in_step(*instances, timeout=PATIENCE)


def test_an_interface_that_comes_back_is_followed(pair, instances):
    mickey, minnie = instances
    node = pair.mickey
    before = node.link("sync")["ifindex"]
    node.ip("link del sync")
    wait_for(lambda: "interface sync of left fe80::1%sync is gone" in mickey.log(), PATIENCE,
             "the log to say so", 0.2)
    conntrack.insert_many(node, 1, proto="udp")
    node.ip("link add filler type veth peer name filler2")
    pair.lab.plug(node, "sync", pair.sync_switch, f"{ADDRESS['mickey']}/64")
    node.ip("link del filler")
    assert node.link("sync")["ifindex"] != before
    sync.wait_in_step(mickey, minnie, timeout=PATIENCE)
    assert "interface sync is back" in mickey.log()
    equal(pair, 301)


def test_a_takeover(pair, instances):
    mickey, minnie = instances
    mickey.kill()
    minnie.command("role", "active")
    wait_for(lambda: minnie.status()["own"] == 301, PATIENCE, "minnie to own the flows", 0.2)
    minnie.command("role", "auto")
    mickey.start()
    sync.wait_in_step(mickey, minnie, timeout=PATIENCE)


def test_what_cannot_be_is_refused_by_name(pair, instances):
    mickey = instances[0]
    good = mickey.config.read_text()

    def check(old: str, new: str):
        mickey.config.write_text(good.replace(old, new))
        done = mickey.command("check", check=False)
        return done.returncode, done.stdout + done.stderr

    try:
        assert check("x", "x")[0] == 0
        status, said = check("left=fe80::1%sync", "left=fe80::1")
        assert status == 1 and "a link-local address needs a scope" in said
        status, said = check("ipsec=userspace", "ipsec=kernel")
        assert status == 1 and "link-local addresses need ipsec=userspace" in said
        assert check("%sync", "%snyc")[0] == 0  # it may be for another machine
        done = mickey.command("check", "--live", check=False)
        assert done.returncode == 1 and "no interface 'snyc'" in done.stdout + done.stderr
        done = mickey.command("reload", check=False)
        assert done.returncode == 1 and "no interface 'snyc'" in done.stdout + done.stderr
    finally:
        mickey.config.write_text(good)
    sync.wait_in_step(*instances, timeout=PATIENCE)
