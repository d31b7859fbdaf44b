# SPDX-License-Identifier: ISC
"""type=transport: the encrypted payload is the pfsync packet itself, without an IP header."""

from __future__ import annotations

import pytest

import conntrack
import sync
from lab import LabError, wait_for
from mallory import Mallory, secrets
from pair import FirewallPair

pytestmark = pytest.mark.daemon

PATIENCE = 60


def start(both: list[sync.Encsync], mickeys: str, minnies: str) -> None:
    for instance, mode in zip(both, (mickeys, minnies)):
        instance.conn["type"] = mode
        instance.write_config()
        instance.start()


def modes(both: list[sync.Encsync]) -> set[str]:
    return {sa["mode"] for instance in both for sa in instance.json("sas")}


def test_flows_pass(fresh):
    pair = FirewallPair(fresh)
    mallory = Mallory(pair)
    both = sync.equip(pair)
    for mode in ("transport", "tunnel"):
        start(both, mode, mode)
        sync.wait_in_step(*both, timeout=PATIENCE)
        assert modes(both) == {mode}
        conntrack.insert_many(pair.mickey, 300)
        conntrack.insert_many(pair.minnie, 300, proto="udp")

        def equal() -> bool:
            mickey, minnie = (conntrack.keys(pair.flows(node)) for node in pair.firewalls)
            return mickey == minnie and len(mickey) == 600

        wait_for(equal, PATIENCE, "both to hold the same 600 flows", 0.5)
        old = both[0].peer("minnie")["spi_out"]
        both[0].command("keys", "rotate", "--what", "sa")
        wait_for(lambda: both[0].peer("minnie")["spi_out"] not in (old, ""), PATIENCE, "new SAs")
        assert modes(both) == {mode}
        assert [instance.json("peers")[0]["refused"] for instance in both] == [0, 0]
        seen = mallory.look(secrets(pair.flows(pair.mickey)))
        assert seen.leaks == [] and seen.clear_pfsync == 0 and seen.esp > 0
        for instance in both:
            instance.stop()
        for node in pair.firewalls:
            conntrack.flush(node)


def test_both_ends_must_agree(fresh):
    pair = FirewallPair(fresh)
    mickey, minnie = both = sync.equip(pair)
    start(both, "transport", "tunnel")

    def error(instance: sync.Encsync, peer: str) -> str:
        return (instance.peer(peer) or {}).get("last_error", "")

    # The node that refuses knows both modes; the other one is refused, with possible reasons.
    wait_for(lambda: "type=" in error(mickey, "minnie") and "type=" in error(minnie, "mickey"),
             PATIENCE, "both to say that the modes differ")
    assert ("it takes type=tunnel, we have type=transport" in mickey.log()
            or "it takes type=transport, we have type=tunnel" in minnie.log())
    for instance, peer in ((mickey, "minnie"), (minnie, "mickey")):
        assert not any(instance.peer(peer)[way] for way in ("tx_packets", "rx_packets"))
    # Control, by a reload.
    minnie.conn["type"] = "transport"
    minnie.reload()
    sync.wait_in_step(mickey, minnie, timeout=PATIENCE)


def test_the_kernel_does_not_do_it(fresh):
    pair = FirewallPair(fresh)
    mickey, _ = sync.equip(pair)
    mickey.setup["ipsec"], mickey.conn["type"] = "kernel", "transport"
    mickey.write_config()
    with pytest.raises(LabError, match="ended with status"):
        mickey.start()
    assert "type=transport needs ipsec=userspace" in mickey.log()
